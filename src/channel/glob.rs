//! Redis's glob, written again so that both brokers agree on what a pattern matches. Patterns come from strangers: no
//! pattern may take long, and none may mean one thing here and another in Redis.

/// Matches as Redis does (bytes, case-sensitive), in time bounded by the product of both lengths: on a mismatch only
/// the last star is tried again, which is enough for globs.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            star = Some((p, t));
            continue;
        }
        if let Some(next) = match_one(pattern, p, text[t]) {
            p = next;
            t += 1;
            continue;
        }
        match star {
            Some((after, from)) => {
                p = after;
                t = from + 1;
                star = Some((after, t));
            }
            None => return false,
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

/// Matches one byte against the element of the pattern at `p`; answers where the next element begins.
fn match_one(pattern: &[u8], p: usize, byte: u8) -> Option<usize> {
    match *pattern.get(p)? {
        b'?' => Some(p + 1),
        b'[' => {
            let (hit, next) = match_class(pattern, p + 1, byte);
            hit.then_some(next)
        }
        b'\\' if p + 1 < pattern.len() => (pattern[p + 1] == byte).then_some(p + 2),
        literal => (literal == byte).then_some(p + 1),
    }
}

/// Matches a class after its `[`: whether it holds the byte, and where it ends.
fn match_class(pattern: &[u8], p: usize, byte: u8) -> (bool, usize) {
    let negated = pattern.get(p) == Some(&b'^');
    let mut hit = false;
    let end = read_class(pattern, p, |low, high| hit |= (low.min(high)..=low.max(high)).contains(&byte));
    (hit != negated, end)
}

/// Reads a class after its `[`: each of its ranges, of one byte mostly, and where it ends. As in Redis an
/// unclosed class ends with the pattern, and a range may be written backwards.
fn read_class(pattern: &[u8], mut p: usize, mut range: impl FnMut(u8, u8)) -> usize {
    p += usize::from(pattern.get(p) == Some(&b'^'));
    loop {
        match pattern.get(p) {
            None => return p,
            Some(b']') => return p + 1,
            Some(b'\\') if p + 1 < pattern.len() => {
                range(pattern[p + 1], pattern[p + 1]);
                p += 2;
            }
            Some(&low) if pattern.get(p + 1) == Some(&b'-') && p + 2 < pattern.len() => {
                range(low, pattern[p + 2]);
                p += 3;
            }
            Some(&literal) => {
                range(literal, literal);
                p += 1;
            }
        }
    }
}

/// Whether a range within a class reaches beyond ASCII.
pub(super) fn has_wide_range(pattern: &[u8]) -> bool {
    let (mut p, mut wide) = (0, false);
    while let Some(byte) = pattern.get(p) {
        p = match byte {
            b'[' => read_class(pattern, p + 1, |low, high| wide |= low != high && !(low.is_ascii() && high.is_ascii())),
            b'\\' => p + 2,
            _ => p + 1,
        };
    }
    wide
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_redis() {
        let cases = [
            ("orders.*", "orders.eu", true),
            ("orders.*", "orders", false),
            ("*", "anything", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[^e]llo", "hallo", true),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxbxx", false),
            ("a*", "a", true),
            ("[ab", "a", true),
            ("exact", "exact", true),
            ("exact", "exactly", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_do_not_explode() {
        let pattern = "*a".repeat(120);
        assert!(!matches(pattern.as_bytes(), "a".repeat(119).as_bytes()));
        assert!(matches(pattern.as_bytes(), "a".repeat(250).as_bytes()));
    }
}
