//! The fast path of unary calls beside the generated services: which messages it takes, and that nobody can see the
//! difference.

use std::{
    convert::Infallible,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use prost::{Message as _, bytes::Bytes};
use tidings::{
    broker::State,
    limits::DECODE_BYTES,
    pb::{PublishBatchRequest, PublishRequest, publish_request::Payload},
};
use tidings_transport::{CallContext, Method, Options, Permission, Services, Shape, operation::Unary, serve};
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tonic::{
    Status,
    body::Body,
    codegen::{Service, http},
    server::NamedService,
};

use crate::{
    fake::{self, options},
    publish::text,
    raw::{Answer, Connection, End, frame},
};

const PUBLISH: &str = "/tidings.v1.PublisherService/Publish";
const BATCH: &str = "/tidings.v1.PublisherService/PublishBatch";
/// A method that answers with what it is sent. Messages direct it.
#[derive(Clone)]
struct Echo;

impl Unary for Echo {
    type Request = PublishRequest;
    type Response = PublishRequest;

    fn call(
        &self,
        context: CallContext,
        request: PublishRequest,
    ) -> impl Future<Output = Result<PublishRequest, Status>> + Send + 'static {
        assert!(context.peer().is_some_and(|peer| peer.ip().is_loopback()), "{context:?}");
        let Some(Payload::Text(text)) = request.payload.clone() else { panic!("the tests send text") };
        assert!(text != "panic now", "as the test wants it");
        async move {
            sleep(Duration::from_millis(5)).await;
            assert!(text != "panic later", "as the test wants it");
            match text.as_str() {
                "wait" => std::future::pending().await,
                "refuse" => Err(Status::aborted("refused")),
                _ => Ok(request),
            }
        }
    }
}

/// What the echo takes.
fn echoed(message: &str) -> Vec<u8> {
    frame(0, &text(message).encode_to_vec())
}

/// The service of a method without a fast path. It says how much it was sent.
#[derive(Clone)]
struct Plain;

impl NamedService for Plain {
    const NAME: &'static str = "test.Service";
}

impl Service<http::Request<Body>> for Plain {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut body = request.into_body();
            let mut sent = Vec::new();
            while let Some(frame) = std::future::poll_fn(|context| poll_frame(&mut body, context)).await {
                match frame {
                    Ok(frame) => sent.extend_from_slice(&frame),
                    Err(status) => return Ok(status.into_http()),
                }
            }
            if sent.ends_with(b"wait") {
                std::future::pending::<()>().await;
            }
            Ok(Status::data_loss(format!("plain {}", sent.len())).into_http())
        })
    }
}

fn poll_frame(body: &mut Body, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
    use tonic::codegen::Body as _;
    let frame = std::task::ready!(std::pin::Pin::new(body).poll_frame(context));
    Poll::Ready(frame.map(|frame| Ok(frame?.into_data().unwrap_or_default())))
}

/// A server with that service, and a connection to it.
async fn echo() -> Connection {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (_, state) = watch::channel(State::Up);
    let methods = [
        Method::unary(ECHO, Permission::Open, Echo).with_fast_path(),
        Method::foreign(PLAIN, Shape::Unary, Permission::Open),
    ];
    let services = Services::new(state).with_methods(methods).with(Plain);
    let options = Options { fast_path: true, ..options() };
    tokio::spawn(serve(listener, services, options, CancellationToken::new()));
    Connection::open(address).await
}

const ECHO: &str = "/test.Service/Echo";
const PLAIN: &str = "/test.Service/Plain";

fn in_parts(whole: &[u8], size: usize) -> Vec<Vec<u8>> {
    whole.chunks(size).map(<[u8]>::to_vec).collect()
}

#[tokio::test]
async fn one_whole_message_takes_the_fast_path_however_it_comes() {
    let connection = echo().await;
    for message in ["", "hello", &"x".repeat(40_000)] {
        let whole = echoed(message);
        for size in [whole.len(), 1, 3, 5, 7, 16_000] {
            if whole.len() / size > 50 {
                continue;
            }
            for end in [End::Last, End::Empty, End::Trailers] {
                let answer = connection.call(ECHO, &[], &in_parts(&whole, size), end).await;
                assert_eq!(answer.body, whole, "{size} {end:?}: {answer:?}");
                assert_eq!(answer.headers, [("content-type".to_owned(), b"application/grpc".to_vec())]);
                assert_eq!(answer.trailers, [("grpc-status".to_owned(), b"0".to_vec())]);
            }
        }
    }
    let named = connection.call(ECHO, &[("grpc-encoding", "identity")], &[echoed("a")], End::Last).await;
    assert_eq!(named.body, echoed("a"));
    let refused = connection.call(ECHO, &[], &[echoed("refuse")], End::Last).await;
    assert_eq!((refused.status().as_str(), refused.message().as_str()), ("10", "refused"));
    assert!(refused.body.is_empty() && refused.trailers.is_empty(), "the status is in the headers: {refused:?}");
}

