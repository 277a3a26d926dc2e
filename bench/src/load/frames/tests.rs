use prost::Message as _;
use tidings::pb::{Gap, Message, Started, StreamMessagesResponse, message::Payload, stream_messages_response::Event};

use super::*;
use crate::load::grpc::framed;

fn body(sequences: &[i64], texts: &[u64]) -> Vec<u8> {
    let event = |event| framed(&StreamMessagesResponse { event: Some(event) }).to_vec();
    let mut body = event(Event::Started(Started { cursor: "c".to_owned() }));
    for (sequence, text) in sequences.iter().zip(texts) {
        let mut pattern = Pattern::new(text::first());
        (1..*text).for_each(|_| pattern.step());
        let payload = Payload::Text(String::from_utf8_lossy(pattern.bytes()).into_owned());
        let id = "0192d3a4-5b6c-7d8e-9f01-23456789abcd".to_owned();
        let message = Message { payload: Some(payload), sequence: *sequence, message_id: id, ..Message::default() };
        body.extend(event(Event::Message(message)));
    }
    body
}

#[test]
fn messages_are_found_wherever_the_body_is_cut() {
    let count = 300;
    let numbers: Vec<u64> = (1..=count).collect();
    let sequences: Vec<i64> = (1..=count as i64).collect();
    let body = body(&sequences, &numbers);
    for size in [1, 4, 5, 6, 100, 1_000, body.len()] {
        let mut frames = Frames::new(Order::Numbered);
        body.chunks(size).for_each(|piece| frames.take(piece).expect("in order"));
        assert_eq!(frames.seen, count, "in pieces of {size}");
    }
}

#[test]
fn texts_may_come_in_another_order_where_they_are_said_to() {
    let mut frames = Frames::new(Order::Shuffled);
    frames.take(&body(&[1, 2, 3], &[2, 3, 1])).expect("numbered");
    assert_eq!(frames.counters, [2, 3, 1]);
    assert!(Frames::new(Order::Shuffled).take(&body(&[1, 3], &[1, 3])).is_err());
}

#[test]
fn what_is_missing_doubled_or_bent_is_seen() {
    for (order, sequences, texts) in [
        (Order::Numbered, [1, 3, 4], [1, 3, 4]),
        (Order::Numbered, [1, 2, 2], [1, 2, 2]),
        (Order::Numbered, [1, 2, 4], [1, 2, 3]),
        (Order::Numbered, [1, 2, 3], [1, 2, 4]),
        (Order::Plain, [0, 0, 0], [1, 2, 4]),
        (Order::Plain, [0, 0, 1], [1, 2, 3]),
    ] {
        let body = body(&sequences, &texts);
        // Unnumbered messages are compared by their text; a number where none belongs has another length.
        assert!(Frames::new(order).take(&body).is_err(), "{order:?} {sequences:?} {texts:?}");
    }
    let gap = framed(&StreamMessagesResponse { event: Some(Event::Gap(Gap::default())) });
    assert!(gap.len() > 5 && Frames::new(Order::Numbered).take(&gap).is_err());
    assert_eq!(StreamMessagesResponse::decode(&gap[5..]).map(|gap| gap.event.is_some()), Ok(true));
}
