//! When blocks are to be looked at: one time each.
//!
//! Most blocks are gone long before. So what a block's time was is left where it is, and passed over when it comes up.

use std::{cmp::Reverse, collections::BinaryHeap};

use tidings::subscription::BlockId;
use tokio::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Timers(BinaryHeap<Reverse<(Instant, BlockId)>>);

impl Timers {
    pub(super) fn add(&mut self, at: Instant, id: BlockId) {
        self.0.push(Reverse((at, id)));
    }

    /// When the first one comes up for which `is_so` says that it still has this time.
    pub(super) fn next(&mut self, is_so: impl Fn(Instant, BlockId) -> bool) -> Option<Instant> {
        while let Some(Reverse((at, id))) = self.0.peek().copied() {
            if is_so(at, id) {
                return Some(at);
            }
            self.0.pop();
        }
        None
    }

    /// Takes those away that have come up.
    pub(super) fn take(&mut self, now: Instant, is_so: impl Fn(Instant, BlockId) -> bool) -> Vec<BlockId> {
        let mut come = Vec::new();
        while self.next(&is_so).is_some_and(|at| at <= now) {
            let Some(Reverse((_, id))) = self.0.pop() else { break };
            // The same time may have been noted twice.
            if come.last() != Some(&id) {
                come.push(id);
            }
        }
        come
    }

    /// Lets go of those that would be passed over, where they are many beside so many blocks.
    pub(super) fn tidy(&mut self, blocks: usize, is_so: impl Fn(Instant, BlockId) -> bool) {
        if self.0.len() > 4 * blocks + 256 {
            self.0.retain(|Reverse((at, id))| is_so(*at, *id));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
