//! Writing an envelope.

use std::{borrow::Cow, fmt::Write as _, io};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, SecondsFormat};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Envelope, is_plain};
use crate::message::{Draft, Epoch, Payload};

/// The size of the widest stamp; sizes are counted with it, so that a limit does not depend on a number's digits.
pub const STAMP_BYTES: usize =
    r#","date":"2026-01-01T00:00:00.000Z","sequence":9007199254740992,"epoch":"0000000000000000""#.len();

/// The part of a stamp behind the date.
const NUMBER_BYTES: usize = r#","sequence":9007199254740992,"epoch":"0000000000000000""#.len();

/// A message as JSON, but for its stamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// `{"id":"…","message":…`
    pub head: String,
    /// `,"attributes":{…}` and so on, with the closing brace.
    pub tail: Cow<'static, str>,
}

impl Encoded {
    /// The size of the whole JSON, with the widest stamp.
    pub fn len(&self) -> usize {
        self.head.len() + STAMP_BYTES + self.tail.len()
    }

    /// Never: an envelope has braces at least.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The whole JSON. The Redis script writes the same.
    pub fn stamp(&self, time_ms: i64, sequence: i64, epoch: Epoch) -> String {
        self.stamp_with(&Stamp::new(time_ms, epoch), sequence)
    }

    /// The same with a stamp that all messages of one call share.
    pub fn stamp_with(&self, stamp: &Stamp, sequence: i64) -> String {
        let mut json = Vec::with_capacity(self.len());
        // Writing to a vector can't fail, and texts joined are text.
        let _ = stamp.write(self, sequence, &mut json);
        String::from_utf8(json).unwrap_or_default()
    }
}

/// What the messages of one call have in common: date and epoch, as they stand before and behind the number.
#[derive(Debug, Clone)]
pub struct Stamp {
    before: String,
    behind: String,
}

