//! Dead letters, and how they come back.

use std::time::Duration;

use tidings::{
    broker::subscriptions::{Change, LetterId, Start},
    message::Position,
    subscription::{Attempts, Generation},
};

use super::rig::{HOLD, HOUR, HOUR_MS, Rig, letter};
use crate::fixture::{Fixture, within};

pub(crate) async fn dead_letters_are_listed_oldest_first_page_by_page(fixture: &Fixture) {
    let [rig, other] = Rig::two(fixture).await;
    rig.publish(30).await;
    let before_ms = rig.now_ms().await;
    let block = rig.lease(30, &[2, 9, 10, 11, 20]).await;
    rig.done(Change { blocks: vec![block], ..Change::default() }).await;
    let epoch = rig.epoch().await;
    for sequences in [&[20][..], &[10, 9], &[2], &[11]] {
        let dead = sequences.iter().map(|sequence| letter(epoch, *sequence)).collect();
        rig.done(Change { dead, ..Change::default() }).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let after_ms = rig.now_ms().await;
    let all = other.letters().await;
    let sequences: Vec<_> = all.iter().map(|(id, _)| id.sequence).collect();
    assert_eq!(sequences, [20, 9, 10, 2, 11], "by time, then by sequence as a number");
    for (id, found) in &all {
        assert_eq!((found, id.epoch), (&letter(epoch, id.sequence), epoch));
        assert!((before_ms..=after_ms).contains(&id.dead_ms), "{id:?}");
    }
    let books = rig.look().await;
    assert_eq!((books.dead, books.waiting, books.state.out, books.oldest), (5, 0, 0, None));
    let page = async |after: Option<&LetterId>, limit, bytes| {
        let page = other.books.dead_letters(&other.place, after, limit, bytes);
        within(page, "a page").await.expect("it can be read")
    };
    for limit in 1..=6 {
        let mut paged = Vec::new();
        loop {
            let next = page(paged.last().map(|(id, _)| id), limit, 1 << 20).await;
            assert!(next.len() <= limit, "{} of {limit}", next.len());
            if next.is_empty() {
                break;
            }
            paged.extend(next);
        }
        assert_eq!(paged, all, "{limit} a page");
    }
    assert_eq!(page(None, 10, 1).await, all[..1], "one at least");
    let between = LetterId { sequence: all[1].0.sequence - 1, ..all[1].0.clone() };
    assert_eq!(page(Some(&between), 10, 1 << 20).await, all[1..], "one that is gone still has its place");
}

pub(crate) async fn a_redriven_message_has_its_json(fixture: &Fixture) {
    let [rig, other] = Rig::two(fixture).await;
    rig.publish(9).await;
    let letters = rig.kill(9, &[2, 3, 5]).await;
    let ids: Vec<_> = letters.iter().map(|(id, _)| id.clone()).collect();
    let before_ms = rig.now_ms().await;
    // The newest first: the order is that of the call.
    let order = [ids[2].clone(), ids[0].clone(), ids[1].clone()];
    assert_eq!(other.redrive(&order, Duration::ZERO, HOUR).await, 3);
    let books = rig.look().await;
    assert_eq!((books.dead, books.waiting, books.oldest), (0, 3, Some(2)));
    let due_ms = books.state.due_ms.expect("it waits");
    assert!((before_ms..=books.state.now_ms).contains(&due_ms));
    let due = rig.due(10).await;
    assert_eq!(due.len(), 1, "the others are due later: {due:?}");
    let (_, letter) = &letters[2];
    assert_eq!((due[0].sequence, due[0].json.as_ref()), (5, Some(&letter.json)));
    let Attempts { first_ms, redrives, .. } = letter.attempts;
    assert_eq!(due[0].attempts, Attempts { count: 0, first_ms, redrives: redrives + 1 });
    rig.done(Change { take: vec![5], forget: vec![5], ..Change::default() }).await;
    let second_ms = rig.look().await.state.due_ms.expect("two wait");
    assert_eq!(second_ms, due_ms + HOUR_MS);
}

pub(crate) async fn a_redrive_that_is_repeated_does_nothing_twice(fixture: &Fixture) {
    let [rig, other] = Rig::two(fixture).await;
    rig.publish(9).await;
    let letters = rig.kill(9, &[2, 3, 5]).await;
    let ids: Vec<_> = letters.iter().map(|(id, _)| id.clone()).collect();
    let unknown = LetterId { dead_ms: ids[0].dead_ms + 1, ..ids[0].clone() };
    for (ids, expected) in [(&[ids[0].clone(), unknown][..], 1), (&ids[..2], 1), (&ids[..2], 0), (&[], 0)] {
        assert_eq!(other.redrive(ids, Duration::ZERO, Duration::ZERO).await, expected);
    }
    assert_eq!(rig.letters().await, letters[2..]);
    // One that is delivered and settled meanwhile does not come back.
    rig.done(Change { take: vec![2, 3], forget: vec![2, 3], ..Change::default() }).await;
    assert_eq!(other.redrive(&ids[..2], Duration::ZERO, Duration::ZERO).await, 0);
    let books = rig.look().await;
    assert_eq!((books.waiting, books.dead, books.oldest), (0, 1, None));
}

pub(crate) async fn what_is_handed_out_again_anyway_does_not_wait_as_well(fixture: &Fixture) {
    let rig = Rig::new(fixture).await;
    let end = rig.publish(9).await;
    let ids: Vec<_> = rig.kill(9, &[2, 5]).await.into_iter().map(|(id, _)| id).collect();
    let third = Start::After(Position { sequence: 3, ..end });
    assert_eq!(rig.books.seek(&rig.place, third, Generation::random(), HOLD).await, Ok(true));
    assert_eq!(rig.redrive(&ids, HOUR, HOUR).await, 2);
    let books = rig.look().await;
    assert_eq!((books.dead, books.waiting, books.oldest, books.state.next), (0, 1, Some(2), 4));
}
