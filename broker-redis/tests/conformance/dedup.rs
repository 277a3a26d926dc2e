//! To publish twice is to publish once.

use std::time::Duration;

use futures_util::future::join_all;
use tidings::{
    broker::{Error, Receipt, Retention},
    message::{DedupKey, Draft, Sender},
};
use uuid::Uuid;

use crate::fixture::{Fixture, KEEP_ALL, head, name, publish, read_all, text};

/// A window in which no test can meet the border of two generations: the next one is in the year 2033.
const WIDE: Retention = Retention { dedup_window_ms: 1_000_000_000_000, ..KEEP_ALL };

fn with_id(id: Uuid, payload: &str) -> Draft {
    Draft { id, dedup: Some(DedupKey::new(Sender::Unasked, id)), ..text(payload) }
}

fn repeat_of(first: Receipt) -> Receipt {
    Receipt { duplicate: true, ..first }
}

pub(crate) async fn a_repeat_is_answered_with_the_first_receipt(fixture: &Fixture) {
    let brokers = fixture.brokers(KEEP_ALL, 2).await;
    let (channel, id) = (name("orders"), Uuid::new_v4());
    let first = publish(&brokers[0], &channel, vec![with_id(id, "a")]).await[0];
    assert!(!first.duplicate);
    publish(&brokers[0], &channel, vec![text("between")]).await;
    for payload in ["a", "another payload"] {
        for broker in &brokers {
            assert_eq!(publish(broker, &channel, vec![with_id(id, payload)]).await, [repeat_of(first)]);
        }
    }
    assert_eq!(read_all(&brokers[0], &channel).await.len(), 2);
    // In a batch, only what is new is published.
    let mixed = vec![text("b"), with_id(id, "a"), text("c")];
    let receipts = publish(&brokers[1], &channel, mixed).await;
    assert_eq!(receipts.iter().map(|receipt| receipt.sequence).collect::<Vec<_>>(), [3, 1, 4]);
    assert_eq!(receipts[1], repeat_of(first));
}

pub(crate) async fn fifty_at_once_are_published_once(fixture: &Fixture) {
    let brokers = fixture.brokers(KEEP_ALL, 2).await;
    let (channel, id) = (name("orders"), Uuid::new_v4());
    let calls = (0..50).map(|i| {
        let (broker, channel) = (brokers[i % 2].clone(), channel.clone());
        tokio::spawn(async move { publish(&broker, &channel, vec![with_id(id, &i.to_string())]).await[0] })
    });
    let receipts: Vec<_> = join_all(calls).await.into_iter().map(|receipt| receipt.expect("no panic")).collect();
    assert_eq!(receipts.iter().filter(|receipt| !receipt.duplicate).count(), 1);
    assert!(receipts.iter().all(|receipt| repeat_of(*receipt) == repeat_of(receipts[0])));
    assert_eq!(read_all(&brokers[0], &channel).await.len(), 1);
}

pub(crate) async fn repeats_within_a_batch_are_duplicates(fixture: &Fixture) {
    let broker = fixture.broker(KEEP_ALL).await;
    let (channel, a, b) = (name("orders"), Uuid::new_v4(), Uuid::new_v4());
    let batch = vec![with_id(a, "1"), with_id(b, "2"), with_id(a, "3"), text("4"), with_id(b, "5")];
    let receipts = publish(&broker, &channel, batch).await;
    let answers: Vec<_> = receipts.iter().map(|receipt| (receipt.id, receipt.sequence, receipt.duplicate)).collect();
    let fresh = receipts[3].id;
    assert_eq!(answers, [(a, 1, false), (b, 2, false), (a, 1, true), (fresh, 3, false), (b, 2, true)]);
    assert_eq!(read_all(&broker, &channel).await.len(), 3);
}

pub(crate) async fn ids_are_remembered_per_channel(fixture: &Fixture) {
    let broker = fixture.broker(KEEP_ALL).await;
    let id = Uuid::new_v4();
    for channel in ["orders", "invoices"] {
        let receipt = publish(&broker, &name(channel), vec![with_id(id, "a")]).await[0];
        assert_eq!((receipt.sequence, receipt.duplicate), (1, false), "{channel}");
    }
}

pub(crate) async fn ids_nobody_gave_are_not_compared(fixture: &Fixture) {
    let broker = fixture.broker(KEEP_ALL).await;
    let (channel, draft) = (name("orders"), text("a"));
    publish(&broker, &channel, vec![draft.clone()]).await;
    let receipts = publish(&broker, &channel, vec![draft.clone(), draft]).await;
    assert!(receipts.iter().all(|receipt| !receipt.duplicate));
    assert_eq!(read_all(&broker, &channel).await.len(), 3);
}

pub(crate) async fn after_the_window_an_id_is_new(fixture: &Fixture) {
    let broker = fixture.broker(Retention { dedup_window_ms: 1_000, ..KEEP_ALL }).await;
    let (channel, id) = (name("orders"), Uuid::new_v4());
    let first = publish(&broker, &channel, vec![with_id(id, "a")]).await[0];
    let repeat = publish(&broker, &channel, vec![with_id(id, "a")]).await[0];
    assert_eq!(repeat, repeat_of(first));
    // An id is remembered for two windows at most.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let again = publish(&broker, &channel, vec![with_id(id, "a")]).await[0];
    assert_eq!((again.sequence, again.duplicate), (2, false));
    assert_eq!(publish(&broker, &channel, vec![with_id(id, "a")]).await, [repeat_of(again)]);
}

pub(crate) async fn too_many_ids_refuse_the_whole_batch(fixture: &Fixture) {
    let broker = fixture.broker(Retention { dedup_max_ids: 3, ..WIDE }).await;
    let channel = name("orders");
    let ids: Vec<_> = (0..4).map(|_| Uuid::new_v4()).collect();
    let batch = |ids: &[Uuid]| ids.iter().map(|id| with_id(*id, "a")).collect::<Vec<_>>();
    let full = Err(Error::TooManyIds { limit: 3 });
    assert_eq!(broker.publish(&channel, batch(&ids), 0).await, full);
    assert_eq!(head(&broker, &channel).await, None);

    let receipts = publish(&broker, &channel, batch(&ids[..3])).await;
    let one_too_many = [batch(&ids[3..]), vec![text("b")]].concat();
    assert_eq!(broker.publish(&channel, one_too_many, 0).await, full);
    assert_eq!(publish(&broker, &channel, batch(&ids[1..2])).await, [repeat_of(receipts[1])]);
    assert_eq!(publish(&broker, &channel, vec![text("b")]).await[0].sequence, 4);
}
