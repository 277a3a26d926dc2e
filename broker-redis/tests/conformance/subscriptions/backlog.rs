//! Books through a random sequence of changes, compared with a simple model after each.

use std::{collections::BTreeSet, mem, time::Duration};

use fastrand::Rng;
use tidings::{
    broker::subscriptions::{BlockChange, Change, Claim, LetterId, Outcome, Start},
    message::Position,
    subscription::{Block, BlockId, Generation},
};

use super::rig::{HOLD, HOUR_MS, Rig, letter, wait};
use crate::fixture::Fixture;

const SEED: u64 = 20_261_130;
const STEPS: usize = 300;

/// What the books must be.
#[derive(Default)]
struct Model {
    last: i64,
    next: i64,
    blocks: Vec<(BlockId, Block)>,
    due: BTreeSet<i64>,
    later: BTreeSet<i64>,
    /// One that dies again, after a seek, has one letter.
    dead: BTreeSet<i64>,
    lost: u64,
}

impl Model {
    fn oldest(&self) -> Option<i64> {
        let out = self.blocks.iter().flat_map(|(_, block)| block.sequences());
        let ahead = Some(self.next).filter(|next| *next <= self.last);
        out.chain(self.due.iter().chain(&self.later).copied()).chain(ahead).min()
    }

    /// Fails where the books are others.
    async fn compare(&self, rig: &Rig, what: &str) {
        let books = rig.look().await;
        let out: usize = self.blocks.iter().map(|(_, block)| block.len()).sum();
        let waiting = self.due.len() + self.later.len();
        assert_eq!(books.state.ahead(), (self.last + 1 - self.next) as u64, "ahead: {what}");
        assert_eq!((books.state.out, books.waiting), (out as u64, waiting as u64), "out, waiting: {what}");
        assert_eq!((books.dead, books.lost), (self.dead.len() as u64, self.lost), "dead, lost: {what}");
        assert_eq!(books.oldest, self.oldest(), "oldest: {what}");
        assert_eq!(books.state.due_ms.is_some(), waiting > 0, "{what}");
        let due: BTreeSet<_> = rig.due_sequences(10_000).await.into_iter().collect();
        assert_eq!(due, self.due, "due: {what}");
    }

    async fn claim(&mut self, rig: &Rig, rng: &mut Rng) {
        let to = (self.next + rng.i64(0..30)).min(self.last);
        if to < self.next {
            return;
        }
        let out: Vec<i64> = (self.next..=to).filter(|_| rng.u8(0..10) < 7).collect();
        let change = rig.claim(to, &out).await;
        rig.done(change.clone()).await;
        self.next = to + 1;
        self.blocks.extend(change.blocks.into_iter().filter_map(|block| Some((block.id, block.to?))));
    }

    /// Some of a block are settled, rejected, dead or lost.
    async fn settle(&mut self, rig: &Rig, rng: &mut Rng) {
        if self.blocks.is_empty() {
            return;
        }
        let (id, block) = self.blocks.swap_remove(rng.usize(0..self.blocks.len()));
        let (epoch, now_ms) = (rig.epoch().await, rig.now_ms().await);
        let (mut left, mut change) = (block.clone(), Change::default());
        for sequence in block.sequences() {
            match rng.u8(0..10) {
                0..4 => change.forget.push(sequence),
                4 => change.wait.push(wait(sequence, now_ms - rng.i64(0..1_000))),
                5 => change.wait.push(wait(sequence, now_ms + HOUR_MS)),
                6 => {
                    change.dead.push(letter(epoch, sequence));
                    self.dead.insert(sequence);
                }
                7 => change.lost += 1,
                _ => continue,
            }
            left.remove(sequence);
        }
        let to = Some(left).filter(|left| !left.is_empty());
        change.blocks.push(BlockChange { id, from: Some(block), to: to.clone() });
        rig.done(change.clone()).await;
        self.blocks.extend(to.map(|left| (id, left)));
        for waiting in change.wait {
            if waiting.due_ms > now_ms { &mut self.later } else { &mut self.due }.insert(waiting.sequence);
        }
        self.lost += change.lost;
    }

