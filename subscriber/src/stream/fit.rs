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

#[cfg(test)]
mod tests {
    use tidings::{
        broker::{
            Absence, Head,
            history::{EpochStart, Next, Reader},
        },
        channel::Names,
        message::{Epoch, Lineage},
    };

    use super::*;

    /// Where Redis has gone back, and the stream has reported what it had beyond, that may still come from copies. What
    /// is newer than all that the stream was given is none: it was written over it, and would be lost silently.
    #[test]
    fn what_was_written_over_reported_losses_is_read_and_copies_of_them_are_not() {
        let channel = Names::new("tidings", "").expect("names").parse("orders").expect("a name");
        let epoch = Epoch::from_u64(1).expect("not 0");
        let at = |sequence| Position::new(epoch, sequence);
        let mut track = Track::new(&channel, Reader::new(at(8)), None).opened_at(1_000);
        let back = Head {
            epochs: vec![EpochStart { epoch, first: 1, previous_end: 0 }],
            last: 5,
            first: 1,
            time_ms: 900,
            keeps_history: true,
            losses: Vec::new(),
            data_set: None,
            adopted: Position::START,
        };
        let Next::Gap(gap) = track.next(Some(&back), Absence::default()) else { panic!("6 to 8 are lost") };
        assert_eq!((gap.first_missing, gap.last_missing, track.position()), (6, 8, at(5)));
        let fit = |before: i64, time_ms| {
            let (lineage, channel) = (Lineage::Unknown, channel.clone());
            let run = Run { channel, before: at(before), last: before + 1, time_ms, lineage, after_loss: false };
            Fit::of(&run, &track, None)
        };
        for before in [5, 7] {
            assert_eq!(fit(before, 1_001), Fit::Newer, "written after all that the stream has");
            assert_eq!(fit(before, 1_000), Fit::Foreign, "it may be what was lost");
        }
        assert_eq!(fit(8, 1_001), Fit::Foreign, "nothing was there before");
        assert_eq!(fit(5, 0), Fit::Foreign, "nobody knows when it was written");
    }
}
