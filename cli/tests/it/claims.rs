//! Claims that are not what they say: copies with other content, late ones, and a history that was rewritten below
//! its readers.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tidings::pb::{GapReason, PublishRequest, PublishResponse, StreamMessagesRequest, stream_messages_response::Event};
use tidings_testing::RedisServer;
use tokio_stream::StreamExt;

use crate::harness::{Publisher, Stream, Subscriber, channel, pattern, text, text_of};

const KEYS: [&str; 2] = ["tidings:{orders}:head", "tidings:{orders}:log"];

async fn plain(redis: &RedisServer) -> MultiplexedConnection {
    let client = redis::Client::open(redis.url()).expect("a URL");
    client.get_multiplexed_async_connection().await.expect("connected")
}

async fn push(plain: &mut MultiplexedConnection, channel: &str, bytes: &str) {
    let _: i64 = redis::cmd("PUBLISH").arg(channel).arg(bytes).query_async(plain).await.expect("published");
}

async fn open(subscriber: &Subscriber, request: StreamMessagesRequest) -> Stream {
    let mut stream = subscriber.stream(request).await;
    stream.started().await;
    stream.caught_up().await;
    stream
}

/// What each of some messages looks like on Redis.
async fn pushed(redis: &RedisServer, channel: &str, publish: impl AsyncFnOnce()) -> String {
    let client = redis::Client::open(redis.url()).expect("a URL");
    let mut listener = client.get_async_pubsub().await.expect("connected");
    listener.subscribe(channel).await.expect("subscribed");
    publish().await;
    let message = tokio::time::timeout(Duration::from_secs(5), listener.on_message().next()).await.expect("in time");
    message.expect("a message").get_payload().expect("text")
}

async fn publish(publisher: &Publisher, channel: &str, texts: std::ops::RangeInclusive<i64>) -> Vec<PublishResponse> {
    let mut receipts = Vec::new();
    for n in texts {
        let answer = publisher.client().publish(text(channel, format!("text {n}"))).await;
        receipts.push(answer.expect("published").into_inner());
    }
    receipts
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_a_bridge_edits_and_republishes_are_delivered() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let subscriber = Subscriber::start(&redis.url(), &["--capture", "captured"]).await;
    let mut plain = plain(&redis).await;
    let mut streams = [open(&subscriber, channel("orders")).await, open(&subscriber, pattern("ord*")).await];
    let original = pushed(&redis, "orders", async || drop(publish(&publisher, "orders", 1..=1).await)).await;
    let edited = original.replace("text 1", "edited");
    assert_ne!(edited, original);
    push(&mut plain, "orders", &edited).await;
    // A second copy of the very message is none, and neither delays what follows.
    push(&mut plain, "orders", &original).await;
    // A number that was never given out.
    push(&mut plain, "orders", &original.replace("text 1", "invented").replace("\"sequence\":1", "\"sequence\":999"))
        .await;
    publish(&publisher, "orders", 2..=2).await;
    for stream in &mut streams {
        let messages = stream.messages(4).await;
        let mut received: Vec<_> = messages.iter().map(|message| (message.sequence, text_of(message))).collect();
        received.sort_unstable();
        assert_eq!(received, [(0, "edited"), (0, "invented"), (1, "text 1"), (2, "text 2")]);
        stream.is_quiet(Duration::from_millis(200)).await;
    }
    let mut captured = open(&subscriber, channel("captured")).await;
    let original = pushed(&redis, "captured", async || drop(publish(&publisher, "captured", 1..=1).await)).await;
    push(&mut plain, "captured", &original.replace("text 1", "edited")).await;
    let messages = captured.messages(2).await;
    let received: Vec<_> = messages.iter().map(|message| (message.sequence, text_of(message))).collect();
    assert_eq!(received, [(1, "text 1"), (2, "edited")], "captured, it has a position of its own");
    assert_eq!(subscriber.list("captured").await.len(), 2);
    subscriber.stop();
    publisher.stop();
}

