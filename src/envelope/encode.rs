//! Writing an envelope.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
};

use base64::{display::Base64Display, engine::general_purpose::STANDARD};
use chrono::{DateTime, Datelike as _, SecondsFormat, Timelike as _, Utc};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Envelope, is_plain};
use crate::message::{Draft, Epoch, Payload};

/// The size of the widest stamp; sizes are counted with it, so that a limit does not depend on a number's digits.
pub const STAMP_BYTES: usize =
    r#","date":"2026-01-01T00:00:00.000Z","sequence":9007199254740992,"epoch":"0000000000000000""#.len();

/// The part of a stamp after the date.
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
        let mut json = String::with_capacity(self.len());
        json.push_str(&self.head);
        // Writing to a string can't fail.
        let _ = stamp.put(sequence, &mut json);
        json.push_str(&self.tail);
        json
    }
}

/// What the messages of one call have in common: date and epoch, as they are written before and after the number.
#[derive(Debug, Clone)]
pub struct Stamp {
    before: String,
    after: String,
}

impl Stamp {
    /// A stamp for messages of this log time, in milliseconds.
    pub fn new(time_ms: i64, epoch: Epoch) -> Self {
        let before = format!(r#","date":"{}","sequence":"#, format_time(time_ms));
        Self { before, after: format!(r#","epoch":"{epoch}""#) }
    }

    /// The size of a message's whole JSON, where [`len`] counts the widest stamp.
    pub fn narrow(&self, len: usize, sequence: i64) -> usize {
        len - STAMP_BYTES + self.before.len() + itoa::Buffer::new().format(sequence).len() + self.after.len()
    }

    /// Writes a message's whole JSON, as [`Encoded::stamp`] makes it.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn write(&self, draft: &Draft, sequence: i64, json: &mut impl fmt::Write) -> fmt::Result {
        let id = &mut Uuid::encode_buffer();
        let encoding = put_head(json, draft.id.hyphenated().encode_lower(id), &draft.payload)?;
        self.put(sequence, json)?;
        put_tail(json, &draft.attributes, &draft.ordering_key, encoding)
    }

    fn put(&self, sequence: i64, json: &mut impl fmt::Write) -> fmt::Result {
        json.write_str(&self.before)?;
        json.write_str(itoa::Buffer::new().format(sequence))?;
        json.write_str(&self.after)
    }
}

/// What [`encode`] would make of a draft has this size, with the widest stamp.
pub fn len(draft: &Draft) -> usize {
    let mut size = Size(STAMP_BYTES);
    // All ids are as long. Counting can't fail.
    let encoding = put_head(&mut size, NO_ID, &draft.payload).unwrap_or_default();
    let _ = put_tail(&mut size, &draft.attributes, &draft.ordering_key, encoding);
    size.0
}

const NO_ID: &str = "00000000-0000-0000-0000-000000000000";

/// Counts the bytes that are written.
struct Size(usize);

impl fmt::Write for Size {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

/// RFC 3339 in UTC with milliseconds, such as `2026-11-24T12:00:00.000Z`.
pub fn format_time(time_ms: i64) -> String {
    let time = DateTime::from_timestamp_millis(time_ms).unwrap_or_default();
    match u32::try_from(time.year()) {
        Ok(year @ ..=9_999) => digits_of(year, &time),
        // Chrono writes these with a sign.
        _ => time.to_rfc3339_opts(SecondsFormat::Millis, true),
    }
}

/// Every publish has its time written, for which chrono's own way is long.
fn digits_of(year: u32, time: &DateTime<Utc>) -> String {
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let fields = [(0, 4), (5, 2), (8, 2), (11, 2), (14, 2), (17, 2), (20, 3)];
    let (millis, second) = (time.timestamp_subsec_millis(), time.second());
    for ((at, width), mut number) in
        fields.into_iter().zip([year, time.month(), time.day(), time.hour(), time.minute(), second, millis])
    {
        for digit in text[at..at + width].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }
    text.into_iter().map(char::from).collect()
}

/// The text is not one JSON text.
#[derive(Debug, thiserror::Error)]
#[error("it is not one JSON text: {0}")]
pub struct InvalidJson(serde_json::Error);

/// Checks that a text is one JSON text (RFC 8259) and answers it without the white space around it. However deep
/// it is nested, the check takes no stack: serde_json skips raw values in a loop.
pub fn check_json(text: &str) -> Result<&str, InvalidJson> {
    serde_json::from_str::<&RawValue>(text).map(RawValue::get).map_err(InvalidJson)
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
    /// Writes it for the log. Everything that was read is kept, also its own date and the originals of odd values.
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
    // Writing to a string can't fail.
    let id_text = &mut Uuid::encode_buffer();
    let id = id.hyphenated().encode_lower(id_text);
    let encoding = put_head(&mut head, id, payload).unwrap_or_default();
    // Most have no more than the closing brace.
    if attributes.is_empty() && ordering_key.is_empty() && encoding.is_none() {
        return Encoded { head, tail: Cow::Borrowed("}") };
    }
    let mut tail = String::new();
    let _ = put_tail(&mut tail, attributes, ordering_key, encoding);
    Encoded { head, tail: Cow::Owned(tail) }
}

/// Writes the part before the stamp; returns the value of the `encoding` after it.
fn put_head(json: &mut impl fmt::Write, id: &str, payload: &Payload) -> Result<Option<&'static str>, fmt::Error> {
    json.write_str(r#"{"id":""#)?;
    json.write_str(id)?;
    json.write_str(r#"","message":"#)?;
    match payload {
        Payload::Text(text) => put_string(json, text).map(|()| None),
        Payload::Json(text) => {
            json.write_str(text)?;
            Ok(text.starts_with('"').then_some("json"))
        }
        Payload::Data(data) => {
            write!(json, "\"{}\"", Base64Display::new(data, &STANDARD))?;
            Ok(Some("base64"))
        }
    }
}

/// Writes the part after the stamp.
fn put_tail(
    json: &mut impl fmt::Write,
    attributes: &[(String, String)],
    ordering_key: &str,
    encoding: Option<&str>,
) -> fmt::Result {
    if !attributes.is_empty() {
        json.write_str(r#","attributes":"#)?;
        for (i, (key, value)) in attributes.iter().enumerate() {
            json.write_str(if i == 0 { "{" } else { "," })?;
            put_string(json, key)?;
            json.write_str(":")?;
            put_string(json, value)?;
        }
        json.write_str("}")?;
    }
    if !ordering_key.is_empty() {
        json.write_str(r#","ordering_key":"#)?;
        put_string(json, ordering_key)?;
    }
    if let Some(encoding) = encoding {
        write!(json, r#","encoding":"{encoding}""#)?;
    }
    json.write_str("}")
}

fn put_string(json: &mut impl fmt::Write, text: &str) -> fmt::Result {
    json.write_str("\"")?;
    let mut plain = 0;
    // Most have nothing to escape, and are not looked through a second time.
    let bytes = if is_plain(text.as_bytes()) { &[] } else { text.as_bytes() };
    for (i, byte) in bytes.iter().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "",
            _ => continue,
        };
        json.write_str(&text[plain..i])?;
        plain = i + 1;
        if escape.is_empty() {
            write!(json, "\\u{byte:04x}")?;
        } else {
            json.write_str(escape)?;
        }
    }
    json.write_str(&text[plain..])?;
    json.write_str("\"")
}

#[cfg(test)]
mod tests;
