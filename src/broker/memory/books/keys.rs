//! The ordering keys of one subscription: of each at most one message is under way, the others wait behind it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{broker::subscriptions::Keyed, subscription::OrderKey};

/// Bytes of memory that a closed key costs, and a message behind one: estimates, on the safe side.
pub(super) const CLOSED_COST: usize = 160;
const PARKED_COST: usize = 160;

/// Where a message comes in its key's order: after all with a lower number. One that was put back from the dead letters
/// has the number of the last message before it was put back, and comes after that; of several the lowest comes first.
type Turn = (i64, bool, i64);

#[derive(Debug, Default)]
pub(super) struct Keys {
    /// The message of each closed key that is under way.
    closed: HashMap<OrderKey, i64>,
    /// The keys of these messages.
    under_way: HashMap<i64, OrderKey>,
    /// Those behind them.
    parked: HashMap<OrderKey, BTreeSet<Turn>>,
    /// The same in their order.
    order: BTreeMap<i64, OrderKey>,
}

impl Keys {
    pub(super) fn cost(&self) -> usize {
        self.closed.len() * CLOSED_COST + self.order.len() * PARKED_COST
    }

    /// How many messages wait for their keys.
    pub(super) fn len(&self) -> u64 {
        self.order.len() as u64
    }

    /// The lowest message that waits for its key.
    pub(super) fn lowest(&self) -> Option<i64> {
        self.order.first_key_value().map(|(sequence, _)| *sequence)
    }

    /// Whether a message waits for its key.
    pub(super) fn has(&self, sequence: i64) -> bool {
        self.order.contains_key(&sequence)
    }

    pub(super) fn is_closed(&self, key: &OrderKey) -> bool {
        self.closed.contains_key(key)
    }

    /// A message of an open key is under way.
    pub(super) fn close(&mut self, Keyed { key, sequence }: Keyed) {
        self.closed.insert(key, sequence);
        self.under_way.insert(sequence, key);
    }

    /// A message of a closed key waits: behind all that do, and where it was put back, behind all up to `last`.
    pub(super) fn park(&mut self, Keyed { key, sequence }: Keyed, put_back_after: Option<i64>) {
        let turn = (put_back_after.unwrap_or(sequence), put_back_after.is_some(), sequence);
        if self.order.insert(sequence, key).is_none() {
            self.parked.entry(key).or_default().insert(turn);
        }
    }

    /// A message is not under way any more. The next of its key is, if there is one.
    pub(super) fn open(&mut self, sequence: i64) -> Option<i64> {
        let key = self.under_way.remove(&sequence)?;
        self.closed.remove(&key);
        let behind = self.parked.get_mut(&key)?;
        let next = behind.pop_first().map(|(.., next)| next);
        if behind.is_empty() {
            self.parked.remove(&key);
        }
        let next = next?;
        self.order.remove(&next);
        self.close(Keyed { key, sequence: next });
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_a_key_come_one_after_the_other() {
        let [one, other] = ["one", "other"].map(|key| OrderKey::of(key).expect("a key"));
        let keyed = |sequence| Keyed { key: one, sequence };
        let mut keys = Keys::default();
        keys.close(keyed(2));
        keys.park(keyed(5), None);
        keys.park(keyed(3), None);
        // Put back when 5 was the last that was handed out.
        keys.park(keyed(1), Some(5));
        keys.park(keyed(6), None);
        assert!(keys.is_closed(&one) && !keys.is_closed(&other));
        assert_eq!((keys.len(), keys.lowest(), keys.has(3), keys.has(2)), (4, Some(1), true, false));
        assert_eq!(keys.open(3), None, "it is not under way");
        let turns: Vec<_> = [2, 3, 5, 1, 6].into_iter().map(|sequence| keys.open(sequence)).collect();
        assert_eq!(turns, [Some(3), Some(5), Some(1), Some(6), None]);
        assert_eq!((keys.cost(), keys.is_closed(&one)), (0, false));
        assert!(keys.parked.is_empty() && keys.under_way.is_empty());
    }
}
