//! Plain Redis programs, and waiting for what becomes of what they publish.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tidings::pb::Message;
use tokio::time::{Instant, sleep};

use crate::{RedisServer, Subscriber, TEST_TIMEOUT};

/// A plain Redis client.
pub async fn plain(redis: &RedisServer) -> MultiplexedConnection {
    let client = redis::Client::open(redis.url()).expect("a URL");
    client.get_multiplexed_async_connection().await.expect("connected")
}

/// Publishes as a plain program does, all at once.
pub async fn burst(plain: &mut MultiplexedConnection, channel: &str, payloads: impl IntoIterator<Item = Vec<u8>>) {
    let mut pipeline = redis::pipe();
    for payload in payloads {
        pipeline.cmd("PUBLISH").arg(channel).arg(payload).ignore();
    }
    pipeline.query_async::<()>(plain).await.expect("published");
}

/// Waits until so many subscribers listen to the notices of a channel.
pub async fn captured(redis: &RedisServer, channel: &str, count: usize) {
    let notices = format!("tidings:{{{channel}}}:adopted");
    eventually("the channel is captured", async || {
        redis.command(&["PUBSUB", "NUMSUB", &notices]).ends_with(&format!(":{count}"))
    })
    .await;
}

/// Waits until a channel's log has so many messages, and answers them.
pub async fn listed(subscriber: &Subscriber, channel: &str, count: usize) -> Vec<Message> {
    eventually("all are in the log", async || subscriber.list(channel).await.len() >= count).await;
    subscriber.list(channel).await
}

/// Polls until something is so.
pub async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while !condition().await {
        assert!(Instant::now() < deadline, "gave up waiting: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
