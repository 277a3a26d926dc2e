//! Ordering keys: of each at most one message is under way.

use std::time::Duration;

use tidings::{
    broker::subscriptions::{BlockChange, Change, Closed, Fate, Keyed, Letter, Outcome, Start},
    message::Position,
    subscription::{Attempts, Generation, OrderKey},
};

use super::rig::{HOLD, Rig, letter, wait};
use crate::fixture::{Fixture, within};

const NOW: Duration = Duration::ZERO;

fn key(text: &str) -> OrderKey {
    OrderKey::of(text).expect("a key")
}

fn keyed(of: &str, sequences: &[i64]) -> Vec<Keyed> {
    sequences.iter().map(|sequence| Keyed { key: key(of), sequence: *sequence }).collect()
}

async fn closed(rig: &Rig, keys: &[&str]) -> Vec<bool> {
    let keys: Vec<_> = keys.iter().map(|text| key(text)).collect();
    let Closed { keys, .. } = within(rig.books.closed(&rig.place, &keys), "keys").await.expect("they can be read");
    keys
}

async fn parked(rig: &Rig) -> u64 {
    let Closed { parked, .. } = within(rig.books.closed(&rig.place, &[]), "keys").await.expect("they can be read");
    assert_eq!(rig.look().await.parked, parked);
    parked
}

/// Takes the one message that is due, settles it, and opens its key.
async fn settle(rig: &Rig, sequence: i64) {
    assert_eq!(rig.due_sequences(10).await, [sequence]);
    let take = Change { take: vec![sequence], forget: vec![sequence], open: vec![sequence], ..Change::default() };
    rig.done(take).await;
}

pub(crate) async fn messages_of_a_key_are_under_way_one_by_one(fixture: &Fixture) {
    let [rig, other] = Rig::two(fixture).await;
    rig.publish(9).await;
    let change = rig.claim(5, &[1, 2]).await;
    let close = [keyed("a", &[1]), keyed("b", &[2])].concat();
    rig.done(Change { close, park: keyed("a", &[4, 3]), ..change.clone() }).await;
    assert_eq!(closed(&other, &["a", "b", "c"]).await, [true, true, false]);
    assert_eq!(parked(&other).await, 2);
    // Another may not hand out one of a closed key.
    let next = other.claim(6, &[6]).await;
    other.refused(Change { close: keyed("a", &[6]), ..next.clone() }, Outcome::Differs).await;
    other.done(Change { close: keyed("c", &[6]), ..next }).await;
    // What opens nothing changes nothing.
    rig.done(Change { open: vec![3, 4, 5, 99], ..Change::default() }).await;
    assert_eq!((parked(&rig).await, rig.due(10).await), (2, vec![]));
    // The first is settled: the next is due, as one that was never delivered.
    let rest = change.blocks.into_iter().map(|block| BlockChange { from: block.to, to: None, ..block });
    rig.done(Change { blocks: rest.collect(), open: vec![1], ..Change::default() }).await;
    assert_eq!(closed(&rig, &["a", "b"]).await, [true, true]);
    let due = other.due(10).await;
    assert_eq!((due[0].sequence, due[0].attempts, due[0].json.clone(), due.len()), (3, Attempts::default(), None, 1));
    let take = Change { take: vec![3], taken: vec![Attempts::default()], ..Change::default() };
    other.done(take.clone()).await;
    rig.refused(take, Outcome::Differs).await;
    assert_eq!((parked(&rig).await, rig.look().await.waiting), (1, 0));
    other.done(Change { open: vec![3], ..Change::default() }).await;
    settle(&rig, 4).await;
    other.done(Change { open: vec![2, 6], ..Change::default() }).await;
    assert_eq!(closed(&rig, &["a", "b", "c"]).await, [false; 3]);
    let books = rig.look().await;
    assert_eq!((books.parked, books.waiting), (0, 0));
}

pub(crate) async fn ten_thousand_are_parked_and_come_in_their_order(fixture: &Fixture) {
    const PARKED: i64 = 10_000;
    let mut rig = Rig::new(fixture).await;
    rig.publish(1).await;
    let first = rig.claim(1, &[1]).await;
    rig.done(Change { close: keyed("a", &[1]), ..first.clone() }).await;
    for _ in 0..PARKED / 1_000 {
        let last = rig.publish(1_000).await.sequence;
        let parked: Vec<_> = (last - 999..=last).collect();
        rig.done(Change { park: keyed("a", &parked), ..rig.claim(last, &[]).await }).await;
    }
    assert_eq!((parked(&rig).await, rig.look().await.waiting, rig.look().await.oldest), (PARKED as u64, 0, Some(1)));
    assert_eq!(closed(&rig, &["a", "b"]).await, [true, false]);
    let rest = first.blocks.into_iter().map(|block| BlockChange { from: block.to, to: None, ..block });
    rig.done(Change { blocks: rest.collect(), open: vec![1], ..Change::default() }).await;
    for sequence in 2..100 {
        settle(&rig, sequence).await;
    }
    assert_eq!((parked(&rig).await, rig.look().await.oldest), (PARKED as u64 - 99, Some(100)));
    rig.generation = Generation::random();
    assert_eq!(rig.books.seek(&rig.place, Start::End, rig.generation, HOLD).await, Ok(true));
    assert_eq!((parked(&rig).await, closed(&rig, &["a"]).await), (0, vec![false]));
}

