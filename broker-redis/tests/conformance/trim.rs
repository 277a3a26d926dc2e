//! What is kept, and for how long. A log of runs may keep one run more than the limit.

use std::time::Duration;

use tidings::{
    broker::{LiveCommand, Retention, Shared, Topic},
    channel::ChannelName,
    limits::RUN_MESSAGES,
};

use crate::fixture::{Fixture, KEEP_ALL, Live, head, name, publish, read_all, text};

/// The sizes of what the log holds, which must be its newest part and what the head says.
async fn kept(broker: &Shared, channel: &ChannelName) -> Vec<usize> {
    let (head, log) = (head(broker, channel).await.expect("published"), read_all(broker, channel).await);
    let sequences: Vec<_> = log.iter().map(|stored| stored.sequence).collect();
    assert_eq!(sequences, (head.first..=head.last).collect::<Vec<_>>());
    log.iter().map(|stored| stored.json.len()).collect()
}

pub(crate) async fn the_log_is_trimmed_by_count(fixture: &Fixture) {
    let broker = fixture.broker(Retention { max_messages: 100, ..KEEP_ALL }).await;
    let channel = name("orders");
    for call in 1..=20 {
        publish(&broker, &channel, (0..40).map(|i| text(&i.to_string())).collect()).await;
        let count = kept(&broker, &channel).await.len();
        assert!(count >= (call * 40).min(100) && count <= 100 + RUN_MESSAGES, "{count}");
    }
    assert_eq!(head(&broker, &channel).await.expect("published").last, 800);
}

pub(crate) async fn the_log_is_trimmed_by_bytes(fixture: &Fixture) {
    let broker = fixture.broker(Retention { max_bytes: 20_000, ..KEEP_ALL }).await;
    let channel = name("orders");
    for _ in 0..20 {
        publish(&broker, &channel, (0..5).map(|_| text(&"x".repeat(1_000))).collect()).await;
    }
    let sizes = kept(&broker, &channel).await;
    let (bytes, call) = (sizes.iter().sum::<usize>(), 5 * sizes[0]);
    assert!(bytes > 20_000 - sizes[0] && bytes <= 20_000 + call, "{bytes}");
    // A message that is larger than the limit replaces all others, and is kept.
    publish(&broker, &channel, vec![text(&"x".repeat(30_000))]).await;
    let sizes = kept(&broker, &channel).await;
    assert!(*sizes.last().expect("kept") > 30_000 && sizes.len() <= 1 + 5, "{sizes:?}");
}

pub(crate) async fn the_log_is_trimmed_by_age(fixture: &Fixture) {
    let broker = fixture.broker(Retention { max_age_ms: 1_500, ..KEEP_ALL }).await;
    let channel = name("orders");
    publish(&broker, &channel, vec![text("1")]).await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    publish(&broker, &channel, vec![text("2"), text("3")]).await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    publish(&broker, &channel, vec![text("4")]).await;
    assert_eq!(kept(&broker, &channel).await.len(), 3);
}

/// Age acts at a publish: what has become too old since stays until the next one, or until the whole log expires.
pub(crate) async fn a_message_that_is_too_old_stays_until_the_next_publish(fixture: &Fixture) {
    let broker = fixture.broker(Retention { max_age_ms: 1_500, ..KEEP_ALL }).await;
    let channel = name("orders");
    publish(&broker, &channel, vec![text("a")]).await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    publish(&broker, &channel, vec![text("b")]).await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(kept(&broker, &channel).await.len(), 2);
    assert_eq!(broker.sequence_before(&channel, 0).await, Ok(0));
    publish(&broker, &channel, vec![text("c")]).await;
    assert_eq!(kept(&broker, &channel).await.len(), 2, "a is gone");
    assert_eq!(head(&broker, &channel).await.expect("published").first, 2);
    tokio::time::sleep(Duration::from_millis(1_600)).await;
    assert!(kept(&broker, &channel).await.is_empty());
}

pub(crate) async fn a_quiet_log_expires_and_its_numbers_continue(fixture: &Fixture) {
    let broker = fixture.broker(Retention { max_age_ms: 600, ..KEEP_ALL }).await;
    let channel = name("orders");
    let before = publish(&broker, &channel, vec![text("1"), text("2")]).await[1];
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert!(kept(&broker, &channel).await.is_empty());
    assert_eq!(broker.sequence_before(&channel, 0).await, Ok(2));
    assert_eq!(broker.channels(None, "", 10).await.expect("listed"), std::slice::from_ref(&channel));
    let after = publish(&broker, &channel, vec![text("3")]).await[0];
    assert_eq!((after.sequence, after.epoch), (3, before.epoch));
    assert_eq!(kept(&broker, &channel).await.len(), 1);
}

pub(crate) async fn without_history_messages_are_numbered_and_pushed(fixture: &Fixture) {
    let broker = fixture.broker(Retention { max_messages: 0, ..KEEP_ALL }).await;
    let channel = name("orders");
    let mut live = Live::open(&broker);
    live.subscribe(Topic::Channel(channel.clone())).await;
    publish(&broker, &channel, vec![text("1"), text("2")]).await;
    let receipt = publish(&broker, &channel, vec![text("3")]).await[0];
    assert_eq!(receipt.sequence, 3);
    assert_eq!(live.sequences(3).await, [1, 2, 3]);
    assert!(read_all(&broker, &channel).await.is_empty());
    let head = head(&broker, &channel).await.expect("published");
    assert_eq!((head.first, head.last, head.keeps_history), (4, 3, false));
    assert_eq!(head.epoch(), Some(receipt.epoch));
    live.send(LiveCommand::Check(channel.clone())).await;
    assert_eq!(live.head().await, (channel, Some(head)));
}
