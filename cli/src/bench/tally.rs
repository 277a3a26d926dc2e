//! Which messages one stream has received: each once, twice, or not at all. Pure: it knows numbers only.

use std::collections::{BTreeMap, HashSet};

/// What one publisher knows about its messages, which it numbers from 0.
#[derive(Debug, Default)]
pub(super) struct Published {
    /// So many have an answer.
    pub(super) answered: u64,
    /// Those whose answer was no receipt: they may have been published.
    pub(super) unsure: HashSet<u64>,
}

/// What one stream has received.
#[derive(Debug)]
pub(super) struct Tally {
    publishers: Vec<Seen>,
    /// Messages received, each counted once.
    pub(super) received: u64,
    /// Messages received again.
    pub(super) doubled: u64,
}

#[derive(Debug, Clone, Default)]
struct Seen {
    /// After the greatest number received.
    next: u64,
    /// Below it, what was not received: where each range begins, and its end.
    missing: BTreeMap<u64, u64>,
}

impl Tally {
    pub(super) fn new(publishers: usize) -> Self {
        Self { publishers: vec![Seen::default(); publishers], received: 0, doubled: 0 }
    }

    /// Notes a message; answers whether it had not come before.
    pub(super) fn note(&mut self, publisher: usize, number: u64) -> bool {
        let is_new = self.publishers.get_mut(publisher).is_some_and(|seen| seen.note(number));
        if is_new {
            self.received += 1;
        } else {
            self.doubled += 1;
        }
        is_new
    }

    /// How many messages with a receipt have not come.
    pub(super) fn lost(&self, published: &[Published]) -> u64 {
        self.publishers.iter().zip(published).map(|(seen, published)| seen.lost(published)).sum()
    }
}

impl Seen {
    fn note(&mut self, number: u64) -> bool {
        if number >= self.next {
            if number > self.next {
                self.missing.insert(self.next, number);
            }
            self.next = number + 1;
            return true;
        }
        let Some((&first, &end)) = self.missing.range(..=number).next_back().filter(|(_, end)| number < **end) else {
            return false;
        };
        self.missing.remove(&first);
        if first < number {
            self.missing.insert(first, number);
        }
        if number + 1 < end {
            self.missing.insert(number + 1, end);
        }
        true
    }

    fn lost(&self, published: &Published) -> u64 {
        let rest = (self.next, published.answered);
        let ranges = self.missing.iter().map(|(&first, &end)| (first, end.min(published.answered))).chain([rest]);
        ranges
            .filter(|(first, end)| first < end)
            .map(|(first, end)| {
                let unsure = published.unsure.iter().filter(|number| (first..end).contains(number)).count();
                end - first - unsure as u64
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(answered: u64, unsure: &[u64]) -> Published {
        Published { answered, unsure: unsure.iter().copied().collect() }
    }

    #[test]
    fn what_has_a_receipt_must_come_once() {
        let mut tally = Tally::new(2);
        for number in [0, 1, 5, 6, 3] {
            assert!(tally.note(0, number), "{number}");
        }
        assert_eq!(tally.lost(&[published(7, &[]), published(0, &[])]), 2);
        assert_eq!(tally.lost(&[published(9, &[]), published(1, &[])]), 5);
        assert_eq!(tally.lost(&[published(9, &[2, 8]), published(1, &[0])]), 2);
        assert_eq!(tally.lost(&[published(2, &[]), published(0, &[])]), 0);
        for number in [3, 0, 6] {
            assert!(!tally.note(0, number), "{number}");
        }
        assert!(tally.note(0, 4) && tally.note(0, 2) && tally.note(1, 0));
        assert_eq!((tally.received, tally.doubled), (8, 3));
        assert_eq!(tally.lost(&[published(7, &[]), published(1, &[])]), 0);
    }

    #[test]
    fn every_order_of_arrival_comes_to_the_same() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut numbers: Vec<u64> = (0..20).filter(|_| random.bool()).collect();
            random.shuffle(&mut numbers);
            let mut tally = Tally::new(1);
            assert!(numbers.iter().all(|number| tally.note(0, *number)));
            assert_eq!(tally.lost(&[published(20, &[])]), 20 - numbers.len() as u64, "{numbers:?}");
            assert!(!numbers.iter().any(|number| tally.note(0, *number)), "{numbers:?}");
        }
    }
}
