//! Writing an envelope.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, SecondsFormat};
use serde_json::value::RawValue;

use crate::message::{Draft, Epoch, Payload};

/// The size of the widest stamp; sizes are counted with it, so that a limit does not depend on a number's digits.
pub const STAMP_BYTES: usize =
    r#","date":"2026-01-01T00:00:00.000Z","sequence":9007199254740992,"epoch":"0000000000000000""#.len();

/// A message as JSON, but for its stamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// `{"id":"…","message":…`
    pub head: String,
    /// `,"attributes":{…}` and so on, with the closing brace.
    pub tail: String,
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
        let (head, tail, date) = (&self.head, &self.tail, format_time(time_ms));
        format!(r#"{head},"date":"{date}","sequence":{sequence},"epoch":"{epoch}"{tail}"#)
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

/// Writes a draft; a `json` payload is expected to have passed [`check_json`].
pub fn encode(draft: &Draft) -> Encoded {
    let mut head = String::with_capacity(64);
    // Writing to a string can't fail.
    let _ = write!(head, r#"{{"id":"{}","message":"#, draft.id.hyphenated());
    let encoding = match &draft.payload {
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
    let mut tail = String::new();
    if !draft.attributes.is_empty() {
        tail.push_str(r#","attributes":"#);
        for (i, (key, value)) in draft.attributes.iter().enumerate() {
            tail.push(if i == 0 { '{' } else { ',' });
            push_string(&mut tail, key);
            tail.push(':');
            push_string(&mut tail, value);
        }
        tail.push('}');
    }
    if !draft.ordering_key.is_empty() {
        tail.push_str(r#","ordering_key":"#);
        push_string(&mut tail, &draft.ordering_key);
    }
    if let Some(encoding) = encoding {
        let _ = write!(tail, r#","encoding":"{encoding}""#);
    }
    tail.push('}');
    Encoded { head, tail }
}

fn push_string(json: &mut String, text: &str) {
    json.push('"');
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
