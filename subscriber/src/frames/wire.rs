//! A message as a frame, written straight into the buffer: what prost makes of [`message`](super::message), without a
//! text of its own for each field. This is done once for each message that is heard, and decides how fast a channel can be.

use bytes::{BufMut, BytesMut};
use prost::encoding::{encode_varint, encoded_len_varint};
use tidings::{
    channel::ChannelName,
    cursor,
    envelope::Envelope,
    message::{Payload, Position},
};

/// A field of variable length in protobuf: its tag, when its number is below 16.
const fn tag(field: u8) -> u8 {
    field << 3 | 2
}

const TEXT: u8 = 3;
const JSON: u8 = 4;
const DATA: u8 = 5;

/// Appends the frame of a message. Sequence 0 stands for one that has no place of its own.
pub(super) fn put_message(
    buffer: &mut BytesMut,
    channel: &ChannelName,
    channel_hash: u64,
    envelope: &Envelope,
    sequence: i64,
    position: Position,
) {
    let mut id = [0; 36];
    envelope.id.hyphenated().encode_lower(&mut id);
    let (payload_field, payload): (u8, &[u8]) = match &envelope.payload {
        Payload::Text(text) => (TEXT, text.as_bytes()),
        Payload::Json(json) => (JSON, json.as_bytes()),
        Payload::Data(data) => (DATA, data),
    };
    let seconds = envelope.time_ms.div_euclid(1_000);
    let nanos = (envelope.time_ms.rem_euclid(1_000) * 1_000_000) as u64;
    let time_length = number_length(seconds as u64) + number_length(nanos);
    let epoch = position.epoch.filter(|_| sequence != 0).map(|epoch| hex(epoch.as_u64()));
    let epoch: &[u8] = epoch.as_ref().map_or(&[], |epoch| epoch);
    let cursor = cursor::encode_array(channel_hash, position);
    let attributes = &envelope.attributes;
    let ordering_key = envelope.ordering_key.as_bytes();

    let length = bytes_length(&id)
        + bytes_length(channel.as_str().as_bytes())
        // A oneof is written also where it is empty.
        + delimited_length(payload.len())
        + attributes.iter().map(|(key, value)| delimited_length(pair_length(key, value))).sum::<usize>()
        + bytes_length(ordering_key)
        + delimited_length(time_length)
        + number_length(sequence as u64)
        + bytes_length(epoch)
        + bytes_length(&cursor);
    buffer.reserve(5 + delimited_length(length));
    buffer.put_u8(0);
    // A message is at most a few MiB.
    buffer.put_u32(delimited_length(length) as u32);
    begin(buffer, 2, length);

    put_bytes(buffer, 1, &id);
    put_bytes(buffer, 2, channel.as_str().as_bytes());
    begin(buffer, payload_field, payload.len());
    buffer.put_slice(payload);
    for (key, value) in attributes {
        begin(buffer, 6, pair_length(key, value));
        put_bytes(buffer, 1, key.as_bytes());
        put_bytes(buffer, 2, value.as_bytes());
    }
    put_bytes(buffer, 7, ordering_key);
    begin(buffer, 8, time_length);
    put_number(buffer, 1, seconds as u64);
    put_number(buffer, 2, nanos);
    put_number(buffer, 9, sequence as u64);
    put_bytes(buffer, 10, epoch);
    put_bytes(buffer, 11, &cursor);
}

fn pair_length(key: &str, value: &str) -> usize {
    bytes_length(key.as_bytes()) + bytes_length(value.as_bytes())
}

/// With its tag and its length.
fn delimited_length(length: usize) -> usize {
    1 + encoded_len_varint(length as u64) + length
}

/// What is empty is left out, as proto3 has it.
fn bytes_length(bytes: &[u8]) -> usize {
    if bytes.is_empty() { 0 } else { delimited_length(bytes.len()) }
}

fn number_length(number: u64) -> usize {
    if number == 0 { 0 } else { 1 + encoded_len_varint(number) }
}

fn begin(buffer: &mut BytesMut, field: u8, length: usize) {
    buffer.put_u8(tag(field));
    encode_varint(length as u64, buffer);
}

fn put_bytes(buffer: &mut BytesMut, field: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        begin(buffer, field, bytes.len());
        buffer.put_slice(bytes);
    }
}

fn put_number(buffer: &mut BytesMut, field: u8, number: u64) {
    if number != 0 {
        buffer.put_u8(field << 3);
        encode_varint(number, buffer);
    }
}

/// Sixteen hexadecimal digits, as an epoch is written.
fn hex(number: u64) -> [u8; 16] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|i| DIGITS[(number >> (60 - 4 * i)) as usize & 15])
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use tidings::{
        channel::Names,
        cursor::{self, channel_hash},
        envelope,
        message::Epoch,
        pb::{self, stream_messages_response::Event},
    };

    use super::*;
    use crate::frames::{message, put_with_cursor};

    /// What is written says the same as what prost writes, byte for byte in length.
    fn assert_same(name: &str, envelope: &Envelope, sequence: i64, position: Position) {
        let channel = Names::new("tidings", "").expect("names").parse(name).expect("a name");
        let hash = channel_hash(name);
        let mut frame = BytesMut::new();
        put_message(&mut frame, &channel, hash, envelope, sequence, position);
        let event = Event::Message(message(&channel, hash, envelope.clone(), sequence, position));
        let expected = pb::StreamMessagesResponse { event: Some(event) };
        assert_eq!(frame[0], 0);
        assert_eq!(frame[1..5], (expected.encoded_len() as u32).to_be_bytes());
        assert_eq!(frame.len(), 5 + expected.encoded_len());
        assert_eq!(pb::StreamMessagesResponse::decode(&frame[5..]).expect("protobuf"), expected);
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
        let mut frame = BytesMut::new();
        let (plain, before) = (envelope::decode(b"plain", 0), Position { epoch, sequence: 7 });
        let channel = Names::new("tidings", "").expect("names").parse("channel1").expect("a name");
        put_message(&mut frame, &channel, channel_hash("channel1"), &plain, 0, before);
        let (mut moved, after) = (BytesMut::new(), Position { epoch, sequence: 9 });
        put_with_cursor(&mut moved, &frame, cursor::encode(&channel, after));
        let mut elsewhere = BytesMut::new();
        put_message(&mut elsewhere, &channel, channel_hash("channel1"), &plain, 0, after);
        let decode = |frame: &[u8]| pb::StreamMessagesResponse::decode(&frame[5..]).expect("protobuf");
        assert_eq!((moved.len(), decode(&moved)), (elsewhere.len(), decode(&elsewhere)), "its cursor and nothing else");
        let large = envelope::decode(&vec![b'x'; 1 << 20], 5);
        assert_same("channel1", &large, 9, Position { epoch, sequence: 9 });
    }
}
