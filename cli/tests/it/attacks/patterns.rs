//! Patterns that are costly to compare with long names: `*aaa...b` fits almost everywhere, and a matcher that goes back
//! compares all of it again at each byte of a name.

use std::{net::SocketAddr, ops::Range};

use futures_util::future::join_all;
use tidings::pb::{
    PublishStreamRequest, publisher_service_client::PublisherServiceClient,
    subscriber_service_client::SubscriberServiceClient,
};
use tidings_testing::RedisServer;
use tokio::sync::MutexGuard;

use super::{Memory, alone, withstands};
use crate::harness::{Served, Stream, connect, pattern, text};

/// Streams on one connection, of the 250 calls that it may have.
const ON_ONE: usize = 200;

/// Both services in one process, and the Redis that they are on, if any.
struct Both {
    served: Served,
    publisher: SocketAddr,
    subscriber: SocketAddr,
    _redis: Option<RedisServer>,
    _alone: MutexGuard<'static, ()>,
}

impl Both {
    async fn embedded() -> Self {
        Self::start(None).await
    }

    async fn on_redis() -> Self {
        Self::start(Some(RedisServer::start())).await
    }

    /// One caller may follow as many patterns as there may be.
    async fn start(redis: Option<RedisServer>) -> Self {
        let alone = alone().await;
        let url = redis.as_ref().map(|redis| format!("--redis-url={}", redis.url()));
        let args: Vec<_> = url.as_deref().into_iter().chain(["--caller-max-patterns=10000"]).collect();
        let served = Served::start(&args);
        let address = |url: &str| url.trim_start_matches("http://").parse().expect("an address");
        let (publisher, subscriber) = (address(&served.publisher), address(&served.subscriber));
        Self { served, publisher, subscriber, _redis: redis, _alone: alone }
    }

    async fn publish(&self, names: impl Iterator<Item = String>) {
        let mut client = PublisherServiceClient::new(connect(self.publisher).await);
        let requests: Vec<_> = names.map(|name| PublishStreamRequest { request: Some(text(&name, "x")) }).collect();
        let answers = client.publish_stream(tokio_stream::iter(requests)).await.expect("a stream");
        let mut answers = answers.into_inner();
        while answers.message().await.expect("no error").is_some() {}
    }

    /// Opens a stream for each of these patterns, all at once.
    async fn follow(&self, patterns: Range<usize>) -> Vec<Stream> {
        let client = SubscriberServiceClient::new(connect(self.subscriber).await);
        let open = async |n| {
            let mut stream = Stream::open(client.clone(), pattern(&costly(n))).await;
            stream.started().await;
            stream
        };
        join_all(patterns.map(open)).await
    }
}

/// One of many patterns that match none of the names.
fn costly(n: usize) -> String {
    format!("*{}b{n}", "a".repeat(126))
}

/// One of many names.
fn long(n: usize) -> String {
    format!("{}{n:05}", "a".repeat(249))
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_match_nothing_slow_nobody_down_embedded() {
    messages_are_compared_with_many_patterns(Both::embedded().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_match_nothing_slow_nobody_down_on_redis() {
    messages_are_compared_with_many_patterns(Both::on_redis().await).await;
}

async fn messages_are_compared_with_many_patterns(both: Both) {
    const STREAMS: usize = 2_000;
    let memory = Memory::watch(&both.served.process);
    let mut streams = Vec::new();
    for first in (0..STREAMS).step_by(ON_ONE) {
        streams.extend(both.follow(first..first + ON_ONE).await);
    }
    withstands(both.publisher, both.subscriber, async || both.publish((0..500).map(|n| long(n % 10))).await).await;
    memory.is_bounded("streams of patterns that match nothing");
    drop(streams);
    both.served.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn costly_patterns_are_opened_at_nobody_elses_cost_embedded() {
    names_are_compared_with_costly_patterns(Both::embedded().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn costly_patterns_are_opened_at_nobody_elses_cost_on_redis() {
    names_are_compared_with_costly_patterns(Both::on_redis().await).await;
}

/// Opening a stream of a pattern compares it with all names that there are.
async fn names_are_compared_with_costly_patterns(both: Both) {
    const NAMES: usize = 500;
    both.publish((0..NAMES).map(long)).await;
    let memory = Memory::watch(&both.served.process);
    withstands(both.publisher, both.subscriber, async || {
        for n in 0..20 {
            both.follow(n..n + 1).await;
        }
    })
    .await;
    memory.is_bounded("streams of costly patterns");
    both.served.stop();
}
