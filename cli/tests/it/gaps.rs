//! What can't be had any more is named: never skipped without a word.

use tidings::pb::{GapReason, OnGap, StreamMessagesRequest};
use tidings_testing::RedisServer;
use tonic::Code;
use tonic_types::StatusExt;

use crate::harness::{Publisher, Subscriber, channel, reason, sequences, text};

#[tokio::test(flavor = "multi_thread")]
async fn trimmed_messages_are_a_gap_or_a_status() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &["--history-max-messages=5"]).await;
    let subscriber = Subscriber::start(&redis.url(), &["--history-max-messages=5"]).await;
    let mut receipts = Vec::new();
    for n in 1..=30 {
        receipts.push(publisher.client().publish(text("short", n.to_string())).await.expect("published").into_inner());
    }
    let kept = sequences(&subscriber.list("short").await);
    assert_eq!((kept.len(), kept.last()), (5, Some(&30)), "{kept:?}");

    let after = StreamMessagesRequest { after: vec![receipts[9].cursor.clone()], ..channel("short") };
    let mut stream = subscriber.stream(after.clone()).await;
    stream.started().await;
    let gap = stream.gap().await;
    assert_eq!((gap.channel.as_str(), gap.reason()), ("short", GapReason::Trimmed));
    assert_eq!((gap.first_missing, gap.last_missing), (11, kept[0] - 1));
    assert_eq!(gap.epoch, receipts[9].epoch);
    assert_eq!(sequences(&stream.messages(5).await), kept);
    stream.caught_up().await;

    // The gap's cursor resumes after it, and so does that of the status.
    let resumed = StreamMessagesRequest { after: vec![gap.cursor.clone()], ..channel("short") };
    let mut stream = subscriber.stream(resumed).await;
    stream.started().await;
    assert_eq!(stream.message().await.sequence, kept[0]);
    let failing = StreamMessagesRequest { on_gap: OnGap::Fail.into(), ..after };
    let refused = match subscriber.client().stream_messages(failing).await {
        Ok(stream) => crate::harness::Stream::new(stream.into_inner()).end().await,
        Err(refused) => refused,
    };
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::OutOfRange, "TRIMMED"), "{refused:?}");
    let info = refused.get_details_error_info().expect("info");
    assert_eq!(info.metadata.get("cursor"), Some(&gap.cursor));

    // What begins at the retained reports nothing before it.
    let mut earliest = subscriber.stream(StreamMessagesRequest { earliest: true, ..channel("short") }).await;
    earliest.started().await;
    assert_eq!(earliest.message().await.sequence, kept[0]);
    publisher.stop();
    subscriber.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flushed_redis_is_a_gap_on_open_streams_and_for_cursors() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    let mut stream = subscriber.stream(channel("flushed")).await;
    stream.started().await;
    stream.caught_up().await;
    let mut cursor = String::new();
    for n in 1..=3 {
        cursor =
            publisher.client().publish(text("flushed", n.to_string())).await.expect("published").into_inner().cursor;
    }
    assert_eq!(sequences(&stream.messages(3).await), [1, 2, 3]);
    redis.command(&["FLUSHALL"]);
    let receipt = publisher.client().publish(text("flushed", "new")).await.expect("published").into_inner();

    let gap = stream.gap().await;
    assert_eq!((gap.channel.as_str(), gap.reason()), ("flushed", GapReason::EpochChanged));
    let message = stream.message().await;
    assert_eq!((message.sequence, &message.epoch), (receipt.sequence, &receipt.epoch));
    let mut resumed = subscriber.stream(StreamMessagesRequest { after: vec![cursor], ..channel("flushed") }).await;
    resumed.started().await;
    assert_eq!(resumed.gap().await.reason(), GapReason::EpochChanged);
    assert_eq!(resumed.message().await, message);
    publisher.stop();
    subscriber.stop();
}
