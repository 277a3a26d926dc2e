//! Whose turn it is: consumers that have room, the one with most left first.

use std::{cmp::Reverse, collections::BTreeSet};

/// What a consumer's place goes by: how much of its credit is left, and when it got its last message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    left: Reverse<u64>,
    turn: u64,
}

impl Rank {
    /// Of `room` messages that are left of `limit`; `None` where none is.
    pub(super) fn of(room: usize, limit: usize, turn: u64) -> Option<Self> {
        let left = Reverse(room as u64 * (1 << 20) / limit.max(1) as u64);
        (room > 0).then_some(Self { left, turn })
    }
}

#[derive(Debug, Default)]
pub(super) struct Order(BTreeSet<(Rank, u64)>);

impl Order {
    /// A consumer has another place now; `None` for none.
    pub(super) fn change(&mut self, key: u64, before: Option<Rank>, after: Option<Rank>) {
        if before == after {
            return;
        }
        if let Some(before) = before {
            self.0.remove(&(before, key));
        }
        if let Some(after) = after {
            self.0.insert((after, key));
        }
    }

    /// In their order.
    pub(super) fn keys(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|(_, key)| *key)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
