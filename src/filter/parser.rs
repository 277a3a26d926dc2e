//! A filter's text, read from its beginning to its end once. It calls itself for parentheses only, which are counted.

use super::{Expression, InvalidFilter, Problem, Term, Test};
use crate::limits::{FILTER_BYTES, FILTER_DEPTH, FILTER_TERMS};

/// The shortest comparison, and what each further one takes: a joiner, and what keeps it apart from keys and words.
const TERM_BYTES: usize = "attributes:k".len();
const JOINED_TERM_BYTES: usize = " OR-attributes:k".len();
// Comparisons need no count of their own: one more than allowed is longer than a filter may be.
const _: () = assert!(TERM_BYTES + FILTER_TERMS * JOINED_TERM_BYTES > FILTER_BYTES);

/// What begins an operand.
const OPERAND: &str = "attributes, hasPrefix, NOT, \"-\" or \"(\"";
const IN_PARENTHESES: &str = "AND, OR or \")\"";
const AT_TOP: &str = "AND, OR or the end";
const STRING: &str = "a string in double quotes";

pub(super) fn parse(text: &str) -> Result<Expression, InvalidFilter> {
    if text.len() > FILTER_BYTES {
        let allowed = text.char_indices().take_while(|(at, c)| at + c.len_utf8() <= FILTER_BYTES);
        return Err(InvalidFilter { position: allowed.count() + 1, problem: Problem::TooLong });
    }
    let mut parser = Parser { text, at: 0 };
    parser.skip_space();
    if parser.rest().is_empty() {
        return Err(InvalidFilter { position: 1, problem: Problem::Empty });
    }
    let expression = parser.joined(0)?;
    match parser.rest().is_empty() {
        true => Ok(expression),
        false => Err(parser.expected(AT_TOP)),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Joiner {
    And,
    Or,
}

/// Whatever reads a token skips the space before it; what is expected and missing is reported where the token would be.
struct Parser<'a> {
    text: &'a str,
    /// The byte that comes next, at which a character begins.
    at: usize,
}

impl<'a> Parser<'a> {
    /// Operands, and AND or OR between all of them; the space after them is skipped.
    fn joined(&mut self, depth: usize) -> Result<Expression, InvalidFilter> {
        let first = self.operand(depth)?;
        let Some(joiner) = self.joiner()? else { return Ok(first) };
        let mut operands = vec![first, self.operand(depth)?];
        loop {
            self.skip_space();
            let start = self.at;
            match self.joiner()? {
                Some(next) if next == joiner => operands.push(self.operand(depth)?),
                Some(_) => return Err(self.error(start, Problem::Mixed)),
                None => break,
            }
        }
        Ok(match joiner {
            Joiner::And => Expression::All(operands),
            Joiner::Or => Expression::Any(operands),
        })
    }

    fn joiner(&mut self) -> Result<Option<Joiner>, InvalidFilter> {
        self.skip_space();
        let joiner = match self.word() {
            "AND" => Joiner::And,
            "OR" => Joiner::Or,
            word if ["AND", "OR"].iter().any(|keyword| word.eq_ignore_ascii_case(keyword)) => {
                return Err(self.error(self.at, Problem::Capitals));
            }
            _ => return Ok(None),
        };
        self.at += self.word().len();
        Ok(Some(joiner))
    }

    fn operand(&mut self, depth: usize) -> Result<Expression, InvalidFilter> {
        // Any number of them is one or none: they make no filter deeper.
        let mut is_negated = false;
        while self.takes("-") || self.takes_word("NOT") {
            is_negated = !is_negated;
        }
        let start = self.at;
        let operand = if self.takes("(") {
            if depth == FILTER_DEPTH {
                return Err(self.error(start, Problem::TooDeep));
            }
            let inner = self.joined(depth + 1)?;
            self.expect(")", IN_PARENTHESES)?;
            inner
        } else {
            Expression::Term(self.term()?)
        };
        Ok(if is_negated { Expression::Not(Box::new(operand)) } else { operand })
    }

    fn term(&mut self) -> Result<Term, InvalidFilter> {
        if self.takes_word("attributes") {
            self.comparison()
        } else if self.takes_word("hasPrefix") {
            self.prefix()
        } else if self.word().eq_ignore_ascii_case("NOT") {
            Err(self.error(self.at, Problem::Capitals))
        } else {
            Err(self.expected(OPERAND))
        }
    }

    fn comparison(&mut self) -> Result<Term, InvalidFilter> {
        if self.takes(":") {
            return Ok(Term { key: self.key()?, test: Test::Present });
        }
        self.expect(".", "\".\" or \":\"")?;
        let key = self.key()?;
        let test = if self.takes("!=") {
            Test::Unequal(self.string(STRING)?)
        } else {
            self.expect("=", "\"=\" or \"!=\"")?;
            Test::Equal(self.string(STRING)?)
        };
        Ok(Term { key, test })
    }

    fn prefix(&mut self) -> Result<Term, InvalidFilter> {
        self.expect("(", "\"(\"")?;
        if !self.takes_word("attributes") {
            return Err(self.expected("attributes"));
        }
        self.expect(".", "\".\"")?;
        let key = self.key()?;
        self.expect(",", "\",\"")?;
        let test = Test::Prefix(self.string(STRING)?);
        self.expect(")", "\")\"")?;
        Ok(Term { key, test })
    }

    fn key(&mut self) -> Result<Box<str>, InvalidFilter> {
        const KEY: &str = "a key";
        self.skip_space();
        let start = self.at;
        if self.rest().starts_with(['"', '\'']) {
            let key = self.string(KEY)?;
            return if key.is_empty() { Err(self.error(start, Problem::Expected(KEY))) } else { Ok(key) };
        }
        if self.rest().starts_with(is_in_word) && !self.rest().starts_with(|c: char| c.is_ascii_digit()) {
            self.at += self.length(|c| is_in_word(c) || c == '-');
        }
        match self.rest().chars().next() {
            Some(c) if !ends_key(c) => Err(self.error(self.at, Problem::Unquoted(c))),
            _ if self.at == start => Err(self.expected(KEY)),
            _ => Ok(self.text[start..self.at].into()),
        }
    }

    fn string(&mut self, expected: &'static str) -> Result<Box<str>, InvalidFilter> {
        self.skip_space();
        let start = self.at;
        match self.next() {
            Some('"') => {}
            Some('\'') => return Err(self.error(start, Problem::SingleQuotes)),
            _ => return Err(self.error(start, Problem::Expected(expected))),
        }
        let mut string = String::new();
        loop {
            let at = self.at;
            match self.next() {
                Some('"') => return Ok(string.into()),
                Some('\\') => string.push(self.escaped(at)?),
                Some(c) if c < ' ' => return Err(self.error(at, Problem::Control)),
                Some(c) => string.push(c),
                None => return Err(self.error(start, Problem::Unclosed)),
            }
        }
    }

    /// The character of an escape whose backslash is at `start`.
    fn escaped(&mut self, start: usize) -> Result<char, InvalidFilter> {
        Ok(match self.next() {
            Some(c @ ('"' | '\\' | '/')) => c,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => return self.unicode(start),
            _ => return Err(self.error(start, Problem::Escape)),
        })
    }

    /// The character of `\uXXXX`, or of two of them, whose `\u` is behind.
    fn unicode(&mut self, start: usize) -> Result<char, InvalidFilter> {
        let first = self.utf16(start)?;
        let is_high = (0xd800..0xdc00).contains(&first);
        let next = self.at;
        let second = match is_high && self.rest().starts_with("\\u") {
            true => {
                self.at += 2;
                Some(self.utf16(next)?)
            }
            false => None,
        };
        let decoded = char::decode_utf16([first].into_iter().chain(second)).next().and_then(Result::ok);
        decoded.ok_or_else(|| self.error(start, Problem::Surrogate))
    }

    /// Four hexadecimal digits.
    fn utf16(&mut self, start: usize) -> Result<u16, InvalidFilter> {
        let digits = self.rest().get(..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        self.at += digits.map_or(0, str::len);
        unit.ok_or_else(|| self.error(start, Problem::Escape))
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// How many bytes come next that are all of a kind.
    fn length(&self, is_of_kind: impl Fn(char) -> bool) -> usize {
        self.rest().find(|c| !is_of_kind(c)).unwrap_or(self.rest().len())
    }

    /// The word that comes next, or nothing. A "-" is in keys only: elsewhere it negates.
    fn word(&self) -> &'a str {
        &self.rest()[..self.length(is_in_word)]
    }

    fn skip_space(&mut self) {
        self.at += self.length(is_space);
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest().chars().next();
        self.at += next.map_or(0, char::len_utf8);
        next
    }

    /// Takes the token if it comes next.
    fn takes(&mut self, token: &str) -> bool {
        self.skip_space();
        let is_next = self.rest().starts_with(token);
        self.at += if is_next { token.len() } else { 0 };
        is_next
    }

    /// The same for a whole word.
    fn takes_word(&mut self, word: &str) -> bool {
        self.skip_space();
        self.word() == word && self.takes(word)
    }

    fn expect(&mut self, token: &str, expected: &'static str) -> Result<(), InvalidFilter> {
        if self.takes(token) { Ok(()) } else { Err(self.expected(expected)) }
    }

    fn expected(&self, expected: &'static str) -> InvalidFilter {
        self.error(self.at, Problem::Expected(expected))
    }

    fn error(&self, at: usize, problem: Problem) -> InvalidFilter {
        InvalidFilter { position: self.text[..at].chars().count() + 1, problem }
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_in_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Whether this character after a key without quotes can belong to what comes next, rightly or not. Others seem to be
/// meant as a part of the key.
fn ends_key(c: char) -> bool {
    is_space(c) || "=!<>:,()&|\"'".contains(c)
}
