//! Dead letters that are still to be published.

use std::time::Duration;

use bytes::Bytes;
use tidings::{
    broker::subscriptions::{Change, Letter, LetterId, Start},
    limits::{DEAD_BYTES, PAGE_BYTES},
    message::Position,
    subscription::Generation,
};

use super::rig::{HOLD, Rig, letter};
use crate::fixture::Fixture;

fn sequences(letters: &[(LetterId, Letter)]) -> Vec<i64> {
    letters.iter().map(|(id, _)| id.sequence).collect()
}

fn ids(letters: &[(LetterId, Letter)]) -> Vec<LetterId> {
    letters.iter().map(|(id, _)| id.clone()).collect()
}

pub(crate) async fn a_letter_is_in_the_outbox_until_it_is_sent(fixture: &Fixture) {
    let [mut rig, other] = Rig::two(fixture).await;
    rig.publish(9).await;
    assert_eq!((rig.outbox(10).await, rig.look().await.unsent), (Vec::new(), 0));
    let letters = rig.kill(9, &[2, 3, 5]).await;
    assert_eq!(other.outbox(10).await, letters);
    let books = rig.look().await;
    assert_eq!((books.dead, books.unsent), (3, 3));
    let missing = LetterId { dead_ms: letters[1].0.dead_ms - 1, ..letters[1].0.clone() };
    for _ in 0..2 {
        other.sent(&[letters[0].0.clone(), missing.clone(), letters[2].0.clone()]).await;
        let books = rig.look().await;
        assert_eq!((rig.outbox(10).await, books.unsent, books.dead), (letters[1..2].to_vec(), 1, 3));
    }
    assert_eq!(rig.letters().await, letters, "they stay");
    // A seek changes nothing of it.
    rig.generation = Generation::random();
    assert_eq!(rig.books.seek(&rig.place, Start::After(Position::START), rig.generation, HOLD).await, Ok(true));
    assert_eq!((other.outbox(10).await, rig.look().await.unsent), (letters[1..2].to_vec(), 1));
    rig.sent(&[]).await;
    rig.sent(&ids(&letters)).await;
    assert_eq!((rig.outbox(10).await, rig.look().await.unsent), (Vec::new(), 0));
}

pub(crate) async fn the_outbox_comes_oldest_first_in_pieces(fixture: &Fixture) {
    let rig = Rig::new(fixture).await;
    rig.publish(20).await;
    let block = rig.lease(20, &[2, 9, 10, 20]).await;
    rig.done(Change { blocks: vec![block], ..Change::default() }).await;
    let epoch = rig.epoch().await;
    for some in [&[20][..], &[10, 9], &[2]] {
        let dead = some.iter().map(|sequence| letter(epoch, *sequence)).collect();
        rig.done(Change { dead, ..Change::default() }).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for limit in 1..=5 {
        let expected = &[20, 9, 10, 2][..limit.min(4)];
        assert_eq!(sequences(&rig.outbox(limit).await), expected);
    }
    let mut sent = Vec::new();
    loop {
        let some = rig.outbox(3).await;
        if some.is_empty() {
            break;
        }
        sent.extend(sequences(&some));
        rig.sent(&ids(&some)).await;
    }
    assert_eq!(sent, [20, 9, 10, 2]);
    // Large ones come in pieces as well.
    let json = Bytes::from(vec![b'x'; PAGE_BYTES / 2]);
    let large = |sequence| Letter { json: json.clone(), ..letter(epoch, sequence) };
    for sequence in 11..=13 {
        rig.done(Change { dead: vec![large(sequence)], ..Change::default() }).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(sequences(&rig.outbox(10).await), [11, 12]);
}

pub(crate) async fn what_is_put_back_leaves_the_outbox(fixture: &Fixture) {
    let rig = Rig::new(fixture).await;
    rig.publish(9).await;
    let letters = rig.kill(9, &[2, 3]).await;
    assert_eq!(rig.redrive(&ids(&letters[..1]), Duration::ZERO, Duration::ZERO).await, 1);
    assert_eq!((sequences(&rig.outbox(10).await), rig.look().await.unsent), (vec![3], 1));
    // It dies again, and is another letter.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let mut again = letter(rig.epoch().await, 2);
    again.attempts.redrives += 1;
    rig.done(Change { take: vec![2], dead: vec![again.clone()], ..Change::default() }).await;
    let outbox = rig.outbox(10).await;
    assert_eq!(sequences(&outbox), [3, 2]);
    assert_eq!(outbox[1].1, again);
    assert_ne!(again.copy_id(&rig.place, 5), letters[0].1.copy_id(&rig.place, 5));
    // What was published before it died again is not this one.
    rig.sent(&ids(&letters)).await;
    assert_eq!(sequences(&rig.outbox(10).await), [2]);
}

pub(crate) async fn what_outgrows_the_outbox_is_lost(fixture: &Fixture) {
    let rig = Rig::new(fixture).await;
    rig.publish(40).await;
    let epoch = rig.epoch().await;
    let json = Bytes::from(vec![b'x'; DEAD_BYTES / 8]);
    let large = |sequence| Letter { json: json.clone(), ..letter(epoch, sequence) };
    for sequence in 1..=7 {
        rig.done(Change { dead: vec![large(sequence)], ..Change::default() }).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let books = rig.look().await;
    assert_eq!((books.dead, books.unsent, books.lost), (7, 7, 0));
    let first = rig.outbox(1).await;
    rig.sent(&ids(&first)).await;
    // The first goes, and was published. So does the second, which was not.
    for (sequence, unsent, lost) in [(8, 7, 0), (9, 7, 1)] {
        rig.done(Change { dead: vec![large(sequence)], ..Change::default() }).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        let books = rig.look().await;
        assert_eq!((books.dead, books.unsent, books.lost), (7, unsent, lost), "{sequence}");
    }
    assert_eq!(sequences(&rig.outbox(1).await), [3]);
}
