//! What the scripts of subscriptions answer, read field by field: whatever is not as it should be is an error.

use std::str::FromStr;

use bytes::Bytes;
use redis::Value;
use tidings::{broker::Error, message::Position};

/// The fields of an answer, in their order.
pub(super) struct Fields(std::vec::IntoIter<Value>);

impl Fields {
    /// # Errors
    ///
    /// It is no list.
    pub(super) fn of(answer: Value) -> Result<Self, Error> {
        match answer {
            Value::Array(fields) => Ok(Self(fields.into_iter())),
            _ => Err(not_understood()),
        }
    }

    /// How many are left.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The next one, as it is; `None` for nil.
    pub(super) fn optional(&mut self) -> Result<Option<Bytes>, Error> {
        match self.0.next() {
            Some(Value::BulkString(bytes)) => Ok(Some(bytes.into())),
            Some(Value::Nil) => Ok(None),
            _ => Err(not_understood()),
        }
    }

    /// The next one, as it is.
    pub(super) fn bytes(&mut self) -> Result<Bytes, Error> {
        self.optional()?.ok_or_else(not_understood)
    }

    /// The next one, as text.
    pub(super) fn text(&mut self) -> Result<String, Error> {
        String::from_utf8(self.bytes()?.into()).map_err(|_| not_understood())
    }

    /// The next one: a number, or what else is written as text.
    pub(super) fn parse<T: FromStr>(&mut self) -> Result<T, Error> {
        parse(self.0.next().unwrap_or_default())
    }

    /// The same; `None` where it is empty.
    pub(super) fn parse_some<T: FromStr>(&mut self) -> Result<Option<T>, Error> {
        let text = self.text()?;
        if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(|_| not_understood()) }
    }

    /// The next two: Redis's clock in seconds and microseconds; as ms since 1970.
    pub(super) fn clock_ms(&mut self) -> Result<i64, Error> {
        let (seconds, micros): (i64, i64) = (self.parse()?, self.parse()?);
        Ok(seconds.saturating_mul(1_000).saturating_add(micros / 1_000))
    }

    /// The next two: an epoch, which may be empty, and a sequence.
    pub(super) fn position(&mut self) -> Result<Position, Error> {
        Ok(Position { epoch: self.parse_some()?, sequence: self.parse()? })
    }
}

fn parse<T: FromStr>(value: Value) -> Result<T, Error> {
    let parsed = match value {
        Value::Int(number) => number.to_string().parse().ok(),
        Value::BulkString(bytes) => std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok()),
        _ => None,
    };
    parsed.ok_or_else(not_understood)
}

/// An answer that is a number.
pub(super) fn number<T: FromStr>(answer: Value) -> Result<T, Error> {
    parse(answer)
}

/// An answer that is a word; nothing for any other.
pub(super) fn word(answer: &Value) -> &[u8] {
    match answer {
        Value::BulkString(word) => word,
        _ => b"",
    }
}

/// What only a bug or a stranger can have written.
pub(super) fn not_understood() -> Error {
    Error::Internal("what is on Redis for the subscription was not written by Tidings, or is damaged".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn fields_are_read_in_their_order() {
        let answer = [bulk("1700000000"), bulk("123999"), bulk(""), bulk("7"), Value::Int(3), Value::Nil, bulk("")];
        let mut fields = Fields::of(Value::Array(answer.to_vec())).expect("a list");
        assert_eq!(fields.clock_ms(), Ok(1_700_000_000_123));
        assert_eq!(fields.position(), Ok(Position { epoch: None, sequence: 7 }));
        assert_eq!(fields.parse::<u64>(), Ok(3));
        assert_eq!(fields.optional(), Ok(None));
        assert_eq!(fields.parse_some::<i64>(), Ok(None));
        assert_eq!(fields.bytes(), Err(not_understood()), "there are no more");
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        assert!(Fields::of(bulk("x")).is_err());
        for value in [bulk("x"), bulk(""), Value::Nil, Value::Int(-1)] {
            assert_eq!(number::<u64>(value), Err(not_understood()));
        }
        assert_eq!(word(&Value::Int(1)), b"");
    }
}
