//! A message as a frame, written straight into the buffer: what prost makes of [`message`](super::message), without a
//! text of its own for each field. This is done once for each message that is heard, and decides how fast a channel can be.

use tidings::{
    channel::ChannelName,
    cursor,
    envelope::{Content, Parts},
    message::Epoch,
};

mod model;

use model::{Alike, Model};

/// A field of variable length in protobuf: its tag, when its number is below 16.
const fn tag(field: u8) -> u8 {
    field << 3 | 2
}

const TEXT: u8 = 3;
const JSON: u8 = 4;
const DATA: u8 = 5;

/// What the frames of one channel and epoch have in common.
#[derive(Debug)]
pub(super) struct Series {
    hash: u64,
    epoch: Option<Epoch>,
    digits: Option<[u8; 16]>,
    cursors: cursor::Series,
    /// What the frame before was like, and that frame where two in a row were alike.
    last: Option<Alike>,
    model: Option<Model>,
}

impl Series {
    pub(super) fn new(hash: u64, epoch: Option<Epoch>) -> Self {
        let (digits, cursors) = (epoch.map(Epoch::digits), cursor::Series::new(hash, epoch));
        Self { hash, epoch, digits, cursors, last: None, model: None }
    }

    /// Whether it is the one of this channel and epoch.
    pub(super) fn is_of(&self, hash: u64, epoch: Option<Epoch>) -> bool {
        self.hash == hash && self.epoch == epoch
    }

    /// Appends the frame of a message. Sequence 0 stands for one that has no place of its own; its cursor is just after `after`.
    pub(super) fn put(
        &mut self,
        buffer: &mut Vec<u8>,
        channel: &ChannelName,
        parts: &Parts<'_>,
        sequence: i64,
        after: i64,
    ) {
        let alike = Alike::of(parts, sequence, after);
        if let (Some(model), Some(alike)) = (&self.model, &alike)
            && model.is_of(channel, alike)
        {
            return model.put(buffer, parts, sequence, &self.cursors);
        }
        let start = buffer.len();
        self.put_whole(buffer, channel, parts, sequence, after);
        self.model = match alike {
            Some(alike) if self.last == Some(alike) && self.digits.is_some() => {
                Some(Model::new(channel, alike, &buffer[start..]))
            }
            _ => None,
        };
        self.last = alike;
    }

    /// The same for any message.
    fn put_whole(&self, buffer: &mut Vec<u8>, channel: &ChannelName, parts: &Parts<'_>, sequence: i64, after: i64) {
        let (payload_field, payload) = match parts.content {
            Content::Text(text) => (TEXT, text),
            Content::Json(json) => (JSON, json.as_bytes()),
            Content::Data(data) => (DATA, data),
        };
        let end = self.end(parts.time_ms, sequence, after);
        let channel = channel.as_str().as_bytes();
        let attributes = parts.attributes;
        let ordering_key = parts.ordering_key.as_bytes();

        let length = delimited_length(parts.id.len())
            + bytes_length(channel)
            // A oneof is written also where it is empty.
            + delimited_length(payload.len())
            + attributes.iter().map(|(key, value)| delimited_length(pair_length(key, value))).sum::<usize>()
            + bytes_length(ordering_key)
            + end.length;
        let mut begin = Small::<64>::new();
        begin.byte(0);
        // A message is at most a few MiB.
        begin.bytes((delimited_length(length) as u32).to_be_bytes());
        begin.begin(2, length);
        begin.begin(1, parts.id.len());
        begin.bytes(parts.id);
        buffer.reserve(5 + delimited_length(length));
        buffer.extend_from_slice(begin.written());
        put_bytes(buffer, 2, channel);
        put_begin(buffer, payload_field, payload.len());
        buffer.extend_from_slice(payload);
        for (key, value) in attributes {
            put_begin(buffer, 6, pair_length(key, value));
            put_bytes(buffer, 1, key.as_bytes());
            put_bytes(buffer, 2, value.as_bytes());
        }
        put_bytes(buffer, 7, ordering_key);
        buffer.extend_from_slice(end.written());
    }

    /// What stands behind the payload and has a size that is known but for a few bytes: time, sequence, epoch and cursor.
    fn end(&self, time_ms: i64, sequence: i64, after: i64) -> Small<96> {
        let (seconds, nanos) = time(time_ms);
        let mut end = Small::new();
        end.begin(8, number_length(seconds) + number_length(nanos));
        end.number(1, seconds);
        end.number(2, nanos);
        end.number(9, sequence as u64);
        if let (Some(epoch), true) = (self.digits, sequence != 0) {
            end.begin(10, epoch.len());
            end.bytes(epoch);
        }
        end.begin(11, cursor::CHANNEL_TEXT_BYTES);
        end.bytes(self.cursors.at(after));
        end
    }
}