/// The head and the log of a channel go back while everybody stays connected, and somebody publishes at once: the
/// publisher itself, or one that knows nothing.
async fn goes_back_within_an_epoch(another: bool) {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    let mut streams = [open(&subscriber, channel("orders")).await, open(&subscriber, pattern("ord*")).await];
    let before = publish(&publisher, "orders", 1..=5).await;
    for key in KEYS {
        assert_eq!(redis.command(&["COPY", key, &format!("kept:{key}")]), ":1");
    }
    publish(&publisher, "orders", 6..=8).await;
    for stream in &mut streams {
        assert_eq!(stream.messages(8).await.len(), 8);
    }
    for key in KEYS {
        assert_eq!(redis.command(&["COPY", &format!("kept:{key}"), key, "REPLACE"]), ":1");
    }
    let writer = if another { Publisher::start(&redis.url(), &[]).await } else { publisher };
    let after = publish(&writer, "orders", 101..=105).await;
    let expected: Vec<i64> = (6..=10).collect();
    assert_eq!(after.iter().map(|receipt| receipt.sequence).collect::<Vec<_>>(), expected);
    assert_eq!(after[0].epoch == before[0].epoch, another);
    for stream in &mut streams {
        let mut messages = Vec::new();
        let mut gaps = Vec::new();
        while messages.len() < 5 {
            match stream.next_event().await {
                Event::Gap(gap) => gaps.push((gap.epoch.clone(), gap.first_missing, gap.last_missing, gap.reason())),
                Event::Message(message) => messages.push((message.sequence, text_of(&message).to_owned())),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(gaps, [(before[0].epoch.clone(), 6, 8, GapReason::EpochChanged)]);
        let written: Vec<_> = (6..=10).map(|sequence| (sequence, format!("text {}", sequence + 95))).collect();
        assert_eq!(messages, written);
    }
    subscriber.stop();
    writer.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_its_publisher_rewrites_is_a_gap() {
    goes_back_within_an_epoch(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_another_publisher_rewrites_is_a_gap() {
    goes_back_within_an_epoch(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_push_of_an_ended_epoch_names_what_it_proves_to_be_lost() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    let mut stream = open(&subscriber, channel("orders")).await;
    let original = pushed(&redis, "orders", async || drop(publish(&publisher, "orders", 1..=1).await)).await;
    let first = publish(&publisher, "orders", 2..=2).await.remove(0);
    // As after a failover that lost nothing.
    redis.command(&["HSET", "tidings:{orders}:head", "r", "another", "w", "another"]);
    publish(&publisher, "orders", 3..=3).await;
    assert_eq!(stream.messages(3).await.len(), 3);
    // A primary that had been replaced gave out two more, and its pushes come late.
    let mut plain = plain(&redis).await;
    push(&mut plain, "orders", &original.replace("\"sequence\":1", "\"sequence\":4")).await;
    let gap = stream.gap().await;
    assert_eq!((gap.epoch.as_str(), gap.first_missing, gap.last_missing), (first.epoch.as_str(), 3, 4));
    // One that is too far away to be believed poisons nothing.
    push(&mut plain, "orders", &original.replace("\"sequence\":1", "\"sequence\":900000")).await;
    publish(&publisher, "orders", 4..=4).await;
    assert_eq!(stream.message().await.sequence, 4);
    subscriber.stop();
    publisher.stop();
}

/// As another deployment's messages look, which numbers them elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_epoch_is_logged_once() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    let mut stream = open(&subscriber, channel("orders")).await;
    let mut receipt = None;
    let original = pushed(&redis, "orders", async || {
        receipt = publish(&publisher, "orders", 1..=1).await.pop();
    });
    let original = original.await;
    let epoch = receipt.expect("published").epoch;
    assert_eq!(text_of(&stream.message().await), "text 1");
    let mut plain = plain(&redis).await;
    for n in 1..=2 {
        let foreign = original.replace(&epoch, &epoch.chars().rev().collect::<String>());
        push(&mut plain, "orders", &foreign.replace("text 1", &format!("foreign {n}"))).await;
        let message = stream.message().await;
        assert_eq!((message.sequence, text_of(&message)), (0, format!("foreign {n}").as_str()));
    }
    let output = subscriber.process.output();
    assert_eq!(output.matches("messages claim an epoch that their channel never had").count(), 1, "{output}");
    subscriber.stop();
    publisher.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn different_deduplication_windows_are_logged_once() {
    let redis = RedisServer::start();
    let long = Publisher::start(&redis.url(), &["--dedup-window=2m"]).await;
    let short = Publisher::start(&redis.url(), &["--dedup-window=1m"]).await;
    for publisher in [&long, &short, &long, &short] {
        let id = uuid::Uuid::now_v7().to_string();
        let request = PublishRequest { message_id: id, ..text("orders", "x") };
        publisher.client().publish(request).await.expect("published");
    }
    let lines = |publisher: &Publisher| publisher.process.output().matches("has a longer --dedup-window").count();
    assert_eq!((lines(&long), lines(&short)), (0, 1), "{}", short.process.output());
    short.stop();
    long.stop();
}
