//! The leases that this process has given out, as far as it still knows of them.
//!
//! What a block has on the broker is remembered here as it was written last. Where the broker has it otherwise, another
//! replica has settled some of it, or given it back: then the broker is right.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tidings::subscription::{Attempts, Block, BlockId};
use tokio::time::Instant;

use self::{slots::Slots, timers::Timers};
use super::outbox::LeaseKey;

mod slots;
mod timers;

/// A message that is out.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    /// Deliveries before this one.
    pub(super) attempts: Attempts,
    /// Who has it; `None` for a call that was answered.
    pub(super) consumer: Option<u64>,
    /// Credit that it takes.
    pub(super) bytes: usize,
    /// Its JSON, where the log may not have it.
    pub(super) json: Option<Bytes>,
    /// How long it lasts once it is sent.
    pub(super) ack_deadline: Duration,
    pub(super) state: LeaseState,
}

/// How far a delivery has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaseState {
    /// It waits until then to be sent.
    Unsent(Instant),
    /// It is out until then.
    Out(Instant),
}

impl LeaseState {
    fn at(self) -> Instant {
        match self {
            Self::Unsent(at) | Self::Out(at) => at,
        }
    }
}

impl Lease {
    /// When it may be over: it may be sent now, which is noted later.
    fn look_at(&self, now: Instant) -> Instant {
        match self.state {
            LeaseState::Unsent(until) => until.min(now + self.ack_deadline),
            LeaseState::Out(until) => until,
        }
    }
}

/// All leases.
#[derive(Debug, Default)]
pub(super) struct Leases {
    blocks: Blocks,
    timers: Timers,
    count: usize,
}

type Blocks = HashMap<BlockId, Held, foldhash::fast::RandomState>;

#[derive(Debug)]
struct Held {
    block: Arc<Block>,
    leases: Slots,
    /// When it is looked at: not after the first of its leases is over.
    look_at: Instant,
}

impl Held {
    /// Whether a block is there, and to be looked at at this time.
    fn is_due(blocks: &Blocks, at: Instant, id: BlockId) -> bool {
        blocks.get(&id).is_some_and(|held| held.look_at == at && held.leases.len() > 0)
    }
}

impl Leases {
    /// Notes a block that was written, with its leases.
    pub(super) fn add(&mut self, id: BlockId, block: Block, leases: impl IntoIterator<Item = (i64, Lease)>) {
        let leases = Slots::of(leases);
        self.forget_block(id);
        let now = Instant::now();
        let Some(look_at) = leases.iter().map(|(_, lease)| lease.look_at(now)).min() else { return };
        self.count += leases.len();
        self.timers.add(look_at, id);
        self.blocks.insert(id, Held { block: Arc::new(block), leases, look_at });
        let Self { blocks, timers, .. } = self;
        timers.tidy(blocks.len(), |at, id| Held::is_due(blocks, at, id));
    }

    /// The block that an ack id of this process leads to, and the message's lease there.
    pub(super) fn find(&self, id: BlockId, sequence: i64) -> Option<(BlockId, &Arc<Block>, &Lease)> {
        [id, id.of_one(sequence)].into_iter().find_map(|id| {
            let held = self.blocks.get(&id)?;
            Some((id, &held.block, held.leases.get(sequence)?))
        })
    }

    /// Notes how a block was written now; `None` where it is gone.
    pub(super) fn written(&mut self, id: BlockId, block: Option<Block>) {
        match block {
            Some(block) => {
                if let Some(held) = self.blocks.get_mut(&id) {
                    held.block = Arc::new(block);
                }
            }
            None => self.forget_block(id),
        }
    }

    /// Forgets a block with all leases that it still has.
    fn forget_block(&mut self, id: BlockId) {
        if let Some(held) = self.blocks.remove(&id) {
            self.count -= held.leases.len();
        }
    }

    /// The blocks that messages of a block have for their own, if they were extended elsewhere: those that are out
    /// here, and no longer in the block as it is on the broker.
    pub(super) fn strays(&self, id: BlockId, block: Option<&Block>) -> Vec<BlockId> {
        let gone = |sequence: &i64| id.own == 0 && !block.is_some_and(|block| block.has(*sequence));
        let leases = self.blocks.get(&id).into_iter().flat_map(|held| held.leases.iter());
        leases.map(|(sequence, _)| sequence).filter(gone).map(|sequence| id.of_one(sequence)).collect()
    }

