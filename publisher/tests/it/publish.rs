//! FastPath publishes.

use tidings::pb::{PublishBatchRequest, PublishRequest, PublishResponse, publish_request::Payload};
use tonic::{Code, Request, Status, client::Grpc, codegen::http::uri::PathAndQuery};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt as _;

use crate::fake;

pub(crate) fn text(text: &str) -> PublishRequest {
    PublishRequest { payload: Some(Payload::Text(text.to_owned())), ..Default::default() }
}

pub(crate) fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

#[tokio::test]
async fn a_publish_is_answered_with_its_receipt() {
    let server = fake::start().await;
    let receipt = server.client().await.publish(text("hello")).await.expect("published").into_inner();
    assert_eq!(
        (receipt.channel.as_str(), receipt.sequence, receipt.epoch.as_str()),
        ("channel1", 1, "0000000000000007")
    );
    assert_eq!(receipt.publish_time, Some(prost_types::Timestamp { seconds: 1, nanos: 500_000_000 }));
    assert_eq!(receipt.message_id.len(), 36);
    assert!(!receipt.cursor.is_empty());
    assert!(!receipt.duplicate);
}

#[tokio::test]
async fn a_bad_publish_reaches_the_client_with_its_field() {
    let server = fake::start().await;
    let status = server.client().await.publish(PublishRequest::default()).await.expect_err("no payload");
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "the message is mandatory"));
    assert_eq!(reason(&status), "MESSAGE_MISSING");
    let violations = status.get_details_bad_request().expect("BadRequest").field_violations;
    assert_eq!(violations[0].field, "payload");
    assert_eq!(server.broker.seen(), 0);
}

#[tokio::test]
async fn errors_say_whether_the_message_may_have_been_published() {
    let server = fake::start().await;
    let mut client = server.client().await;
    let away = client.publish(text("away")).await.expect_err("away");
    assert_eq!((away.code(), reason(&away).as_str()), (Code::Unavailable, "NOT_PUBLISHED"));
    assert!(away.get_details_retry_info().is_some());
    let unknown = client.publish(text("unknown")).await.expect_err("unknown");
    assert_eq!((unknown.code(), reason(&unknown).as_str()), (Code::Unknown, "OUTCOME_UNKNOWN"));
}

#[tokio::test]
async fn a_batch_is_published_together_with_the_greatest_min_replicas() {
    let server = fake::start().await;
    let requests = vec![text("a"), PublishRequest { min_replicas: 2, ..text("b") }, text("c")];
    let batch = PublishBatchRequest { channel: "orders".to_owned(), requests };
    let responses = server.client().await.publish_batch(batch).await.expect("published").into_inner().responses;
    assert_eq!(responses.iter().map(|receipt| receipt.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(responses.iter().all(|receipt| receipt.channel == "orders"));
    assert_eq!(*server.broker.min_replicas.lock().expect("not poisoned"), [2]);
}

#[tokio::test]
async fn sizes_are_refused_as_such_at_any_value() {
    let server = fake::start().await;
    let mut client = server.client().await;
    for (bytes, expected) in
        [(1 << 20, "MESSAGE_TOO_LARGE"), (6 << 20, "MESSAGE_TOO_LARGE"), (9 << 20, "REQUEST_TOO_LARGE")]
    {
        let status = client.publish(text(&"x".repeat(bytes))).await.expect_err("too large");
        assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, expected), "{bytes}");
    }
}

#[tokio::test]
async fn a_panic_is_an_internal_error_and_the_server_continues() {
    let server = fake::start().await;
    let mut client = server.client().await;
    let status = client.publish(text("panic")).await.expect_err("a bug");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Internal, "INTERNAL"));
    assert!(!status.message().contains("as the test wants it"));
}

#[tokio::test]
async fn a_request_that_is_no_protobuf_is_refused_in_our_words() {
    let server = fake::start().await;
    let mut client = Grpc::new(server.channel().await);
    client.ready().await.expect("connected");
    let path = PathAndQuery::from_static("/tidings.v1.PublisherService/Publish");
    // Bytes as a message of their own are like a `PublishRequest` whose channel is no UTF-8.
    let codec = ProstCodec::<Vec<u8>, PublishResponse>::default();
    let refused = client.unary(Request::new(vec![0xff]), path, codec).await.expect_err("malformed");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
    let violation = &refused.get_details_bad_request().expect("the field").field_violations[0];
    assert_eq!(violation.field, "request");
    assert_eq!(server.broker.seen(), 0);
}
