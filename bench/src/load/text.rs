//! What is published: texts of 100 bytes that begin with a counter, so that a reader knows every byte of what comes
//! next.

use anyhow::{Context as _, ensure};

/// Bytes of text in every message.
pub(crate) const TEXT_BYTES: usize = 100;
/// Digits of the counter at its beginning.
const DIGITS: usize = 10;

/// The text of the first message.
pub(crate) fn first() -> String {
    format!("{:0DIGITS$}{}", 1, "x".repeat(TEXT_BYTES - DIGITS))
}

/// The JSON that a plain program publishes, with the text of the first message.
pub(crate) fn plain_json() -> String {
    format!(r#"{{{},"date":"2026-11-24T12:00:00.000Z"}}"#, beginning())
}

/// The JSON that Tidings publishes, with the text of the first message.
pub(crate) fn numbered_json() -> String {
    let date = r#""date":"2026-11-24T12:00:00.000Z""#;
    format!(r#"{{{},{date},"sequence":123456,"epoch":"0123456789abcdef"}}"#, beginning())
}

fn beginning() -> String {
    format!(r#""id":"0192d3a4-5b6c-7d8e-9f01-23456789abcd","message":"{}""#, first())
}

/// Bytes that are repeated. Where they have a text in them, its counter goes up with each repetition.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    bytes: Vec<u8>,
    counter: Option<usize>,
}

impl Pattern {
    /// Of bytes that may have the first text in them.
    pub(crate) fn new(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        let counter = bytes.windows(TEXT_BYTES).position(|window| window == first().as_bytes());
        Self { bytes, counter }
    }

    /// As they are now.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Continues with the next repetition.
    pub(crate) fn step(&mut self) {
        let Some(at) = self.counter else { return };
        for digit in self.bytes[at..at + DIGITS].iter_mut().rev() {
            if *digit != b'9' {
                *digit += 1;
                return;
            }
            *digit = b'0';
        }
    }

    /// Appends so many repetitions.
    pub(crate) fn write(&mut self, buffer: &mut Vec<u8>, count: usize) {
        buffer.reserve(count * self.bytes.len());
        for _ in 0..count {
            buffer.extend_from_slice(&self.bytes);
            self.step();
        }
    }
}

/// Bytes that must be a pattern, repeated, however they are cut.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    pattern: Pattern,
    offset: usize,
    /// Whole repetitions so far.
    pub(crate) seen: u64,
}

impl Expected {
    /// Nothing has come yet.
    pub(crate) fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self { pattern: Pattern::new(bytes), offset: 0, seen: 0 }
    }

    /// Takes in what came, and compares every byte.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) -> anyhow::Result<()> {
        while !bytes.is_empty() {
            let rest = &self.pattern.bytes[self.offset..];
            let (some, more) = bytes.split_at(rest.len().min(bytes.len()));
            if some != &rest[..some.len()] {
                return Err(self.differs(some)).context("a delivery is missing, doubled or bent");
            }
            bytes = more;
            self.offset += some.len();
            if self.offset == self.pattern.bytes.len() {
                self.offset = 0;
                self.seen += 1;
                self.pattern.step();
            }
        }
        Ok(())
    }

    #[cold]
    fn differs(&self, got: &[u8]) -> anyhow::Error {
        let wanted = String::from_utf8_lossy(&self.pattern.bytes[self.offset..]).into_owned();
        anyhow::anyhow!("after {} repetitions: wanted {wanted:?}, got {:?}", self.seen, String::from_utf8_lossy(got))
    }
}

/// The counter of a text, of which the rest must be as it was sent.
pub(crate) fn counter(text: &[u8]) -> anyhow::Result<u64> {
    let (digits, rest) = text.split_at_checked(DIGITS).context("a short text")?;
    ensure!(rest == &first().as_bytes()[DIGITS..], "a delivery is bent: {:?}", String::from_utf8_lossy(text));
    Ok(std::str::from_utf8(digits)?.parse()?)
}

/// Makes sure of a text that came by itself.
pub(crate) fn same(wanted: &Pattern, got: &[u8]) -> anyhow::Result<()> {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    ensure!(
        wanted.bytes() == got,
        "a delivery is missing, doubled or bent: wanted {:?}, got {:?}",
        text(wanted.bytes()),
        text(got)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeated(from: usize, count: usize) -> Vec<u8> {
        let (mut pattern, mut bytes) = (Pattern::new(plain_json()), Vec::new());
        (1..from).for_each(|_| pattern.step());
        pattern.write(&mut bytes, count);
        bytes
    }

    #[test]
    fn what_was_written_is_expected_wherever_it_is_cut() {
        let bytes = repeated(1, 12);
        assert!(String::from_utf8_lossy(&bytes).contains("0000000012x"));
        for size in [1, 7, 100, 199, bytes.len()] {
            let mut expected = Expected::new(plain_json());
            bytes.chunks(size).for_each(|piece| expected.take(piece).expect("the same"));
            assert_eq!(expected.seen, 12, "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_missing_doubled_or_bent_is_seen() {
        for bad in [repeated(2, 1), [repeated(1, 1), repeated(1, 1)].concat(), {
            let mut bent = repeated(1, 1);
            bent[80] = b'y';
            bent
        }] {
            Expected::new(plain_json()).take(&bad).expect_err("not the same");
        }
    }
}
