//! `PublishStream`: order, errors within it, bounds, and its end.

use std::time::Duration;

use prost::Message as _;
use tidings::{
    limits::PUBLISH_STREAM_IN_FLIGHT,
    pb::{
        PublishError, PublishRequest, PublishResponse, PublishStreamRequest, PublishStreamResponse,
        publish_stream_response::Result as Outcome,
    },
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming, client::Grpc, codegen::http::uri::PathAndQuery};
use tonic_prost::ProstCodec;

use crate::{
    fake::{self, Running},
    publish::{reason, text},
};

/// Both ends of a stream.
struct Call {
    requests: mpsc::Sender<PublishStreamRequest>,
    answers: Streaming<PublishStreamResponse>,
}

impl Call {
    async fn open(server: &Running) -> Self {
        Self::open_with(server, |_| ()).await
    }

    async fn open_with(
        server: &Running,
        prepare: impl FnOnce(&mut Request<ReceiverStream<PublishStreamRequest>>),
    ) -> Self {
        let (requests, stream) = mpsc::channel(1);
        let mut request = Request::new(ReceiverStream::new(stream));
        prepare(&mut request);
        let answers = server.client().await.publish_stream(request).await.expect("a stream").into_inner();
        Self { requests, answers }
    }

    async fn send(&self, message: &str) {
        let request = PublishStreamRequest { request: Some(text(message)) };
        self.requests.send(request).await.expect("the call is open");
    }

    async fn next(&mut self) -> Result<Option<Outcome>, Status> {
        let answer = timeout(Duration::from_secs(10), self.answers.message()).await.expect("an answer in time");
        Ok(answer?.map(|answer| answer.result.expect("a result")))
    }

    async fn receipt(&mut self) -> PublishResponse {
        match self.next().await.expect("no status").expect("an answer") {
            Outcome::Response(receipt) => receipt,
            Outcome::Error(error) => panic!("{error:?}"),
        }
    }

    async fn error(&mut self) -> PublishError {
        match self.next().await.expect("no status").expect("an answer") {
            Outcome::Error(error) => error,
            Outcome::Response(receipt) => panic!("{receipt:?}"),
        }
    }
}

/// Reads a `PublishError` as the `google.rpc.Status` that it is.
fn as_status(error: PublishError) -> Status {
    let code = Code::from_i32(error.code);
    let message = error.message.clone();
    Status::with_details(code, message, error.encode_to_vec().into())
}

#[tokio::test]
async fn answers_come_in_the_order_of_the_requests() {
    let server = fake::start().await;
    let mut call = Call::open(&server).await;
    let requests = call.requests.clone();
    let sender = tokio::spawn(async move {
        for i in 0..3_000 {
            let request = PublishStreamRequest { request: Some(text(&format!("{i}"))) };
            requests.send(request).await.expect("the call is open");
        }
    });
    for sequence in 1..=3_000 {
        assert_eq!(call.receipt().await.sequence, sequence);
    }
    sender.await.expect("no panic");
    drop(call.requests);
    let end = call.answers.message().await.expect("an orderly end");
    assert!(end.is_none());
    let expected: Vec<String> = (0..3_000).map(|i| i.to_string()).collect();
    assert_eq!(*server.broker.seen.lock().expect("not poisoned"), expected);
    let calls = server.broker.min_replicas.lock().expect("not poisoned").len();
    assert!(calls < 3_000, "neighbours go to the broker together");
}

