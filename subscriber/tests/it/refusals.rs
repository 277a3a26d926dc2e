//! One mistake in a request has one answer: the same code and reason on whatever way it comes.

use std::net::SocketAddr;

use tidings::pb::{ListChannelsRequest, ListMessagesRequest, StreamMessagesRequest};
use tidings_testing::{
    RedisServer, Subscriber, TEST_TIMEOUT, channel, pattern,
    wire::{WEB, Wire, frame},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tonic::Code;

const LIST: &str = "/tidings.v1.SubscriberService/ListMessages";
const CHANNELS: &str = "/tidings.v1.SubscriberService/ListChannels";
const FOLLOW: &str = "/tidings.v1.SubscriberService/StreamMessages";

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_read_is_refused_alike_on_every_path() {
    use Code::InvalidArgument as Invalid;
    let redis = RedisServer::start();
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    let wire = Wire::open(subscriber.address).await;
    let list = |name: &str| ListMessagesRequest { channel: name.to_owned(), ..ListMessagesRequest::default() };
    let follow = |request: StreamMessagesRequest| (FOLLOW, frame(&request));
    let many = vec![String::new(); 1_002];
    for (what, (path, body), code, reason) in [
        ("no name", follow(channel("a b")), Invalid, "INVALID_CHANNEL"),
        ("no name", (LIST, frame(&list("a b"))), Invalid, "INVALID_CHANNEL"),
        ("a long name", follow(channel(&"n".repeat(256))), Invalid, "INVALID_CHANNEL"),
        ("a long name", (LIST, frame(&list(&"n".repeat(256)))), Invalid, "INVALID_CHANNEL"),
        ("no pattern", follow(pattern("a *")), Invalid, "INVALID_PATTERN"),
        (
            "no pattern",
            (CHANNELS, frame(&ListChannelsRequest { pattern: "a *".to_owned(), ..Default::default() })),
            Invalid,
            "INVALID_PATTERN",
        ),
        (
            "no token",
            (LIST, frame(&ListMessagesRequest { page_token: "x".to_owned(), ..list("a") })),
            Invalid,
            "INVALID_PAGE_TOKEN",
        ),
        ("no size", (LIST, frame(&ListMessagesRequest { page_size: -1, ..list("a") })), Invalid, "INVALID_FIELD"),
        ("no last", follow(StreamMessagesRequest { last: -1, ..channel("a") }), Invalid, "INVALID_FIELD"),
        (
            "no cursor",
            follow(StreamMessagesRequest { after: vec!["x".to_owned()], ..channel("a") }),
            Invalid,
            "INVALID_CURSOR",
        ),
        (
            "two starts",
            follow(StreamMessagesRequest { earliest: true, last: 1, ..channel("a") }),
            Invalid,
            "SEVERAL_STARTS",
        ),
        (
            "many cursors",
            follow(StreamMessagesRequest { after: many, ..pattern("a*") }),
            Code::ResourceExhausted,
            "TOO_MANY_CURSORS",
        ),
    ] {
        for answer in wire.on_all_paths(path, &[], &body).await {
            assert_eq!(answer, (code, reason.to_owned()), "{what} {path}");
        }
    }
    subscriber.stop();
}

/// The code of HTTP with which a request of these origins is answered, over HTTP/1.1 by hand.
async fn with_origins(address: SocketAddr, origins: &[&str]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let body = frame(&ListChannelsRequest::default());
    let origins: String = origins.iter().map(|origin| format!("origin: {origin}\r\n")).collect();
    let head = format!(
        "POST {CHANNELS} HTTP/1.1\r\nhost: it\r\ncontent-type: {WEB}\r\n{origins}content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body].concat()).await.expect("the server reads");
    let mut answer = Vec::new();
    timeout(TEST_TIMEOUT, stream.read_to_end(&mut answer)).await.expect("in time").expect("an answer");
    String::from_utf8_lossy(&answer).split(' ').nth(1).expect("a code").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_origin_of_a_request_must_be_allowed() {
    const HERE: &str = "http://localhost:5173";
    const THERE: &str = "https://evil.example";
    let redis = RedisServer::start();
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    for (origins, code) in [
        (&[][..], "200"),
        (&[HERE], "200"),
        (&[THERE], "403"),
        (&[HERE, HERE], "200"),
        (&[HERE, THERE], "403"),
        (&[THERE, HERE], "403"),
    ] {
        assert_eq!(with_origins(subscriber.address, origins).await, code, "{origins:?}");
    }
    subscriber.stop();
}
