//! Messages that wait for a retry.

use std::time::Duration;

use tidings::{
    broker::subscriptions::{Change, Outcome, Waiting},
    subscription::Attempts,
};

use super::rig::{HOUR_MS, Rig, wait};
use crate::fixture::Fixture;

fn take(sequences: &[i64]) -> Change {
    Change { take: sequences.to_vec(), ..Change::default() }
}

pub(crate) async fn what_waits_is_due_in_its_order_and_taken_once(fixture: &Fixture) {
    let [rig, other] = Rig::two(fixture).await;
    rig.publish(20).await;
    let now_ms = rig.now_ms().await;
    // As numbers they are ordered otherwise than as text.
    let waiting = [(10, now_ms - 900), (2, now_ms - 1_000), (9, now_ms - 10), (3, now_ms - 10), (4, now_ms + HOUR_MS)];
    rig.retry(12, &waiting).await;
    let books = rig.look().await;
    assert_eq!((books.waiting, books.state.out, books.oldest), (5, 0, Some(2)));
    assert_eq!(books.state.due_ms, Some(now_ms - 1_000));
    let due = other.due_sequences(10).await;
    assert_eq!(due[..2], [2, 10]);
    assert_eq!((due.len(), due[2..].iter().sum::<i64>()), (4, 3 + 9), "these are due at the same time");
    assert_eq!(other.due_sequences(1).await, [2]);
    // They go out again in a block; who comes second gets none of them.
    let leased = Change { blocks: rig.block(now_ms + HOUR_MS, &[2, 10]).into_iter().collect(), ..take(&[2, 10]) };
    let leased = Change { most_out: 10, ..leased };
    rig.done(leased).await;
    for sequences in [&[2][..], &[10, 3], &[3, 2], &[5]] {
        other.refused(take(sequences), Outcome::Differs).await;
    }
    let books = other.look().await;
    assert_eq!((books.waiting, books.state.out, books.state.due_ms), (3, 2, Some(now_ms - 10)));
    other.done(take(&[3, 9])).await;
    let books = other.look().await;
    assert_eq!((books.waiting, books.oldest, books.state.due_ms), (1, Some(2), Some(now_ms + HOUR_MS)));
    assert_eq!(other.due(10).await, []);
}

pub(crate) async fn what_was_delivered_meanwhile_is_not_taken(fixture: &Fixture) {
    let [rig, other] = Rig::two(fixture).await;
    rig.publish(3).await;
    let now_ms = rig.now_ms().await;
    rig.retry(3, &[(1, now_ms - 10), (2, now_ms - 10)]).await;
    let due = rig.due(10).await;
    let read: Vec<Attempts> = due.iter().map(|due| due.attempts).collect();
    // Another has one of them, and gives it back.
    let attempts = Attempts { count: read[0].count + 1, ..read[0] };
    other.done(take(&[1])).await;
    let waiting = Waiting { sequence: 1, due_ms: now_ms - 5, attempts };
    other.done(Change { wait: vec![waiting], ..Change::default() }).await;
    rig.refused(Change { taken: read.clone(), ..take(&[1, 2]) }, Outcome::Differs).await;
    rig.refused(Change { taken: vec![read[0]], ..take(&[1]) }, Outcome::Differs).await;
    rig.done(Change { taken: vec![attempts, read[1]], ..take(&[1, 2]) }).await;
    assert_eq!(rig.look().await.waiting, 0);
}

pub(crate) async fn what_is_not_due_is_not_taken(fixture: &Fixture) {
    let rig = Rig::new(fixture).await;
    rig.publish(3).await;
    let soon = rig.now_ms().await + 400;
    rig.retry(3, &[(1, soon), (2, soon + HOUR_MS)]).await;
    rig.refused(take(&[2]), Outcome::Differs).await;
    let mut due = Vec::new();
    for _ in 0..100 {
        due = rig.due_sequences(10).await;
        assert!(due.is_empty() || rig.now_ms().await >= soon);
        if !due.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(due, [1]);
    rig.refused(take(&[1, 2]), Outcome::Differs).await;
    rig.done(take(&[1])).await;
    // Who waits again is due at the new time alone.
    rig.done(Change { wait: vec![wait(2, 0)], ..Change::default() }).await;
    let books = rig.look().await;
    assert_eq!((books.waiting, books.state.due_ms), (1, Some(0)));
    rig.done(take(&[2])).await;
    let books = rig.look().await;
    assert_eq!((books.waiting, books.state.due_ms, books.oldest), (0, None, None));
}

pub(crate) async fn attempts_are_remembered_while_it_waits(fixture: &Fixture) {
    let rig = Rig::new(fixture).await;
    rig.publish(3).await;
    rig.retry(3, &[(1, 0), (2, 1)]).await;
    let attempts = Attempts { count: 7, first_ms: 1_800_000_000_000, redrives: 2 };
    let again = Waiting { sequence: 2, due_ms: 1, attempts };
    rig.done(Change { wait: vec![again], ..take(&[2]) }).await;
    let due: Vec<_> = rig.due(10).await.into_iter().map(|due| (due.sequence, due.attempts, due.json)).collect();
    assert_eq!(due, [(1, wait(1, 0).attempts, None), (2, attempts, None)]);
}

pub(crate) async fn json_is_kept_until_settled(fixture: &Fixture) {
    let rig = Rig::new(fixture).await;
    rig.publish(3).await;
    let (id, letter) = rig.kill(3, &[2]).await.remove(0);
    assert_eq!(rig.redrive(&[id], Duration::ZERO, Duration::ZERO).await, 1);
    let json = async || rig.due(10).await.remove(0).json;
    for _ in 0..2 {
        assert_eq!(json().await, Some(letter.json.clone()));
        // It is delivered again and rejected again.
        rig.done(take(&[2])).await;
        rig.done(Change { wait: vec![wait(2, 0)], ..Change::default() }).await;
    }
    rig.done(Change { forget: vec![2], ..take(&[2]) }).await;
    rig.done(Change { wait: vec![wait(2, 0)], ..Change::default() }).await;
    assert_eq!(json().await, None);
}