pub(crate) async fn what_is_parked_behind_nothing_is_due_at_once(fixture: &Fixture) {
    let rig = Rig::new(fixture).await;
    rig.publish(3).await;
    rig.done(Change { park: keyed("a", &[1, 2, 3]), ..rig.claim(3, &[]).await }).await;
    let books = rig.look().await;
    assert_eq!((books.waiting, books.parked, books.oldest), (1, 2, Some(1)));
    for sequence in [1, 2, 3] {
        assert_eq!(closed(&rig, &["a"]).await, [true]);
        settle(&rig, sequence).await;
    }
    assert_eq!(closed(&rig, &["a"]).await, [false]);
}

pub(crate) async fn one_that_waits_keeps_its_key_closed(fixture: &Fixture) {
    let rig = Rig::new(fixture).await;
    rig.publish(3).await;
    let change = rig.claim(2, &[1]).await;
    rig.done(Change { close: keyed("a", &[1]), park: keyed("a", &[2]), ..change }).await;
    // It is rejected and delivered again, some times.
    for _ in 0..3 {
        rig.done(Change { wait: vec![wait(1, 0)], ..Change::default() }).await;
        assert_eq!(closed(&rig, &["a"]).await, [true]);
        assert_eq!(rig.due_sequences(10).await, [1]);
        rig.done(Change { take: vec![1], ..Change::default() }).await;
    }
    // It dies: the next comes.
    let dead = vec![letter(rig.epoch().await, 1)];
    rig.done(Change { dead, open: vec![1], ..Change::default() }).await;
    settle(&rig, 2).await;
}

pub(crate) async fn parked_messages_are_backlog_and_held(fixture: &Fixture) {
    let rig = Rig::new(fixture).await;
    let end = rig.publish(4).await;
    let block = rig.claim(3, &[3]).await;
    rig.done(Change { park: keyed("a", &[1, 2]), ..block }).await;
    rig.done(Change { take: vec![1], ..Change::default() }).await;
    let books = rig.look().await;
    assert_eq!((books.state.out, books.waiting, books.parked, books.state.ahead()), (1, 0, 1, 1));
    assert_eq!(books.oldest, Some(2));
    let epoch = end.epoch.expect("an epoch");
    let messages = [(epoch, 1), (epoch, 2)];
    let fates = rig.books.fates(&rig.place, rig.generation, &messages);
    assert_eq!(within(fates, "fates").await, Ok(vec![Fate::Settled, Fate::Open]));
}

pub(crate) async fn a_key_is_open_after_a_seek(fixture: &Fixture) {
    let rig = Rig::new(fixture).await;
    let end = rig.publish(4).await;
    rig.done(Change { park: keyed("a", &[1, 2]), ..rig.claim(2, &[]).await }).await;
    let third = Start::After(Position { sequence: 2, ..end });
    assert_eq!(rig.books.seek(&rig.place, third, Generation::random(), HOLD).await, Ok(true));
    assert_eq!((closed(&rig, &["a"]).await, parked(&rig).await), (vec![false], 0));
    let books = rig.look().await;
    assert_eq!((books.waiting, books.oldest), (0, Some(3)));
}

pub(crate) async fn what_is_put_back_comes_last_of_its_key(fixture: &Fixture) {
    let rig = Rig::new(fixture).await;
    rig.publish(6).await;
    let epoch = rig.epoch().await;
    let dead = |sequence| Letter { key: Some(key("a")), ..letter(epoch, sequence) };
    rig.done(Change { dead: vec![dead(1), dead(2)], park: keyed("a", &[3, 4, 5]), ..rig.claim(5, &[]).await }).await;
    let letters = rig.letters().await;
    assert_eq!(letters.iter().map(|(_, letter)| letter.key).collect::<Vec<_>>(), [Some(key("a")); 2]);
    let ids: Vec<_> = letters.into_iter().map(|(id, _)| id).collect();
    assert_eq!(rig.redrive(&ids, NOW, NOW).await, 2);
    assert_eq!((parked(&rig).await, rig.look().await.oldest), (4, Some(1)));
    // What is handed out later comes behind them.
    rig.done(Change { park: keyed("a", &[6]), ..rig.claim(6, &[]).await }).await;
    for sequence in [3, 4, 5, 1, 2, 6] {
        let due = rig.due(10).await;
        assert_eq!((due[0].json.is_some(), due[0].attempts.redrives), (sequence < 3, if sequence < 3 { 2 } else { 0 }));
        settle(&rig, sequence).await;
    }
    // One of an open key closes it.
    rig.done(Change { dead: vec![dead(1)], ..Change::default() }).await;
    let ids: Vec<_> = rig.letters().await.into_iter().map(|(id, _)| id).collect();
    assert_eq!((rig.redrive(&ids, NOW, NOW).await, closed(&rig, &["a"]).await), (1, vec![true]));
    settle(&rig, 1).await;
    assert_eq!(closed(&rig, &["a"]).await, [false]);
}

pub(crate) async fn what_is_put_back_twice_stays(fixture: &Fixture) {
    let rig = Rig::new(fixture).await;
    let end = rig.publish(3).await;
    let ids: Vec<_> = rig.kill(3, &[1, 2, 3]).await.into_iter().map(|(id, _)| id).collect();
    // After a seek all three are handed out again: one is out, one waits, one is parked.
    let generation = Generation::random();
    let first = Start::After(Position { sequence: 0, ..end });
    assert_eq!(rig.books.seek(&rig.place, first, generation, HOLD).await, Ok(true));
    let rig = rig.after_seek(generation);
    let change = Change { park: keyed("a", &[2, 3]), ..rig.claim(3, &[1]).await };
    rig.done(change).await;
    assert_eq!(rig.redrive(&ids, NOW, NOW).await, 0);
    let books = rig.look().await;
    assert_eq!((books.dead, books.waiting, books.parked, books.state.out), (3, 1, 1, 1));
}
