//! Messages of plain programs that were received on a channel and wait to be adopted, in order.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use tidings::{
    broker::adopt::Raw,
    limits::{BATCH_BYTES, BATCH_MESSAGES, CAPTURE_MESSAGE_COST},
};
use tokio::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Held {
    messages: BTreeMap<u64, (Instant, Arc<Raw>)>,
    /// The indexes of equal bytes, oldest first: what was adopted elsewhere is found at once, however much is held.
    indexes: HashMap<[u8; Raw::HASH_BYTES], VecDeque<u64>>,
    next: u64,
    bytes: usize,
}

impl Held {
    pub(super) fn push(&mut self, raw: Raw, now: Instant) {
        self.bytes += cost(&raw);
        self.indexes.entry(raw.hash).or_default().push_back(self.next);
        self.messages.insert(self.next, (now, Arc::new(raw)));
        self.next += 1;
    }

    /// Takes out the oldest message with these bytes. False where there is none.
    pub(super) fn take(&mut self, hash: &[u8; Raw::HASH_BYTES]) -> bool {
        let Some(index) = self.indexes.get(hash).and_then(VecDeque::front).copied() else { return false };
        self.remove(index);
        true
    }

    /// Drops the oldest message. False where there is none.
    pub(super) fn drop_oldest(&mut self) -> bool {
        let Some((index, _)) = self.messages.first_key_value() else { return false };
        self.remove(*index);
        true
    }

    fn remove(&mut self, index: u64) {
        let Some((_, raw)) = self.messages.remove(&index) else { return };
        self.bytes -= cost(&raw);
        if let Some(indexes) = self.indexes.get_mut(&raw.hash) {
            // The oldest of its bytes, whichever way it was found.
            indexes.pop_front();
            if indexes.is_empty() {
                self.indexes.remove(&raw.hash);
            }
        }
    }

    /// The oldest messages, as many as one call may have.
    pub(super) fn batch(&self) -> Vec<Arc<Raw>> {
        let mut bytes = 0;
        let fits = |raw: &&Arc<Raw>| {
            bytes += raw.envelope.len();
            // One always fits: it is at most as large as a message may be.
            bytes <= BATCH_BYTES
        };
        self.messages.values().map(|(_, raw)| raw).take(BATCH_MESSAGES).take_while(fits).cloned().collect()
    }

    /// Since when the oldest message waits.
    pub(super) fn since(&self) -> Option<Instant> {
        self.messages.first_key_value().map(|(_, (since, _))| *since)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn cost(raw: &Raw) -> usize {
    raw.envelope.len() + CAPTURE_MESSAGE_COST
}

#[cfg(test)]
mod tests {
    use tidings::envelope::decode;

    use super::*;

    fn raw(payload: &[u8]) -> Raw {
        Raw::new(payload, &decode(payload, 0)).expect("small enough")
    }

    fn held(payloads: &[&str]) -> Held {
        let mut held = Held::default();
        for payload in payloads {
            held.push(raw(payload.as_bytes()), Instant::now());
        }
        held
    }

    fn hashes(held: &Held) -> Vec<[u8; 16]> {
        held.batch().iter().map(|raw| raw.hash).collect()
    }

    #[test]
    fn equal_bytes_are_taken_one_at_a_time_and_the_oldest_first() {
        let mut held = held(&["a", "b", "a", "c"]);
        let hash = |payload: &str| raw(payload.as_bytes()).hash;
        assert!(held.take(&hash("a")));
        assert_eq!(hashes(&held), ["b", "a", "c"].map(hash));
        assert!(held.drop_oldest());
        assert!(held.take(&hash("a")) && !held.take(&hash("a")) && !held.take(&hash("b")));
        assert!(held.drop_oldest() && !held.drop_oldest());
        assert_eq!((held.bytes(), held.is_empty(), held.indexes.len()), (0, true, 0));
    }

    #[test]
    fn a_batch_keeps_to_the_limits_of_a_call() {
        let mut held = Held::default();
        for _ in 0..BATCH_MESSAGES + 1 {
            held.push(raw(b"small"), Instant::now());
        }
        assert_eq!(held.batch().len(), BATCH_MESSAGES);
        let mut held = Held::default();
        let large = vec![b'x'; BATCH_BYTES / 4 - 300];
        for _ in 0..6 {
            held.push(raw(&large), Instant::now());
        }
        assert_eq!(held.batch().len(), 4);
    }
}
