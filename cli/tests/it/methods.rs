//! Every method of all services, over every path that a call can take: one answer.

use std::{collections::HashMap, sync::LazyLock};

use prost::Message;
use tidings::{
    limits::DECODE_BYTES,
    pb::{
        FILE_DESCRIPTOR_SET, ListChannelsRequest, ListChannelsResponse, ListMessagesRequest, ListMessagesResponse,
        PublishBatchRequest, PublishBatchResponse, PublishRequest, PublishResponse, PublishStreamRequest,
        PublishStreamResponse, StreamMessagesRequest, StreamMessagesResponse,
        publish_stream_response::Result as Outcome,
    },
};
use tidings_testing::{RedisServer, contract};
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_types::StatusExt as _;

use crate::harness::{
    Publisher, Subscriber, text,
    wire::{CONNECT_JSON, CONNECT_PROTOBUF, GRPC, WEB, WEB_TEXT, Wire, framed, has_frames},
};

mod work;

/// A request of a method, and what of the answer is the same from every server at any time.
struct Sample {
    body: Vec<u8>,
    normal: fn(&[u8]) -> String,
    /// What it is answered with.
    code: Code,
}

impl Sample {
    fn of<M: Message>(requests: &[M], normal: fn(&[u8]) -> String) -> Self {
        Self { body: requests.iter().flat_map(frame).collect(), normal, code: Code::Ok }
    }
}

fn frame(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    framed(0, message.len(), &message).to_vec()
}

fn normal<M: Message + Default + std::fmt::Debug>(frame: &[u8]) -> String {
    format!("{:?}", M::decode(frame).expect("a message of that type"))
}

/// Without what is another's at each publish.
fn receipt(response: PublishResponse) -> PublishResponse {
    PublishResponse {
        message_id: String::new(),
        publish_time: None,
        sequence: 0,
        epoch: String::new(),
        cursor: String::new(),
        ..response
    }
}

fn published(frame: &[u8]) -> String {
    format!("{:?}", receipt(PublishResponse::decode(frame).expect("a response")))
}

fn batch(frame: &[u8]) -> String {
    let batch = PublishBatchResponse::decode(frame).expect("a response");
    format!("{:?}", batch.responses.into_iter().map(receipt).collect::<Vec<_>>())
}

fn streamed(frame: &[u8]) -> String {
    match PublishStreamResponse::decode(frame).expect("a response").result {
        Some(Outcome::Response(response)) => format!("{:?}", receipt(response)),
        other => format!("{other:?}"),
    }
}

fn reflected(frame: &[u8]) -> String {
    assert!(frame.windows(10).any(|part| part == b"tidings.v1"), "it lists the service");
    // Which service is listed differs with the server, and nothing else does.
    frame.len().to_string()
}

/// `list_services`, field 7 of both versions of reflection.
const LIST_SERVICES: &[u8] = b"\x3a\x01*";

/// One for each method. A method that has none fails the test.
static SAMPLES: LazyLock<HashMap<&str, Sample>> = LazyLock::new(|| {
    let publish = |channel: &str| text(channel, "x");
    let requests = vec![publish(""), publish("")];
    let stream = ["p", "a b", "p"].map(|channel| PublishStreamRequest { request: Some(publish(channel)) });
    let quiet = || "quiet".to_owned();
    let follow = StreamMessagesRequest { channel: quiet(), earliest: true, ..StreamMessagesRequest::default() };
    let list = ListMessagesRequest { channel: quiet(), ..ListMessagesRequest::default() };
    let channels = ListChannelsRequest { pattern: "quie*".to_owned(), ..ListChannelsRequest::default() };
    let health = HealthCheckRequest { service: String::new() };
    let reflection =
        || Sample { body: framed(0, LIST_SERVICES.len(), LIST_SERVICES).to_vec(), normal: reflected, code: Code::Ok };
    let samples = [
        ("/tidings.v1.PublisherService/Publish", Sample::of(&[publish("p")], published)),
        (
            "/tidings.v1.PublisherService/PublishBatch",
            Sample::of(&[PublishBatchRequest { channel: "p".to_owned(), requests }], batch),
        ),
        ("/tidings.v1.PublisherService/PublishStream", Sample::of(&stream, streamed)),
        ("/tidings.v1.SubscriberService/StreamMessages", Sample::of(&[follow], normal::<StreamMessagesResponse>)),
        ("/tidings.v1.SubscriberService/ListMessages", Sample::of(&[list], normal::<ListMessagesResponse>)),
        ("/tidings.v1.SubscriberService/ListChannels", Sample::of(&[channels], normal::<ListChannelsResponse>)),
        ("/grpc.health.v1.Health/Check", Sample::of(std::slice::from_ref(&health), normal::<HealthCheckResponse>)),
        ("/grpc.health.v1.Health/Watch", Sample::of(&[health], normal::<HealthCheckResponse>)),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", reflection()),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", reflection()),
    ];
    samples.into_iter().chain(work::samples()).collect()
});

