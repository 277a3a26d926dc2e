//! Names and patterns from anyone. Matching is written here a second time, in another way; both are compared with a
//! real Redis (`broker-redis/tests/redis/globs.rs`).

use super::{Names, Pattern};
use crate::{fuzzing::target::Target, limits::CHANNEL_NAME_BYTES};

/// Every text that is accepted as a channel's name is one, and no other.
pub const NAMES: Target = Target { check: check_name, seeds: name_seeds };
/// A pattern, a line break and a name: they match as Redis would have it.
pub const PATTERNS: Target = Target { check: check_pattern, seeds: pattern_seeds };

fn check_name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let names = Names::new("tidings", "channel1").expect("valid");
    let is_name = (1..=CHANNEL_NAME_BYTES).contains(&text.len())
        && !text.chars().any(|c| c.is_control() || c.is_whitespace() || "{}*?[]\\".contains(c))
        && !text.starts_with("__")
        && !text.starts_with("tidings:");
    match names.parse(text) {
        Ok(name) => {
            assert!(is_name, "{text:?}");
            assert_eq!(name.as_str(), text);
            assert_eq!(names.resolve(text).as_ref(), Ok(&name));
            // A name matches itself: it has nothing that a pattern would take for something else.
            assert!(Pattern::parse(text).expect("every name is a pattern").matches(text));
        }
        Err(error) => {
            assert!(!is_name, "{text:?}");
            assert!(error.to_string().len() < 200, "too long to be shown");
        }
    }
}

fn check_pattern(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Some((pattern, name)) = text.split_once('\n') else { return };
    let Ok(pattern) = Pattern::parse(pattern) else { return };
    let expected = states(&elements(pattern.as_str().as_bytes()), name.as_bytes());
    assert_eq!(pattern.matches(name), expected, "{pattern} {name:?}");
}

enum Element {
    Star,
    /// Bytes from and to, each inclusive, and whether they are the ones that do not match.
    One(Vec<(u8, u8)>, bool),
}

fn elements(mut pattern: &[u8]) -> Vec<Element> {
    let mut elements = Vec::new();
    while let [first, rest @ ..] = pattern {
        pattern = rest;
        let byte = |byte: u8| Element::One(vec![(byte, byte)], false);
        elements.push(match (first, rest) {
            (b'*', _) => Element::Star,
            (b'?', _) => Element::One(Vec::new(), true),
            (b'\\', [escaped, rest @ ..]) => {
                pattern = rest;
                byte(*escaped)
            }
            (b'[', _) => {
                let negated = rest.first() == Some(&b'^');
                let (class, after) = class(&rest[usize::from(negated)..]);
                pattern = after;
                Element::One(class, negated)
            }
            (literal, _) => byte(*literal),
        });
    }
    elements
}

fn class(mut rest: &[u8]) -> (Vec<(u8, u8)>, &[u8]) {
    let mut ranges = Vec::new();
    loop {
        rest = match rest {
            [] => return (ranges, rest),
            [b']', after @ ..] => return (ranges, after),
            [b'\\', byte, after @ ..] => {
                ranges.push((*byte, *byte));
                after
            }
            [low, b'-', high, after @ ..] => {
                ranges.push((*low.min(high), *low.max(high)));
                after
            }
            [byte, after @ ..] => {
                ranges.push((*byte, *byte));
                after
            }
        }
    }
}

/// Every way at once: which elements may come next after each byte.
fn states(elements: &[Element], text: &[u8]) -> bool {
    let after_stars = |mut at: Vec<bool>| {
        for i in 0..elements.len() {
            if at[i] && matches!(elements[i], Element::Star) {
                at[i + 1] = true;
            }
        }
        at
    };
    let mut at = vec![false; elements.len() + 1];
    at[0] = true;
    at = after_stars(at);
    for byte in text {
        let mut next = vec![false; elements.len() + 1];
        for (i, element) in elements.iter().enumerate().filter(|(i, _)| at[*i]) {
            match element {
                Element::Star => next[i] = true,
                Element::One(ranges, negated) => {
                    next[i + 1] |= ranges.iter().any(|(low, high)| (low..=high).contains(&byte)) != *negated;
                }
            }
        }
        at = after_stars(next);
    }
    at[elements.len()]
}

fn name_seeds() -> Vec<Vec<u8>> {
    let long = "n".repeat(CHANNEL_NAME_BYTES);
    let seeds = ["orders.eu", "Grüße", "a:b/c-d_e", "_x", "__x", "tidings:x", "{a}", "a b", "a\u{85}b", "𝄞", &long];
    seeds.map(|name| name.as_bytes().to_vec()).to_vec()
}

fn pattern_seeds() -> Vec<Vec<u8>> {
    let seeds = [
        "orders.*\norders.eu",
        "h[^e-a]l?o\nhallo",
        "*a*b*c\nxxaxxbxxc",
        "a\\*b\na*b",
        "[a-\n-",
        "[^\nx",
        "[\\]]*\\\n]\\",
        "[a-]x]\n]x]",
        "*[*?\n?",
        "**?**\nü",
        "[ü^a-]\nü",
    ];
    seeds.map(|seed| seed.as_bytes().to_vec()).to_vec()
}
