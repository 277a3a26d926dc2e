//! What is counted of streams: their mode, what they got, their gaps, and how they were
//! repaired.

use tidings::pb::{PublishBatchRequest, StreamMessagesRequest};
use tidings_testing::RedisServer;
use tokio::time::Instant;

use crate::harness::{Admin, Publisher, Scraped, Subscriber, TEST_TIMEOUT, channel, sequences, text};

const LIVE: &str = "tidings_streams{mode=\"live\"}";
const CATCHING_UP: &str = "tidings_streams{mode=\"catching_up\"}";

fn gaps(scraped: &Scraped, reason: &str) -> f64 {
    scraped.value(&format!("tidings_gaps_total{{reason=\"{reason}\"}}"))
}

/// A publisher and a subscriber with the same arguments, and where the subscriber is scraped.
async fn both(redis: &RedisServer, args: &[&str]) -> (Publisher, Subscriber, Admin) {
    let publisher = Publisher::start(&redis.url(), args).await;
    let (subscriber, admin) = Subscriber::start_with_admin(&redis.url(), args).await;
    (publisher, subscriber, admin)
}

async fn publish(publisher: &Publisher, channel: &str, count: usize) {
    for n in 0..count {
        publisher.client().publish(text(channel, n.to_string())).await.expect("published");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_counted_by_mode_and_each_gets_its_deliveries_counted() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let (subscriber, admin) = Subscriber::start_with_admin(&redis.url(), &["--capture="]).await;
    publish(&publisher, "a", 4).await;
    let (mut one, mut two) = (subscriber.stream(channel("a")).await, subscriber.stream(channel("a")).await);
    let mut all = subscriber.stream(StreamMessagesRequest { earliest: true, ..channel("a") }).await;
    all.messages(4).await;
    // Before that it asks the log once more, which may have the next messages then.
    all.caught_up().await;
    publish(&publisher, "a", 3).await;
    for stream in [&mut one, &mut two, &mut all] {
        assert_eq!(sequences(&stream.messages(3).await), [5, 6, 7]);
    }
    let scraped = admin.scrape();
    assert_eq!((scraped.value(LIVE), scraped.value(CATCHING_UP)), (3.0, 0.0));
    assert_eq!(scraped.value("tidings_deliveries_total"), 13.0);
    assert_eq!(scraped.value("tidings_stream_lag_messages_sum"), 4.0);
    assert_eq!(scraped.sum("tidings_gaps_total") + scraped.value("tidings_repairs_total"), 0.0);
    admin.shows("one channel is subscribed to", |scraped| scraped.value("tidings_topics") == 1.0).await;
    assert!(scraped.value("tidings_connections") >= 1.0);
    drop((one, two, all));
    admin.shows("none is open", |scraped| scraped.value(LIVE) == 0.0).await;
    admin.shows("none is subscribed to", |scraped| scraped.value("tidings_topics") == 0.0).await;
    publisher.stop();
    subscriber.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_stopped_is_seen_to_catch_up() {
    let redis = RedisServer::start();
    let (publisher, subscriber, admin) = both(&redis, &[]).await;
    let requests: Vec<_> = (0..500).map(|_| text("", "x".repeat(4_000))).collect();
    for _ in 0..4 {
        let batch = PublishBatchRequest { channel: "big".to_owned(), requests: requests.clone() };
        publisher.client().publish_batch(batch).await.expect("published");
    }
    let mut stream = subscriber.stream(StreamMessagesRequest { earliest: true, ..channel("big") }).await;
    let scraped = admin.shows("it stopped", |scraped| scraped.value("tidings_deliveries_total") > 0.0).await;
    assert_eq!((scraped.value(LIVE), scraped.value(CATCHING_UP)), (0.0, 1.0));
    assert!(scraped.value("tidings_stream_lag_messages_sum") >= 2_000.0);
    stream.messages(2_000).await;
    stream.caught_up().await;
    let scraped = admin.scrape();
    assert_eq!((scraped.value(LIVE), scraped.value(CATCHING_UP)), (1.0, 0.0));
    assert_eq!(scraped.value("tidings_deliveries_total"), 2_000.0);
    publisher.stop();
    subscriber.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_are_counted_by_their_reason() {
    let redis = RedisServer::start();
    let args = ["--history-max-messages=5"];
    let (publisher, subscriber, admin) = both(&redis, &args).await;
    let first = publisher.client().publish(text("a", "1")).await.expect("published").into_inner();
    publish(&publisher, "a", 30).await;
    let after = StreamMessagesRequest { after: vec![first.cursor], ..channel("a") };
    let (mut one, mut two) = (subscriber.stream(after.clone()).await, subscriber.stream(after).await);
    for stream in [&mut one, &mut two] {
        stream.started().await;
        stream.gap().await;
        stream.messages(5).await;
        stream.caught_up().await;
    }
    let scraped = admin.scrape();
    assert_eq!((gaps(&scraped, "trimmed"), scraped.sum("tidings_gaps_total")), (2.0, 2.0));
    redis.command(&["FLUSHALL"]);
    publish(&publisher, "a", 1).await;
    for stream in [&mut one, &mut two] {
        stream.gap().await;
    }
    let scraped = admin.scrape();
    assert_eq!((gaps(&scraped, "epoch_changed"), scraped.sum("tidings_gaps_total")), (2.0, 4.0));
    publisher.stop();
    subscriber.stop();

    let args = ["--history-max-messages=0"];
    let (publisher, subscriber, admin) = both(&redis, &args).await;
    let first = publisher.client().publish(text("b", "1")).await.expect("published").into_inner();
    publish(&publisher, "b", 2).await;
    let mut stream = subscriber.stream(StreamMessagesRequest { after: vec![first.cursor], ..channel("b") }).await;
    stream.started().await;
    stream.gap().await;
    let scraped = admin.scrape();
    assert_eq!((gaps(&scraped, "not_retained"), scraped.sum("tidings_gaps_total")), (1.0, 1.0));
    publisher.stop();
    subscriber.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn repairs_and_reconnections_are_counted_when_listeners_are_thrown_out() {
    let redis = RedisServer::start();
    let (publisher, subscriber, admin) = both(&redis, &[]).await;
    let mut stream = subscriber.stream(channel("a")).await;
    stream.started().await;
    stream.caught_up().await;
    let mut sequence = 0;
    let deadline = Instant::now() + TEST_TIMEOUT;
    // Now and then the link is back before the push, and nothing is to be repaired.
    while admin.scrape().value("tidings_repairs_total") == 0.0 {
        assert!(Instant::now() < deadline, "nothing was repaired: {:#?}", admin.scrape());
        redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        publish(&publisher, "a", 1).await;
        sequence += 1;
        assert_eq!(stream.message().await.sequence, sequence);
    }
    let scraped = admin.scrape();
    assert!(scraped.value("tidings_redis_reconnects_total{connection=\"live\"}") >= 1.0);
    assert_eq!(scraped.value("tidings_redis_reconnects_total{connection=\"command\"}"), 0.0);
    assert_eq!(scraped.value("tidings_deliveries_total"), sequence as f64);
    assert_eq!(scraped.sum("tidings_gaps_total"), 0.0);
    publisher.stop();
    subscriber.stop();
}
