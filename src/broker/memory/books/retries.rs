//! The messages of one subscription that wait for a retry, and what is remembered of those that were delivered before.
//!
//! What is remembered stays when a message is taken out again: it goes when the message is settled or dies.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;

use crate::{broker::subscriptions::Due, subscription::Attempts};

/// Bytes of memory that a message costs that waits, one of which attempts are remembered, and one whose JSON is kept,
/// beside it: estimates, on the safe side.
const WAITING_COST: usize = 96;
const ATTEMPTS_COST: usize = 64;
const KEPT_COST: usize = 64;

/// What a message costs at most that waits, beside its JSON and its key.
pub(super) const RETRY_COST: usize = WAITING_COST + ATTEMPTS_COST + KEPT_COST;

#[derive(Debug, Default)]
pub(super) struct Retries {
    /// When each message that waits is due.
    waiting: BTreeMap<i64, i64>,
    /// The same by that time.
    queue: BTreeSet<(i64, i64)>,
    attempts: HashMap<i64, Attempts>,
    /// The JSON of messages that were put back from the dead letters.
    kept: HashMap<i64, Bytes>,
    kept_bytes: usize,
}

impl Retries {
    pub(super) fn cost(&self) -> usize {
        let (waiting, attempts) = (self.waiting.len() * WAITING_COST, self.attempts.len() * ATTEMPTS_COST);
        waiting + attempts + self.kept.len() * KEPT_COST + self.kept_bytes
    }

    /// How many messages wait.
    pub(super) fn len(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// The lowest message that waits.
    pub(super) fn lowest(&self) -> Option<i64> {
        self.waiting.first_key_value().map(|(sequence, _)| *sequence)
    }

    /// When the next one is due.
    pub(super) fn due_ms(&self) -> Option<i64> {
        self.queue.first().map(|(due_ms, _)| *due_ms)
    }

    /// Whether a message waits.
    pub(super) fn has(&self, sequence: i64) -> bool {
        self.waiting.contains_key(&sequence)
    }

    /// Whether a message waits and is due.
    pub(super) fn is_due(&self, sequence: i64, now_ms: i64) -> bool {
        self.waiting.get(&sequence).is_some_and(|due_ms| *due_ms <= now_ms)
    }

    /// Up to so many messages that are due, the longest due first.
    pub(super) fn due(&self, limit: usize, now_ms: i64) -> Vec<Due> {
        let due = self.queue.range(..=(now_ms, i64::MAX)).take(limit);
        due.map(|(_, sequence)| self.remembered(*sequence)).collect()
    }

    /// What is remembered of a message.
    pub(super) fn remembered(&self, sequence: i64) -> Due {
        let (attempts, json) = (self.attempts.get(&sequence).copied(), self.kept.get(&sequence).cloned());
        Due { sequence, attempts: attempts.unwrap_or_default(), json }
    }

    /// Has a message wait.
    pub(super) fn wait(&mut self, sequence: i64, due_ms: i64) {
        self.take(sequence);
        self.waiting.insert(sequence, due_ms);
        self.queue.insert((due_ms, sequence));
    }

    /// Remembers a message's deliveries until it is settled.
    pub(super) fn remember(&mut self, sequence: i64, attempts: Attempts) {
        self.attempts.insert(sequence, attempts);
    }

    /// Keeps a message's JSON until it is settled.
    pub(super) fn keep(&mut self, sequence: i64, json: Bytes) {
        self.kept_bytes += json.len();
        let before = self.kept.insert(sequence, json);
        self.kept_bytes -= before.map_or(0, |before| before.len());
    }

    /// A message waits no more.
    pub(super) fn take(&mut self, sequence: i64) {
        if let Some(due_ms) = self.waiting.remove(&sequence) {
            self.queue.remove(&(due_ms, sequence));
        }
    }

    /// Nothing is remembered of a message. Whether it waits is not touched.
    pub(super) fn forget(&mut self, sequence: i64) {
        self.attempts.remove(&sequence);
        self.kept_bytes -= self.kept.remove(&sequence).map_or(0, |json| json.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONCE: Attempts = Attempts { count: 1, first_ms: 10, redrives: 0 };

    #[test]
    fn a_message_waits_once_and_nothing_is_left_of_it() {
        let mut retries = Retries::default();
        for (sequence, due_ms) in [(7, 300), (3, 200), (7, 100), (5, 200)] {
            retries.remember(sequence, ONCE);
            retries.wait(sequence, due_ms);
        }
        assert_eq!((retries.len(), retries.lowest(), retries.due_ms()), (3, Some(3), Some(100)));
        let due = |retries: &Retries, limit, now_ms| -> Vec<i64> {
            retries.due(limit, now_ms).into_iter().map(|due| due.sequence).collect()
        };
        assert!(due(&retries, 10, 99).is_empty());
        assert_eq!(due(&retries, 10, 100), [7]);
        assert_eq!(due(&retries, 10, 200), [7, 3, 5]);
        assert_eq!(due(&retries, 2, 200), [7, 3]);
        assert!(retries.is_due(3, 200) && !retries.is_due(3, 199) && !retries.is_due(4, 999));
        for sequence in [3, 5, 7] {
            retries.take(sequence);
            assert!(!retries.has(sequence));
        }
        assert_eq!((retries.len(), retries.due_ms(), retries.cost()), (0, None, 3 * ATTEMPTS_COST));
        (1..10).for_each(|sequence| retries.forget(sequence));
        assert_eq!(retries.cost(), 0);
    }

    #[test]
    fn json_is_kept_and_counted_until_it_is_forgotten() {
        let mut retries = Retries::default();
        retries.remember(1, ONCE);
        for json in ["{\"first\":1}", "{}"] {
            retries.keep(1, Bytes::from_static(json.as_bytes()));
            retries.wait(1, 0);
        }
        assert_eq!(retries.cost(), RETRY_COST + 2);
        retries.take(1);
        retries.wait(1, 5);
        assert_eq!(retries.due(1, 5)[0].json.as_deref(), Some(&b"{}"[..]));
        retries.take(1);
        retries.forget(1);
        assert_eq!(retries.cost(), 0);
    }
}
