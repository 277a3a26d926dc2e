//! What one address may take, on every way that a call can come: beyond it the call is refused, says which flag it is
//! and when to try again, and is counted.

use std::time::Duration;

use tidings::pb::{
    ListChannelsRequest, ListMessagesRequest, PublishBatchRequest, PublishRequest, PublishStreamRequest,
    PublishStreamResponse, publish_stream_response::Result as Outcome,
};
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::Target;
use crate::harness::{
    Admin, Publisher, Stream, Subscriber, channel, pattern, reason, text,
    wire::{CONNECT_JSON, CONNECT_PROTOBUF, GRPC, WEB, Wire, framed},
};
use crate::paths::{BATCH, CHANNELS, FOLLOW, LIST, PUBLISH};

/// A page's call takes no fast path.
const PAGE: (&str, &str) = ("origin", "http://localhost");

fn frame(message: &impl prost::Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    framed(0, message.len(), &message).to_vec()
}

/// Whether a call was refused for this limit, with a time after which it may be made again.
fn is_limited(status: &Status, limit: &str, flag: &str) {
    assert_eq!((status.code(), reason(status).as_str()), (Code::ResourceExhausted, "CALLER_LIMIT"), "{status:?}");
    let info = status.get_details_error_info().expect("a reason");
    assert_eq!(info.metadata["limit"], limit, "{status:?}");
    assert!(status.message().contains(flag), "{status:?}");
    let retry = status.get_details_retry_info().and_then(|info| info.retry_delay).expect("a time");
    assert!(retry > Duration::ZERO && retry < Duration::from_secs(60), "{retry:?}");
}

