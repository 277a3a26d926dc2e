use prost::Message as _;
use tidings::pb::{
    ConsumeMessagesResponse, ConsumeStarted, Message, ReceivedMessage, ReceivedMessages, Settled, Settlement,
    consume_messages_response::Response, message::Payload,
};

use super::*;
use crate::load::text::Pattern;

fn response(response: Response) -> Bytes {
    framed(&ConsumeMessagesResponse { response: Some(response) })
}

fn delivery(sequence: i64, attempt: i32) -> ReceivedMessage {
    let mut text = Pattern::new(text::first());
    (1..sequence).for_each(|_| text.step());
    let payload = Some(Payload::Text(String::from_utf8_lossy(text.bytes()).into_owned()));
    ReceivedMessage {
        message: Some(Message { sequence, payload, ..Message::default() }),
        ack_id: format!("{sequence}").repeat(60),
        delivery_attempt: attempt,
        ack_deadline_time: Some(prost_types::Timestamp::default()),
    }
}

fn received(messages: Vec<ReceivedMessage>) -> Bytes {
    response(Response::Received(ReceivedMessages { messages }))
}

fn session(batch: usize) -> Session {
    Session::new(Habits { credit: 10, batch, alone: true })
}

/// The settlements that a session would send.
fn settlements(session: &Session) -> Vec<Settlement> {
    let (mut rest, mut settlements) = (&session.out[..], Vec::new());
    while let Some(whole) = frame_bytes(rest) {
        let request = ConsumeMessagesRequest::decode(&rest[PREFIX_BYTES..whole]).expect("a request");
        let Some(Request::Settlement(settlement)) = request.request else { panic!("{request:?}") };
        settlements.push(settlement);
        rest = &rest[whole..];
    }
    settlements
}

#[test]
fn what_comes_is_acknowledged_and_counts_once_that_is_answered() {
    for (batch, requests) in [(1, 4), (2, 2)] {
        let mut session = session(batch);
        let started = response(Response::Started(ConsumeStarted::default()));
        let messages = received((1..=4).map(|sequence| delivery(sequence, 1)).collect());
        [started, messages].concat().chunks(7).for_each(|piece| session.take(piece).expect("in order"));
        let asked = settlements(&session);
        assert_eq!((session.is_started, asked.len(), session.acknowledged), (true, requests, 0));
        for Settlement { ack_ids, .. } in asked {
            let settled = Settled { acknowledged_ids: ack_ids, ..Settled::default() };
            session.take(&response(Response::Settled(settled))).expect("an answer");
        }
        assert_eq!(session.acknowledged, 4);
    }
}

#[test]
fn what_comes_twice_or_is_not_acknowledged_is_an_error() {
    assert!(session(1).take(&received(vec![delivery(2, 1)])).is_err(), "one is missing");
    assert!(session(1).take(&received(vec![delivery(1, 2)])).is_err(), "a second attempt");
    let mut session = session(1);
    session.take(&received(vec![delivery(1, 1)])).expect("in order");
    assert!(session.take(&received(vec![delivery(1, 1)])).is_err(), "it came twice");
    let stale = Settled { stale_ids: vec![delivery(1, 1).ack_id], ..Settled::default() };
    assert!(session.take(&response(Response::Settled(stale))).is_err());
}