/// A request that a method takes.
pub(crate) fn request(path: &str) -> Vec<u8> {
    SAMPLES.get(path).unwrap_or_else(|| panic!("{path} is not tried: give it a sample")).body.clone()
}

/// How a call comes: the server it goes to, and as what.
struct Route<'a> {
    name: String,
    wire: &'a Wire,
    kind: &'a str,
}

/// What a client sees of an answer.
#[derive(Debug, PartialEq)]
struct Answer {
    messages: Vec<String>,
    code: Code,
    text: String,
    reason: String,
    blamed: Vec<String>,
}

impl Answer {
    fn of(frames: &[Vec<u8>], status: &Status, normal: fn(&[u8]) -> String) -> Self {
        let blamed = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
        Self {
            messages: frames.iter().map(|frame| normal(frame)).collect(),
            code: status.code(),
            text: status.message().to_owned(),
            reason: status.get_details_error_info().map(|info| info.reason).unwrap_or_default(),
            blamed: blamed.into_iter().map(|violation| violation.field).collect(),
        }
    }
}

/// The paths of a server's methods: those of its own service, and what every server has.
pub(crate) fn paths(service: &str) -> Vec<String> {
    let (services, methods) = match service {
        "SubscriberService" => (&["SubscriberService", "SubscriptionService"][..], 16),
        _ => (&["PublisherService"][..], 3),
    };
    let all: Vec<_> = contract::methods(FILE_DESCRIPTOR_SET).into_iter().map(|method| method.path).collect();
    let of = |service: &&str| {
        let prefix = format!("/tidings.v1.{service}/");
        all.iter().filter(move |path| path.starts_with(&prefix)).cloned()
    };
    let own: Vec<_> = services.iter().flat_map(of).collect();
    assert_eq!(own.len(), methods, "{own:?}");
    let common = SAMPLES.keys().filter(|path| path.starts_with("/grpc.")).map(|path| (*path).to_owned());
    own.into_iter().chain(common).collect()
}

/// What is sent beside a sample, and what it is refused with.
struct Refused {
    what: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: Vec<u8>,
    /// Whether it is its frame that is wrong, which is not there where a body is the message and nothing else.
    is_frame: bool,
    code: Code,
    reason: &'static str,
}

fn refused() -> [Refused; 6] {
    let frame = |flag, length, bytes: &[u8]| framed(flag, length, bytes).to_vec();
    let refused = |what, body, code, reason| Refused { what, headers: &[], body, is_frame: true, code, reason };
    [
        Refused {
            headers: &[("grpc-encoding", "gzip")],
            is_frame: false,
            ..refused("says gzip", frame(0, 0, b""), Code::Unimplemented, "COMPRESSED")
        },
        refused("a compressed message", frame(1, 1, b"a"), Code::Unimplemented, "COMPRESSED"),
        refused("no flag of gRPC", frame(9, 1, b"a"), Code::InvalidArgument, "INVALID_FIELD"),
        refused("cut off", frame(0, 9, b"a"), Code::InvalidArgument, "INVALID_FIELD"),
        Refused {
            is_frame: false,
            ..refused("no protobuf", frame(0, 2, b"\xff\xff"), Code::InvalidArgument, "INVALID_FIELD")
        },
        refused("too large", frame(0, DECODE_BYTES + 1, b"a"), Code::ResourceExhausted, "REQUEST_TOO_LARGE"),
    ]
}

