//! The consumers of a subscription at this replica, and their credit.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use self::order::{Order, Rank};
use super::outbox::Outbox;

mod order;

/// How much may be out at a consumer at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CreditLimit {
    pub(crate) messages: usize,
    /// One message fits in any case.
    pub(crate) bytes: usize,
}

/// One that messages are delivered to.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) outbox: Arc<Outbox>,
    pub(super) ack_deadline: Option<Duration>,
    limit: CreditLimit,
    out: CreditLimit,
    /// When it got its last message, in the order of all.
    turn: u64,
}

impl Entry {
    /// Whether it may have more messages.
    pub(super) fn has_room(&self) -> bool {
        self.room() > 0
    }

    /// How many messages more it may have.
    fn room(&self) -> usize {
        self.limit.messages.saturating_sub(self.out.messages)
    }

    fn rank(&self) -> Option<Rank> {
        Rank::of(self.room(), self.limit.messages, self.turn)
    }

    fn takes(&self, bytes: usize) -> bool {
        self.room() > 0 && (self.out.messages == 0 || self.out.bytes.saturating_add(bytes) <= self.limit.bytes)
    }
}

/// By a number that each gets.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    entries: BTreeMap<u64, Entry>,
    order: Order,
    /// That of all together.
    room: usize,
    numbered: u64,
    turns: u64,
}

impl Consumers {
    pub(super) fn add(&mut self, outbox: Arc<Outbox>, limit: CreditLimit, ack_deadline: Option<Duration>) -> u64 {
        self.numbered += 1;
        let entry = Entry { outbox, ack_deadline, limit, out: CreditLimit { messages: 0, bytes: 0 }, turn: 0 };
        self.order.change(self.numbered, None, entry.rank());
        self.room += entry.room();
        self.entries.insert(self.numbered, entry);
        self.numbered
    }

    pub(super) fn remove(&mut self, key: u64) -> Option<Entry> {
        let entry = self.entries.remove(&key)?;
        self.order.change(key, entry.rank(), None);
        self.room -= entry.room();
        Some(entry)
    }

    /// Changes what one may have, or has.
    fn change(&mut self, key: u64, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let (rank, room) = (entry.rank(), entry.room());
        change(entry);
        self.order.change(key, rank, entry.rank());
        self.room = self.room - room + entry.room();
    }

    pub(super) fn get(&self, key: u64) -> Option<&Entry> {
        self.entries.get(&key)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn set_limit(&mut self, key: u64, limit: CreditLimit) {
        self.change(key, |entry| entry.limit = limit);
    }

    /// How many messages more may be delivered.
    pub(super) fn room(&self) -> usize {
        self.room
    }

    /// Whether there are some, and each may have more messages: nobody waits for credit.
    pub(super) fn all_have_room(&self) -> bool {
        !self.is_empty() && self.order.len() == self.entries.len()
    }

    /// Takes credit for a message from whoever has most left, in proportion, and of those from whoever has waited
    /// longest, so that equal consumers get equal shares.
    pub(super) fn take(&mut self, bytes: usize) -> Option<u64> {
        let takes = |key: &u64| self.entries.get(key).is_some_and(|entry| entry.takes(bytes));
        let key = self.order.keys().find(takes)?;
        self.turns += 1;
        let turn = self.turns;
        self.change(key, |entry| {
            entry.turn = turn;
            entry.out.messages += 1;
            entry.out.bytes += bytes;
        });
        Some(key)
    }

    /// Gives credit back.
    pub(super) fn give_back(&mut self, key: u64, freed: CreditLimit) {
        self.change(key, |entry| {
            entry.out.messages = entry.out.messages.saturating_sub(freed.messages);
            entry.out.bytes = entry.out.bytes.saturating_sub(freed.bytes);
        });
    }

    /// Takes back what was given back.
    pub(super) fn take_back(&mut self, key: u64, freed: CreditLimit) {
        self.change(key, |entry| {
            entry.out.messages = entry.out.messages.saturating_add(freed.messages);
            entry.out.bytes = entry.out.bytes.saturating_add(freed.bytes);
        });
    }

    /// Nothing is out any more.
    pub(super) fn reset(&mut self) {
        for key in self.entries.keys().copied().collect::<Vec<_>>() {
            self.change(key, |entry| {
                entry.out = CreditLimit { messages: 0, bytes: 0 };
                entry.outbox.clear();
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consumers(limits: &[(usize, usize)]) -> Consumers {
        let mut consumers = Consumers::default();
        for (messages, bytes) in limits {
            consumers.add(Arc::default(), CreditLimit { messages: *messages, bytes: *bytes }, None);
        }
        consumers
    }

    fn one(bytes: usize) -> CreditLimit {
        CreditLimit { messages: 1, bytes }
    }

    fn shares(consumers: &mut Consumers, messages: usize) -> Vec<u64> {
        (0..messages).filter_map(|_| consumers.take(1)).collect()
    }

    #[test]
    fn equal_consumers_get_equal_shares_and_none_more_than_its_credit() {
        let mut equal = consumers(&[(10, 100), (10, 100)]);
        assert_eq!(shares(&mut equal, 4), [1, 2, 1, 2]);
        assert_eq!(shares(&mut equal, 100).len(), 16);
        assert_eq!((equal.room(), equal.take(1)), (0, None));
        equal.give_back(2, one(1));
        assert_eq!(equal.take(1), Some(2));
        // They take turns also where each settles at once.
        let mut quick = consumers(&[(10, 100), (10, 100), (10, 100)]);
        let turns: Vec<_> = (0..6)
            .map(|_| {
                let key = quick.take(1).expect("credit");
                quick.give_back(key, one(1));
                key
            })
            .collect();
        assert_eq!(turns, [1, 2, 3, 1, 2, 3]);
        // In proportion to what they may have.
        let taken = shares(&mut consumers(&[(100, 1_000), (10, 1_000)]), 55);
        assert_eq!(taken.iter().filter(|key| **key == 2).count(), 5);
    }

    #[test]
    fn bytes_are_credit_too_and_one_message_fits() {
        let mut consumers = consumers(&[(10, 100)]);
        assert_eq!(consumers.take(1_000), Some(1));
        assert_eq!(consumers.take(1), None);
        consumers.give_back(1, one(1_000));
        assert_eq!((consumers.take(60), consumers.take(60), consumers.take(40)), (Some(1), None, Some(1)));
        consumers.set_limit(1, CreditLimit { messages: 1, bytes: 100 });
        consumers.give_back(1, one(60));
        assert_eq!((consumers.take(1), consumers.room()), (None, 0));
    }

    #[test]
    fn room_is_that_of_all_and_known_to_be_there_for_each() {
        let mut consumers = consumers(&[(2, 100), (1, 100)]);
        assert_eq!((consumers.room(), consumers.all_have_room()), (3, true));
        assert_eq!(shares(&mut consumers, 2).len(), 2);
        assert_eq!((consumers.room(), consumers.all_have_room()), (1, false));
        consumers.set_limit(2, CreditLimit { messages: 5, bytes: 100 });
        assert_eq!((consumers.room(), consumers.all_have_room()), (5, true));
        consumers.remove(2);
        consumers.give_back(1, one(1));
        assert_eq!(consumers.room(), 2);
        consumers.take_back(1, one(1));
        assert_eq!((consumers.room(), consumers.take(1), consumers.take(1)), (1, Some(1), None));
        consumers.reset();
        assert_eq!((consumers.room(), consumers.take(100)), (2, Some(1)));
        consumers.remove(1);
        assert_eq!((consumers.room(), consumers.all_have_room()), (0, false));
    }
}