/// Seconds and nanoseconds of a time, as varints have them.
fn time(time_ms: i64) -> (u64, u64) {
    (time_ms.div_euclid(1_000) as u64, (time_ms.rem_euclid(1_000) * 1_000_000) as u64)
}

/// A few bytes that are put together where no buffer has to be asked for room.
struct Small<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Small<N> {
    fn new() -> Self {
        Self { bytes: [0; N], length: 0 }
    }

    fn written(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn byte(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    fn bytes<const M: usize>(&mut self, bytes: [u8; M]) {
        self.bytes[self.length..self.length + M].copy_from_slice(&bytes);
        self.length += M;
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }

    /// The beginning of a field of so many bytes.
    fn begin(&mut self, field: u8, length: usize) {
        self.byte(tag(field));
        self.varint(length as u64);
    }

    /// What is zero is left out, as proto3 has it.
    fn number(&mut self, field: u8, number: u64) {
        if number != 0 {
            self.byte(field << 3);
            self.varint(number);
        }
    }
}

fn pair_length(key: &str, value: &str) -> usize {
    bytes_length(key.as_bytes()) + bytes_length(value.as_bytes())
}

/// With its tag and its length.
fn delimited_length(length: usize) -> usize {
    1 + varint_length(length as u64) + length
}

/// What is empty is left out, as proto3 has it.
fn bytes_length(bytes: &[u8]) -> usize {
    if bytes.is_empty() { 0 } else { delimited_length(bytes.len()) }
}

fn number_length(number: u64) -> usize {
    if number == 0 { 0 } else { 1 + varint_length(number) }
}

/// Seven bits in each byte.
fn varint_length(number: u64) -> usize {
    (number | 1).ilog2() as usize / 7 + 1
}

fn put_begin(buffer: &mut Vec<u8>, field: u8, length: usize) {
    let mut begin = Small::<16>::new();
    begin.begin(field, length);
    buffer.extend_from_slice(begin.written());
}

fn put_bytes(buffer: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_begin(buffer, field, bytes.len());
        buffer.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use prost::Message as _;
    use tidings::{
        channel::Names,
        cursor::{self, channel_hash},
        envelope::{self, Envelope},
        message::Position,
        pb::{self, stream_messages_response::Event},
    };

    use super::*;
    use crate::frames::{message, put_with_cursor};

    fn put(buffer: &mut Vec<u8>, channel: &ChannelName, envelope: &Envelope, sequence: i64, position: Position) {
        let mut series = Series::new(channel_hash(channel.as_str()), position.epoch);
        series.put(buffer, channel, &envelope.parts(), sequence, position.sequence);
    }

    /// What is written says the same as what prost writes, byte for byte in length.
    fn assert_same(name: &str, envelope: &Envelope, sequence: i64, position: Position) {
        let channel = Names::new("tidings", "").expect("names").parse(name).expect("a name");
        let hash = channel_hash(name);
        let mut frame = Vec::new();
        put(&mut frame, &channel, envelope, sequence, position);
        let event = Event::Message(message(&channel, hash, envelope.clone(), sequence, position));
        let expected = pb::StreamMessagesResponse { event: Some(event) };
        assert_eq!(frame[0], 0);
        assert_eq!(frame[1..5], (expected.encoded_len() as u32).to_be_bytes());
        assert_eq!(frame.len(), 5 + expected.encoded_len());
        assert_eq!(pb::StreamMessagesResponse::decode(&frame[5..]).expect("protobuf"), expected);
    }

    #[test]
    fn what_messages_have_in_common_is_that_of_their_channel_and_epoch() {
        let names = Names::new("tidings", "").expect("names");
        let mut builder = crate::frames::Builder::default();
        let mut expected = Vec::new();
        for (name, epoch) in [("a", 1), ("a", 2), ("b", 2), ("a", 2), ("a", 1), ("b", 1)] {
            let (channel, epoch) = (names.parse(name).expect("a name"), Epoch::from_u64(epoch));
            let (before, position) = (Position { epoch, sequence: 6 }, Position { epoch, sequence: 7 });
            let place = crate::frames::Place { before, sequence: 7, position, time_ms: 0 };
            builder.push(&channel, channel_hash(name), place, &envelope::decode(b"x", 0).parts());
            expected.push((epoch.expect("not 0").to_string(), cursor::encode(&channel, position)));
        }
        let chunks = builder.finish();
        let frames = chunks.iter().flat_map(|chunk| {
            let starts = std::iter::once(0).chain(chunk.entries.iter().map(|entry| entry.end as usize));
            starts.zip(&chunk.entries).map(|(start, entry)| &chunk.bytes[start + 5..entry.end as usize])
        });
        let told: Vec<_> = frames
            .map(|frame| match pb::StreamMessagesResponse::decode(frame).expect("protobuf").event {
                Some(Event::Message(message)) => (message.epoch, message.cursor),
                other => panic!("a message was framed: {other:?}"),
            })
            .collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn a_frame_says_what_prost_would_say() {
        let epoch = Epoch::from_u64(0x0123_4567_89ab_cdef);
        let own = br#""id":"0192d3a4-5b6c-7d8e-9f01-23456789abcd","date":"2026-11-24T12:00:00.123Z""#;
        let own = std::str::from_utf8(own).expect("text");
        for payload in [
            r#""message":"x""#,
            r#""message":"""#,
            r#""message":{"a":[1, 2]}"#,
            r#""message":"/w==","encoding":"base64""#,
            r#""message":"","encoding":"base64""#,
            r#""message":"x","attributes":{"a":"1","b":"","c":"é"},"ordering_key":"k""#,
        ] {
            let envelope = envelope::decode(format!("{{{own},{payload}}}").as_bytes(), 0);
            for sequence in [1, 127, 128, 1 << 40] {
                assert_same("channel1", &envelope, sequence, Position { epoch, sequence });
            }
            assert_same(&"n".repeat(255), &envelope, 0, Position { epoch, sequence: 7 });
            assert_same("channel1", &envelope, 0, Position::START);
        }
        for date in
            ["1970-01-01T00:00:00Z", "1969-12-31T23:59:59.999Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z"]
        {
            let envelope = envelope::decode(format!(r#"{{"message":1,"date":"{date}"}}"#).as_bytes(), 5);
            assert_same("channel1", &envelope, 0, Position::START);
        }
        let mut frame = Vec::new();
        let (plain, before) = (envelope::decode(b"plain", 0), Position { epoch, sequence: 7 });
        let channel = Names::new("tidings", "").expect("names").parse("channel1").expect("a name");
        put(&mut frame, &channel, &plain, 0, before);
        let (mut moved, after) = (BytesMut::new(), Position { epoch, sequence: 9 });
        put_with_cursor(&mut moved, &frame, cursor::encode(&channel, after));
        let mut elsewhere = Vec::new();
        put(&mut elsewhere, &channel, &plain, 0, after);
        let decode = |frame: &[u8]| pb::StreamMessagesResponse::decode(&frame[5..]).expect("protobuf");
        assert_eq!((moved.len(), decode(&moved)), (elsewhere.len(), decode(&elsewhere)), "its cursor and nothing else");
        let large = envelope::decode(&vec![b'x'; 1 << 20], 5);
        assert_same("channel1", &large, 9, Position { epoch, sequence: 9 });
    }

    /// Messages of a few kinds, one behind the other, so that many are like the one before and some are not.
    #[test]
    fn the_frame_before_never_shows() {
        let names = Names::new("tidings", "").expect("names");
        let mut random = fastrand::Rng::with_seed(7);
        let mut models = 0;
        for _ in 0..500 {
            // Also where names would have the same hash.
            let mut series = Series::new(7, None);
            let (mut buffer, mut expected) = (Vec::new(), Vec::new());
            for _ in 0..random.usize(1..30) {
                // Mostly the first.
                let mut one =
                    |of: &[&'static str]| if random.u8(..6) > 0 { of[0] } else { of[random.usize(..of.len())] };
                let channel = names.parse(one(&["a", "b"])).expect("a name");
                let text = one(&["same", "like", "", "é", "longer than these", "x\\n"]);
                let more =
                    one(&["", r#","attributes":{"a":"b"}"#, r#","ordering_key":"k""#, r#","encoding":"base64""#]);
                let date = one(&["2026-11-24T12:00:00.001Z", "2026-11-24T12:00:00.000Z", "1969-12-31T23:59:59.999Z"]);
                let epoch = Epoch::from_u64(one(&["1", "2", "0"]).parse().expect("a number"));
                let sequence = random.i64(0..4) + random.choice([7, 7, 7, 0, 126, 16_382, 1 << 40]).expect("some");
                let after = sequence + i64::from(random.u8(..8) == 0);
                let id = uuid::Uuid::from_u128(random.u128(..));
                let json = format!(r#"{{"id":"{id}","message":"{text}","date":"{date}"{more}}}"#);
                let envelope = envelope::decode(json.as_bytes(), 0);
                if !series.is_of(7, epoch) {
                    series = Series::new(7, epoch);
                }
                let before = series.model.is_some();
                series.put(&mut buffer, &channel, &envelope.parts(), sequence, after);
                models += u32::from(before && series.model.is_some());
                Series::new(7, epoch).put_whole(&mut expected, &channel, &envelope.parts(), sequence, after);
                assert_eq!(buffer, expected, "{json}, {sequence}, {after}, {epoch:?}");
            }
        }
        assert!(models > 100, "hardly any were like the one before: {models}");
    }
}
