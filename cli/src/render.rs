//! Messages, gaps and receipts as lines: for people, or as one JSON object a line. For people nothing that a stranger
//! published can steer the terminal: control characters are shown, not sent.

use std::{collections::BTreeMap, fmt::Write as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, SecondsFormat};
use serde::Serialize;
use serde_json::value::RawValue;
use tidings::pb::{Gap, GapReason, Message, message::Payload};

use crate::output::Palette;

/// A time as RFC 3339 in UTC with milliseconds; empty where there is none.
pub(crate) fn time(timestamp: Option<&prost_types::Timestamp>) -> String {
    let time = timestamp.and_then(|time| DateTime::from_timestamp(time.seconds, time.nanos.try_into().ok()?));
    time.map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true)).unwrap_or_default()
}

/// A message as one line for people.
pub(crate) fn line(message: &Message, palette: &Palette) -> String {
    let Palette { faint, channel, sequence, .. } = *palette;
    let mut line = format!("{faint}{}{faint:#} {channel}", time(message.publish_time.as_ref()));
    push_visible(&mut line, &message.channel);
    let _ = match message.sequence {
        0 => write!(line, "{channel:#} {sequence}live{sequence:#} "),
        number => write!(line, "{channel:#} {sequence}#{number}{sequence:#} "),
    };
    match &message.payload {
        Some(Payload::Text(text)) => push_visible(&mut line, text),
        Some(Payload::Json(json)) => push_visible(&mut line, &on_one_line(json)),
        Some(Payload::Data(data)) => {
            let _ = write!(line, "{faint}{} bytes{faint:#} {}", data.len(), STANDARD.encode(data));
        }
        None => {}
    }
    if !message.ordering_key.is_empty() {
        let _ = write!(line, " {faint}key=");
        push_visible(&mut line, &message.ordering_key);
        let _ = write!(line, "{faint:#}");
    }
    for (key, value) in message.attributes.iter().collect::<BTreeMap<_, _>>() {
        let _ = write!(line, " {faint}");
        push_visible(&mut line, key);
        line.push('=');
        push_visible(&mut line, value);
        let _ = write!(line, "{faint:#}");
    }
    line
}

/// A gap as one line for people.
pub(crate) fn gap_line(gap: &Gap, palette: &Palette) -> String {
    let warning = palette.warning;
    let which = match (gap.first_missing, gap.last_missing) {
        (first, 0) => format!("messages from #{first} on"),
        (first, last) if first == last => format!("message #{first}"),
        (first, last) => format!("messages #{first} to #{last}"),
    };
    let why = match gap.reason() {
        GapReason::Trimmed => "trimmed from the log",
        GapReason::EpochChanged => "lost by Redis, or flushed",
        GapReason::NotRetained => "the channel keeps no history",
        GapReason::Unspecified => "for an unknown reason",
    };
    let mut line = format!("{warning}gap{warning:#} ");
    push_visible(&mut line, &gap.channel);
    let _ = write!(line, ": {which} can't be had any more ({why})");
    line
}

#[derive(Serialize)]
struct JsonMessage<'a> {
    message_id: &'a str,
    channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<Box<RawValue>>,
    /// Base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    ordering_key: &'a str,
    publish_time: String,
    sequence: i64,
    epoch: &'a str,
    cursor: &'a str,
}

/// A message as one line of JSON, with the contract's names; a `json` payload stands in it as it was published.
pub(crate) fn json(message: &Message) -> String {
    let mut object = JsonMessage {
        message_id: &message.message_id,
        channel: &message.channel,
        text: None,
        json: None,
        data: None,
        attributes: message.attributes.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect(),
        ordering_key: &message.ordering_key,
        publish_time: time(message.publish_time.as_ref()),
        sequence: message.sequence,
        epoch: &message.epoch,
        cursor: &message.cursor,
    };
    match &message.payload {
        Some(Payload::Text(text)) => object.text = Some(text),
        // The service checks JSON; what some other server sends unchecked is shown as text.
        Some(Payload::Json(json)) => match RawValue::from_string(on_one_line(json)) {
            Ok(raw) => object.json = Some(raw),
            Err(_) => object.text = Some(json),
        },
        Some(Payload::Data(data)) => object.data = Some(STANDARD.encode(data)),
        None => {}
    }
    to_json(&object)
}

#[derive(Serialize)]
struct JsonGap<'a> {
    gap: GapFields<'a>,
}

#[derive(Serialize)]
struct GapFields<'a> {
    channel: &'a str,
    epoch: &'a str,
    first_missing: i64,
    last_missing: i64,
    reason: &'a str,
    cursor: &'a str,
}

/// A gap as one line of JSON: an object with the one key `gap`, which no message has.
pub(crate) fn gap_json(gap: &Gap) -> String {
    to_json(&JsonGap {
        gap: GapFields {
            channel: &gap.channel,
            epoch: &gap.epoch,
            first_missing: gap.first_missing,
            last_missing: gap.last_missing,
            reason: gap.reason().as_str_name(),
            cursor: &gap.cursor,
        },
    })
}

/// An object as one line of JSON.
pub(crate) fn to_json(object: &impl Serialize) -> String {
    serde_json::to_string(object).expect("strings and numbers can always be written as JSON")
}

/// Line ends in a JSON text are white space, since within strings they must be escaped.
fn on_one_line(json: &str) -> String {
    json.replace(['\n', '\r'], " ")
}

/// Appends text with its control characters made visible.
pub(crate) fn push_visible(line: &mut String, text: &str) {
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(payload: Payload) -> Message {
        Message {
            message_id: "0192".to_owned(),
            channel: "orders".to_owned(),
            payload: Some(payload),
            attributes: [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())].into(),
            publish_time: Some(prost_types::Timestamp { seconds: 1, nanos: 5_000_000 }),
            sequence: 42,
            epoch: "e".to_owned(),
            cursor: "c".to_owned(),
            ..Message::default()
        }
    }

    #[test]
    fn a_line_shows_what_matters_and_cannot_steer_the_terminal() {
        let text = message(Payload::Text("red\u{1b}[31m\nnext".to_owned()));
        let line = line(&text, &Palette::default());
        assert_eq!(line, "1970-01-01T00:00:01.005Z orders #42 red\\u{1b}[31m\\nnext a=1 b=2");
    }

    #[test]
    fn json_payloads_stay_as_they_were_published_but_for_line_ends() {
        let payload = "{\"b\": 1.10,\n\"a\":9007199254740993}";
        let line = json(&message(Payload::Json(payload.to_owned())));
        assert!(line.contains("\"json\":{\"b\": 1.10, \"a\":9007199254740993}"), "{line}");
        assert!(!line.contains('\n'));
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert!(json(&message(Payload::Json(deep.clone()))).contains(&deep));
    }

    #[test]
    fn gaps_name_what_is_gone() {
        let gap = Gap { channel: "c".to_owned(), first_missing: 3, last_missing: 7, reason: 1, ..Gap::default() };
        assert_eq!(
            gap_line(&gap, &Palette::default()),
            "gap c: messages #3 to #7 can't be had any more (trimmed from the log)"
        );
        assert!(gap_json(&gap).contains("\"reason\":\"GAP_REASON_TRIMMED\""));
    }
}
