//! An envelope as it was received or read from a log: what our own publisher writes most is not copied, but read where
//! it lies.

use std::borrow::Cow;

use super::decode::{self, Before, Claim, Envelope, Plain};
use crate::message::Payload;

/// A message as it was on a channel.
#[derive(Debug)]
pub enum EnvelopeRef<'a> {
    /// A plain text without attributes, in the layout that our own publisher writes.
    Plain(Plain<'a>),
    /// Anything else.
    Whole(Envelope),
}

/// Reads messages that follow one another. What most of them have in common with the one before is compared with that,
/// and not read again.
#[derive(Debug, Default)]
pub struct Decoder(Before);

/// What of a message goes into its frame.
#[derive(Debug)]
pub struct Parts<'a> {
    /// A UUID in lower case.
    pub id: [u8; 36],
    /// What it carries.
    pub content: Content<'a>,
    /// By key, each key once.
    pub attributes: &'a [(String, String)],
    /// Empty for none.
    pub ordering_key: &'a str,
    /// Its publish time, ms since 1970.
    pub time_ms: i64,
}

/// A payload that is somewhere else.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// A text, which is UTF-8.
    Text(&'a [u8]),
    /// A JSON value.
    Json(&'a str),
    /// Bytes.
    Data(&'a [u8]),
}

impl Decoder {
    /// Reads any bytes that were on a channel at `arrival_ms`.
    pub fn read<'a>(&mut self, bytes: &'a [u8], arrival_ms: i64) -> EnvelopeRef<'a> {
        match decode::plain(bytes, &mut self.0) {
            Some(plain) => EnvelopeRef::Plain(plain),
            None => EnvelopeRef::Whole(decode::decode_slowly(bytes, arrival_ms)),
        }
    }
}

impl<'a> EnvelopeRef<'a> {
    /// The same for a single message.
    pub fn read(bytes: &'a [u8], arrival_ms: i64) -> Self {
        Decoder::default().read(bytes, arrival_ms)
    }

    /// The position it says it has.
    pub fn claim(&self) -> Option<Claim> {
        match self {
            Self::Plain(plain) => plain.claim,
            Self::Whole(envelope) => envelope.claim,
        }
    }

    /// Its `date`, or the time of arrival, ms since 1970.
    pub fn time_ms(&self) -> i64 {
        match self {
            Self::Plain(plain) => plain.time_ms,
            Self::Whole(envelope) => envelope.time_ms,
        }
    }

    /// See [`Envelope::disbelieve`].
    pub fn disbelieve(&mut self) {
        match self {
            Self::Plain(plain) => plain.claim = None,
            Self::Whole(envelope) => envelope.disbelieve(),
        }
    }

    /// The same with everything in it.
    pub fn envelope(&self) -> Cow<'_, Envelope> {
        match self {
            Self::Plain(plain) => Cow::Owned(plain.envelope()),
            Self::Whole(envelope) => Cow::Borrowed(envelope),
        }
    }

    /// What goes into its frame.
    pub fn parts(&self) -> Parts<'_> {
        match self {
            Self::Plain(plain) => Parts {
                id: *plain.id,
                content: Content::Text(plain.text),
                attributes: &[],
                ordering_key: "",
                time_ms: plain.time_ms,
            },
            Self::Whole(envelope) => envelope.parts(),
        }
    }
}

impl Envelope {
    /// What goes into its frame.
    pub fn parts(&self) -> Parts<'_> {
        let mut id = [0; 36];
        self.id.hyphenated().encode_lower(&mut id);
        let content = match &self.payload {
            Payload::Text(text) => Content::Text(text.as_bytes()),
            Payload::Json(json) => Content::Json(json),
            Payload::Data(data) => Content::Data(data),
        };
        let Self { attributes, ordering_key, time_ms, .. } = self;
        Parts { id, content, attributes, ordering_key, time_ms: *time_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::decode;

    const OURS: &str = r#"{"id":"0192d3a4-5b6c-7d8e-9f01-23456789abcd","message":"x","date":"2026-11-24T12:00:00.000Z","sequence":7,"epoch":"00000000000000ab"}"#;

    #[test]
    fn what_is_read_where_it_lies_says_the_same() {
        let odd = [
            OURS.replace("abcd\"", "ABCD\""),
            OURS.replace("\"x\"", "\"\\u0041\""),
            OURS.replace("\"x\"", "[1]"),
            OURS.replace("},", ""),
        ];
        for (json, is_plain) in
            std::iter::once((OURS.to_owned(), true)).chain(odd.into_iter().zip([false, false, false, true]))
        {
            let (mut reference, mut whole) = (EnvelopeRef::read(json.as_bytes(), 5), decode(json.as_bytes(), 5));
            assert_eq!(matches!(reference, EnvelopeRef::Plain(_)), is_plain, "{json}");
            for _ in 0..2 {
                assert_eq!(format!("{:?}", reference.parts()), format!("{:?}", whole.parts()));
                assert_eq!((reference.claim(), reference.time_ms()), (whole.claim, whole.time_ms));
                assert_eq!(*reference.envelope(), whole);
                reference.disbelieve();
                whole.disbelieve();
                assert_eq!(reference.claim(), None);
            }
        }
    }
}
