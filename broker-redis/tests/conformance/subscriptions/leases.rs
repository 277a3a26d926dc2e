//! Blocks: what is out, and until when.

use std::{collections::HashSet, time::Duration};

use tidings::{
    broker::subscriptions::{BlockChange, Change, Look, Outcome},
    subscription::Block,
};

use super::rig::{HOUR_MS, Rig};
use crate::fixture::Fixture;

fn change(block: BlockChange) -> Change {
    Change { blocks: vec![block], most_out: 100, ..Change::default() }
}

/// The same messages, until another time.
fn until(deadline_ms: i64, block: &Block) -> Block {
    let mut block = block.clone();
    block.deadline_ms = deadline_ms;
    block
}

pub(crate) async fn a_block_that_differs_is_not_replaced(fixture: &Fixture) {
    let rig = Rig::new(fixture).await;
    rig.publish(300).await;
    let deadline_ms = rig.now_ms().await + HOUR_MS;
    // Bits of any value, over several bytes.
    let sequences: Vec<i64> = (1..=256).filter(|sequence| sequence % 3 == 1).collect();
    let BlockChange { id, from: block, .. } = rig.lease(300, &sequences).await;
    let block = block.expect("it is out");
    assert_eq!(rig.look().await.state.out, sequences.len() as u64);
    let less = |sequence: i64| {
        let mut less = block.clone();
        assert!(less.remove(sequence));
        less
    };
    let wrong = [None, Some(less(4)), Some(until(deadline_ms + 5, &block)), Block::new(block.deadline_ms, &[1])];
    for from in wrong {
        for to in [None, Some(less(1))] {
            rig.refused(change(BlockChange { id, from: from.clone(), to }), Outcome::Differs).await;
        }
    }
    // One that is not there is not as it must be, either.
    let own = id.of_one(1);
    rig.refused(change(BlockChange { id: own, from: Some(block.clone()), to: None }), Outcome::Differs).await;
    // A message goes into a block of its own.
    let extended = Block::new(deadline_ms + 5, &[1]);
    let moved = [
        BlockChange { id, from: Some(block.clone()), to: Some(less(1)) },
        BlockChange { id: own, from: None, to: extended.clone() },
    ];
    rig.done(Change { blocks: moved.to_vec(), ..Change::default() }).await;
    assert_eq!(rig.blocks(&[own, id, id.of_one(4)]).await, [extended.clone(), Some(less(1)), None]);
    let books = rig.look().await;
    assert_eq!((books.state.out, books.oldest), (sequences.len() as u64, Some(1)));
    rig.done(change(BlockChange { id: own, from: extended, to: None })).await;
    let books = rig.look().await;
    assert_eq!((books.state.out, books.oldest), (sequences.len() as u64 - 1, Some(4)));
    rig.done(change(BlockChange { id, from: Some(less(1)), to: None })).await;
    assert_eq!((rig.look().await.state.out, rig.blocks(&[id, own]).await), (0, vec![None, None]));
}

pub(crate) async fn no_more_is_out_than_may_be(fixture: &Fixture) {
    let rig = Rig::new(fixture).await;
    rig.publish(9).await;
    let claim = async |to: i64, out: &[i64], most_out: u64| Change { most_out, ..rig.claim(to, out).await };
    rig.refused(claim(3, &[1, 2, 3], 2).await, Outcome::Full).await;
    let first = claim(3, &[1, 2, 3], 3).await;
    rig.done(first.clone()).await;
    rig.refused(claim(4, &[4], 3).await, Outcome::Full).await;
    rig.done(claim(4, &[4], 4).await).await;
    // What adds nothing passes, however many may be out by now.
    rig.done(claim(5, &[], 0).await).await;
    let BlockChange { id, to: block, .. } = first.blocks[0].clone();
    let extended = block.as_ref().map(|block| until(block.deadline_ms + 1, block));
    let extend = BlockChange { id, from: block, to: extended.clone() };
    rig.done(Change { blocks: vec![extend], ..Change::default() }).await;
    let mut less = extended.clone();
    less.as_mut().expect("a block").remove(2);
    let settle = BlockChange { id, from: extended, to: less };
    rig.done(Change { blocks: vec![settle], forget: vec![2], ..Change::default() }).await;
    assert_eq!(rig.look().await.state.out, 3);
    rig.done(claim(6, &[6], 4).await).await;
}

pub(crate) async fn what_differs_is_not_called_full(fixture: &Fixture) {
    let rig = Rig::new(fixture).await;
    rig.publish(9).await;
    let first = Change { most_out: 2, ..rig.claim(2, &[1, 2]).await };
    let second = Change { most_out: 2, ..rig.claim(2, &[1, 2]).await };
    let (_, outcomes) = rig.apply(&[first, second]).await;
    assert_eq!(outcomes, [Outcome::Done, Outcome::Differs]);
}

pub(crate) async fn overdue_blocks_are_found_by_anyone(fixture: &Fixture) {
    let [rig, other] = Rig::two(fixture).await;
    rig.publish(9).await;
    let claim = rig.claim(9, &[]).await;
    rig.done(claim).await;
    let now_ms = rig.now_ms().await;
    let mut ids = Vec::new();
    for (deadline_ms, sequence) in [(now_ms - 1, 1), (now_ms - 60_000, 2), (now_ms + HOUR_MS, 3), (now_ms - 60_000, 4)]
    {
        let mut block = rig.block(deadline_ms, &[sequence]).expect("a block");
        if sequence == 4 {
            block.id = block.id.of_one(4);
        }
        rig.done(change(block.clone())).await;
        ids.push((block.id, block.to.expect("a block")));
    }
    let overdue = async |limit, grace| {
        let look = Look { overdue: Some((limit, grace)), ..Look::default() };
        let found: HashSet<_> =
            other.look_with(look).await.expect("there are books").overdue.into_iter().map(|(id, _)| id).collect();
        found
    };
    let expected = |indexes: &[usize]| indexes.iter().map(|index| ids[*index].0).collect::<HashSet<_>>();
    assert_eq!(overdue(10, Duration::ZERO).await, expected(&[0, 1, 3]));
    assert_eq!(overdue(10, Duration::from_secs(30)).await, expected(&[1, 3]));
    assert_eq!(overdue(1, Duration::from_secs(30)).await.len(), 1);
    assert_eq!(overdue(10, Duration::from_secs(3_600)).await, expected(&[]));
    let look = Look { overdue: Some((10, Duration::from_secs(30))), ..Look::default() };
    for (id, block) in other.look_with(look).await.expect("there are books").overdue {
        assert!(ids.contains(&(id, block.clone())));
        other.done(change(BlockChange { id, from: Some(block), to: None })).await;
    }
    assert_eq!(overdue(10, Duration::ZERO).await, expected(&[0]));
    assert_eq!(rig.look().await.overdue, []);
}
