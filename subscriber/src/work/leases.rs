//! The leases that this process has given out, as far as it still knows of them.
//!
//! What a block has on the broker is remembered here as it was written last. Where the broker has it otherwise, another
//! replica has settled some of it, or given it back: then the broker is right.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use bytes::Bytes;
use tidings::subscription::{Attempts, Block, BlockId};
use tokio::time::Instant;

use super::outbox::LeaseKey;

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

/// All leases.
#[derive(Debug, Default)]
pub(super) struct Leases {
    blocks: HashMap<BlockId, Held>,
    /// When each is over, or has to be looked after.
    timers: BTreeSet<(Instant, LeaseKey)>,
}

#[derive(Debug)]
struct Held {
    block: Block,
    leases: BTreeMap<i64, Lease>,
}

impl Leases {
    /// Notes a block that was written, with its leases.
    pub(super) fn add(&mut self, id: BlockId, block: Block, leases: impl IntoIterator<Item = (i64, Lease)>) {
        let leases: BTreeMap<i64, Lease> = leases.into_iter().collect();
        let timers =
            leases.iter().map(|(sequence, lease)| (lease.state.at(), LeaseKey { block: id, sequence: *sequence }));
        self.timers.extend(timers);
        self.blocks.insert(id, Held { block, leases });
    }

    /// The block that an ack id of this process leads to, and the message's lease there.
    pub(super) fn find(&self, id: BlockId, sequence: i64) -> Option<(BlockId, &Block, &Lease)> {
        [id, id.of_one(sequence)].into_iter().find_map(|id| {
            let held = self.blocks.get(&id)?;
            Some((id, &held.block, held.leases.get(&sequence)?))
        })
    }

    /// Notes how a block was written now; `None` where it is gone.
    pub(super) fn written(&mut self, id: BlockId, block: Option<&Block>) {
        match block {
            Some(block) => {
                if let Some(held) = self.blocks.get_mut(&id) {
                    held.block = block.clone();
                }
            }
            None => drop(self.forget_block(id)),
        }
    }

    /// Forgets a block with all leases that it still has.
    pub(super) fn forget_block(&mut self, id: BlockId) -> Vec<Lease> {
        let Some(held) = self.blocks.remove(&id) else { return Vec::new() };
        for (sequence, lease) in &held.leases {
            self.timers.remove(&(lease.state.at(), LeaseKey { block: id, sequence: *sequence }));
        }
        held.leases.into_values().collect()
    }

    /// The blocks that messages of a block have for their own, if they were extended elsewhere: those that are out
    /// here, and no longer in the block as it is on the broker.
    pub(super) fn strays(&self, id: BlockId, block: Option<&Block>) -> Vec<BlockId> {
        let gone = |sequence: &&i64| id.own == 0 && !block.is_some_and(|block| block.has(**sequence));
        let leases = self.blocks.get(&id).into_iter().flat_map(|held| held.leases.keys());
        leases.filter(gone).map(|sequence| id.of_one(*sequence)).collect()
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
        let other: Vec<_> = held.leases.keys().copied().filter(|sequence| !is_as_before(*sequence)).collect();
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
        self.written(id, blocks.get(&id));
        freed
    }

    /// Takes a lease away.
    pub(super) fn remove(&mut self, key: LeaseKey) -> Option<Lease> {
        let lease = self.blocks.get_mut(&key.block)?.leases.remove(&key.sequence)?;
        self.timers.remove(&(lease.state.at(), key));
        Some(lease)
    }

    /// A delivery was sent: its time begins.
    pub(super) fn sent(&mut self, key: LeaseKey, at: Instant) {
        let Some(lease) = self.blocks.get_mut(&key.block).and_then(|held| held.leases.get_mut(&key.sequence)) else {
            return;
        };
        if let LeaseState::Unsent(until) = lease.state {
            self.timers.remove(&(until, key));
            lease.state = LeaseState::Out(at + lease.ack_deadline);
            self.timers.insert((lease.state.at(), key));
        }
    }

    /// Those whose time is over, and whose they are.
    pub(super) fn over(&self, now: Instant) -> Vec<(LeaseKey, Option<u64>)> {
        let over = self.timers.iter().take_while(|(at, _)| *at <= now);
        over.map(|(_, key)| (*key, self.get(*key).and_then(|lease| lease.consumer))).collect()
    }

    fn get(&self, key: LeaseKey) -> Option<&Lease> {
        self.blocks.get(&key.block)?.leases.get(&key.sequence)
    }

    /// How far a delivery has come; `None` where there is no such lease.
    pub(super) fn state(&self, key: LeaseKey) -> Option<LeaseState> {
        self.get(key).map(|lease| lease.state)
    }

    /// When the next one is over.
    pub(super) fn next_over(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Those of a consumer, and whether they were sent.
    pub(super) fn of(&self, consumer: u64) -> Vec<(LeaseKey, bool)> {
        let of_block = |(block, held): (&BlockId, &Held)| {
            let own = held.leases.iter().filter(|(_, lease)| lease.consumer == Some(consumer));
            let key = |sequence| LeaseKey { block: *block, sequence };
            own.map(|(sequence, lease)| (key(*sequence), matches!(lease.state, LeaseState::Out(_)))).collect::<Vec<_>>()
        };
        self.blocks.iter().flat_map(of_block).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.timers.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.blocks.clear();
        self.timers.clear();
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

    fn lease(consumer: u64, until: Instant) -> Lease {
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
        assert_eq!(leases.next_over(), Some(now + SECOND / 2 + 10 * SECOND));
        assert_eq!(leases.forget_block(id(1)).len(), 1);
        assert!(leases.is_empty());
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
