//! What is kept of a log because it is not settled. A log of runs may keep one run more than the limit.

use std::time::Duration;

use tidings::{
    broker::{
        Retention,
        subscriptions::{Change, Hold, Set},
    },
    limits::{HOLD_MESSAGES_FACTOR, RUN_MESSAGES},
};

use super::rig::{HOLD, Rig};
use crate::fixture::{Fixture, KEEP_ALL, publish, read_all, text};

const FEW: Retention = Retention { max_messages: 100, ..KEEP_ALL };

impl Rig {
    /// The sequences that the log has, without a hole.
    async fn kept(&self) -> std::ops::RangeInclusive<i64> {
        let log = read_all(&self.broker, &self.place.channel).await;
        let (first, last) = (log.first().expect("kept").sequence, log.last().expect("kept").sequence);
        assert_eq!(log.len() as i64, last - first + 1);
        first..=last
    }

    /// Settles all up to a message, but these.
    async fn settle(&self, to: i64, out: &[i64]) {
        let change = self.claim(to, out).await;
        self.done(change).await;
        self.renew(HOLD).await;
    }
}

pub(crate) async fn what_is_not_settled_is_not_trimmed(fixture: &Fixture) {
    let rig = Rig::with(fixture, FEW, HOLD).await;
    for _ in 0..5 {
        rig.publish(100).await;
    }
    assert_eq!(rig.kept().await, 1..=500, "nothing was handed out");
    rig.settle(250, &[201]).await;
    rig.publish(100).await;
    let kept = rig.kept().await;
    assert!(*kept.start() <= 201 && *kept.end() == 600, "one is out: {kept:?}");
    rig.settle(600, &[]).await;
    let settled = rig.look().await;
    assert_eq!(settled.oldest, Some(201), "it is still out");
    assert_eq!(rig.books.delete(&rig.place, None).await, Ok(Set::Done));
    rig.publish(100).await;
    let kept = rig.kept().await;
    assert!(kept.end() - kept.start() < 100 + RUN_MESSAGES as i64, "a deleted subscription holds nothing: {kept:?}");
}

pub(crate) async fn beyond_its_messages_nothing_is_held(fixture: &Fixture) {
    let rig = Rig::with(fixture, FEW, HOLD).await;
    for _ in 0..20 {
        rig.publish(100).await;
    }
    let most = 100 * HOLD_MESSAGES_FACTOR as i64;
    let kept = rig.kept().await;
    let count = kept.end() - kept.start() + 1;
    assert!((most..=most + RUN_MESSAGES as i64).contains(&count) && *kept.end() == 2_000, "{kept:?}");
    // It holds what is left until it is settled.
    rig.settle(2_000, &[]).await;
    rig.publish(50).await;
    let kept = rig.kept().await;
    assert!(kept.end() - kept.start() < 100 + RUN_MESSAGES as i64 && *kept.end() == 2_050, "{kept:?}");
}

pub(crate) async fn the_bytes_of_a_hold_are_kept_and_no_more(fixture: &Fixture) {
    let hold = Hold { bytes: 60_000, ..HOLD };
    let rig = Rig::with(fixture, Retention { max_bytes: 20_000, ..KEEP_ALL }, hold).await;
    let mut published = 0;
    while published < 150 {
        let drafts = (0..5).map(|_| text(&"x".repeat(1_000))).collect();
        published += publish(&rig.broker, &rig.place.channel, drafts).await.len();
        let log = read_all(&rig.broker, &rig.place.channel).await;
        let (bytes, one) = (log.iter().map(|stored| stored.json.len()).sum::<usize>(), log[0].json.len());
        assert!(bytes > (published * one).min(60_000 - one) - one, "{bytes} after {published}");
        assert!(bytes <= 60_000 + 5 * one, "{bytes} after {published}");
    }
}

/// What the history's age would let go is held up to the bytes of the hold, though the history may have more.
pub(crate) async fn a_hold_with_fewer_bytes_than_the_history_holds_no_more_of_what_is_old(fixture: &Fixture) {
    let hold = Hold { bytes: 20_000, ..HOLD };
    let rig = Rig::with(fixture, Retention { max_bytes: 60_000, max_age_ms: 600, ..KEEP_ALL }, hold).await;
    let fill = async |count: usize| {
        for _ in 0..count {
            publish(&rig.broker, &rig.place.channel, vec![text(&"x".repeat(1_000))]).await;
        }
    };
    fill(40).await;
    assert_eq!(rig.kept().await, 1..=40, "it is young, and within the history's bytes");
    tokio::time::sleep(Duration::from_millis(900)).await;
    fill(1).await;
    let kept = rig.kept().await;
    assert!((12..=20).contains(&(kept.end() - kept.start())) && *kept.end() == 41, "{kept:?}");
}

pub(crate) async fn what_is_not_settled_outlives_the_histories_age(fixture: &Fixture) {
    let rig = Rig::with(fixture, Retention { max_age_ms: 600, ..KEEP_ALL }, HOLD).await;
    rig.publish(2).await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(rig.kept().await, 1..=2, "a quiet log stays");
    rig.publish(1).await;
    assert_eq!(rig.kept().await, 1..=3, "a publish does not trim it");
    let block = rig.lease(3, &[2]).await;
    rig.renew(HOLD).await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    rig.publish(1).await;
    let kept = rig.kept().await;
    assert!(*kept.start() <= 2 && *kept.end() == 4, "one is out: {kept:?}");
    rig.done(Change { blocks: vec![block], ..Change::default() }).await;
    rig.settle(4, &[]).await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    rig.publish(1).await;
    assert_eq!(rig.kept().await, 5..=5);
}