#[tokio::test]
async fn all_else_is_refused_alike_with_and_without_the_fast_path() {
    let connection = echo().await;
    let large = u32::try_from(DECODE_BYTES + 1).expect("small").to_be_bytes();
    for (odd, sizes, status, reason) in [
        (vec![], 1..2, "3", "NOT_ONE_REQUEST"),
        (vec![0, 0, 0], 1..4, "3", "INVALID_FIELD"),
        (frame(1, b"compressed"), 1..6, "12", "COMPRESSED"),
        (frame(7, b"odd"), 3..9, "3", "INVALID_FIELD"),
        ([echoed("one"), echoed("two")].concat(), 5..12, "3", "NOT_ONE_REQUEST"),
        ([frame(0, b""), frame(0, b"")].concat(), 1..11, "3", "NOT_ONE_REQUEST"),
        (echoed("short")[..9].to_vec(), 4..10, "3", "INVALID_FIELD"),
        ([&[0][..], &large, b"too large"].concat(), 4..10, "8", "REQUEST_TOO_LARGE"),
    ] {
        for size in sizes {
            for end in [End::Last, End::Empty, End::Trailers] {
                for path in [ECHO, PLAIN] {
                    let parts = if odd.is_empty() { vec![vec![]] } else { in_parts(&odd, size) };
                    let answer = connection.call(path, &[], &parts, end).await;
                    let said = (answer.status(), answer.reason.as_str());
                    assert_eq!(said, (status.to_owned(), reason), "{odd:?} by {size}, {end:?} {path}");
                }
            }
        }
    }
    let answer = connection.call(PLAIN, &[], &[frame(0, b"a")], End::Last).await;
    assert_eq!(answer.message(), "plain%206");
    for encoding in ["gzip", ""] {
        for path in [ECHO, PLAIN] {
            let answer = connection.call(path, &[("grpc-encoding", encoding)], &[echoed("a")], End::Last).await;
            assert_eq!(answer.reason, "COMPRESSED", "{encoding}: {answer:?}");
        }
    }
    let answer = connection.call_as("PUT", ECHO, &[], &[echoed("a")], End::Last).await;
    assert_eq!(answer.code, 405, "another verb: {answer:?}");
    // The service would take them: it has no line for them in the table.
    for path in
        ["/test.Service/Echo/", "/test.Service/Ech", "/test.Service/%45cho", "/test.Service/echo", "/test.Other/Echo"]
    {
        let answer = connection.call(path, &[], &[echoed("a")], End::Last).await;
        assert_eq!((answer.status().as_str(), answer.reason.as_str()), ("12", "UNKNOWN_METHOD"), "{path}");
    }
}

