//! What subscriptions may hold of the logs, all together.

use std::time::Duration;

use tidings_testing::RedisServer;

use super::settings;
use crate::harness::{Publisher, Subscriber, TEST_TIMEOUT, Worker, text};

const MIB: usize = 1 << 20;

/// One that nobody uses has its share cut as well: it is what would fill Redis.
#[tokio::test(flavor = "multi_thread")]
async fn the_more_channels_hold_the_less_each_may() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &["--history-max-bytes=1MiB"]).await;
    let limits = ["--hold-max-bytes=4MiB", "--hold-max-total-bytes=4MiB"];
    let subscriber = Subscriber::start(&redis.url(), &limits).await;
    let forgotten = Worker::create(subscriber.channel(), settings("one")).await;
    let fill = async |count: usize| {
        for _ in 0..count {
            publisher.client().publish(text("one", "x".repeat(MIB / 10))).await.expect("published");
        }
    };
    fill(30).await;
    assert_eq!(forgotten.state().await.oldest_unacknowledged_sequence, 1, "all of it is held");
    for name in ["two", "three", "four"] {
        Worker::create(subscriber.channel(), settings(name)).await;
    }
    let a_share = async {
        while !redis.command(&["HGET", "tidings:{one}:head", "hd"]).ends_with(&format!(",{MIB}")) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, a_share).await.expect("the shares are made smaller");
    fill(1).await;
    let state = forgotten.state().await;
    assert!((5..=11).contains(&state.backlog_count), "{state:?}");
    assert_eq!(state.lost_count + state.backlog_count, 31, "{state:?}");
    publisher.stop();
    subscriber.stop();
}
