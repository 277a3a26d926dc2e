//! The dead letters of one subscription, in the order in which they died. The oldest go where they are too many or too
//! old, so they have a bound of their own beside the broker's.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
};

use super::{keys::CLOSED_COST, retries::RETRY_COST};
use crate::{
    broker::subscriptions::{Letter, LetterId},
    limits::{DEAD_AGE, DEAD_BYTES},
    message::Epoch,
};

/// Bytes of memory that a letter costs beside its JSON and its reason, in the outbox or not: not less than it costs
/// once it is put back.
const LETTER_COST: usize = RETRY_COST + CLOSED_COST;

#[derive(Debug, Default)]
pub(super) struct Letters {
    letters: BTreeMap<LetterId, Letter>,
    /// Those that are still to be published.
    outbox: BTreeSet<LetterId>,
    /// When each message died that has a letter. One that died again, after a seek, has the later one.
    died: HashMap<(Epoch, i64), i64>,
    bytes: usize,
}

impl Letters {
    pub(super) fn cost(&self) -> usize {
        self.bytes
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.letters.len() as u64
    }

    /// How many of them are still to be published.
    pub(super) fn unsent(&self) -> u64 {
        self.outbox.len() as u64
    }

    /// By how much they may grow with some more: those that they push out are taken into account.
    pub(super) fn growth<'a>(&self, more: impl Iterator<Item = &'a Letter>) -> usize {
        let added: usize = more.map(cost).sum();
        (self.bytes + added).min(DEAD_BYTES).saturating_sub(self.bytes)
    }

    /// When a message died that has a letter.
    pub(super) fn died_ms(&self, epoch: Epoch, sequence: i64) -> Option<i64> {
        self.died.get(&(epoch, sequence)).copied()
    }

    /// Adds a letter; the oldest go. Answers how many of those were never published.
    pub(super) fn add(&mut self, letter: &Letter, now_ms: i64) -> u64 {
        let id = LetterId { dead_ms: now_ms, sequence: letter.sequence, epoch: letter.epoch };
        if let Some(dead_ms) = self.died_ms(letter.epoch, letter.sequence) {
            self.remove(&LetterId { dead_ms, ..id.clone() });
        }
        self.bytes += cost(letter);
        self.died.insert((letter.epoch, letter.sequence), now_ms);
        self.letters.insert(id.clone(), letter.clone());
        self.outbox.insert(id);
        self.trim(now_ms)
    }

    /// Removes those that are too old or too many. Answers how many of them were never published.
    pub(super) fn trim(&mut self, now_ms: i64) -> u64 {
        let mut lost = 0;
        let oldest_ms = now_ms.saturating_sub(DEAD_AGE.as_millis() as i64);
        while let Some((oldest, _)) = self.letters.first_key_value() {
            if self.bytes <= DEAD_BYTES && oldest.dead_ms >= oldest_ms {
                break;
            }
            let oldest = oldest.clone();
            lost += u64::from(self.outbox.contains(&oldest));
            self.remove(&oldest);
        }
        lost
    }

    /// Removes a letter, if it is there.
    pub(super) fn remove(&mut self, id: &LetterId) -> Option<Letter> {
        let letter = self.letters.remove(id)?;
        self.outbox.remove(id);
        self.bytes -= cost(&letter);
        self.died.remove(&(letter.epoch, letter.sequence));
        Some(letter)
    }

    /// Letters after one, until a limit of number or bytes of JSON is reached, one at least.
    pub(super) fn page(&self, after: Option<&LetterId>, limit: usize, bytes: usize) -> Vec<(LetterId, Letter)> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        first(self.letters.range((after, Bound::Unbounded)), limit, bytes)
    }

    /// The same of those that are still to be published, from the first on.
    pub(super) fn outbox(&self, limit: usize, bytes: usize) -> Vec<(LetterId, Letter)> {
        first(self.outbox.iter().filter_map(|id| self.letters.get_key_value(id)), limit, bytes)
    }

    /// A letter was published; it stays.
    pub(super) fn sent(&mut self, id: &LetterId) {
        self.outbox.remove(id);
    }
}

/// The first of some letters, until a limit of number or bytes of JSON is reached, one at least.
fn first<'a>(
    letters: impl Iterator<Item = (&'a LetterId, &'a Letter)>,
    limit: usize,
    bytes: usize,
) -> Vec<(LetterId, Letter)> {
    let mut page = Vec::new();
    let mut page_bytes = 0;
    for (id, letter) in letters {
        page_bytes += letter.json.len();
        if !page.is_empty() && (page.len() >= limit || page_bytes > bytes) {
            break;
        }
        page.push((id.clone(), letter.clone()));
    }
    page
}

