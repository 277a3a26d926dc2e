//! One mistake has one answer: the same code and reason on whatever way a request comes, and of the same kind at both
//! services.

use std::{collections::HashMap, net::SocketAddr};

use prost::Message;
use tidings::pb::{
    ListChannelsRequest, ListMessagesRequest, PublishBatchRequest, PublishRequest, PublishStreamRequest,
    PublishStreamResponse, StreamMessagesRequest, publish_request::Payload, publish_stream_response::Result as Outcome,
};
use tidings_testing::RedisServer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tonic::{Code, Status};
use tonic_types::pb::ErrorInfo;

use crate::harness::{
    Publisher, Subscriber, TEST_TIMEOUT, channel, pattern, reason, text,
    wire::{GRPC, WEB, Wire, framed},
};

const PUBLISH: &str = "/tidings.v1.PublisherService/Publish";
const BATCH: &str = "/tidings.v1.PublisherService/PublishBatch";
const PUBLISH_STREAM: &str = "/tidings.v1.PublisherService/PublishStream";
const LIST: &str = "/tidings.v1.SubscriberService/ListMessages";
const CHANNELS: &str = "/tidings.v1.SubscriberService/ListChannels";
const FOLLOW: &str = "/tidings.v1.SubscriberService/StreamMessages";
/// A page's call takes no fast path.
const PAGE: (&str, &str) = ("origin", "http://localhost");

type Refusal = (Code, String);

fn refusal(status: &Status) -> Refusal {
    assert!(status.message().len() > 10 || status.code() == Code::Ok, "{status:?}");
    let reason = if status.code() == Code::Ok { String::new() } else { reason(status) };
    (status.code(), reason)
}