    /// Takes over how a block is on the broker, where it is one of these. What was extended elsewhere is out for
    /// longer; what is out no longer was settled elsewhere: answers the credit of its leases.
    pub(super) fn sync(
        &mut self,
        id: BlockId,
        blocks: &HashMap<BlockId, Block>,
        when: impl Fn(i64) -> Instant,
    ) -> Vec<(u64, usize)> {
        let Some(held) = self.blocks.get(&id) else { return Vec::new() };
        let is_as_before = |sequence: i64| {
            let is_moved = |block: &Block| id.own != 0 && block.deadline_ms != held.block.deadline_ms;
            blocks.get(&id).is_some_and(|block| block.has(sequence) && !is_moved(block))
        };
        let sequences = held.leases.iter().map(|(sequence, _)| sequence);
        let other: Vec<_> = sequences.filter(|sequence| !is_as_before(*sequence)).collect();
        let mut freed = Vec::new();
        for sequence in other {
            let Some(lease) = self.remove(LeaseKey { block: id, sequence }) else { continue };
            let own = id.of_one(sequence);
            match blocks.get(&own).filter(|block| block.has(sequence)) {
                Some(block) => {
                    let state = LeaseState::Out(when(block.deadline_ms));
                    self.add(own, block.clone(), [(sequence, Lease { state, ..lease })]);
                }
                None => freed.extend(lease.consumer.map(|consumer| (consumer, lease.bytes))),
            }
        }
        self.written(id, blocks.get(&id).cloned());
        freed
    }

    /// Takes a lease away.
    pub(super) fn remove(&mut self, key: LeaseKey) -> Option<Lease> {
        let lease = self.blocks.get_mut(&key.block)?.leases.remove(key.sequence)?;
        self.count -= 1;
        Some(lease)
    }

    /// A delivery was sent: its time begins.
    pub(super) fn sent(&mut self, key: LeaseKey, at: Instant) {
        let Some(held) = self.blocks.get_mut(&key.block) else { return };
        let Some(lease) = held.leases.get_mut(key.sequence) else { return };
        if let LeaseState::Unsent(_) = lease.state {
            let until = at + lease.ack_deadline;
            lease.state = LeaseState::Out(until);
            if until < held.look_at {
                held.look_at = until;
                self.timers.add(until, key.block);
            }
        }
    }

    /// Those whose time is over, and whose they are. What was sent is to be noted before.
    pub(super) fn over(&mut self, now: Instant) -> Vec<(LeaseKey, Option<u64>)> {
        let Self { blocks, timers, .. } = self;
        let mut over = Vec::new();
        for id in timers.take(now, |at, id| Held::is_due(blocks, at, id)) {
            let Some(held) = blocks.get_mut(&id) else { continue };
            let is_over = |(_, lease): &(i64, &Lease)| lease.state.at() <= now;
            let key = |sequence| LeaseKey { block: id, sequence };
            over.extend(held.leases.iter().filter(is_over).map(|(sequence, lease)| (key(sequence), lease.consumer)));
            // One that is over comes up again until it is taken away.
            if let Some(look_at) = held.leases.iter().map(|(_, lease)| lease.look_at(now)).min() {
                held.look_at = look_at;
                timers.add(look_at, id);
            }
        }
        over
    }

    /// How far a delivery has come; `None` where there is no such lease.
    pub(super) fn state(&self, key: LeaseKey) -> Option<LeaseState> {
        Some(self.blocks.get(&key.block)?.leases.get(key.sequence)?.state)
    }

    /// When the next one may be over.
    pub(super) fn next_over(&mut self) -> Option<Instant> {
        let Self { blocks, timers, .. } = self;
        timers.next(|at, id| Held::is_due(blocks, at, id))
    }

