//! The blocks of one subscription: what is out, until when.
//!
//! How many messages are out, and the lowest of them, are known without going through the blocks.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use crate::subscription::{Block, BlockId};

/// Bytes of memory that a block costs, with its bits: an estimate, on the safe side.
const BLOCK_COST: usize = 192;

#[derive(Debug, Default)]
pub(super) struct Leases {
    blocks: HashMap<BlockId, Block>,
    /// The lowest message of each block, and how many blocks have it as theirs.
    lowest: BTreeMap<i64, usize>,
    /// The messages of all blocks.
    out: u64,
}

impl Leases {
    pub(super) fn cost(&self) -> usize {
        self.blocks.len() * BLOCK_COST
    }

    /// How many messages are out.
    pub(super) fn out(&self) -> u64 {
        self.out
    }

    /// The lowest message that is out.
    pub(super) fn lowest(&self) -> Option<i64> {
        self.lowest.first_key_value().map(|(sequence, _)| *sequence)
    }

    pub(super) fn get(&self, id: &BlockId) -> Option<&Block> {
        self.blocks.get(id)
    }

    /// Replaces a block, or removes it.
    pub(super) fn put(&mut self, id: BlockId, block: Option<&Block>) {
        let before = match block {
            Some(block) => {
                self.count_in(block);
                self.blocks.insert(id, block.clone())
            }
            None => self.blocks.remove(&id),
        };
        if let Some(before) = before {
            self.count_out(&before);
        }
    }

    fn count_in(&mut self, block: &Block) {
        self.out += block.len() as u64;
        if let Some(lowest) = block.sequences().next() {
            *self.lowest.entry(lowest).or_default() += 1;
        }
    }

    fn count_out(&mut self, block: &Block) {
        self.out -= block.len() as u64;
        let Some(lowest) = block.sequences().next() else { return };
        let Some(blocks) = self.lowest.get_mut(&lowest) else { return };
        *blocks -= 1;
        if *blocks == 0 {
            self.lowest.remove(&lowest);
        }
    }

    /// Up to so many blocks that have been over for this long at least, in no order.
    pub(super) fn overdue(&self, limit: usize, grace: Duration, now_ms: i64) -> Vec<(BlockId, Block)> {
        let grace_ms = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
        let is_over = |block: &Block| block.deadline_ms.saturating_add(grace_ms) <= now_ms;
        let over = self.blocks.iter().filter(|(_, block)| is_over(block));
        over.take(limit).map(|(id, block)| (*id, block.clone())).collect()
    }

    /// All messages that are out. Goes through all blocks.
    pub(super) fn sequences(&self) -> HashSet<i64> {
        self.blocks.values().flat_map(Block::sequences).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscription::Token;

    #[test]
    fn the_lowest_and_the_number_follow_every_change() {
        let token = Token::random();
        let id = |number| BlockId { token, number, own: 0 };
        let block = |sequences: &[i64]| Block::new(1_000, sequences);
        let mut leases = Leases::default();
        assert_eq!((leases.out(), leases.lowest()), (0, None));
        // Two blocks with the same message: no caller does so, and nothing is miscounted.
        for (number, to, out, lowest) in [
            (1, block(&[5, 6]), 2, Some(5)),
            (2, block(&[3, 9]), 4, Some(3)),
            (3, block(&[3]), 5, Some(3)),
            (2, block(&[9]), 4, Some(3)),
            (3, None, 3, Some(5)),
            (1, block(&[6]), 2, Some(6)),
            (4, None, 2, Some(6)),
            (1, None, 1, Some(9)),
            (2, None, 0, None),
        ] {
            leases.put(id(number), to.as_ref());
            assert_eq!((leases.out(), leases.lowest()), (out, lowest), "{number}");
        }
        assert_eq!(leases.cost(), 0);
    }
}