/// The first answer that is not OK, to calls made one after the other on each way in turn.
async fn refused(wire: &Wire, path: &str, body: &[u8]) -> Vec<Status> {
    let mut all = Vec::new();
    for (kind, page) in [
        (GRPC, None),
        (GRPC, Some(PAGE)),
        (WEB, None),
        (WEB, Some(PAGE)),
        (CONNECT_JSON, None),
        (CONNECT_PROTOBUF, Some(PAGE)),
    ] {
        let headers: Vec<_> = page.into_iter().collect();
        let refused = async {
            loop {
                let (_, status) = wire.call(path, kind, &headers, body.to_vec()).await;
                if status.code() != Code::Ok {
                    return status;
                }
            }
        };
        all.push(tokio::time::timeout(crate::harness::TEST_TIMEOUT, refused).await.expect("it is refused at last"));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_are_limited_on_every_way() {
    let admins = [Admin::choose(), Admin::choose()];
    let target = Target::start(&[]).await;
    let url = target.redis.url();
    let publishes = [&admins[0].flag(), "--caller-publish-rate=20"].map(str::to_owned);
    let publisher = Publisher::start(&url, &publishes.each_ref().map(String::as_str)).await;
    let lists = [&admins[1].flag(), "--caller-list-rate=20"].map(str::to_owned);
    let subscriber = Subscriber::start(&url, &lists.each_ref().map(String::as_str)).await;
    let wire = Wire::open(publisher.address).await;
    for status in refused(&wire, PUBLISH, &frame(&text("c", "x"))).await {
        is_limited(&status, "publishes", "--caller-publish-rate");
    }
    sleep(Duration::from_secs(2)).await;
    let batch = PublishBatchRequest { channel: "c".to_owned(), requests: vec![text("", "x"); 15] };
    for status in refused(&wire, BATCH, &frame(&batch)).await {
        is_limited(&status, "publishes", "--caller-publish-rate");
    }
    // On a stream each message has its answer, and the stream goes on.
    sleep(Duration::from_secs(2)).await;
    let requests = (0..100).map(|_| PublishStreamRequest { request: Some(text("s", "x")) });
    let answers = publisher.client().publish_stream(tokio_stream::iter(requests)).await.expect("a stream");
    let (mut answers, mut published, mut limited) = (answers.into_inner(), 0, 0);
    while let Some(PublishStreamResponse { result }) = answers.message().await.expect("it goes on") {
        match result.expect("an answer") {
            Outcome::Response(_) => published += 1,
            Outcome::Error(error) => {
                assert_eq!(error.code, i32::from(Code::ResourceExhausted), "{error:?}");
                limited += 1;
            }
        }
    }
    assert!((40..=60).contains(&published) && published + limited == 100, "{published} {limited}");
    let wire = Wire::open(subscriber.address).await;
    let list = ListMessagesRequest { channel: "c".to_owned(), ..ListMessagesRequest::default() };
    for (path, body) in [(LIST, frame(&list)), (CHANNELS, frame(&ListChannelsRequest::default()))] {
        for status in refused(&wire, path, &body).await {
            is_limited(&status, "lists", "--caller-list-rate");
        }
    }
    assert!(admins[0].scrape().value("tidings_limited_total{limit=\"publishes\"}") >= 8.0 + limited as f64);
    assert!(admins[1].scrape().value("tidings_limited_total{limit=\"lists\"}") >= 8.0);
    publisher.stop();
    subscriber.stop();
    target.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_limited_in_both_directions() {
    let target = Target::start(&["--caller-bytes-in-rate=200KiB", "--caller-bytes-out-rate=200KiB"]).await;
    let wire = Wire::open(target.publisher.address).await;
    for status in refused(&wire, PUBLISH, &frame(&text("c", "x".repeat(100_000)))).await {
        is_limited(&status, "bytes_in", "--caller-bytes-in-rate");
    }
    // A stream is slowed down: 1 MB takes three seconds beyond the two that come together.
    let listed = target.subscriber.list("c").await;
    assert!(listed.len() >= 4);
    for _ in 0..5 {
        let mut request = text("c", "x".repeat(200_000));
        while let Err(limited) = target.publisher.client().publish(request.clone()).await {
            is_limited(&limited, "bytes_in", "--caller-bytes-in-rate");
            sleep(Duration::from_millis(200)).await;
            request = text("c", "x".repeat(200_000));
        }
    }
    sleep(Duration::from_secs(8)).await;
    let all = tidings::pb::StreamMessagesRequest { earliest: true, ..channel("c") };
    let mut stream = Stream::alone(target.subscriber.address, all).await;
    let began = Instant::now();
    stream.messages(listed.len() + 5).await;
    let took = began.elapsed();
    assert!(took > Duration::from_secs(3), "{took:?} for 1.4 MB");
    // Meanwhile nothing new is begun.
    let refused = target.subscriber.client().stream_messages(channel("c")).await;
    if let Err(refused) = refused {
        is_limited(&refused, "bytes_out", "--caller-bytes-out-rate");
    }
    target.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_patterns_and_new_channels_are_limited() {
    let flags = ["--caller-max-streams=3", "--caller-max-patterns=2", "--caller-new-channels=5"];
    let target = Target::start(&flags).await;
    let address = target.subscriber.address;
    // A pattern that is followed already is none more.
    let first = Stream::alone(address, pattern("a*")).await;
    let _second = Stream::alone(address, pattern("a*")).await;
    let third = Stream::alone(address, pattern("b*")).await;
    let wire = Wire::open(address).await;
    for status in refused(&wire, FOLLOW, &frame(&channel("c"))).await {
        is_limited(&status, "streams", "--caller-max-streams");
    }
    // Streams of requests count as well.
    drop(first);
    sleep(Duration::from_millis(300)).await;
    let (_, status) = wire.call(FOLLOW, GRPC, &[], frame(&pattern("c*"))).await;
    is_limited(&status, "patterns", "--caller-max-patterns");
    drop(third);
    sleep(tidings::limits::TOPIC_LINGER + Duration::from_secs(1)).await;
    drop(Stream::alone(address, pattern("c*")).await);

    let publish = async |name: &str| target.publisher.client().publish(text(name, "x")).await;
    let mut created = 0;
    let status = loop {
        match publish(&format!("new{created}")).await {
            Ok(_) => created += 1,
            Err(status) => break status,
        }
    };
    assert!((5..8).contains(&created), "{created}");
    is_limited(&status, "new_channels", "--caller-new-channels");
    for n in 0..created {
        publish(&format!("new{n}")).await.expect("it is there already");
    }
    let request = PublishStreamRequest { request: Some(PublishRequest { ..text("stream", "x") }) };
    let answers = target.publisher.client().publish_stream(tokio_stream::iter([request])).await.expect("a stream");
    let answer = answers.into_inner().message().await.expect("no error").expect("an answer");
    let Some(Outcome::Error(error)) = answer.result else { panic!("{answer:?}") };
    assert_eq!(error.code, i32::from(Code::ResourceExhausted));
    // What another publisher created is known to be there as soon as it was published on.
    let other = Publisher::start(&target.redis.url(), &[]).await;
    for n in 0..20 {
        other.client().publish(text(&format!("others{n}"), "x")).await.expect("another's limit");
    }
    other.stop();
    let third = Publisher::start(&target.redis.url(), &["--caller-new-channels=1"]).await;
    for n in 0..20 {
        third.client().publish(text(&format!("others{n}"), "x")).await.expect("nothing is created");
    }
    third.stop();
    target.stop();
}

/// A stream of Connect counts for as long as it is open.
#[tokio::test(flavor = "multi_thread")]
async fn streams_of_connect_count_until_they_end() {
    let target = Target::start(&["--caller-max-streams=3"]).await;
    let wire = Wire::open(target.subscriber.address).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let (answer, mut sending) = wire.begin(FOLLOW, "application/connect+proto", &[]).await;
        sending.send_data(frame(&channel("c")).into(), true).expect("sent");
        open.push(answer.await.expect("a response"));
    }
    let (_, status) = wire.call(FOLLOW, CONNECT_JSON, &[("grpc-timeout", "500m")], frame(&channel("c"))).await;
    is_limited(&status, "streams", "--caller-max-streams");
    drop(open);
    target.stop();
}