    /// Those of a consumer, and whether they were sent.
    pub(super) fn of(&self, consumer: u64) -> Vec<(LeaseKey, bool)> {
        let of_block = |(block, held): (&BlockId, &Held)| {
            let own = held.leases.iter().filter(|(_, lease)| lease.consumer == Some(consumer));
            let key = |sequence| LeaseKey { block: *block, sequence };
            own.map(|(sequence, lease)| (key(sequence), matches!(lease.state, LeaseState::Out(_)))).collect::<Vec<_>>()
        };
        self.blocks.iter().flat_map(of_block).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn clear(&mut self) {
        self.blocks.clear();
        self.timers.clear();
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use tidings::subscription::Token;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn id(number: u64) -> BlockId {
        BlockId { token: Token::from_u64(1).expect("a token"), number, own: 0 }
    }

    pub(super) fn lease(consumer: u64, until: Instant) -> Lease {
        Lease {
            attempts: Attempts::default(),
            consumer: Some(consumer),
            bytes: 1,
            json: None,
            ack_deadline: 10 * SECOND,
            state: LeaseState::Unsent(until),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_over_its_deadline_after_it_was_sent() {
        let (now, mut leases) = (Instant::now(), Leases::default());
        let block = Block::new(0, &[1, 2]).expect("a block");
        leases.add(id(1), block, [(1, lease(1, now + SECOND)), (2, lease(2, now + SECOND))]);
        assert_eq!(leases.next_over(), Some(now + SECOND));
        let key = |sequence| LeaseKey { block: id(1), sequence };
        leases.sent(key(2), now + SECOND / 2);
        // It is sent once.
        leases.sent(key(2), now + SECOND);
        assert_eq!(leases.over(now + SECOND), [(key(1), Some(1))]);
        assert_eq!(leases.of(2), [(key(2), true)]);
        assert!(leases.remove(key(1)).is_some() && leases.remove(key(1)).is_none());
        assert_eq!(leases.over(now + SECOND), []);
        assert_eq!(leases.next_over(), Some(now + SECOND / 2 + 10 * SECOND));
        leases.written(id(1), None);
        assert!(leases.is_empty() && leases.over(now).is_empty() && leases.next_over().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_comes_up_until_it_is_taken_away_and_never_late() {
        let (now, mut leases) = (Instant::now(), Leases::default());
        let quick = Lease { ack_deadline: SECOND / 4, ..lease(1, now + SECOND) };
        leases.add(id(1), Block::new(0, &[1, 2]).expect("a block"), [(1, quick), (2, lease(1, now + SECOND))]);
        let key = |number, sequence| LeaseKey { block: id(number), sequence };
        // Its time may be over before that of one which waits, and is known before it is noted.
        assert_eq!(leases.next_over(), Some(now + SECOND / 4));
        leases.sent(key(1, 1), now);
        assert_eq!(leases.over(now + SECOND / 5), []);
        for at in [SECOND / 4, SECOND / 2] {
            assert_eq!(leases.over(now + at), [(key(1, 1), Some(1))]);
        }
        leases.remove(key(1, 1));
        assert_eq!(leases.over(now + SECOND / 2), []);
        assert_eq!(leases.next_over(), Some(now + SECOND));
        assert_eq!(leases.over(now + SECOND), [(key(1, 2), Some(1))]);
    }

    #[tokio::test(start_paused = true)]
    async fn times_of_blocks_that_are_gone_do_not_pile_up() {
        let (now, mut leases) = (Instant::now(), Leases::default());
        leases.add(id(1), Block::new(0, &[1]).expect("a block"), [(1, lease(1, now))]);
        for number in 2..10_000 {
            leases.add(id(number), Block::new(0, &[1]).expect("a block"), [(1, lease(1, now + SECOND))]);
            leases.written(id(number), None);
        }
        assert!(leases.timers.len() < 1_000);
        assert_eq!(leases.over(now).len(), 1);
    }

    #[tokio::test]
    async fn an_extended_message_is_found_by_the_block_it_was_leased_in() {
        let (now, mut leases) = (Instant::now(), Leases::default());
        leases.add(id(1).of_one(5), Block::new(0, &[5]).expect("a block"), [(5, lease(1, now))]);
        let (found, ..) = leases.find(id(1), 5).expect("a lease");
        assert_eq!(found, id(1).of_one(5));
        assert!(leases.find(id(1), 6).is_none() && leases.find(id(2), 5).is_none());
    }
}
