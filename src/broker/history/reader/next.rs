//! What a reader asks for and answers.

use super::super::Gap;
use crate::message::DataSet;

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
    /// Messages are gone. The reader's position is already after them, or after the first of several losses.
    Gap(Gap),
    /// The reader's epoch is older than the head's list, or of a history that is gone: whether the reader's own is
    /// whole is decided by the message at its position. See [`Reader::settle`](super::Reader::settle).
    Unlisted,
}

/// What a reader must know where a channel has neither head nor log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Absence {
    /// The reader's last message is so old, by the broker's own clock, that head and log are gone by age, which is no
    /// loss. Believed only where the data set is still the one that the reader knew.
    pub expired: bool,
    /// The present data set, if it is known.
    pub data_set: Option<DataSet>,
}