    /// Some that are due are leased again.
    async fn take(&mut self, rig: &Rig, rng: &mut Rng) {
        let Some(first) = self.due.first().copied() else { return };
        let near = self.due.range(..first + Block::SPAN).copied();
        let take: Vec<i64> = near.filter(|_| rng.bool()).collect();
        let blocks: Vec<_> = rig.block(rig.now_ms().await + HOUR_MS, &take).into_iter().collect();
        rig.done(Change { take: take.clone(), blocks: blocks.clone(), most_out: 10_000, ..Change::default() }).await;
        self.due.retain(|sequence| !take.contains(sequence));
        self.blocks.extend(blocks.into_iter().filter_map(|block| Some((block.id, block.to?))));
    }

    /// What another process has done already is not done again.
    async fn stale(&self, rig: &Rig, rng: &mut Rng) {
        let mut change = rig.claim(self.last, &[]).await;
        change.lost = 1;
        match (rng.u8(0..3), self.blocks.first(), self.later.first()) {
            (0, Some((id, block)), _) => {
                change.blocks.push(BlockChange { id: *id, from: None, to: Some(block.clone()) });
            }
            (1, _, Some(later)) => change.take.push(*later),
            _ => change.claim = change.claim.map(|claim| Claim { from: claim.from + 1, ..claim }),
        }
        rig.refused(change, Outcome::Differs).await;
    }

    /// What is out again or waits, after a seek, stays among the dead.
    async fn redrive(&mut self, rig: &Rig, rng: &mut Rng) {
        let mut letters: Vec<LetterId> = rig.letters().await.into_iter().map(|(id, _)| id).collect();
        // Not by the time at which they died, so that a run with this seed is like any other.
        letters.sort_unstable_by_key(|id| id.sequence);
        letters.retain(|_| rng.bool());
        let put_back: Vec<i64> =
            letters.iter().map(|id| id.sequence).filter(|sequence| !self.is_taken(*sequence)).collect();
        assert_eq!(rig.redrive(&letters, Duration::ZERO, Duration::ZERO).await, put_back.len());
        self.dead.retain(|sequence| !put_back.contains(sequence));
        self.due.extend(put_back.into_iter().filter(|sequence| *sequence < self.next));
    }

    fn is_taken(&self, sequence: i64) -> bool {
        let mut out = self.blocks.iter().flat_map(|(_, block)| block.sequences());
        self.due.contains(&sequence) || self.later.contains(&sequence) || out.any(|other| other == sequence)
    }

    async fn seek(&mut self, rig: &mut Rig, rng: &mut Rng) {
        let to = Position { epoch: Some(rig.epoch().await), sequence: rng.i64(0..=self.last) };
        rig.generation = Generation::random();
        assert_eq!(rig.books.seek(&rig.place, Start::After(to), rig.generation, HOLD).await, Ok(true));
        let (last, dead, lost) = (self.last, mem::take(&mut self.dead), self.lost);
        *self = Self { last, dead, lost, next: to.sequence + 1, ..Self::default() };
    }
}

pub(crate) async fn the_backlog_is_exact(fixture: &Fixture) {
    let mut rig = Rig::new(fixture).await;
    let mut rng = Rng::with_seed(SEED);
    let mut model = Model { next: 1, ..Model::default() };
    model.last = rig.publish(10).await.sequence;
    for step in 0..STEPS {
        let action = rng.u8(0..24);
        match action {
            0..4 => model.last = rig.publish(rng.usize(1..20)).await.sequence,
            4..10 => model.claim(&rig, &mut rng).await,
            10..16 => model.settle(&rig, &mut rng).await,
            16..19 => model.take(&rig, &mut rng).await,
            19..21 => model.stale(&rig, &mut rng).await,
            21..23 => model.redrive(&rig, &mut rng).await,
            _ => model.seek(&mut rig, &mut rng).await,
        }
        model.compare(&rig, &format!("seed {SEED}, step {step}, action {action}")).await;
    }
}