#[tokio::test]
async fn each_gets_its_own_answer_independent_of_its_neighbours() {
    let server = fake::start().await;
    let mut call = Call::open(&server).await;
    let id = "0192f0c1-2a3b-7c4d-8e5f-0123456789ab";
    let odd = |i: usize| match i % 7 {
        2 => PublishRequest { message_id: id.to_owned(), ..text("with an id") },
        3 => PublishRequest { channel: "elsewhere".to_owned(), ..text("elsewhere") },
        4 => text(""),
        5 => PublishRequest { min_replicas: 1, ..text("with a replica") },
        _ => text("plain"),
    };
    let requests = call.requests.clone();
    let sender = tokio::spawn(async move {
        for i in 0..700 {
            requests.send(PublishStreamRequest { request: Some(odd(i)) }).await.expect("the call is open");
        }
    });
    let mut last = 0;
    for i in 0..700 {
        if i % 7 == 4 {
            assert_eq!(reason(&as_status(call.error().await)), "MESSAGE_EMPTY");
            continue;
        }
        let receipt = call.receipt().await;
        assert_eq!(receipt.sequence, last + 1, "in the order of the requests");
        last = receipt.sequence;
        assert_eq!(receipt.message_id == id, i % 7 == 2);
        assert_eq!(receipt.channel == "elsewhere", i % 7 == 3);
    }
    sender.await.expect("no panic");
    let replicas = server.broker.min_replicas.lock().expect("not poisoned").iter().sum::<u32>();
    assert_eq!(replicas, 100, "only those who ask wait for one");
}

#[tokio::test]
async fn a_bad_publish_gets_its_own_error_and_the_stream_continues() {
    let server = fake::start().await;
    let mut call = Call::open(&server).await;
    call.send("first").await;
    call.send("").await;
    call.send("unknown").await;
    call.requests.send(PublishStreamRequest { request: None }).await.expect("open");
    call.send("last").await;
    assert_eq!(call.receipt().await.sequence, 1);
    let empty = as_status(call.error().await);
    assert_eq!((empty.code(), reason(&empty).as_str()), (Code::InvalidArgument, "MESSAGE_EMPTY"));
    assert_eq!(empty.message(), "request.text: it is empty");
    let unknown = as_status(call.error().await);
    assert_eq!((unknown.code(), reason(&unknown).as_str()), (Code::Unknown, "OUTCOME_UNKNOWN"));
    let missing = as_status(call.error().await);
    assert_eq!((missing.message(), reason(&missing).as_str()), ("the message is mandatory", "MESSAGE_MISSING"));
    assert_eq!(call.receipt().await.sequence, 2);
}

#[tokio::test]
async fn many_are_under_way_but_not_more_than_the_limit() {
    let server = fake::start().await;
    server.broker.answering.send_replace(false);
    let mut call = Call::open(&server).await;
    let total = PUBLISH_STREAM_IN_FLIGHT + 500;
    let requests = call.requests.clone();
    let sender = tokio::spawn(async move {
        for _ in 0..total {
            let request = PublishStreamRequest { request: Some(text("x")) };
            requests.send(request).await.expect("the call is open");
        }
    });
    server.broker.until_seen(PUBLISH_STREAM_IN_FLIGHT).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.broker.seen(), PUBLISH_STREAM_IN_FLIGHT);
    server.broker.answering.send_replace(true);
    for sequence in 1..=total {
        assert_eq!(call.receipt().await.sequence, i64::try_from(sequence).expect("small"));
    }
    sender.await.expect("no panic");
}

#[tokio::test]
async fn large_messages_are_bounded_by_their_bytes() {
    let server = fake::start().await;
    server.broker.answering.send_replace(false);
    let call = Call::open(&server).await;
    let requests = call.requests.clone();
    let sender = tokio::spawn(async move {
        let large = "x".repeat(1_000_000);
        while requests.send(PublishStreamRequest { request: Some(text(&large)) }).await.is_ok() {}
    });
    server.broker.until_seen(5).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(server.broker.seen(), 5, "4 MiB are reached with the fifth");
    sender.abort();
}

#[tokio::test]
async fn a_client_that_does_not_read_the_answers_is_not_read_from() {
    let server = fake::start().await;
    let call = Call::open(&server).await;
    let requests = call.requests.clone();
    let sender =
        tokio::spawn(
            async move { while requests.send(PublishStreamRequest { request: Some(text("x")) }).await.is_ok() {} },
        );
    // It continues until the windows of HTTP/2 are full of answers that nobody reads, and then it stops.
    let mut before = 0;
    let stopped = timeout(Duration::from_secs(20), async {
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let now = server.broker.seen();
            if now == before && now > 0 {
                break now;
            }
            before = now;
        }
    });
    let taken = stopped.await.expect("the intake stops");
    assert!(taken < 100_000, "{taken} publishes without an answer read");
    sender.abort();
}

