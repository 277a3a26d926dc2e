//! How a run of messages fits a stream's position in its channel.

use std::cmp::Ordering;

use tidings::message::{DataSet, Position};

use super::positions::Track;
use crate::chunk::Run;

/// How a run fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// It is what comes next.
    Next,
    /// Its messages up to this sequence were delivered already.
    After(i64),
    /// Messages before it are missing, or it belongs to another epoch.
    Apart,
    /// It is newer than what the stream has after it: other messages were written instead of those.
    Newer,
    /// A channel without a history, of which nothing has to be remembered.
    Fleeting,
    /// Its numbered messages are not the channel's: an old epoch's, or beyond the head.
    Foreign,
    /// The stream's start in the channel is not known yet: it is read from there when it is.
    Unstarted,
}

impl Fit {
    /// How a run fits a position, in the data set that the broker has.
    pub(super) fn of(run: &Run, track: &Track, present: Option<DataSet>) -> Self {
        let at = track.position();
        // From the beginning, sequence 1 of any epoch follows.
        let same = at.epoch == run.before.epoch || (at == Position::START && run.before.sequence == 0);
        match at.sequence.cmp(&run.before.sequence) {
            _ if !same => Self::Apart,
            _ if at == Position::START && (run.after_loss || track.reader().doubts_first(present)) => Self::Apart,
            // The ring may still have what was reported as lost; or what was written over that.
            _ if track.reader().awaits_epoch() => match track.is_written_over(run.before.sequence, run.time_ms) {
                true => Self::Newer,
                false => Self::Foreign,
            },
            // Or what was replaced by other messages since: log time never goes back.
            _ if run.last > at.sequence && track.is_newer_than(run.time_ms) => Self::Apart,
            _ if run.last > 0 && run.last <= at.sequence && track.is_older_than(run.time_ms) => Self::Newer,
            Ordering::Equal => Self::Next,
            Ordering::Greater => Self::After(at.sequence),
            Ordering::Less => Self::Apart,
        }
    }

    /// Whether the log has to be read before it can be delivered.
    pub(super) fn needs_log(self) -> bool {
        matches!(self, Self::Apart | Self::Newer)
    }
}
