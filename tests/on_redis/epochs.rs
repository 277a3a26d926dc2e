//! Epochs follow Redis's own fate.

use tidings::broker::{Broker as _, From, PageLimit, history::EpochStart};
use tidings_testing::RedisServer;

use crate::support::{broker, draft, draft_with_id, head, name, publish, publish_again, try_publish, within};

const DURABLE: [&str; 6] = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"];

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_lost_nothing_begins_an_epoch_without_a_loss() {
    let mut redis = RedisServer::start_with(&DURABLE);
    let broker = broker(&redis).await;
    let channel = name("restarted");
    let first = publish(&broker, &channel, "1").await;
    publish(&broker, &channel, "2").await;
    redis.restart();
    let third = publish_again(&broker, &channel, vec![draft("3")]).await;
    assert_eq!(third.sequence, 3);
    assert_ne!(third.epoch, first.epoch);
    let head = head(&broker, &channel).await.expect("a head");
    assert_eq!(head.epochs[1], EpochStart { epoch: third.epoch, first: 3, previous_end: 2 });
    assert_eq!(publish(&broker, &channel, "4").await.epoch, third.epoch);
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_lost_writes_says_how_far_the_old_epoch_went() {
    let mut redis = RedisServer::start();
    let broker = broker(&redis).await;
    let channel = name("snapshot");
    let first = publish(&broker, &channel, "1").await;
    publish(&broker, &channel, "2").await;
    redis.command(&["SAVE"]);
    for text in ["3", "4", "5"] {
        publish(&broker, &channel, text).await;
    }
    redis.restart();
    let next = publish_again(&broker, &channel, vec![draft("6")]).await;
    assert_eq!(next.sequence, 3, "Redis came back with two");
    let head = head(&broker, &channel).await.expect("a head");
    assert_eq!(head.epochs[0].epoch, first.epoch);
    assert_eq!(head.epochs[1], EpochStart { epoch: next.epoch, first: 3, previous_end: 5 });
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flushed_channel_begins_again() {
    let redis = RedisServer::start();
    let broker = broker(&redis).await;
    let channel = name("flushed");
    let before = publish(&broker, &channel, "1").await;
    publish(&broker, &channel, "2").await;
    redis.command(&["FLUSHALL"]);
    assert_eq!(head(&broker, &channel).await, None);
    let after = publish(&broker, &channel, "3").await;
    assert_eq!(after.sequence, 1);
    assert_ne!(after.epoch, before.epoch);
    // The registry was flushed as well; the new epoch brings the channel back.
    let listed = within("names", broker.channels(None, "", 10)).await.expect("names");
    assert_eq!(listed, [channel]);
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_head_goes_on_from_its_log() {
    let redis = RedisServer::start();
    let broker = broker(&redis).await;
    let channel = name("headless");
    let before = publish(&broker, &channel, "1").await;
    publish(&broker, &channel, "2").await;
    redis.command(&["DEL", "tidings:{headless}:head"]);
    let waiting = head(&broker, &channel).await.expect("the log lives");
    assert!(waiting.epochs.is_empty());
    let after = publish(&broker, &channel, "3").await;
    assert_eq!(after.sequence, 3);
    assert_ne!(after.epoch, before.epoch);
    assert!(after.time_ms >= before.time_ms);
    let limit = PageLimit { messages: 10, bytes: 1 << 20 };
    let page = within("a page", broker.read(&channel, From::After(0), limit)).await.expect("read");
    assert_eq!(page.messages.len(), 3, "nothing was dropped");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_behind_its_log_goes_on_behind_the_log() {
    let redis = RedisServer::start();
    let broker = broker(&redis).await;
    let channel = name("behind");
    for text in ["1", "2", "3"] {
        publish(&broker, &channel, text).await;
    }
    redis.command(&["HSET", "tidings:{behind}:head", "s", "1"]);
    let next = publish(&broker, &channel, "4").await;
    assert_eq!(next.sequence, 4);
    let head = head(&broker, &channel).await.expect("a head");
    assert_eq!(head.epochs.last().map(|start| (start.first, start.previous_end)), Some((4, 3)));
    assert_eq!((head.first, head.last), (1, 4), "nothing was dropped");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_begins_no_epoch() {
    let mut redis = RedisServer::start_with(&DURABLE);
    let broker = broker(&redis).await;
    let channel = name("repeated");
    let id = uuid::Uuid::now_v7();
    let repeat = || vec![draft_with_id("x", id)];
    let first = try_publish(&broker, &channel, repeat()).await.expect("published")[0];
    redis.restart();
    let again = publish_again(&broker, &channel, repeat()).await;
    assert!(again.duplicate);
    assert_eq!((again.sequence, again.epoch), (first.sequence, first.epoch));
    assert_eq!(head(&broker, &channel).await.expect("a head").epochs.len(), 1);
    broker.close().await;
}