#[tokio::test]
async fn a_drain_answers_what_is_under_way_and_says_why_it_ends() {
    let server = fake::start().await;
    server.broker.answering.send_replace(false);
    let mut call = Call::open(&server).await;
    call.send("one").await;
    call.send("two").await;
    server.broker.until_seen(2).await;
    server.shutdown.cancel();
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.broker.answering.send_replace(true);
    assert_eq!(call.receipt().await.sequence, 1);
    assert_eq!(call.receipt().await.sequence, 2);
    let end = call.next().await.expect_err("a status");
    assert_eq!((end.code(), reason(&end).as_str()), (Code::Unavailable, "NOT_PUBLISHED"));
    drop(call);
    server.ends_within(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn the_clients_deadline_ends_the_stream() {
    let server = fake::start().await;
    let mut call = Call::open_with(&server, |request| {
        request.metadata_mut().insert("grpc-timeout", "150m".parse().expect("ASCII"));
    })
    .await;
    call.send("one").await;
    assert_eq!(call.receipt().await.sequence, 1);
    let end = call.next().await.expect_err("a status");
    assert_eq!((end.code(), reason(&end).as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
}

#[tokio::test]
async fn a_request_too_large_to_decode_ends_the_stream_in_our_words() {
    let server = fake::start().await;
    let mut call = Call::open(&server).await;
    call.send("one").await;
    call.send(&"x".repeat(9 << 20)).await;
    assert_eq!(call.receipt().await.sequence, 1);
    let end = call.next().await.expect_err("a status");
    assert_eq!((end.code(), reason(&end).as_str()), (Code::ResourceExhausted, "REQUEST_TOO_LARGE"));
}

#[tokio::test]
async fn a_request_that_is_no_protobuf_ends_the_stream_in_our_words() {
    let server = fake::start().await;
    // Bytes as a message of their own are like a `PublishStreamRequest` whose request is given as bytes.
    let requests = tokio_stream::iter([text("one").encode_to_vec(), vec![0xff]]);
    let mut client = Grpc::new(server.channel().await);
    client.ready().await.expect("connected");
    let path = PathAndQuery::from_static("/tidings.v1.PublisherService/PublishStream");
    let codec = ProstCodec::<Vec<u8>, PublishStreamResponse>::default();
    let answers = client.streaming(Request::new(requests), path, codec).await.expect("a stream").into_inner();
    let mut call = Call { requests: mpsc::channel(1).0, answers };
    assert_eq!(call.receipt().await.sequence, 1);
    let end = call.next().await.expect_err("a status");
    assert_eq!((end.code(), reason(&end).as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
}

/// Messages of 30 bytes, each in a frame of its own, as fast as they can be sent: HTTP/2 must not take it for an
/// attack.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fast_stream_of_small_messages_is_no_attack() {
    const COUNT: i64 = 20_000;
    let server = fake::start().await;
    // Until the first answers come, whatever the windows allow waits on the server.
    server.broker.answering.send_replace(false);
    let mut call = Call::open(&server).await;
    let requests = call.requests.clone();
    let sender = tokio::spawn(async move {
        for i in 0..COUNT {
            let request = PublishStreamRequest { request: Some(text(&format!("a small message {i:>6}"))) };
            requests.send(request).await.expect("the call is open");
        }
    });
    server.broker.until_seen(PUBLISH_STREAM_IN_FLIGHT).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.broker.answering.send_replace(true);
    for sequence in 1..=COUNT {
        assert_eq!(call.receipt().await.sequence, sequence);
    }
    sender.await.expect("no panic");
}
