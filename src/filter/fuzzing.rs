//! Filters from anyone. Reading and asking are written here a second time, in another way: terms are replaced by what
//! they come to, and then parentheses by what is in them, from the innermost one on.

use std::{cell::Cell, collections::BTreeMap};

use super::{Filter, InvalidFilter, Problem};
use crate::{
    fuzzing::target::Target,
    limits::{FILTER_BYTES, FILTER_DEPTH, FILTER_TERMS},
};

/// A filter, a NUL, and attributes as lines `key=value`: the filter is accepted and matches as it is written.
pub const FILTERS: Target = Target { check: check_filter, seeds: filter_seeds };

pub(super) type Attributes = BTreeMap<String, String>;

fn check_filter(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (text, lines) = text.split_once('\0').unwrap_or((text, ""));
    let pairs = lines.lines().filter_map(|line| line.split_once('='));
    let attributes = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let _ = check(text, &attributes);
}

/// Whether the message matches, or what is wrong with the filter. Both ways must come to the same.
pub(super) fn check(text: &str, attributes: &Attributes) -> Result<bool, InvalidFilter> {
    let expected = value(text, attributes);
    match Filter::parse(text) {
        Ok(filter) => {
            assert_eq!(filter.as_str(), text);
            let asked = Cell::new(0);
            let matches = filter.matches(|key| {
                asked.set(asked.get() + 1);
                attributes.get(key).map(String::as_str)
            });
            assert!((1..=FILTER_TERMS).contains(&asked.get()), "{text:?}");
            assert_eq!(expected, Some(matches), "{text:?} {attributes:?}");
            Ok(matches)
        }
        Err(error) => {
            assert_eq!(expected, None, "{text:?}: {error}");
            assert!((1..=text.chars().count() + 1).contains(&error.position), "{text:?}: {error}");
            assert!(error.to_string().len() < 200, "too long to be shown");
            assert_eq!(error.problem == Problem::TooLong, text.len() > FILTER_BYTES);
            Err(error)
        }
    }
}

fn value(text: &str, attributes: &Attributes) -> Option<bool> {
    let mut formula = formula(text, attributes).filter(|_| text.len() <= FILTER_BYTES)?;
    let mut deepest = 0;
    let mut depth = 0;
    for c in formula.chars() {
        depth += i32::from(c == '(') - i32::from(c == ')');
        deepest = deepest.max(depth);
    }
    if usize::try_from(deepest).ok()? > FILTER_DEPTH {
        return None;
    }
    while let Some(open) = formula.rfind('(') {
        let close = open + formula[open..].find(')')?;
        let inner = flat(&formula[open + 1..close])?;
        formula.replace_range(open..=close, letter(inner));
    }
    flat(&formula)
}

/// The value of operands without parentheses.
fn flat(formula: &str) -> Option<bool> {
    let joiner = if formula.contains('&') { '&' } else { '|' };
    let operands = formula.split(joiner).map(|operand| {
        let term = operand.trim_start_matches('!');
        let is_negated = (operand.len() - term.len()) % 2 == 1;
        match term {
            "T" => Some(!is_negated),
            "F" => Some(is_negated),
            _ => None,
        }
    });
    let operands: Vec<bool> = operands.collect::<Option<_>>()?;
    Some(if joiner == '&' { !operands.contains(&false) } else { operands.contains(&true) })
}

fn letter(value: bool) -> &'static str {
    if value { "T" } else { "F" }
}

/// The text with `T` and `F` for its terms, `&`, `|` and `!` for its words, and no space.
fn formula(text: &str, attributes: &Attributes) -> Option<String> {
    let mut formula = String::new();
    let mut rest = space(text);
    while let Some(c) = rest.chars().next() {
        let word = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()?;
        let after = &rest[word.len()..];
        let letter;
        (letter, rest) = match (word, c) {
            ("attributes", _) => term(after, attributes)?,
            ("hasPrefix", _) => prefix(after, attributes)?,
            ("AND", _) => ("&", after),
            ("OR", _) => ("|", after),
            ("NOT", _) => ("!", after),
            ("", '-') => ("!", &rest[1..]),
            ("", '(' | ')') => (&rest[..1], &rest[1..]),
            _ => return None,
        };
        formula.push_str(letter);
        rest = space(rest);
    }
    Some(formula)
}

fn term<'a>(text: &'a str, attributes: &Attributes) -> Option<(&'static str, &'a str)> {
    let text = space(text);
    let (key, rest) = key(text.strip_prefix([':', '.'])?)?;
    let value = attributes.get(&key);
    if text.starts_with(':') {
        return Some((letter(value.is_some()), rest));
    }
    let rest = space(rest);
    let is_equal = rest.starts_with('=');
    let (wanted, rest) = string(rest.strip_prefix(if is_equal { "=" } else { "!=" })?)?;
    Some((letter((value == Some(&wanted)) == is_equal), rest))
}

fn prefix<'a>(text: &'a str, attributes: &Attributes) -> Option<(&'static str, &'a str)> {
    let text = space(space(text).strip_prefix('(')?).strip_prefix("attributes")?;
    let (key, rest) = key(space(text).strip_prefix('.')?)?;
    let (prefix, rest) = string(space(rest).strip_prefix(',')?)?;
    let value = attributes.get(&key);
    Some((letter(value.is_some_and(|value| value.starts_with(&prefix))), space(rest).strip_prefix(')')?))
}

fn key(text: &str) -> Option<(String, &str)> {
    let text = space(text);
    if text.starts_with('"') {
        return string(text).filter(|(key, _)| !key.is_empty());
    }
    let rest = text.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "_-".contains(c));
    let key = &text[..text.len() - rest.len()];
    let is_key = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    is_key.then(|| (key.to_owned(), rest))
}

fn string(text: &str) -> Option<(String, &str)> {
    let text = space(text);
    if !text.starts_with('"') {
        return None;
    }
    let mut strings = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let string = strings.next()?.ok()?;
    Some((string, &text[strings.byte_offset()..]))
}

fn space(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\r', '\n'])
}

fn filter_seeds() -> Vec<Vec<u8>> {
    let nested = format!("{}attributes:a{}", "(".repeat(FILTER_DEPTH), ")".repeat(FILTER_DEPTH));
    let many = format!("attributes:a{}", " OR-attributes:b".repeat(FILTER_TERMS - 1));
    let seeds = [
        "attributes.kind = \"order\"\0kind=order",
        "attributes.kind != \"order\" OR attributes:\"a key\"\0a key=",
        "hasPrefix ( attributes . \"a.b\" , \"x\\u00e4\\ud83d\\ude00\\n\" )\0a.b=xä😀",
        "(attributes:a OR NOT attributes:b)\nAND -(attributes:c AND\tattributes.d-e=\"\\\"\")\0a=1\nc=2\nd-e=\"",
        "--NOT-attributes:a AND NOT(attributes:b)\0b=",
        "attributes:a AND attributes:b OR attributes:c",
        "attributes.größe = 'x'",
        "attributes:a and not attributes:b",
        "((attributes:a)",
        &nested,
        &many,
    ];
    seeds.map(|seed| seed.as_bytes().to_vec()).to_vec()
}