/// What is said of a body on each way to a method that takes one request: the fast path where there is one, the
/// generated server, and gRPC-Web.
async fn on_all_paths(wire: &Wire, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<Refusal> {
    let mut all = Vec::new();
    for (kind, page) in [(GRPC, None), (GRPC, Some(PAGE)), (WEB, None), (WEB, Some(PAGE))] {
        let headers: Vec<_> = headers.iter().copied().chain(page).collect();
        let call = wire.call(path, kind, &headers, body.to_vec());
        all.push(refusal(&timeout(TEST_TIMEOUT, call).await.expect("in time").1));
    }
    all
}

fn frame(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    framed(0, message.len(), &message).to_vec()
}

/// What a stream says of its one message.
async fn on_a_stream(wire: &Wire, request: PublishRequest) -> Refusal {
    let body = frame(&PublishStreamRequest { request: Some(request) });
    let (frames, status) = wire.call(PUBLISH_STREAM, GRPC, &[], body).await;
    let Some(answer) = frames.first() else { return refusal(&status) };
    let answer = PublishStreamResponse::decode(&answer[..]).expect("an answer");
    let Some(Outcome::Error(error)) = answer.result else { panic!("it was published") };
    let info = error.details.iter().find(|any| any.type_url.ends_with("ErrorInfo")).expect("a reason");
    (Code::from_i32(error.code), ErrorInfo::decode(&info.value[..]).expect("a reason").reason)
}

/// What is wrong with one message, wherever it is published.
fn bad_messages() -> Vec<(&'static str, PublishRequest, Code, &'static str)> {
    use Code::{InvalidArgument as Invalid, ResourceExhausted as TooMuch};
    let good = || text("c", "x");
    let attribute = |key: &str, value: &str| PublishRequest {
        attributes: HashMap::from([(key.to_owned(), value.to_owned())]),
        ..good()
    };
    let json = |json: &str| PublishRequest { payload: Some(Payload::Json(json.to_owned())), ..good() };
    vec![
        ("no channel's name", text("a b", "x"), Invalid, "INVALID_CHANNEL"),
        ("a reserved name", text("tidings:x", "x"), Invalid, "INVALID_CHANNEL"),
        ("a long name", text(&"n".repeat(256), "x"), Invalid, "INVALID_CHANNEL"),
        ("no payload", PublishRequest { payload: None, ..good() }, Invalid, "MESSAGE_MISSING"),
        ("an empty text", text("c", ""), Invalid, "MESSAGE_EMPTY"),
        ("no JSON", json("{"), Invalid, "INVALID_JSON"),
        ("no id", PublishRequest { message_id: "no".to_owned(), ..good() }, Invalid, "INVALID_MESSAGE_ID"),
        ("an empty key", attribute("", "x"), Invalid, "INVALID_ATTRIBUTE"),
        ("a reserved key", attribute("tidings-x", "x"), Invalid, "RESERVED_ATTRIBUTE"),
        ("a long key", attribute(&"k".repeat(129), "x"), TooMuch, "ATTRIBUTE_TOO_LONG"),
        ("a long value", attribute("k", &"v".repeat(1_025)), TooMuch, "ATTRIBUTE_TOO_LONG"),
        (
            "many attributes",
            PublishRequest { attributes: (0..65).map(|n| (n.to_string(), String::new())).collect(), ..good() },
            TooMuch,
            "TOO_MANY_ATTRIBUTES",
        ),
        (
            "a long ordering key",
            PublishRequest { ordering_key: "k".repeat(256), ..good() },
            TooMuch,
            "ORDERING_KEY_TOO_LONG",
        ),
        ("negative replicas", PublishRequest { min_replicas: -1, ..good() }, Invalid, "INVALID_MIN_REPLICAS"),
        ("many replicas", PublishRequest { min_replicas: 17, ..good() }, Invalid, "INVALID_MIN_REPLICAS"),
        ("a large message", text("c", "x".repeat(1 << 20)), TooMuch, "MESSAGE_TOO_LARGE"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_message_is_refused_alike_on_every_path() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let wire = Wire::open(publisher.address).await;
    for (what, request, code, reason) in bad_messages() {
        let expected = (code, reason.to_owned());
        for answer in on_all_paths(&wire, PUBLISH, &[], &frame(&request)).await {
            assert_eq!(answer, expected, "{what}");
        }
        assert_eq!(on_a_stream(&wire, request.clone()).await, expected, "{what}, on a stream");
        // A batch names its channel once.
        let (channel, request) = match reason {
            "INVALID_CHANNEL" => (request.channel.clone(), text("", "x")),
            _ => ("c".to_owned(), PublishRequest { channel: String::new(), ..request }),
        };
        let batch = PublishBatchRequest { channel, requests: vec![request] };
        for answer in on_all_paths(&wire, BATCH, &[], &frame(&batch)).await {
            assert_eq!(answer, expected, "{what}, in a batch");
        }
    }
    for (what, batch, code, reason) in [
        ("no messages", Vec::new(), Code::InvalidArgument, "BATCH_EMPTY"),
        ("many messages", vec![text("", "x"); 1_001], Code::ResourceExhausted, "BATCH_TOO_LARGE"),
        ("large messages", vec![text("", "x".repeat(1_000_000)); 5], Code::ResourceExhausted, "BATCH_TOO_LARGE"),
        ("another channel", vec![text("d", "x")], Code::InvalidArgument, "CHANNELS_DIFFER"),
    ] {
        let batch = PublishBatchRequest { channel: "c".to_owned(), requests: batch };
        for answer in on_all_paths(&wire, BATCH, &[], &frame(&batch)).await {
            assert_eq!(answer, (code, reason.to_owned()), "{what}");
        }
    }
    publisher.stop();
}

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
        for answer in on_all_paths(&wire, path, &[], &body).await {
            assert_eq!(answer, (code, reason.to_owned()), "{what} {path}");
        }
    }
    subscriber.stop();
}

/// What is no single message of gRPC is refused in one way by both services, and never answered with OK.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_body_is_refused_alike_at_both_services() {
    use Code::InvalidArgument as Invalid;
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    let follow = StreamMessagesRequest { last: 1, ..channel("c") };
    let list = ListMessagesRequest { channel: "c".to_owned(), ..Default::default() };
    let one = text("c", "x");
    let batch = PublishBatchRequest { channel: "c".to_owned(), requests: vec![one.clone()] };
    let methods: [(SocketAddr, &str, Vec<u8>); 5] = [
        (publisher.address, PUBLISH, frame(&one)),
        (publisher.address, BATCH, frame(&batch)),
        (subscriber.address, LIST, frame(&list)),
        (subscriber.address, CHANNELS, frame(&ListChannelsRequest::default())),
        (subscriber.address, FOLLOW, frame(&follow)),
    ];
    for (address, path, good) in methods {
        let wire = Wire::open(address).await;
        let message = &good[5..];
        let claims = |more: usize| framed(0, message.len() + more, message).to_vec();
        // A claim that is too short leaves the beginning of another message.
        let short = framed(0, 2, b"\x0a\x00\x00").to_vec();
        let gzip = [("grpc-encoding", "gzip")];
        for (what, headers, body, code, reason) in [
            ("none", &[][..], Vec::new(), Invalid, "NOT_ONE_REQUEST"),
            ("two", &[], [&good[..], &good].concat(), Invalid, "NOT_ONE_REQUEST"),
            ("an empty one more", &[], [&good[..], &[0; 5]].concat(), Invalid, "NOT_ONE_REQUEST"),
            ("the beginning of another", &[], short, Invalid, "NOT_ONE_REQUEST"),
            ("half a prefix", &[], vec![0; 3], Invalid, "INVALID_FIELD"),
            ("less than it claims", &[], claims(1), Invalid, "INVALID_FIELD"),
            ("an odd flag", &[], framed(2, message.len(), message).to_vec(), Invalid, "INVALID_FIELD"),
            ("no protobuf", &[], framed(0, 2, b"\xff\xff").to_vec(), Invalid, "INVALID_FIELD"),
            ("a flag alone", &[], framed(1, message.len(), message).to_vec(), Code::Unimplemented, "COMPRESSED"),
            ("compressed", &gzip, framed(1, message.len(), message).to_vec(), Code::Unimplemented, "COMPRESSED"),
            ("an encoding", &gzip, good.clone(), Code::Unimplemented, "COMPRESSED"),
            ("too large", &[], framed(0, (8 << 20) + 1, b"x").to_vec(), Code::ResourceExhausted, "REQUEST_TOO_LARGE"),
        ] {
            for (way, answer) in on_all_paths(&wire, path, headers, &body).await.into_iter().enumerate() {
                assert_eq!(answer, (code, reason.to_owned()), "{what} {path}, way {way}");
            }
        }
    }
    // A stream takes none, or many; what is wrong with one of them ends it.
    let wire = Wire::open(publisher.address).await;
    for (what, body, code, reason) in [
        ("none", Vec::new(), Code::Ok, ""),
        ("less than it claims", framed(0, 9, b"x").to_vec(), Invalid, "INVALID_FIELD"),
        ("an odd flag", framed(2, 1, b"x").to_vec(), Invalid, "INVALID_FIELD"),
        ("no protobuf", framed(0, 2, b"\xff\xff").to_vec(), Invalid, "INVALID_FIELD"),
        ("a flag alone", framed(1, 1, b"x").to_vec(), Code::Unimplemented, "COMPRESSED"),
        ("too large", framed(0, (8 << 20) + 1, b"x").to_vec(), Code::ResourceExhausted, "REQUEST_TOO_LARGE"),
    ] {
        let (_, status) = wire.call(PUBLISH_STREAM, GRPC, &[], body).await;
        assert_eq!(refusal(&status), (code, reason.to_owned()), "{what}: {status:?}");
    }
    let listed = subscriber.list("c").await;
    assert!(listed.is_empty(), "nothing of all that was published: {listed:?}");
    publisher.stop();
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
