//! What a reader makes of its position and a channel's head: whether the next message follows, and if not, which
//! messages are gone and why. Pure, and the same for both brokers.

use crate::message::{DataSet, Epoch, Lineage, MAX_SEQUENCE, Mark, Position};

pub use self::reader::{Absence, Next, Reader};

mod reader;

/// The present state of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The last epochs, oldest first, at most [`HEAD_EPOCHS`](crate::limits::HEAD_EPOCHS); the last is the present one.
    /// Empty where the head is gone and only the log lives: readers keep their position until the next publish makes a
    /// new head.
    pub epochs: Vec<EpochStart>,
    /// The highest sequence given out; 0 when none was.
    pub last: i64,
    /// The lowest sequence retained; `last + 1` when nothing is.
    pub first: i64,
    /// Log time of the last message, ms.
    pub time_ms: i64,
    /// Whether the channel keeps history, as far as the reader is configured.
    pub keeps_history: bool,
    /// Losses that no epoch's own start names: they were found out only when a later epoch began, or where they
    /// happened is older than the list. Oldest first, at most [`HEAD_EPOCHS`](crate::limits::HEAD_EPOCHS).
    pub losses: Vec<Loss>,
    /// The data set that the channel was found in; `None` where that is not known.
    pub data_set: Option<DataSet>,
    /// The last message that was adopted from a plain program (see [`adopt`](super::adopt)); the beginning where none
    /// was.
    pub adopted: Position,
}

/// How an epoch began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    /// Its name.
    pub epoch: Epoch,
    /// Its first sequence.
    pub first: i64,
    /// The highest sequence known of the epoch before: from `first` to here, messages of that one were lost.
    pub previous_end: i64,
}

/// Messages of another epoch than the one before, or beyond its known end, that were found to be lost when an epoch
/// began: a publisher that had receipts for them reported that. At the oldest of a head's list also those that were
/// lost before it, as far as the log goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// The epoch at whose beginning it is reported.
    pub began: Epoch,
    /// The epoch in which they were lost.
    pub epoch: Epoch,
    /// The first.
    pub from: i64,
    /// The last, inclusive; [`MAX_SEQUENCE`] where that is not known any more.
    pub to: i64,
}

/// Messages that can't be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The epoch in which they were lost; `None` where there was none.
    pub epoch: Option<Epoch>,
    /// The first sequence missing.
    pub first_missing: i64,
    /// The last, inclusive; 0 where it is not known.
    pub last_missing: i64,
    /// Why.
    pub reason: GapReason,
    /// Where the reader continues.
    pub resume: Position,
    /// Another loss at the same position is reported next, and `resume` is still before both: a reader that resumes
    /// there gets both again.
    pub more: bool,
}

impl Gap {
    /// What Redis lost; `last_missing` is 0 or [`MAX_SEQUENCE`] where that is not known.
    fn lost(epoch: Option<Epoch>, first_missing: i64, last_missing: i64, resume: Position) -> Self {
        let last_missing = if last_missing == MAX_SEQUENCE { 0 } else { last_missing };
        Self { epoch, first_missing, last_missing, reason: GapReason::EpochChanged, resume, more: false }
    }
}

/// Why messages are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// Trimmed by count, bytes or age.
    Trimmed,
    /// Redis lost writes or was flushed.
    EpochChanged,
    /// No history is kept.
    NotRetained,
}

impl Head {
    /// The present epoch.
    pub fn epoch(&self) -> Option<Epoch> {
        self.epochs.last().map(|start| start.epoch)
    }

    /// Where an epoch of the list comes from; unknown for others.
    pub fn lineage(&self, epoch: Epoch) -> Lineage {
        lineage(&self.epochs, epoch)
    }

    /// An epoch's index in the list.
    fn index_of(&self, epoch: Epoch) -> Option<usize> {
        self.epochs.iter().position(|start| start.epoch == epoch)
    }

    /// The last sequence of an epoch of the list, by its index. What the epoch had beyond that was lost.
    fn last_of(&self, index: usize) -> i64 {
        self.epochs.get(index + 1).map_or(self.last, |successor| successor.first - 1)
    }

    /// The position after the last message.
    pub fn end(&self) -> Position {
        Position { epoch: self.epoch(), sequence: self.last }
    }

    /// A position with where it lies.
    pub fn mark(&self, position: Position) -> Mark {
        Mark { position, lineage: position.epoch.map_or(Lineage::Unknown, |epoch| self.lineage(epoch)) }
    }

    /// Whether message `sequence` of the log is older than the list of epochs: only itself says which epoch it is of.
    pub fn has_forgotten(&self, sequence: i64) -> bool {
        self.epochs.first().is_some_and(|oldest| sequence < oldest.first)
    }

    /// The epoch that message `sequence` of the log belongs to, as far as the list goes back.
    pub fn epoch_at(&self, sequence: i64) -> Option<Epoch> {
        let start = self.epochs.iter().rev().find(|start| start.first <= sequence);
        start.or(self.epochs.first()).map(|start| start.epoch)
    }

    /// Whether there is a message `sequence`, of this epoch. What is newer than what a reader had, and of a later
    /// epoch, is not a rewritten part of its own.
    pub fn has_in(&self, epoch: Epoch, sequence: i64) -> bool {
        sequence <= self.last && self.epoch_at(sequence) == Some(epoch)
    }

    /// The position from which the next message to read is `sequence + 1`, without asking what came before.
    pub fn position_at(&self, sequence: i64) -> Position {
        match self.epoch_at(sequence) {
            Some(epoch) => Position::new(epoch, sequence),
            None => Position::START,
        }
    }
}

/// Where an epoch of a head's list comes from; unknown for others.
pub fn lineage(epochs: &[EpochStart], epoch: Epoch) -> Lineage {
    let at = epochs.iter().position(|start| start.epoch == epoch);
    at.map_or(Lineage::Unknown, |index| Lineage::Epoch {
        first: epochs[index].first,
        previous: index.checked_sub(1).map(|before| epochs[before].epoch),
    })
}

#[cfg(test)]
mod tests;
