//! Messages, gaps and receipts as lines: for people, or as one JSON object a line. For people nothing that a stranger
//! published can steer the terminal: control characters are shown, not sent.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, SecondsFormat};
use serde::Serialize;
use serde_json::value::RawValue;
use tidings::{
    pb::{Gap, GapReason, Message, PublishResponse, ReceivedMessage, message::Payload},
    printable::{Printable, printable_json},
};
use unicode_width::UnicodeWidthStr as _;

use crate::output::Palette;

/// A time as RFC 3339 in UTC with milliseconds; empty where there is none.
pub(crate) fn time(timestamp: Option<&prost_types::Timestamp>) -> String {
    let time = timestamp.and_then(|time| DateTime::from_timestamp(time.seconds, time.nanos.try_into().ok()?));
    time.map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true)).unwrap_or_default()
}

/// A message as one line for people.
pub(crate) fn line(message: &Message, palette: &Palette) -> String {
    let Palette { faint, channel, sequence, .. } = *palette;
    let mut line = format!("{faint}{}{faint:#} ", time(message.publish_time.as_ref()));
    let _ = write!(line, "{channel}{}{channel:#} ", Printable(&message.channel));
    let _ = match message.sequence {
        0 => write!(line, "{sequence}live{sequence:#} "),
        number => write!(line, "{sequence}#{number}{sequence:#} "),
    };
    let _ = match &message.payload {
        Some(Payload::Text(text)) => write!(line, "{}", Printable(text)),
        Some(Payload::Json(json)) => write!(line, "{}", printable_json(json)),
        Some(Payload::Data(data)) => write!(line, "{faint}{} bytes{faint:#} {}", data.len(), STANDARD.encode(data)),
        None => Ok(()),
    };
    if !message.ordering_key.is_empty() {
        let _ = write!(line, " {faint}key={}{faint:#}", Printable(&message.ordering_key));
    }
    for (key, value) in message.attributes.iter().collect::<BTreeMap<_, _>>() {
        let _ = write!(line, " {faint}{}={}{faint:#}", Printable(key), Printable(value));
    }
    line
}

/// A delivery as one line for people: its message, and its attempt where it is not the first.
pub(crate) fn received_line(received: &ReceivedMessage, palette: &Palette) -> String {
    let mut line = received.message.as_ref().map(|message| line(message, palette)).unwrap_or_default();
    if received.delivery_attempt > 1 {
        let faint = palette.faint;
        let _ = write!(line, " {faint}attempt={}{faint:#}", received.delivery_attempt);
    }
    line
}

#[derive(Serialize)]
struct JsonReceived<'a> {
    #[serde(flatten)]
    message: Option<JsonMessage<'a>>,
    ack_id: &'a str,
    delivery_attempt: i32,
    ack_deadline_time: String,
}

/// A delivery as one line of JSON: its message's fields, and its own.
pub(crate) fn received_json(received: &ReceivedMessage) -> String {
    to_json(&JsonReceived {
        message: received.message.as_ref().map(JsonMessage::new),
        ack_id: &received.ack_id,
        delivery_attempt: received.delivery_attempt,
        ack_deadline_time: time(received.ack_deadline_time.as_ref()),
    })
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
    format!("{warning}gap{warning:#} {}: {which} can't be had any more ({why})", Printable(&gap.channel))
}

/// A duration for people: `30s`, `1h 30m`, `7d`. Months and years are days: they have no fixed length.
pub(crate) fn duration(duration: Option<prost_types::Duration>) -> String {
    let duration = duration.unwrap_or_default();
    let (mut rest, mut text) = (duration.seconds.max(0), String::new());
    for (unit, seconds) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
        if rest >= seconds {
            let _ = write!(text, "{}{unit} ", rest / seconds);
            rest %= seconds;
        }
    }
    let millis = duration.nanos.max(0) / 1_000_000;
    if millis > 0 || text.is_empty() {
        let _ = if millis > 0 { write!(text, "{millis}ms") } else { write!(text, "0s") };
    }
    text.trim_end().to_owned()
}

/// A duration as protobuf's JSON has it: seconds with an `s`.
pub(crate) fn json_duration(duration: Option<prost_types::Duration>) -> String {
    let duration = duration.unwrap_or_default();
    match duration.nanos.max(0) / 1_000_000 {
        0 => format!("{}s", duration.seconds),
        millis => format!("{}.{millis:03}s", duration.seconds),
    }
}

/// A message as JSON has it, with the contract's names.
#[derive(Serialize)]
pub(crate) struct JsonMessage<'a> {
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

