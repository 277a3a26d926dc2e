//! Ranges of messages that one reader has reported to be lost, or had.

use crate::{limits::REPORTED_RANGES, message::Epoch};

/// Ranges of sequences, inclusive, that do not touch each other within an epoch; the most recent last, at most
/// [`REPORTED_RANGES`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Reported(Vec<(Epoch, i64, i64)>);

impl Reported {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn of(&self, epoch: Epoch) -> impl Iterator<Item = (i64, i64)> {
        self.0.iter().filter(move |(of, ..)| *of == epoch).map(|(_, from, to)| (*from, *to))
    }

    /// Up to where all that follows a sequence was reported; the sequence itself where that was not.
    pub(super) fn beyond(&self, epoch: Epoch, sequence: i64) -> i64 {
        let following = self.of(epoch).find(|(from, to)| *from <= sequence + 1 && *to > sequence);
        following.map_or(sequence, |(_, to)| to)
    }

    /// The first part of a range that was not reported.
    pub(super) fn first_less(&self, epoch: Epoch, from: i64, to: i64) -> Option<(i64, i64)> {
        let first = self.beyond(epoch, from - 1) + 1;
        let next = self.of(epoch).map(|(its_from, _)| its_from).filter(|its_from| *its_from > first).min();
        let last = next.map_or(to, |next| to.min(next - 1));
        (first <= last).then_some((first, last))
    }

    /// What of a range was not reported, from the first such sequence to the last.
    pub(super) fn less(&self, epoch: Epoch, from: i64, to: i64) -> Option<(i64, i64)> {
        let first = self.beyond(epoch, from - 1) + 1;
        let covers_end = self.of(epoch).find(|(from, reported)| *from <= to && *reported >= to);
        let last = covers_end.map_or(to, |(from, _)| from - 1);
        (first <= last).then_some((first, last))
    }

    /// Adds a range, which may be empty.
    pub(super) fn add(&mut self, epoch: Epoch, mut from: i64, mut to: i64) {
        if from > to {
            return;
        }
        self.0.retain(|(of, its_from, its_to)| {
            let touches = *of == epoch && *its_from <= to + 1 && from <= *its_to + 1;
            if touches {
                (from, to) = (from.min(*its_from), to.max(*its_to));
            }
            !touches
        });
        if self.0.len() >= REPORTED_RANGES {
            self.0.remove(0);
        }
        self.0.push((epoch, from, to));
    }

    pub(super) fn add_all(&mut self, others: &Self) {
        others.0.iter().for_each(|(epoch, from, to)| self.add(*epoch, *from, *to));
    }

    /// From a sequence of an epoch on there is something else now.
    pub(super) fn cut(&mut self, epoch: Epoch, from: i64) {
        self.0.retain_mut(|(of, its_from, its_to)| {
            if *of == epoch {
                *its_to = (*its_to).min(from - 1);
            }
            its_from <= its_to
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_an_epoch_are_put_together_and_cut() {
        let [one, other] = [1, 2].map(|number| Epoch::from_u64(number).expect("not zero"));
        let mut reported = Reported::default();
        reported.add(one, 4, 6);
        reported.add(one, 9, 9);
        reported.add(other, 1, 3);
        reported.add(one, 3, 2);
        assert_eq!((reported.beyond(one, 3), reported.beyond(one, 2), reported.beyond(one, 5)), (6, 2, 6));
        assert_eq!(reported.less(one, 4, 6), None);
        assert_eq!(reported.less(one, 1, 5), Some((1, 3)));
        assert_eq!(reported.less(one, 5, 8), Some((7, 8)));
        assert_eq!(reported.less(one, 1, 12), Some((1, 12)), "one loss is one gap, though some of it is known");
        assert_eq!(reported.less(other, 2, 4), Some((4, 4)));
        assert_eq!(reported.first_less(one, 1, 12), Some((1, 3)));
        assert_eq!(reported.first_less(one, 4, 12), Some((7, 8)));
        assert_eq!(reported.first_less(one, 9, 12), Some((10, 12)));
        assert_eq!(reported.first_less(one, 4, 6), None);
        reported.add(one, 7, 8);
        assert_eq!(reported.0, [(other, 1, 3), (one, 4, 9)]);
        reported.cut(one, 6);
        assert_eq!(reported.0, [(other, 1, 3), (one, 4, 5)]);
        reported.cut(one, 4);
        assert_eq!(reported.0, [(other, 1, 3)]);
    }
}
