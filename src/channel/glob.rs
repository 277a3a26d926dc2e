//! Redis's glob, written again so that both brokers agree on what a pattern matches. Patterns come from strangers: no
//! pattern may take long, and none may mean one thing here and another in Redis.
//!
//! A pattern is compiled to an automaton whose states are the bits of a few words (Shift-And, Baeza-Yates and Gonnet
//! 1992): state `i` means that the first `i` elements have matched, a star is a state that may keep itself. All states
//! move at once, so a match takes a few instructions for each byte of the name and word of the pattern, whatever both
//! are made of.

/// Bits of a word.
const WORD: usize = u64::BITS as usize;
/// Words of a set of states: patterns have at most 255 bytes, so at most as many elements, and one state more.
const WORDS: usize = 256 / WORD;

/// A compiled pattern.
pub(super) struct Glob {
    /// How many elements match one byte each.
    elements: usize,
    /// States that a star keeps.
    stars: [u64; WORDS],
    /// Which of the rows belongs to each byte. Most bytes are alike for a pattern.
    row_of: [u8; 256],
    /// Which elements accept the bytes of a row, the words of each row one after the other.
    rows: Box<[u64]>,
}

impl Glob {
    /// Compiles a pattern of at most [`CHANNEL_NAME_BYTES`](crate::limits::CHANNEL_NAME_BYTES) bytes.
    pub(super) fn new(pattern: &[u8]) -> Self {
        let mut accepts = [[0; WORDS]; 256];
        let mut stars = [0; WORDS];
        let (mut p, mut elements) = (0, 0);
        while let Some(&byte) = pattern.get(p) {
            let (word, bit) = (elements / WORD, 1 << (elements % WORD));
            let mut accept = |byte: u8| accepts[usize::from(byte)][word] |= bit;
            p += 1;
            match byte {
                b'*' => {
                    stars[word] |= bit;
                    continue;
                }
                b'?' => (0..=u8::MAX).for_each(accept),
                b'[' => {
                    let is_negated = pattern.get(p) == Some(&b'^');
                    let mut class = [false; 256];
                    p = read_class(pattern, p, |low, high| {
                        class[usize::from(low.min(high))..=usize::from(low.max(high))].fill(true);
                    });
                    (0..=u8::MAX).filter(|byte| class[usize::from(*byte)] != is_negated).for_each(accept);
                }
                b'\\' if p < pattern.len() => {
                    accept(pattern[p]);
                    p += 1;
                }
                literal => accept(literal),
            }
            elements += 1;
        }
        let words = elements / WORD + 1;
        let mut distinct: Vec<[u64; WORDS]> = Vec::new();
        let row_of = accepts.map(|row| {
            let known = distinct.iter().position(|known| *known == row).unwrap_or_else(|| {
                distinct.push(row);
                distinct.len() - 1
            });
            // There are no more rows than bytes.
            known as u8
        });
        let rows = distinct.iter().flat_map(|row| &row[..words]).copied().collect();
        Self { elements, stars, row_of, rows }
    }

    /// Matches as Redis does: bytes, case-sensitive.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        let words = self.elements / WORD + 1;
        let (last_word, last_bit) = (self.elements / WORD, 1 << (self.elements % WORD));
        let ends_with_star = self.stars[last_word] & last_bit != 0;
        let mut states = [0; WORDS];
        states[0] = 1;
        for byte in text {
            let row = usize::from(self.row_of[usize::from(*byte)]) * words;
            let (mut carry, mut any) = (0, 0);
            for ((state, accepts), stars) in states.iter_mut().zip(&self.rows[row..row + words]).zip(&self.stars) {
                let moved = *state & accepts;
                *state = moved << 1 | carry | *state & stars;
                carry = moved >> (WORD - 1);
                any |= *state;
            }
            if any == 0 {
                return false;
            }
            if ends_with_star && states[last_word] & last_bit != 0 {
                return true;
            }
        }
        states[last_word] & last_bit != 0
    }
}

/// Reads a class from behind its `[`: each of its ranges, of one byte mostly, and where it ends. As in Redis an
/// unclosed class ends with the pattern, and a range may stand backwards.
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

    fn matches(pattern: &str, name: &str) -> bool {
        Glob::new(pattern.as_bytes()).matches(name.as_bytes())
    }

    #[test]
    fn patterns_match_as_in_redis() {
        let cases = [
            ("orders.*", "orders.eu", true),
            ("orders.*", "orders.", true),
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
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn states_cross_the_ends_of_words() {
        for length in [1, 62, 63, 64, 65, 127, 128, 129, 191, 192, 193, 254, 255] {
            let (name, any) = ("a".repeat(length), "?".repeat(length));
            for pattern in [&name, &any] {
                assert!(matches(pattern, &name), "{length}");
                assert!(!matches(pattern, &name[1..]) && !matches(pattern, &format!("{name}a")), "{length}");
            }
            assert!(matches(&format!("*{}", &any[1..]), &name), "{length}");
            assert!(matches(&format!("{}*", &any[1..]), &name), "{length}");
            assert!(!matches(&format!("*{}b", &any[1..]), &name), "{length}");
        }
    }

    #[test]
    fn many_stars_do_not_explode() {
        let pattern = "*a".repeat(120);
        assert!(!matches(&pattern, &"a".repeat(119)));
        assert!(matches(&pattern, &"a".repeat(250)));
    }

    #[test]
    fn a_costly_pattern_takes_no_more_than_any_other() {
        let (name, costly) = ("a".repeat(254), Glob::new(format!("*{}b", "a".repeat(126)).as_bytes()));
        let cheap = Glob::new(format!("*{}b", "c".repeat(126)).as_bytes());
        let time = |glob: &Glob| {
            let begun = std::time::Instant::now();
            for _ in 0..40 {
                assert!(!std::hint::black_box(glob).matches(std::hint::black_box(name.as_bytes())));
            }
            begun.elapsed()
        };
        // In turns, and the least of each counts: a machine that is busy with other things delays some of them.
        let least = std::time::Duration::MAX;
        let (costly, cheap) = (0..25).fold((least, least), |(a, b), _| (a.min(time(&costly)), b.min(time(&cheap))));
        // By backtracking it was sixty times as much.
        assert!(costly < 8 * cheap, "{costly:?}, {cheap:?}");
    }
}