async fn walk(service: &str, fast: &Wire, plain: &Wire) {
    let kinds = [
        ("gRPC", GRPC),
        ("gRPC-Web", WEB),
        ("gRPC-Web as text", WEB_TEXT),
        (CONNECT_JSON, CONNECT_JSON),
        (CONNECT_PROTOBUF, CONNECT_PROTOBUF),
    ];
    let servers = [("fast path", fast), ("fallback", plain)];
    let routes: Vec<Route<'_>> = servers
        .iter()
        .flat_map(|(server, wire)| {
            kinds.iter().map(move |(name, kind)| Route { name: format!("{name}, {server}"), wire, kind })
        })
        .collect();
    for path in paths(service) {
        let Some(sample) = SAMPLES.get(path.as_str()) else { panic!("{path} is not tried: give it a sample") };
        let mut answers = Vec::new();
        for Route { name, wire, kind } in &routes {
            // Streams end when its client waits no longer.
            let (frames, status) = wire.call(&path, kind, &[("grpc-timeout", "200m")], sample.body.clone()).await;
            let answer = Answer::of(&frames, &status, sample.normal);
            assert_eq!(answer.messages.is_empty(), sample.code != Code::Ok, "{path} by {name}: {answer:?}");
            let is_expected = answer.code == sample.code || answer.code == Code::DeadlineExceeded;
            assert!(is_expected, "{path} by {name}: {answer:?}");
            if path.starts_with("/tidings.v1.Subscri") {
                assert!(!answer.text.contains("publish"), "{path} by {name} publishes nothing: {answer:?}");
            }
            answers.push(answer);
        }
        for (answer, route) in answers.iter().zip(&routes) {
            assert_eq!(*answer, answers[0], "{path} by {}", route.name);
        }
        for Refused { what, headers, body, is_frame, code, reason } in refused() {
            // What reflection can't decode is the end of its stream: it is not ours.
            if what == "no protobuf" && path.starts_with("/grpc.reflection.") {
                continue;
            }
            let has_it = |route: &&Route<'_>| !is_frame || has_frames(&path, route.kind);
            for Route { name, wire, kind } in routes.iter().filter(has_it) {
                let (frames, status) = wire.call(&path, kind, headers, body.clone()).await;
                let answer = Answer::of(&frames, &status, |_| String::new());
                let expected = (0, code, reason);
                let got = (answer.messages.len(), answer.code, answer.reason.as_str());
                assert_eq!(got, expected, "{path} by {name}, {what}: {answer:?}");
            }
        }
    }
    for path in ["/tidings.v1.Other/Publish", &format!("/tidings.v1.{service}/Other"), "/", "/a"] {
        for Route { name, wire, kind } in &routes {
            let (_, status) = wire.call(path, kind, &[], framed(0, 0, b"").to_vec()).await;
            let answer = Answer::of(&[], &status, |_| String::new());
            assert_eq!(
                (answer.code, answer.reason.as_str()),
                (Code::Unimplemented, "UNKNOWN_METHOD"),
                "{path} by {name}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_answers_alike_over_every_path() {
    let redis = RedisServer::start();
    let publishers = [&[][..], &["--no-fast-path"]];
    let publishers =
        [Publisher::start(&redis.url(), publishers[0]).await, Publisher::start(&redis.url(), publishers[1]).await];
    let subscribers =
        [Subscriber::start(&redis.url(), &[]).await, Subscriber::start(&redis.url(), &["--no-fast-path"]).await];
    let request = PublishRequest { ordering_key: "k".to_owned(), ..text("quiet", "once") };
    publishers[0].client().publish(request).await.expect("published");
    work::create(subscribers[0].channel()).await;
    let [fast, plain] = [Wire::open(publishers[0].address).await, Wire::open(publishers[1].address).await];
    walk("PublisherService", &fast, &plain).await;
    let [fast, plain] = [Wire::open(subscribers[0].address).await, Wire::open(subscribers[1].address).await];
    walk("SubscriberService", &fast, &plain).await;
    publishers.into_iter().for_each(Publisher::stop);
    subscribers.into_iter().for_each(Subscriber::stop);
}
