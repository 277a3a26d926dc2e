//! The ids that clients gave, in generations of one deduplication window: the present one and the one before are
//! searched, so an id is remembered for one window at least and two at most. As on Redis.

use std::collections::HashMap;

use crate::message::DedupKey;

/// Bytes of memory that a remembered id costs, about.
pub(super) const ID_COST: usize = 64;

/// The position of a message that was published with an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) sequence: i64,
    pub(super) time_ms: i64,
}

#[derive(Debug, Default)]
pub(super) struct Ids {
    generation: i64,
    present: HashMap<DedupKey, Known>,
    before: HashMap<DedupKey, Known>,
}

impl Ids {
    /// Goes to the generation of a log time, and forgets those before the last.
    pub(super) fn turn(&mut self, time_ms: i64, window_ms: u64) {
        let window_ms = i64::try_from(window_ms).unwrap_or(i64::MAX).max(1);
        let generation = time_ms.div_euclid(window_ms);
        if generation > self.generation {
            let last = std::mem::take(&mut self.present);
            self.before = if generation == self.generation + 1 { last } else { HashMap::new() };
            self.generation = generation;
        }
    }

    pub(super) fn get(&self, id: &DedupKey) -> Option<Known> {
        self.present.get(id).or_else(|| self.before.get(id)).copied()
    }

    pub(super) fn insert(&mut self, id: DedupKey, known: Known) {
        self.present.insert(id, known);
    }

    /// Whether so many more may be remembered in this generation.
    pub(super) fn has_room(&self, added: usize, max_ids: u64) -> bool {
        added == 0 || (self.present.len() + added) as u64 <= max_ids
    }

    pub(super) fn len(&self) -> usize {
        self.present.len() + self.before.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Sender;

    fn key() -> DedupKey {
        DedupKey::new(Sender::Unasked, uuid::Uuid::now_v7())
    }

    #[test]
    fn ids_last_one_window_at_least_and_two_at_most() {
        let (mut ids, id) = (Ids::default(), key());
        let known = Known { sequence: 1, time_ms: 1_999 };
        ids.turn(1_999, 1_000);
        ids.insert(id, known);
        for (time_ms, expected) in [(1_999, Some(known)), (2_000, Some(known)), (2_999, Some(known)), (3_000, None)] {
            ids.turn(time_ms, 1_000);
            assert_eq!(ids.get(&id), expected, "{time_ms}");
        }
        ids.insert(id, known);
        ids.turn(5_000, 1_000);
        assert_eq!((ids.get(&id), ids.len()), (None, 0));
    }

    #[test]
    fn room_is_counted_by_generation() {
        let mut ids = Ids::default();
        ids.turn(0, 1_000);
        ids.insert(key(), Known { sequence: 1, time_ms: 0 });
        assert!(ids.has_room(1, 2) && !ids.has_room(2, 2) && ids.has_room(0, 0));
        ids.turn(1_000, 1_000);
        assert!(ids.has_room(2, 2));
    }
}
