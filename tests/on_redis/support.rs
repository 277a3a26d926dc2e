//! A broker on a test's own server, and short names for what tests do.

use std::{sync::Arc, time::Duration};

use tidings::{
    broker::{
        Broker, Error, Head, Published, Receipt, Retention, State,
        redis::{Redis, Role, ServerUrl, Settings},
    },
    channel::{ChannelName, Names},
    message::{Draft, Payload},
};
use tidings_testing::RedisServer;
use tokio::time::timeout;
use uuid::Uuid;

pub(crate) const RETENTION: Retention = Retention {
    max_messages: 100_000,
    max_bytes: 64 << 20,
    max_age_ms: 3_600_000,
    dedup_window_ms: 120_000,
    dedup_max_ids: 1_000,
};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Ok(done) => done,
        Err(_) => panic!("gave up waiting: {what}"),
    }
}

/// A broker that need not be connected.
pub(crate) fn start(url: &str, timeout: Duration, retention: Retention) -> Arc<Redis> {
    let url = ServerUrl::parse(url).expect("a URL");
    Redis::start(Settings { url, key_prefix: "tidings".to_owned(), timeout, retention, role: Role::Both })
}

/// A connected broker.
pub(crate) async fn broker(redis: &RedisServer) -> Arc<Redis> {
    let broker = start(&redis.url(), Duration::from_secs(5), RETENTION);
    becomes_up(&broker).await;
    broker
}

pub(crate) async fn becomes_up(broker: &Redis) {
    let mut state = broker.state();
    within("the broker is up", state.wait_for(|state| *state == State::Up)).await.expect("a state");
}

/// Waits until the broker is down, and answers why.
pub(crate) async fn becomes_down(broker: &Redis, why: &str) {
    let mut state = broker.state();
    let down = state.wait_for(|state| matches!(state, State::Down(reason) if reason.contains(why)));
    within(why, down).await.expect("a state");
}

pub(crate) fn name(name: &str) -> ChannelName {
    Names::new("tidings", "").expect("names").parse(name).expect("a name")
}

pub(crate) fn draft(text: &str) -> Draft {
    Draft {
        id: Uuid::now_v7(),
        deduplicate: false,
        payload: Payload::Text(text.to_owned()),
        attributes: Vec::new(),
        ordering_key: String::new(),
    }
}

pub(crate) fn draft_with_id(text: &str, id: Uuid) -> Draft {
    Draft { id, deduplicate: true, ..draft(text) }
}

pub(crate) async fn try_publish(broker: &Redis, channel: &ChannelName, drafts: Vec<Draft>) -> Published {
    within("an answer", broker.publish(channel, drafts, 0)).await
}

pub(crate) async fn publish(broker: &Redis, channel: &ChannelName, text: &str) -> Receipt {
    try_publish(broker, channel, vec![draft(text)]).await.expect("published")[0]
}

/// Publishes as soon as a server that was restarted takes it: what fails before was lost with the old connection.
pub(crate) async fn publish_again(broker: &Redis, channel: &ChannelName, drafts: Vec<Draft>) -> Receipt {
    loop {
        match try_publish(broker, channel, drafts.clone()).await {
            Ok(receipts) => return receipts[0],
            Err(Error::OutcomeUnknown(_) | Error::Unavailable(_)) => {
                tokio::time::sleep(Duration::from_millis(20)).await
            }
            Err(other) => panic!("{other}"),
        }
    }
}

pub(crate) async fn head(broker: &Redis, channel: &ChannelName) -> Option<Head> {
    let heads = within("heads", broker.heads(std::slice::from_ref(channel))).await.expect("heads");
    heads.into_iter().next().expect("one")
}

/// The text of an UNAVAILABLE, which says that nothing was done.
pub(crate) fn unavailable(published: Published) -> String {
    match published {
        Err(Error::Unavailable(text)) => text,
        other => panic!("expected Unavailable, got {other:?}"),
    }
}