impl Stamp {
    /// A stamp for messages of this log time, in milliseconds.
    pub fn new(time_ms: i64, epoch: Epoch) -> Self {
        let before = format!(r#","date":"{}","sequence":"#, format_time(time_ms));
        Self { before, behind: format!(r#","epoch":"{epoch}""#) }
    }

    /// The size of a message's whole JSON.
    pub fn bytes(&self, message: &Encoded, sequence: i64) -> usize {
        self.parts(message, itoa::Buffer::new().format(sequence)).iter().map(|part| part.len()).sum()
    }

    /// Writes a message's whole JSON.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn write(&self, message: &Encoded, sequence: i64, json: &mut impl io::Write) -> io::Result<()> {
        self.parts(message, itoa::Buffer::new().format(sequence))
            .iter()
            .try_for_each(|part| json.write_all(part.as_bytes()))
    }

    fn parts<'a>(&'a self, message: &'a Encoded, sequence: &'a str) -> [&'a str; 5] {
        [&message.head, &self.before, sequence, &self.behind, &message.tail]
    }
}

/// RFC 3339 in UTC with milliseconds, such as `2026-11-24T12:00:00.000Z`.
pub fn format_time(time_ms: i64) -> String {
    DateTime::from_timestamp_millis(time_ms).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The text is not one JSON text.
#[derive(Debug, thiserror::Error)]
#[error("it is not one JSON text: {0}")]
pub struct InvalidJson(#[from] serde_json::Error);

/// Checks that a text is one JSON text (RFC 8259) and answers it without the white space around it. However deep
/// it is nested, the check takes no stack: serde_json skips raw values in a loop.
pub fn check_json(text: &str) -> Result<&str, InvalidJson> {
    Ok(serde_json::from_str::<&RawValue>(text)?.get())
}

/// A message as JSON with its own date: only number and epoch are missing between head and tail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unnumbered {
    /// `{"id":"…","message":…,"date":"…"`
    pub head: String,
    /// `,"attributes":{…}` and so on, with the closing brace.
    pub tail: Cow<'static, str>,
}

impl Unnumbered {
    /// The size of the whole JSON, with the widest number.
    pub fn len(&self) -> usize {
        self.head.len() + NUMBER_BYTES + self.tail.len()
    }

    /// Never: an envelope has braces at least.
    pub fn is_empty(&self) -> bool {
        false
    }
}

impl Envelope {
    /// Writes it for its place in the log: what was read is kept, its own date and the originals of odd values as well.
    pub fn unnumbered(&self) -> Unnumbered {
        let Encoded { mut head, tail } = write(self.id, &self.payload, &self.attributes, &self.ordering_key);
        // Writing to a string can't fail.
        let _ = write!(head, r#","date":"{}""#, format_time(self.time_ms));
        Unnumbered { head, tail }
    }
}

/// Writes a draft; a `json` payload is expected to have passed [`check_json`].
pub fn encode(draft: &Draft) -> Encoded {
    write(draft.id, &draft.payload, &draft.attributes, &draft.ordering_key)
}

fn write(id: Uuid, payload: &Payload, attributes: &[(String, String)], ordering_key: &str) -> Encoded {
    let payload_bytes = match payload {
        Payload::Text(text) | Payload::Json(text) => text.len(),
        Payload::Data(data) => data.len().div_ceil(3) * 4,
    };
    let mut head = String::with_capacity(64 + payload_bytes);
    head.push_str(r#"{"id":""#);
    head.push_str(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
    head.push_str(r#"","message":"#);
    let encoding = match payload {
        Payload::Text(text) => {
            push_string(&mut head, text);
            None
        }
        Payload::Json(json) => {
            head.push_str(json);
            json.starts_with('"').then_some("json")
        }
        Payload::Data(data) => {
            head.push('"');
            STANDARD.encode_string(data, &mut head);
            head.push('"');
            Some("base64")
        }
    };
    // Most have no more than the closing brace.
    if attributes.is_empty() && ordering_key.is_empty() && encoding.is_none() {
        return Encoded { head, tail: Cow::Borrowed("}") };
    }
    let mut tail = String::new();
    if !attributes.is_empty() {
        tail.push_str(r#","attributes":"#);
        for (i, (key, value)) in attributes.iter().enumerate() {
            tail.push(if i == 0 { '{' } else { ',' });
            push_string(&mut tail, key);
            tail.push(':');
            push_string(&mut tail, value);
        }
        tail.push('}');
    }
    if !ordering_key.is_empty() {
        tail.push_str(r#","ordering_key":"#);
        push_string(&mut tail, ordering_key);
    }
    if let Some(encoding) = encoding {
        let _ = write!(tail, r#","encoding":"{encoding}""#);
    }
    tail.push('}');
    Encoded { head, tail: Cow::Owned(tail) }
}

fn push_string(json: &mut String, text: &str) {
    json.reserve(text.len() + 2);
    json.push('"');
    if is_plain(text.as_bytes()) {
        json.push_str(text);
        json.push('"');
        return;
    }
    let mut plain = 0;
    for (i, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "",
            _ => continue,
        };
        json.push_str(&text[plain..i]);
        plain = i + 1;
        if escape.is_empty() {
            let _ = write!(json, "\\u{byte:04x}");
        } else {
            json.push_str(escape);
        }
    }
    json.push_str(&text[plain..]);
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{Claim, decode};

    const TIME_MS: i64 = 1_795_521_600_123;

    fn draft(payload: Payload) -> Draft {
        Draft { id: Uuid::nil(), deduplicate: false, payload, attributes: Vec::new(), ordering_key: String::new() }
    }

    fn written(draft: &Draft) -> String {
        encode(draft).stamp(TIME_MS, 42, Epoch::from_u64(0xab).expect("not 0"))
    }

    #[test]
    fn an_envelope_reads_exactly_like_this() {
        let mut full = draft(Payload::Text("Grüße, \"Welt\"\\\n\u{1}\u{7f}".to_owned()));
        assert_eq!(
            written(&full),
            r#"{"id":"00000000-0000-0000-0000-000000000000","message":"Grüße, \"Welt\"\\\n\u0001"#.to_owned()
                + "\u{7f}"
                + r#"","date":"2026-11-24T12:00:00.123Z","sequence":42,"epoch":"00000000000000ab"}"#
        );
        full.payload = Payload::Data(vec![0xff, 0].into());
        full.attributes = vec![("a".to_owned(), "\"".to_owned()), ("b".to_owned(), String::new())];
        full.ordering_key = "k\t".to_owned();
        assert_eq!(
            written(&full),
            r#"{"id":"00000000-0000-0000-0000-000000000000","message":"/wA=","date":"2026-11-24T12:00:00.123Z","#
                .to_owned()
                + r#""sequence":42,"epoch":"00000000000000ab","attributes":{"a":"\"","b":""},"ordering_key":"k\t","#
                + r#""encoding":"base64"}"#
        );
    }

    #[test]
    fn only_json_that_is_a_string_says_so() {
        let json = |json: &str| written(&draft(Payload::Json(json.to_owned())));
        assert!(
            json(r#"{"b": 1.10,  "a":9007199254740993}"#).contains(r#""message":{"b": 1.10,  "a":9007199254740993},"#)
        );
        assert!(!json("1.10").contains("encoding"));
        assert!(json(r#""\u0041""#).ends_with(r#","encoding":"json"}"#));
    }

    #[test]
    fn the_size_is_that_of_the_widest_stamp() {
        let encoded = encode(&draft(Payload::Text("x".to_owned())));
        let widest = encoded.stamp(TIME_MS, 1 << 53, Epoch::from_u64(1).expect("not 0"));
        assert_eq!(encoded.len(), widest.len());
        assert!(!encoded.is_empty());
    }

    #[test]
    fn an_envelope_of_a_plain_program_is_kept_with_its_own_date() {
        let odd = br#"{"message":"\u0041","id":7,"date":"10/11/2023","attributes":{"b":"1"},"ordering_key":"k"}"#;
        let read = decode(odd, TIME_MS);
        let written = read.unnumbered();
        let numbered =
            format!(r#"{},"sequence":9007199254740992,"epoch":"00000000000000ab"{}"#, written.head, written.tail);
        assert_eq!(
            numbered,
            format!(
                r#"{{"id":"{}","message":"A","date":"2026-11-24T12:00:00.123Z","sequence":9007199254740992,"#,
                read.id
            ) + r#""epoch":"00000000000000ab","attributes":{"b":"1","tidings-original-date":"10/11/2023","#
                + r#""tidings-original-id":"7"},"ordering_key":"k"}"#
        );
        assert_eq!(written.len(), numbered.len());
        assert!(!written.is_empty());
        let claim = Some(Claim { epoch: Epoch::from_u64(0xab).expect("not 0"), sequence: 1 << 53 });
        assert_eq!(decode(numbered.as_bytes(), 0), Envelope { claim, ..read });
    }

    #[test]
    fn json_is_checked_at_any_depth() {
        assert_eq!(check_json(" \n[1, 2]\t").expect("valid"), "[1, 2]");
        let deep = "[".repeat(200_000) + &"]".repeat(200_000);
        assert_eq!(check_json(&deep).expect("valid"), deep);
        for bad in ["", " ", "{", "1 2", "{} []", "nul", "[1,]", "'a'", "\"\u{1}\"", "01", "NaN", &"[".repeat(1 << 20)]
        {
            assert!(check_json(bad).is_err(), "{}", &bad[..bad.len().min(20)]);
        }
    }
}
