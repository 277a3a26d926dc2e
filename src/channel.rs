//! Channel names and patterns: what may be one, and which name matches which pattern.
//!
//! A name that passes here is safe as a Redis channel, inside a key's hash tag, and beside globs. This module knows no
//! Redis: the rules are its own, the matching is Redis's (`glob`).

use std::{
    borrow::Borrow,
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use crate::limits::CHANNEL_NAME_BYTES;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod glob;
mod patterns;

use glob::Glob;
pub use patterns::PatternSet;

/// The name of a channel: 1 to 255 bytes of UTF-8 without control characters, white space, braces and glob characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(Arc<str>);

/// A Redis glob over channel names: 1 to 255 bytes without control characters and white space, and without ranges that
/// reach beyond ASCII. Two are equal where their texts are.
#[derive(Clone)]
pub struct Pattern(Arc<Compiled>);

struct Compiled {
    text: Box<str>,
    glob: Glob,
}

/// Why a text is no channel name or pattern, in words for the one who sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing was given, and there is no default channel.
    #[error("a channel is needed: this server has no default channel")]
    Missing,
    /// Longer than 255 bytes.
    #[error("it has {0} bytes; at most {CHANNEL_NAME_BYTES} are allowed")]
    TooLong(usize),
    /// A character that names don't have.
    #[error(
        "it contains {0:?}; control characters, white space, braces and the glob characters *?[]\\ are not allowed in \
         a channel name"
    )]
    Character(char),
    /// A range in a pattern whose ends are not both ASCII. Redis compares bytes, and on some machines takes those above
    /// 127 for negative numbers: such a range matches what nobody meant, and not the same everywhere.
    #[error("a range in [...] must be between ASCII characters, such as a-z; name others one by one")]
    Range,
    /// Names that belong to Redis or to the service.
    #[error("names that begin with {0:?} are reserved")]
    Reserved(String),
}

/// The names a server accepts: its key prefix is reserved, and an empty name may stand for its default channel.
#[derive(Debug, Clone)]
pub struct Names {
    reserved_prefix: String,
    default: Option<ChannelName>,
}

impl Names {
    /// Reserves `<key_prefix>:…`, where the service keeps its keys, and takes `default` for empty names; an
    /// empty `default` turns defaulting off.
    pub fn new(key_prefix: &str, default: &str) -> Result<Self, InvalidName> {
        let mut names = Self { reserved_prefix: format!("{key_prefix}:"), default: None };
        if !default.is_empty() {
            names.default = Some(names.parse(default)?);
        }
        Ok(names)
    }

    /// The default channel, if there is one.
    pub fn default_channel(&self) -> Option<&ChannelName> {
        self.default.as_ref()
    }

    /// Reads a name that must not be empty.
    pub fn parse(&self, name: &str) -> Result<ChannelName, InvalidName> {
        if name.is_empty() {
            return Err(InvalidName::Missing);
        }
        if name.len() > CHANNEL_NAME_BYTES {
            return Err(InvalidName::TooLong(name.len()));
        }
        if let Some(c) = name.chars().find(|c| is_unsafe(*c) || "{}*?[]\\".contains(*c)) {
            return Err(InvalidName::Character(c));
        }
        for reserved in ["__", &self.reserved_prefix] {
            if name.starts_with(reserved) {
                return Err(InvalidName::Reserved(reserved.to_owned()));
            }
        }
        Ok(ChannelName(name.into()))
    }

    /// Reads a name; an empty one is the default channel.
    pub fn resolve(&self, name: &str) -> Result<ChannelName, InvalidName> {
        match (name.is_empty(), &self.default) {
            (true, Some(default)) => Ok(default.clone()),
            _ => self.parse(name),
        }
    }
}

fn is_unsafe(c: char) -> bool {
    c.is_control() || c.is_whitespace()
}

impl ChannelName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Pattern {
    /// Reads a pattern.
    pub fn parse(pattern: &str) -> Result<Self, InvalidName> {
        if pattern.is_empty() {
            return Err(InvalidName::Missing);
        }
        if pattern.len() > CHANNEL_NAME_BYTES {
            return Err(InvalidName::TooLong(pattern.len()));
        }
        if let Some(c) = pattern.chars().find(|c| is_unsafe(*c)) {
            return Err(InvalidName::Character(c));
        }
        match glob::has_wide_range(pattern.as_bytes()) {
            true => Err(InvalidName::Range),
            false => Ok(Self(Arc::new(Compiled { text: pattern.into(), glob: Glob::new(pattern.as_bytes()) }))),
        }
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// The text with which every matching name begins: all characters before the first one with a special meaning.
    pub fn literal_prefix(&self) -> &str {
        let end = self.as_str().find(['*', '?', '[', '\\']).unwrap_or(self.as_str().len());
        &self.as_str()[..end]
    }

    /// Whether it has all channels whose names begin as it does: a literal beginning, and nothing but a star.
    pub fn is_prefix(&self) -> bool {
        let rest = &self.as_str()[self.literal_prefix().len()..];
        !rest.is_empty() && rest.bytes().all(|byte| byte == b'*')
    }

    /// Whether a channel of this name belongs to the pattern, by the rules of Redis's PSUBSCRIBE. Takes some hundred
    /// nanoseconds at most, whatever the pattern.
    pub fn matches(&self, name: &str) -> bool {
        self.0.glob.matches(name.as_bytes())
    }
}

impl Borrow<str> for ChannelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pattern {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::new("tidings", "channel1").expect("valid")
    }

    #[test]
    fn names_are_checked() {
        for good in ["a", "orders.eu", "Grüße", "a:b/c-d_e", "_x", &"n".repeat(255)] {
            assert!(names().parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a\u{85}b", "a\tb", "{a}", "a*", "a?", "a[b", "a]b", "a\\b", "__x", "tidings:x"] {
            assert!(names().parse(bad).is_err(), "{bad}");
        }
        assert_eq!(names().parse(&"n".repeat(256)), Err(InvalidName::TooLong(256)));
    }

    #[test]
    fn an_empty_name_is_the_default_channel_where_there_is_one() {
        assert_eq!(names().resolve("").expect("default").as_str(), "channel1");
        assert_eq!(Names::new("tidings", "").expect("valid").resolve(""), Err(InvalidName::Missing));
        assert!(Names::new("tidings", "no good").is_err());
    }

    #[test]
    fn ranges_are_of_ascii() {
        for good in ["[a-z]", "[é]", "[éa-z]", "a-é", "\\[a-é]", "[\\a-\\é]", "[é-", "[z-a]*[^0-9ü]"] {
            assert!(Pattern::parse(good).is_ok(), "{good}");
        }
        for bad in ["[a-é]", "[é-z]", "x[0-9][^é-ü", "[\\]a-é]"] {
            assert_eq!(Pattern::parse(bad), Err(InvalidName::Range), "{bad}");
        }
    }
}
