//! One mistake in a message has one answer: the same code and reason on whatever way it comes.

use std::collections::HashMap;

use prost::Message as _;
use tidings::pb::{
    PublishBatchRequest, PublishRequest, PublishStreamRequest, PublishStreamResponse, publish_request::Payload,
    publish_stream_response::Result as Outcome,
};
use tidings_testing::{
    Publisher, RedisServer, text,
    wire::{GRPC, Refusal, Wire, frame, refusal},
};
use tonic::Code;
use tonic_types::pb::ErrorInfo;

const PUBLISH: &str = "/tidings.v1.PublisherService/Publish";
const BATCH: &str = "/tidings.v1.PublisherService/PublishBatch";
const PUBLISH_STREAM: &str = "/tidings.v1.PublisherService/PublishStream";

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

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_message_is_refused_alike_on_every_path() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let wire = Wire::open(publisher.address).await;
    for (what, request, code, reason) in bad_messages() {
        let expected = (code, reason.to_owned());
        for answer in wire.on_all_paths(PUBLISH, &[], &frame(&request)).await {
            assert_eq!(answer, expected, "{what}");
        }
        assert_eq!(on_a_stream(&wire, request.clone()).await, expected, "{what}, on a stream");
        // A batch names its channel once.
        let (channel, request) = match reason {
            "INVALID_CHANNEL" => (request.channel.clone(), text("", "x")),
            _ => ("c".to_owned(), PublishRequest { channel: String::new(), ..request }),
        };
        let batch = PublishBatchRequest { channel, requests: vec![request] };
        for answer in wire.on_all_paths(BATCH, &[], &frame(&batch)).await {
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
        for answer in wire.on_all_paths(BATCH, &[], &frame(&batch)).await {
            assert_eq!(answer, (code, reason.to_owned()), "{what}");
        }
    }
    publisher.stop();
}
