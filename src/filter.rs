//! Filters over a message's attributes: read from text, and asked of a message.
//!
//! The grammar is that of [Google Pub/Sub's filters][google]; what differs is said at [`Filter`]. A filter that was
//! read is bounded: its text has at most [`FILTER_BYTES`], so that no more than [`FILTER_TERMS`] comparisons fit, and
//! its parentheses are at most [`FILTER_DEPTH`] deep. Reading takes time in proportion to the text; asking compares
//! each term once, with one value. This module knows no message and no channel, only keys and values.
//!
//! [`FILTER_TERMS`]: crate::limits::FILTER_TERMS
//! [google]: https://cloud.google.com/pubsub/docs/subscription-message-filter

use crate::limits::{FILTER_BYTES, FILTER_DEPTH};

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod parser;

/// An expression over attributes, which a message matches or not. Keys and values are compared as they are, case and
/// all. Two filters are equal where their texts are.
///
/// | expression | true where |
/// |---|---|
/// | `attributes.key = "value"` | the message has the key with this value |
/// | `attributes.key != "value"` | it has not: the value is another one, or the key is absent |
/// | `attributes:key` | the message has the key |
/// | `hasPrefix(attributes.key, "value")` | the message has the key, with a value that begins so |
/// | `NOT expression`, `-expression` | the expression is false |
/// | `expression AND expression` | both are true |
/// | `expression OR expression` | one of them is true |
/// | `(expression)` | the expression is true |
///
/// `NOT` and `-` bind tightest. `AND` and `OR` have no order of their own: beside each other they need parentheses.
/// Names are case-sensitive and keywords are in capitals. Spaces, tabs and line ends may be between all of these, and
/// must be only where two words would become one.
///
/// A key may be written as it is where it has only ASCII letters, digits, `_` and `-`, and begins with a letter or `_`.
/// Others stand in double quotes: `attributes."a key"`, `attributes:"a.key"`. No key is empty.
///
/// Keys in quotes and values are strings of JSON (RFC 8259), so that any JSON library writes them: in double quotes,
/// with the escapes `\"`, `\\`, `\/`, `\b`, `\f`, `\n`, `\r`, `\t` and `\uXXXX`, two of which make a character beyond
/// U+FFFF. Control characters below U+0020 must be escaped. Google's octal and shorter hexadecimal escapes are refused.
#[derive(Debug, Clone)]
pub struct Filter {
    text: Box<str>,
    expression: Expression,
}

/// Why a text is no filter, and where, in words for the one who sent it. They repeat nothing of the text but one
/// character, escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at {position}: {problem}")]
pub struct InvalidFilter {
    /// The character (Unicode scalar value) of the text where it goes wrong. The first one is 1; where something is
    /// missing at the end, it is the one after the last.
    pub position: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It has nothing but white space. A caller for whom an empty text is no filter does not ask.
    #[error("the filter is empty")]
    Empty,
    /// Longer than [`FILTER_BYTES`]; the position is that of the first character that is too much.
    #[error("the filter is longer than {FILTER_BYTES} bytes")]
    TooLong,
    /// More open parentheses than [`FILTER_DEPTH`]; those of `hasPrefix` do not count.
    #[error("parentheses are nested more than {FILTER_DEPTH} deep")]
    TooDeep,
    /// Something else than what may come here.
    #[error("expected {0}")]
    Expected(&'static str),
    /// AND and OR beside each other; the position is that of the first one that differs.
    #[error("AND and OR are mixed; put parentheses around what belongs together")]
    Mixed,
    /// A keyword in lower case, or partly so.
    #[error("AND, OR and NOT are written in capitals")]
    Capitals,
    /// A key that needs quotes, and has none; the position is that of the character for which it does.
    #[error(
        "a key with {0:?} here must be in double quotes: without them it has ASCII letters, digits, \"_\" and \"-\", \
         and begins with a letter or \"_\""
    )]
    Unquoted(char),
    /// A string in single quotes.
    #[error("strings are in double quotes, not in single ones")]
    SingleQuotes,
    /// A string that does not end; the position is that of its beginning.
    #[error("the string has no closing double quote")]
    Unclosed,
    /// A control character in a string.
    #[error("control characters in a string must be escaped, such as \\n or \\u0000")]
    Control,
    /// A backslash with something after it that JSON does not know.
    #[error("not an escape of JSON, which are \\\" \\\\ \\/ \\b \\f \\n \\r \\t and \\u with four hexadecimal digits")]
    Escape,
    /// One half of a surrogate pair without the other.
    #[error("half of a surrogate pair; both halves are needed, high before low")]
    Surrogate,
}

/// No deeper than the parentheses, with a NOT for each: so walks of it may call themselves.
#[derive(Debug, Clone)]
enum Expression {
    Term(Term),
    Not(Box<Expression>),
    All(Vec<Expression>),
    Any(Vec<Expression>),
}

/// A question about one attribute.
#[derive(Debug, Clone)]
struct Term {
    key: Box<str>,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Present,
    Equal(Box<str>),
    /// Absent or different.
    Unequal(Box<str>),
    Prefix(Box<str>),
}

impl Filter {
    /// Reads a filter. An empty text is an error here: whether it means "no filter" is for the caller to say.
    pub fn parse(text: &str) -> Result<Self, InvalidFilter> {
        Ok(Self { expression: parser::parse(text)?, text: text.into() })
    }

    /// The filter as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a message matches whose attributes are looked up with `attribute`: the value of a key, or nothing where
    /// it is absent. It is called at most once for each comparison, and each answer is compared once.
    pub fn matches<'a>(&self, attribute: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.expression.is_true(&attribute)
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Filter {}

impl Expression {
    fn is_true<'a>(&self, attribute: &impl Fn(&str) -> Option<&'a str>) -> bool {
        match self {
            Self::Term(term) => term.test.passes(attribute(&term.key)),
            Self::Not(inner) => !inner.is_true(attribute),
            Self::All(parts) => parts.iter().all(|part| part.is_true(attribute)),
            Self::Any(parts) => parts.iter().any(|part| part.is_true(attribute)),
        }
    }
}

impl Test {
    fn passes(&self, value: Option<&str>) -> bool {
        match self {
            Self::Present => value.is_some(),
            Self::Equal(wanted) => value == Some(wanted),
            Self::Unequal(other) => value != Some(other),
            Self::Prefix(prefix) => value.is_some_and(|value| value.starts_with(&**prefix)),
        }
    }
}

#[cfg(test)]
mod tests;
