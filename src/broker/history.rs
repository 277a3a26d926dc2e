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
    /// The last message that was adopted from a plain program (see [`adopt`](super::adopt)); the beginning where none was.
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

/// What a reader does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The reader has all there is.
    End,
    /// The log holds what follows, in the reader's epoch, from its position up to this sequence.
    Read {
        /// Inclusive.
        to: i64,
    },
    /// Messages are gone. The reader already stands behind them.
    Gap(Gap),
    /// The reader's epoch is older than the head's list: whether its history is whole, the message at its position
    /// tells. See [`Reader::settle`].
    Unlisted,
}

/// One reader of one channel: where it stands, and what it has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reader {
    /// Just after the last message read or named in a gap.
    pub position: Position,
    /// The end of a loss that was told already because the head fell below the reader: the epoch that follows
    /// will know of the same loss.
    told: Option<Position>,
}

impl Reader {
    /// A reader at a position.
    pub fn new(position: Position) -> Self {
        Self { position, told: None }
    }

    /// Looks at the head and says what is next; moves over gaps and into a new epoch where nothing was lost.
    ///
    /// `expired` says that the reader's last message is so old that head and log are gone by age, which is no loss.
    pub fn next(&mut self, head: Option<&Head>, expired: bool) -> Next {
        let Some(head) = head else { return self.without_head(expired) };
        if head.epochs.is_empty() {
            return Next::End;
        }
        loop {
            let Some(index) = self.index(head) else { return Next::Unlisted };
            let own = head.epochs[index].epoch;
            let Some(successor) = head.epochs.get(index + 1) else {
                if self.position.sequence > head.last {
                    return self.fall_back(own, head.last);
                }
                return self.in_epoch(head, index, head.last);
            };
            if self.position.sequence < successor.first - 1 {
                return self.in_epoch(head, index, successor.first - 1);
            }
            if let Some(gap) = self.cross(own, successor) {
                return Next::Gap(gap);
            }
        }
    }

    /// Whether the reader was told that what follows its position in its epoch is lost. Only a new epoch leads on then: copies
    /// of what was lost, wherever they may still be, are not to be read.
    pub fn awaits_epoch(&self) -> bool {
        self.told.is_some_and(|told| told.epoch == self.position.epoch)
    }

    /// Answers [`Next::Unlisted`]: `whole` when the log holds the message at the reader's position in the reader's
    /// epoch. Otherwise there is a gap of unknown length, up to what is retained.
    pub fn settle(&mut self, head: &Head, whole: bool) -> Option<Gap> {
        let lost = self.position;
        if whole && let Some(oldest) = head.epochs.first() {
            self.position = Position::new(oldest.epoch, lost.sequence);
            return None;
        }
        self.position = head.position_at(head.first - 1);
        Some(Gap {
            epoch: lost.epoch,
            first_missing: lost.sequence + 1,
            last_missing: 0,
            reason: GapReason::EpochChanged,
            resume: self.position,
        })
    }

    /// Steps over messages that the reader learned of in another way than from the head.
    pub fn skip_to(&mut self, resume: Position, reason: GapReason) -> Gap {
        let from = std::mem::replace(&mut self.position, resume);
        let epoch = resume.epoch.or(from.epoch);
        Gap { epoch, first_missing: from.sequence + 1, last_missing: resume.sequence, reason, resume }
    }

    fn index(&self, head: &Head) -> Option<usize> {
        match self.position.epoch {
            // From the beginning, sequence 1 of any epoch follows.
            None => Some(0),
            Some(epoch) => head.epochs.iter().position(|start| start.epoch == epoch),
        }
    }

    fn without_head(&mut self, expired: bool) -> Next {
        let lost = std::mem::replace(&mut self.position, Position::START);
        self.told = None;
        if lost == Position::START || expired {
            return Next::End;
        }
        Next::Gap(Gap {
            epoch: lost.epoch,
            first_missing: lost.sequence + 1,
            last_missing: 0,
            reason: GapReason::EpochChanged,
            resume: Position::START,
        })
    }

    /// The head is below the reader in the same epoch: Redis came back with less than it had.
    fn fall_back(&mut self, own: Epoch, last: i64) -> Next {
        let had = self.position.sequence;
        let told = self.told.replace(Position::new(own, had));
        self.position = Position::new(own, last);
        let first_missing = match told {
            Some(told) if told.epoch == Some(own) => last.max(told.sequence) + 1,
            _ => last + 1,
        };
        if first_missing > had {
            self.told = told;
            return Next::End;
        }
        Next::Gap(Gap {
            epoch: Some(own),
            first_missing,
            last_missing: had,
            reason: GapReason::EpochChanged,
            resume: self.position,
        })
    }

    /// Moves to the beginning of the next epoch and names what the old one lost there.
    fn cross(&mut self, own: Epoch, successor: &EpochStart) -> Option<Gap> {
        let lost_to = self.position.sequence.max(successor.previous_end);
        self.position = Position::new(successor.epoch, successor.first - 1);
        let told = self.told.take().filter(|told| told.epoch == Some(own)).map_or(0, |told| told.sequence);
        let first_missing = successor.first.max(told + 1);
        (first_missing <= lost_to).then_some(Gap {
            epoch: Some(own),
            first_missing,
            last_missing: lost_to,
            reason: GapReason::EpochChanged,
            resume: self.position,
        })
    }

    /// The reader stands in an epoch that ends at `limit`: messages up to there are in the log, or were trimmed.
    fn in_epoch(&mut self, head: &Head, index: usize, limit: i64) -> Next {
        let from = self.position.sequence;
        let own = head.epochs[index].epoch;
        if from >= limit {
            return Next::End;
        }
        if head.first <= from + 1 {
            self.position.epoch = Some(own);
            return Next::Read { to: limit };
        }
        // Trimmed: also beyond the epoch's end, as long as nothing was lost where the next began, for one loss is one gap.
        let (mut index, mut limit) = (index, limit);
        while head.first - 1 > limit
            && let Some(next) = head.epochs.get(index + 1)
            && next.previous_end < next.first
        {
            index += 1;
            limit = head.epochs.get(index + 1).map_or(head.last, |after| after.first - 1);
        }
        let last_missing = limit.min(head.first - 1);
        self.position = Position::new(head.epochs[index].epoch, last_missing);
        Next::Gap(Gap {
            epoch: Some(own),
            first_missing: from + 1,
            last_missing,
            reason: if head.keeps_history { GapReason::Trimmed } else { GapReason::NotRetained },
            resume: self.position,
        })
    }
}

#[cfg(test)]
mod tests;
