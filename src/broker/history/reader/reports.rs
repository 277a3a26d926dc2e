//! What one reader has reported to be lost, or had, also before it met servers that did not have the channel: one loss
//! is one gap wherever it is met again, in a head that fell below the reader and in the epoch that follows.

use super::{super::Head, origin::Origin, pasts::Pasts, reported::Reported};
use crate::message::{Epoch, Position};

/// A loss: the epoch, and the first and the last sequence, inclusive.
pub(super) type Lost = (Epoch, i64, i64);

/// The reports of a reader.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Reports {
    /// Since it last began anew.
    present: Reported,
    /// What it was before it met servers that did not have the channel.
    pasts: Pasts,
}

impl Reports {
    /// Whether there are none since the reader last began anew.
    pub(super) fn is_empty(&self) -> bool {
        self.present.is_empty()
    }

    /// Up to where all that follows a sequence was reported; the sequence itself where that was not.
    pub(super) fn beyond(&self, epoch: Epoch, sequence: i64) -> i64 {
        self.present.beyond(epoch, sequence)
    }

    /// Adds what the reader had of an epoch: it is not read again, and not reported.
    pub(super) fn add(&mut self, epoch: Epoch, from: i64, to: i64) {
        self.present.add(epoch, from, to);
    }

    /// From a sequence of an epoch on there is something else now, which must be read.
    pub(super) fn cut(&mut self, epoch: Epoch, from: i64) {
        self.present.cut(epoch, from);
    }

    /// Reports a loss. Returns what of it was not reported before, from the first such sequence to the last.
    pub(super) fn report(&mut self, epoch: Epoch, from: i64, to: i64) -> Option<(i64, i64)> {
        let unreported = self.all().less(epoch, from, to)?;
        self.present.add(epoch, from, to);
        Some(unreported)
    }

    /// The first of some losses that was not reported, as far as it was not, and whether another one will remain after
    /// it.
    pub(super) fn first_unreported(&self, losses: impl Iterator<Item = Lost>) -> Option<(Lost, bool)> {
        let losses: Vec<_> = losses.collect();
        let mut reported = self.all();
        let first = losses.iter().find_map(|(epoch, from, to)| {
            let (from, to) = reported.first_less(*epoch, *from, *to)?;
            Some((*epoch, from, to))
        })?;
        reported.add(first.0, first.1, first.2);
        let more = losses.iter().any(|(epoch, from, to)| reported.less(*epoch, *from, *to).is_some());
        Some((first, more))
    }

    /// What was reported, and what the reader had or reported of the epochs that it left.
    fn all(&self) -> Reported {
        // The latest last: beyond the limit the first are forgotten.
        let mut reported = self.pasts.all_reported();
        reported.add_all(&self.present);
        reported
    }

    /// The reader loses its position; `is_reported`: it reports all that follows as lost.
    pub(super) fn leave(&mut self, position: Position, origin: Origin, is_reported: bool) {
        self.pasts.remember(position, origin, self.present.clone(), is_reported);
    }

    /// The reader begins anew.
    pub(super) fn begin(&mut self) {
        self.present = Reported::default();
    }

    /// The last epoch that the reader was in before it met a server without the channel, and that this head has: by its
    /// index there, and where the reader left it. What it reported then counts again.
    pub(super) fn recall(&mut self, head: &Head) -> Option<(usize, i64)> {
        let (common, reported) = self.pasts.recall(head)?;
        self.present.add_all(reported);
        Some(common)
    }
}
