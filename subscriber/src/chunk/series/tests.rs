use prost::Message as _;
use tidings::{
    channel::Names,
    cursor::{self, channel_hash},
    envelope::{self, Envelope},
    message::Position,
    pb::{self, stream_messages_response::Event},
};

use tidings_transport::encoding::Encoded;

use super::*;
use crate::event::message;

fn encoded(channel: &ChannelName, envelope: &Envelope, sequence: i64, position: Position) -> Encoded {
    let mut series = Series::new(channel_hash(channel.as_str()), position.epoch, Lineage::Unknown);
    let mut encoder = Encoder::default();
    series.encode(&mut encoder, channel, &envelope.parts(), sequence, position.sequence);
    encoder.take()
}

fn events(encoded: &Encoded) -> Vec<pb::StreamMessagesResponse> {
    encoded.messages().collect()
}

/// What is written says the same as what prost writes, byte for byte in length.
fn assert_same(name: &str, envelope: &Envelope, sequence: i64, position: Position) {
    let channel = Names::new("tidings", "").expect("names").parse(name).expect("a name");
    let hash = channel_hash(name);
    let encoded = encoded(&channel, envelope, sequence, position);
    let event = Event::Message(message(&channel, hash, envelope.clone(), sequence, position.into()));
    let expected = pb::StreamMessagesResponse { event: Some(event) };
    assert_eq!(encoded.len(), 5 + expected.encoded_len());
    assert_eq!(events(&encoded), [expected]);
}

#[test]
fn what_messages_have_in_common_is_that_of_their_channel_and_epoch() {
    let names = Names::new("tidings", "").expect("names");
    let mut builder = crate::chunk::Builder::default();
    let mut expected = Vec::new();
    for (name, epoch) in [("a", 1), ("a", 2), ("b", 2), ("a", 2), ("a", 1), ("b", 1)] {
        let (channel, epoch) = (names.parse(name).expect("a name"), Epoch::from_u64(epoch));
        let (before, position) = (Position { epoch, sequence: 6 }, Position { epoch, sequence: 7 });
        let numbered = crate::chunk::Numbered { before, sequence: 7, position, time_ms: 0 };
        builder.push(&channel, channel_hash(name), numbered, &envelope::decode(b"x", 0).parts(), Default::default);
        expected.push((epoch.expect("not 0").to_string(), cursor::encode(&channel, position)));
    }
    let chunks = builder.finish();
    let events = chunks.iter().flat_map(|chunk| events(&chunk.block.all()));
    let actual: Vec<_> = events
        .map(|response| match response.event {
            Some(Event::Message(message)) => (message.epoch, message.cursor),
            other => panic!("a message was encoded: {other:?}"),
        })
        .collect();
    assert_eq!(actual, expected);
}

#[test]
fn an_event_is_what_prost_would_write() {
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
    for date in ["1970-01-01T00:00:00Z", "1969-12-31T23:59:59.999Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z"]
    {
        let envelope = envelope::decode(format!(r#"{{"message":1,"date":"{date}"}}"#).as_bytes(), 5);
        assert_same("channel1", &envelope, 0, Position::START);
    }
    let large = envelope::decode(&vec![b'x'; 1 << 20], 5);
    assert_same("channel1", &large, 9, Position { epoch, sequence: 9 });
}

/// Messages of a few kinds, one after the other, so that many are like the one before and some are not.
#[test]
fn nothing_of_the_event_before_is_left() {
    let names = Names::new("tidings", "").expect("names");
    let mut random = fastrand::Rng::with_seed(7);
    let mut templates = 0;
    for _ in 0..500 {
        let mut series = Series::new(channel_hash("a"), None, Lineage::Unknown);
        let (mut encoder, mut expected) = (Encoder::default(), Encoder::default());
        for _ in 0..random.usize(1..30) {
            // Mostly the first.
            let mut one = |of: &[&'static str]| if random.u8(..6) > 0 { of[0] } else { of[random.usize(..of.len())] };
            let channel = names.parse(one(&["a", "b"])).expect("a name");
            let text = one(&["same", "like", "", "é", "longer than these", "x\\n"]);
            let more = one(&["", r#","attributes":{"a":"b"}"#, r#","ordering_key":"k""#, r#","encoding":"base64""#]);
            let date = one(&["2026-11-24T12:00:00.001Z", "2026-11-24T12:00:00.000Z", "1969-12-31T23:59:59.999Z"]);
            let epoch = Epoch::from_u64(one(&["1", "2", "0"]).parse().expect("a number"));
            let sequence = random.i64(0..4) + random.choice([7, 7, 7, 0, 126, 16_382, 1 << 40]).expect("some");
            let after = sequence + i64::from(random.u8(..8) == 0);
            let id = uuid::Uuid::from_u128(random.u128(..));
            let json = format!(r#"{{"id":"{id}","message":"{text}","date":"{date}"{more}}}"#);
            let envelope = envelope::decode(json.as_bytes(), 0);
            // Cursors of two lengths.
            let lineage = match epoch.map(Epoch::as_u64) {
                Some(2) => Lineage::Epoch { first: 7, previous: Epoch::from_u64(1) },
                _ => Lineage::Unknown,
            };
            let hash = channel_hash(channel.as_str());
            if !series.is_of(hash, epoch) {
                series = Series::new(hash, epoch, lineage);
            }
            let before = series.template.is_some();
            series.encode(&mut encoder, &channel, &envelope.parts(), sequence, after);
            templates += u32::from(before && series.template.is_some());
            let whole = Series::new(hash, epoch, lineage);
            whole.encode_whole(&mut expected, &channel, &envelope.parts(), (sequence, after), None);
            assert_eq!(encoder.len(), expected.len(), "{json}, {sequence}, {after}, {epoch:?}");
        }
        assert_eq!(encoder.take(), expected.take());
    }
    assert!(templates > 100, "hardly any were like the one before: {templates}");
}