#[tokio::test]
async fn the_deadline_holds_on_either_path_and_while_nothing_comes() {
    let connection = echo().await;
    let timeout = ("grpc-timeout", "100m");
    // A message that never ends, and one that never comes.
    let parts = std::iter::repeat_n(vec![0; 1], 100);
    let slow: Vec<_> = std::iter::once(frame(0, &[7; 1_000])[..100].to_vec()).chain(parts).collect();
    let nothing = vec![vec![]; 100];
    for path in [ECHO, PLAIN] {
        for parts in [vec![echoed("wait")], slow.clone(), nothing.clone()] {
            let began = Instant::now();
            let end = if parts.len() == 1 { End::Last } else { End::Empty };
            let answer = connection.call(path, &[timeout], &parts, end).await;
            assert_eq!(answer.status(), "4", "{path} {}: {answer:?}", parts.len());
            assert!((90..5_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
        }
    }
}

#[tokio::test]
async fn a_panic_is_an_internal_error_now_or_later_and_the_connection_continues() {
    let connection = echo().await;
    for message in ["panic now", "panic later"] {
        let answer = connection.call(ECHO, &[], &[echoed(message)], End::Last).await;
        assert_eq!(answer.status(), "13", "{answer:?}");
        assert!(!answer.message().contains("test"));
        let next = connection.call(ECHO, &[], &[echoed("next")], End::Last).await;
        assert_eq!(next.body, echoed("next"));
    }
}

/// The answer of a publisher of its own, so that both paths find the same.
async fn publish(path: &str, fast_path: bool, headers: &[(&str, &str)], parts: &[Vec<u8>]) -> (Answer, Vec<String>) {
    let server = fake::start_with(Options { fast_path, ..options() }).await;
    let answer = Connection::open(server.address).await.call(path, headers, parts, End::Last).await;
    let seen = server.broker.seen.lock().expect("not poisoned").clone();
    (answer, seen)
}

#[tokio::test]
async fn both_paths_of_a_publish_answer_alike() {
    let id = |n: u8| format!("0192f0c1-2a3b-7c4d-8e5f-0123456789{n:02x}");
    let one = |n, message: &str| PublishRequest { message_id: id(n), channel: "a".to_owned(), ..text(message) };
    let single = |request: PublishRequest| (PUBLISH, vec![frame(0, &request.encode_to_vec())]);
    let batch = |requests: Vec<PublishRequest>| {
        let batch = PublishBatchRequest { channel: "a".to_owned(), requests };
        (BATCH, vec![frame(0, &batch.encode_to_vec())])
    };
    let too_large = u32::try_from(DECODE_BYTES + 1).expect("small").to_be_bytes();
    let cases = [
        single(one(1, "hello")),
        single(one(1, "")),
        single(one(1, "away")),
        single(one(1, "unknown")),
        single(one(1, "panic")),
        single(PublishRequest { message_id: "no".to_owned(), ..one(1, "hello") }),
        single(PublishRequest { channel: "Grüße *".to_owned(), ..one(1, "hello") }),
        single(PublishRequest { min_replicas: -1, ..one(1, "hello") }),
        single(one(1, &"x".repeat(1 << 20))),
        batch((0..50).map(|n| one(n, "hello")).collect()),
        batch((0..200).map(|n| one(n, &"long".repeat(100))).collect()),
        batch(vec![]),
        batch(vec![one(1, "a"), one(2, "")]),
        (PUBLISH, vec![frame(0, b"\xff\xff")]),
        (BATCH, vec![frame(0, b"\x12\x7f")]),
        (PUBLISH, vec![frame(0, b"")]),
        (PUBLISH, vec![frame(1, b"x")]),
        (PUBLISH, vec![frame(3, b"x")]),
        (PUBLISH, vec![vec![0, 0, 0]]),
        (PUBLISH, vec![vec![]]),
        (PUBLISH, vec![[&[0][..], &too_large, b"x"].concat()]),
        (PUBLISH, in_parts(&frame(0, &one(1, "hello").encode_to_vec()), 7)),
        (PUBLISH, vec![[frame(0, &one(1, "hello").encode_to_vec()), frame(0, b"\xff")].concat()]),
        ("/tidings.v1.PublisherService/Other", vec![frame(0, b"")]),
    ];
    for (path, parts) in cases {
        for headers in [&[][..], &[("grpc-encoding", "gzip")], &[("grpc-encoding", "identity")]] {
            let fast = publish(path, true, headers, &parts).await;
            let plain = publish(path, false, headers, &parts).await;
            let begin: Vec<_> = parts.iter().map(|part| &part[..part.len().min(100)]).collect();
            assert_eq!(fast, plain, "{path} {headers:?} {begin:?}");
        }
    }
}

#[tokio::test]
async fn a_message_that_ends_during_the_drain_is_not_published() {
    let server = fake::start().await;
    let connection = Connection::open(server.address).await;
    let whole = frame(0, &text("late").encode_to_vec());
    let parts = in_parts(&whole, 1);
    let shutdown = server.shutdown.clone();
    let stopping = async {
        sleep(Duration::from_millis(30)).await;
        shutdown.cancel();
    };
    let (answer, ()) = tokio::join!(connection.call(PUBLISH, &[], &parts, End::Last), stopping);
    assert_eq!(answer.status(), "14", "{answer:?}");
    assert!(answer.message().contains("nothing%20was%20published"));
    assert_eq!(server.broker.seen(), 0);
    drop(connection);
    server.ends_within(Duration::from_secs(5)).await;
}
