//! What fault tests share: services on a Redis that is troubled, publishers that continue through all of it, streams
//! that are recorded, and the check of one against the other.

mod check;
mod crowd;
mod watch;

use std::time::Duration;

use tidings::pb::{PublishResponse, StreamMessagesRequest};
use tidings_testing::{Proxy, RedisServer};
use tokio::time::Instant;

pub(crate) use self::{
    check::{Named, check},
    crowd::Crowd,
    watch::Watch,
};
use crate::harness::{Publisher, Subscriber, TEST_TIMEOUT, channel, pattern, text};

/// What the services allow Redis here.
pub(crate) const REDIS_TIMEOUT: Duration = Duration::from_secs(1);

/// A publisher and a subscriber, as processes.
pub(crate) struct Rig {
    pub(crate) publisher: Publisher,
    pub(crate) subscriber: Subscriber,
}

impl Rig {
    /// On the Redis at this URL.
    pub(crate) async fn at(url: &str, args: &[&str]) -> Self {
        let mut all = Vec::new();
        if !args.iter().any(|arg| arg.starts_with("--redis-timeout")) {
            all.push("--redis-timeout=1s");
        }
        all.extend(args);
        let publisher = Publisher::start(url, &all).await;
        let subscriber = Subscriber::start(url, &all).await;
        Self { publisher, subscriber }
    }

    /// On this Redis.
    pub(crate) async fn on(redis: &RedisServer) -> Self {
        Self::at(&redis.url(), &[]).await
    }

    /// On what a proxy leads to.
    pub(crate) async fn through(proxy: &Proxy) -> Self {
        Self::at(&proxy.url(), &[]).await
    }

    /// Opens a stream of a channel and one of a pattern that matches it and more, and records them; both begin at the
    /// live end.
    pub(crate) async fn watch_both(&self, name: &str, glob: &str) -> [Watch; 2] {
        [self.watch(channel(name)).await, self.watch(pattern(glob)).await]
    }

    /// Opens a stream and records it; it begins at the live end.
    pub(crate) async fn watch(&self, request: StreamMessagesRequest) -> Watch {
        Watch::open(self.subscriber.client(), request).await
    }

    /// Publishes these texts one after the other, each of which must succeed at once.
    pub(crate) async fn publish(&self, channel: &str, texts: impl IntoIterator<Item = i64>) -> Vec<PublishResponse> {
        let mut receipts = Vec::new();
        for n in texts {
            let published = self.publisher.client().publish(text(channel, n.to_string())).await;
            receipts.push(published.expect("published").into_inner());
        }
        receipts
    }

    /// Publishes one text as a client should, with an id and until it works.
    pub(crate) async fn publish_stubbornly(&self, channel: &str, n: i64) -> PublishResponse {
        crowd::publish(&mut self.publisher.client(), channel, n.to_string()).await
    }

    /// Stops both, which must end well.
    pub(crate) fn stop(self) {
        self.publisher.stop();
        self.subscriber.stop();
    }
}

/// Waits for a condition that must come about.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while !condition() {
        assert!(Instant::now() < deadline, "gave up waiting: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