fn cost(letter: &Letter) -> usize {
    LETTER_COST + letter.reason.len() + letter.json.len()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::subscription::Attempts;

    const DEAD_AGE_MS: i64 = DEAD_AGE.as_millis() as i64;

    fn letter(sequence: i64, json: &Bytes) -> Letter {
        let (epoch, attempts) = (Epoch::from_u64(1).expect("not 0"), Attempts::default());
        Letter { epoch, sequence, attempts, reason: "bad".to_owned(), key: None, json: json.clone() }
    }

    fn sequences(letters: &Letters) -> Vec<i64> {
        letters.page(None, usize::MAX, usize::MAX).into_iter().map(|(id, _)| id.sequence).collect()
    }

    #[test]
    fn the_oldest_go_by_age() {
        let (mut letters, json) = (Letters::default(), Bytes::from_static(b"{}"));
        letters.add(&letter(1, &json), 1_000);
        letters.add(&letter(2, &json), 2_000);
        letters.add(&letter(3, &json), 1_000 + DEAD_AGE_MS);
        assert_eq!(sequences(&letters), [1, 2, 3]);
        assert_eq!(letters.trim(1_001 + DEAD_AGE_MS), 1, "also where none dies");
        assert_eq!(sequences(&letters), [2, 3]);
        letters.add(&letter(4, &json), 1_001 + DEAD_AGE_MS);
        assert_eq!(sequences(&letters), [2, 3, 4]);
        let died = |sequence| letters.died_ms(Epoch::from_u64(1).expect("not 0"), sequence);
        assert_eq!((died(1), died(2)), (None, Some(2_000)));
    }

    #[test]
    fn the_outbox_has_only_what_is_there_and_was_not_sent() {
        let (mut letters, json) = (Letters::default(), Bytes::from_static(b"{}"));
        (1..=4).for_each(|sequence| assert_eq!(letters.add(&letter(sequence, &json), sequence), 0));
        let outbox = |letters: &Letters| -> Vec<i64> {
            letters.outbox(10, 1_000).into_iter().map(|(id, _)| id.sequence).collect()
        };
        let ids: Vec<LetterId> = letters.page(None, 10, 1_000).into_iter().map(|(id, _)| id).collect();
        letters.sent(&ids[0]);
        assert!(letters.remove(&ids[2]).is_some());
        assert_eq!((outbox(&letters), letters.unsent(), letters.len()), (vec![2, 4], 2, 3));
        assert_eq!((letters.outbox(1, 1_000).len(), letters.outbox(10, 1).len()), (1, 1));
        // Of the first two that are too old now, one was published.
        assert_eq!(letters.add(&letter(5, &json), 3 + DEAD_AGE_MS), 1);
        assert_eq!((outbox(&letters), letters.unsent()), (vec![4, 5], 2));
    }

    #[test]
    fn the_oldest_go_by_bytes_and_growth_knows_it() {
        let (mut letters, json) = (Letters::default(), Bytes::from(vec![b'x'; DEAD_BYTES / 4]));
        for sequence in 1..=5 {
            let next = letter(sequence, &json);
            let (before, growth) = (letters.cost(), letters.growth(std::iter::once(&next)));
            letters.add(&next, sequence);
            assert!(letters.cost() <= before + growth && letters.cost() <= DEAD_BYTES, "{sequence}");
        }
        // Each is a little larger than a fourth.
        assert_eq!(sequences(&letters), [3, 4, 5]);
        // One that dies again has one letter, the later one.
        for dead_ms in [5, 6] {
            letters.add(&letter(5, &json), dead_ms);
        }
        assert_eq!(sequences(&letters), [3, 4, 5]);
        for (id, _) in letters.page(None, 10, usize::MAX) {
            assert!(letters.remove(&id).is_some() && letters.remove(&id).is_none());
        }
        assert_eq!((letters.cost(), letters.len(), letters.died.len()), (0, 0, 0));
    }

    #[test]
    fn pages_keep_to_their_limits() {
        let (mut letters, json) = (Letters::default(), Bytes::from_static(b"0123456789"));
        (1..=4).for_each(|sequence| assert_eq!(letters.add(&letter(sequence, &json), 10 - sequence), 0));
        let page = |after: Option<&LetterId>, limit, bytes| -> Vec<LetterId> {
            letters.page(after, limit, bytes).into_iter().map(|(id, _)| id).collect()
        };
        let all = page(None, 10, 1_000);
        assert_eq!(all.iter().map(|id| id.sequence).collect::<Vec<_>>(), [4, 3, 2, 1]);
        assert_eq!(page(None, 2, 1_000), all[..2]);
        assert_eq!(page(Some(&all[1]), 10, 1_000), all[2..]);
        assert_eq!(page(None, 10, 20), all[..2]);
        assert_eq!(page(None, 10, 1), all[..1]);
        assert_eq!(page(Some(&all[3]), 10, 1_000), []);
    }
}