impl<'a> JsonMessage<'a> {
    /// A `json` payload is written in it as it was published.
    pub(crate) fn new(message: &'a Message) -> Self {
        let mut object = Self {
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
            Some(Payload::Json(json)) => match RawValue::from_string(json.clone()) {
                Ok(raw) => object.json = Some(raw),
                Err(_) => object.text = Some(json),
            },
            Some(Payload::Data(data)) => object.data = Some(STANDARD.encode(data)),
            None => {}
        }
        object
    }
}

/// A message as one line of JSON.
pub(crate) fn json(message: &Message) -> String {
    to_json(&JsonMessage::new(message))
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

#[derive(Serialize)]
struct JsonReceipt<'a> {
    message_id: &'a str,
    channel: &'a str,
    publish_time: String,
    sequence: i64,
    epoch: &'a str,
    cursor: &'a str,
    duplicate: bool,
    replicas: i32,
}

/// A receipt as one line of JSON, with the contract's names.
pub(crate) fn receipt_json(receipt: &PublishResponse) -> String {
    to_json(&JsonReceipt {
        message_id: &receipt.message_id,
        channel: &receipt.channel,
        publish_time: time(receipt.publish_time.as_ref()),
        sequence: receipt.sequence,
        epoch: &receipt.epoch,
        cursor: &receipt.cursor,
        duplicate: receipt.duplicate,
        replicas: receipt.replicas,
    })
}

/// An object as one line of JSON, which any terminal can show.
pub(crate) fn to_json(object: &impl Serialize) -> String {
    let json = serde_json::to_string(object).expect("strings and numbers can always be written as JSON");
    printable_json(&json).into_owned()
}

/// A name for a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell(String);

impl Cell {
    /// With its hidden characters shown.
    pub(crate) fn new(text: &str) -> Self {
        Self(Printable(text).to_string())
    }

    /// How many columns of a terminal it takes: of some characters each takes two, and others none.
    pub(crate) fn width(&self) -> usize {
        self.0.width()
    }

    /// It with spaces after it, so that it takes `width` columns, or more where it is wider.
    pub(crate) fn padded(&self, width: usize) -> impl fmt::Display {
        format!("{}{}", self.0, " ".repeat(width.saturating_sub(self.width())))
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

    #[test]
    fn nothing_hidden_reaches_a_terminal() {
        let evil = "\u{1b}[2J\u{9b}\u{7f}\u{202e}\u{2066}\u{200f}\u{feff}";
        let all = |payload| Message {
            channel: evil.to_owned(),
            ordering_key: evil.to_owned(),
            attributes: [(evil.to_owned(), evil.to_owned())].into(),
            payload: Some(payload),
            ..Message::default()
        };
        let gap = Gap { channel: evil.to_owned(), epoch: evil.to_owned(), cursor: evil.to_owned(), ..Gap::default() };
        let plain = Palette::default();
        let mut lines = vec![gap_line(&gap, &plain), gap_json(&gap), Cell::new(evil).padded(80).to_string()];
        for payload in [Payload::Text(evil.to_owned()), Payload::Json(format!("[\"{}\"]", &evil[1..]))] {
            lines.extend([line(&all(payload.clone()), &plain), json(&all(payload))]);
        }
        for line in lines {
            assert!(line.bytes().all(|byte| (b' '..0x7f).contains(&byte)), "{line:?}");
        }
    }

    #[test]
    fn durations_are_read_at_a_glance() {
        for (seconds, nanos, people, json) in [
            (0, 0, "0s", "0s"),
            (30, 0, "30s", "30s"),
            (5_400, 0, "1h 30m", "5400s"),
            (31 * 86_400, 0, "31d", "2678400s"),
            (1, 500_000_000, "1s 500ms", "1.500s"),
            (0, 20_000_000, "20ms", "0.020s"),
        ] {
            let given = Some(prost_types::Duration { seconds, nanos });
            assert_eq!((duration(given).as_str(), json_duration(given).as_str()), (people, json));
        }
    }

    #[test]
    fn columns_are_as_wide_as_a_terminal_shows_them() {
        for (text, width) in [("abc", 3), ("世界", 4), ("e\u{301}", 1), ("\u{200b}", 8)] {
            let cell = Cell::new(text);
            assert_eq!(cell.width(), width, "{text}");
            let padded = cell.padded(10).to_string();
            assert_eq!((padded.width(), padded.trim_end()), (10, cell.0.as_str()));
        }
    }
}
