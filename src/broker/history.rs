//! What a reader makes of its position and a channel's head: whether the next message follows, and if not, which
//! messages are gone and why. Pure, and the same for both brokers.

use crate::{
    limits::HEAD_EPOCHS,
    message::{Epoch, Position},
};

/// The present state of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The last epochs, oldest first, at most [`HEAD_EPOCHS`]; the last is the present one. Empty where the head is gone
    /// and only the log lives: readers keep their position until the next publish makes a new head.
    pub epochs: Vec<EpochStart>,
    /// The highest sequence given out; 0 when none was.
    pub last: i64,
    /// The lowest sequence retained; `last + 1` when nothing is.
    pub first: i64,
    /// Log time of the last message, ms.
    pub time_ms: i64,
    /// Whether the channel keeps history, as far as the reader is configured.
    pub keeps_history: bool,
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
    /// Where the reader goes on.
    pub resume: Position,
}

/// Why messages can't be had.
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

    /// The position after the last message.
    pub fn end(&self) -> Position {
        Position { epoch: self.epoch(), sequence: self.last }
    }

    /// The epoch that message `sequence` of the log belongs to, as far as the list goes back.
    pub fn epoch_at(&self, sequence: i64) -> Option<Epoch> {
        let start = self.epochs.iter().rev().find(|start| start.first <= sequence);
        start.or(self.epochs.first()).map(|start| start.epoch)
    }

    /// The position from which the next message to read is `sequence + 1`, without asking what came before.
    pub fn position_at(&self, sequence: i64) -> Position {
        match self.epoch_at(sequence) {
            Some(epoch) => Position::new(epoch, sequence),
            None => Position::START,
        }
    }
}

/// Adds the start of a new epoch to a head's list and forgets the oldest beyond the limit.
pub fn begin_epoch(epochs: &mut Vec<EpochStart>, start: EpochStart) {
    epochs.push(start);
    let excess = epochs.len().saturating_sub(HEAD_EPOCHS);
    epochs.drain(..excess);
}
