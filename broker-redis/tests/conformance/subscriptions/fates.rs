//! What an ack that comes too late is told of its message.

use std::time::Duration;

use tidings::{
    broker::{
        Retention,
        subscriptions::{Change, Fate, Start},
    },
    message::{Epoch, Position},
    subscription::Generation,
};

use super::rig::{HOLD, HOUR_MS, Rig, letter};
use crate::fixture::{Fixture, KEEP_ALL, head, within};

async fn settled(rig: &Rig, generation: Generation, messages: &[(Epoch, i64)]) -> Vec<i64> {
    let fates = rig.books.fates(&rig.place, generation, messages);
    let fates = within(fates, "fates").await.expect("they can be read");
    assert_eq!(fates.len(), messages.len());
    let settled = messages.iter().zip(fates).filter(|(_, fate)| *fate == Fate::Settled);
    settled.map(|((_, sequence), _)| *sequence).collect()
}

pub(crate) async fn a_late_ack_is_settled_where_its_message_is(fixture: &Fixture) {
    let mut rig = Rig::new(fixture).await;
    let end = rig.publish(20).await;
    let epoch = rig.epoch().await;
    rig.retry(6, &[(1, 0), (2, HOUR_MS * 1_000_000)]).await;
    let letters = rig.kill(9, &[8]).await;
    let block = rig.lease(15, &[10, 14]).await;
    let all: Vec<_> = (1..=21).map(|sequence| (epoch, sequence)).collect();
    let now = settled(&rig, rig.generation, &all).await;
    assert_eq!(now, [3, 4, 5, 6, 7, 9, 11, 12, 13, 15], "neither what is out, waits, is dead or still to come");
    let backwards: Vec<_> = all.iter().rev().copied().collect();
    assert_eq!(settled(&rig, rig.generation, &backwards).await, now.iter().rev().copied().collect::<Vec<_>>());
    assert_eq!(settled(&rig, rig.generation, &[]).await, [0_i64; 0]);
    assert_eq!(settled(&rig, rig.generation, &[(Epoch::random(), 3), (epoch, 3)]).await, [3]);
    assert_eq!(settled(&rig, Generation::random(), &all).await, [0_i64; 0], "nothing is known of another generation");
    // All of it is settled.
    rig.done(Change { blocks: vec![block], take: vec![1], forget: vec![1, 10, 14], ..Change::default() }).await;
    assert_eq!(settled(&rig, rig.generation, &all[..15]).await, [1, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15]);
    // A letter outlives a seek. What it says of a message does not: no id of the new generation names that death.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let (old, tenth) = (rig.generation, Position { sequence: 10, ..end });
    rig.generation = Generation::random();
    assert_eq!(rig.books.seek(&rig.place, Start::After(tenth), rig.generation, HOLD).await, Ok(true));
    assert_eq!(settled(&rig, old, &all).await, [0_i64; 0]);
    assert_eq!(settled(&rig, rig.generation, &all).await, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(rig.letters().await, letters);
}

pub(crate) async fn what_was_lost_makes_old_acks_uncertain(fixture: &Fixture) {
    let rig = Rig::with(fixture, Retention { max_messages: 10, ..KEEP_ALL }, HOLD).await;
    let mut first = 1;
    while first == 1 {
        let end = rig.publish(200).await;
        let claim = rig.claim(end.sequence, &[]).await;
        rig.done(claim).await;
        rig.renew(HOLD).await;
        first = head(&rig.broker, &rig.place.channel).await.expect("published").first;
    }
    let epoch = rig.epoch().await;
    let messages = [(epoch, first - 1), (epoch, first)];
    assert_eq!(settled(&rig, rig.generation, &messages).await, [first - 1, first]);
    rig.done(Change { lost: 1, ..Change::default() }).await;
    assert_eq!(settled(&rig, rig.generation, &messages).await, [first], "the other may be what was lost");
}

pub(crate) async fn what_died_before_a_seek_may_be_settled_after_it(fixture: &Fixture) {
    let rig = Rig::new(fixture).await;
    let end = rig.publish(3).await;
    let epoch = end.epoch.expect("an epoch");
    rig.kill(3, &[2]).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let (generation, first) = (Generation::random(), Start::After(Position { sequence: 0, ..end }));
    assert_eq!(rig.books.seek(&rig.place, first, generation, HOLD).await, Ok(true));
    let rig = rig.after_seek(generation);
    let fate = async |sequence| {
        let messages = [(epoch, sequence)];
        let fates = rig.books.fates(&rig.place, rig.generation, &messages);
        within(fates, "fates").await.expect("they can be read").remove(0)
    };
    assert_eq!(fate(2).await, Fate::Open, "it is handed out later");
    let block = rig.lease(3, &[1, 2, 3]).await;
    assert_eq!(fate(2).await, Fate::Open, "it is out");
    rig.done(Change { blocks: vec![block], ..Change::default() }).await;
    assert_eq!(fate(2).await, Fate::Settled);
    // It dies again: there is one letter, the later one.
    rig.done(Change { dead: vec![letter(epoch, 2)], ..Change::default() }).await;
    assert_eq!((fate(2).await, rig.letters().await.len()), (Fate::Open, 1));
}
