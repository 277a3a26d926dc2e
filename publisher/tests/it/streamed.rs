//! `PublishStream` as bytes: how answers and the end are framed, and what is refused of frames.

use prost::Message as _;
use tidings::{
    limits::ANSWERS_BYTES,
    pb::{PublishStreamRequest, PublishStreamResponse, publish_stream_response::Result as Outcome},
};

use crate::{
    fake,
    publish::text,
    raw::{Connection, End, frame},
};

const PATH: &str = "/tidings.v1.PublisherService/PublishStream";

fn framed(message: &str) -> Vec<u8> {
    frame(0, &PublishStreamRequest { request: Some(text(message)) }.encode_to_vec())
}

/// The texts of errors, and sequences, in the frames of a body.
fn answers(mut body: &[u8]) -> Vec<String> {
    let mut answers = Vec::new();
    while let Some((begin, rest)) = body.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([begin[1], begin[2], begin[3], begin[4]]) as usize;
        assert_eq!(begin[0], 0);
        let answer = PublishStreamResponse::decode(&rest[..length]).expect("an answer");
        answers.push(match answer.result.expect("a result") {
            Outcome::Response(receipt) => receipt.sequence.to_string(),
            Outcome::Error(error) => error.message,
        });
        body = &rest[length..];
    }
    answers
}

#[tokio::test]
async fn answers_are_frames_followed_by_the_status() {
    let server = fake::start().await;
    let connection = Connection::open(server.address).await;
    let ended = |status: &str| [("grpc-status".to_owned(), status.as_bytes().to_vec())];
    for end in [End::Last, End::Empty, End::Trailers] {
        let before = server.broker.seen();
        let sent = [framed("a"), framed(""), framed("b"), framed("c")].concat();
        // Frames are cut anywhere.
        let parts: Vec<_> = sent.chunks(9).map(<[u8]>::to_vec).collect();
        let answer = connection.call(PATH, &[("grpc-encoding", "identity")], &parts, end).await;
        assert_eq!(answer.headers, [("content-type".to_owned(), b"application/grpc".to_vec())]);
        let number = |n: usize| (before - before / 4 + n).to_string();
        let received = answers(&answer.body);
        assert_eq!(received, [number(1), "request.text: it is empty".to_owned(), number(2), number(3)]);
        assert_eq!(answer.trailers, ended("0"), "{end:?}");
        // By itself: what comes together is published together, and fails together.
        let unknown = connection.call(PATH, &[], &[framed("unknown")], end).await;
        assert_eq!((answers(&unknown.body).len(), unknown.trailers), (1, ended("0").to_vec()), "{end:?}");
    }
    let nothing = connection.call(PATH, &[], &[vec![]], End::Last).await;
    assert_eq!((nothing.body, nothing.trailers), (vec![], ended("0").to_vec()));
}

#[tokio::test]
async fn more_answers_than_are_written_at_a_time_come_in_order() {
    const COUNT: usize = 900;
    let server = fake::start().await;
    server.broker.answering.send_replace(false);
    let connection = Connection::open(server.address).await;
    let parts = [framed("x").repeat(COUNT)];
    let answering = async {
        server.broker.until_seen(COUNT).await;
        server.broker.answering.send_replace(true);
    };
    let (answer, ()) = tokio::join!(connection.call(PATH, &[], &parts, End::Last), answering);
    assert!(answer.body.len() > 2 * ANSWERS_BYTES);
    assert_eq!(answers(&answer.body), (1..=COUNT).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_compressed_or_cut_off_is_refused_and_what_came_before_is_answered() {
    let server = fake::start().await;
    let connection = Connection::open(server.address).await;
    let refused = connection.call(PATH, &[("grpc-encoding", "gzip")], &[framed("a")], End::Last).await;
    assert_eq!((refused.status().as_str(), refused.body.len()), ("12", 0));
    assert_eq!(server.broker.seen(), 0);
    for (odd, code) in [(frame(1, b"x"), "12"), (frame(9, b"x"), "3"), (vec![0, 0, 0, 0, 9, 1], "3")] {
        let answer = connection.call(PATH, &[], &[[framed("a"), odd].concat()], End::Last).await;
        assert_eq!((answer.status().as_str(), answers(&answer.body).len()), (code, 1), "{answer:?}");
    }
}
