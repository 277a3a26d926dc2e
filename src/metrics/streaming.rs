//! What the subscriber counts.

use std::{sync::LazyLock, time::Duration};

use ::metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::{
    CAPTURE_LEADER, CAPTURE_WAIT, DELIVERIES, DROPPED, GAPS, REPAIRS, STREAM_LAG, STREAMS, TOPICS, UNCAPTURED,
    UNREADABLE,
};
use crate::broker::GapReason;

pub(super) struct Streaming {
    modes: [Gauge; 2],
    lag: Histogram,
    deliveries: Counter,
    gaps: [Counter; 3],
    repairs: Counter,
    dropped: [Counter; 7],
    leader: Gauge,
    capture_wait: Gauge,
    topics: Gauge,
    unreadable: Gauge,
    uncaptured: Gauge,
}

pub(super) static STREAMING: LazyLock<Streaming> = LazyLock::new(|| Streaming {
    modes: ["live", "catching_up"].map(|mode| gauge!(STREAMS, "mode" => mode)),
    lag: histogram!(STREAM_LAG),
    deliveries: counter!(DELIVERIES),
    gaps: ["trimmed", "epoch_changed", "not_retained"].map(|reason| counter!(GAPS, "reason" => reason)),
    repairs: counter!(REPAIRS),
    dropped: ["oversized", "name", "held", "capture", "lost", "late", "unlogged"]
        .map(|reason| counter!(DROPPED, "reason" => reason)),
    leader: gauge!(CAPTURE_LEADER),
    capture_wait: gauge!(CAPTURE_WAIT),
    topics: gauge!(TOPICS),
    unreadable: gauge!(UNREADABLE),
    uncaptured: gauge!(UNCAPTURED),
});

/// Where a stream gets its messages from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// From pushes.
    Live = 0,
    /// From the log.
    CatchingUp = 1,
}

/// An open stream, counted in its mode for as long as it lives.
#[derive(Debug)]
pub struct Stream(Mode);

impl Stream {
    /// One that has just been opened.
    pub fn open(mode: Mode) -> Self {
        STREAMING.modes[mode as usize].increment(1);
        Self(mode)
    }

    /// It is in this mode now.
    pub fn set(&mut self, mode: Mode) {
        if self.0 != mode {
            STREAMING.modes[self.0 as usize].decrement(1);
            STREAMING.modes[mode as usize].increment(1);
            self.0 = mode;
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        STREAMING.modes[self.0 as usize].decrement(1);
    }
}

/// A stream read a page of a channel's log, which had so many messages beyond what the stream had delivered.
pub fn lag(messages: i64) {
    STREAMING.lag.record(messages.max(0) as f64);
}

/// So many messages were handed to one stream.
pub fn delivered(messages: usize) {
    STREAMING.deliveries.increment(messages as u64);
}

/// A stream received a gap.
pub fn gap(reason: GapReason) {
    let index = match reason {
        GapReason::Trimmed => 0,
        GapReason::EpochChanged => 1,
        GapReason::NotRetained => 2,
    };
    STREAMING.gaps[index].increment(1);
}

/// A live stream goes to the log, because pushes are or may be missing.
pub fn repair() {
    STREAMING.repairs.increment(1);
}

/// Why pushes are not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// They were larger than a message may be.
    Oversized = 0,
    /// Their channel's name breaks the rules.
    Name = 1,
    /// Too many waited for their channel's head.
    Held = 2,
    /// Too many waited to be adopted.
    Capture = 3,
    /// Redis has lost them since they were received.
    Lost = 4,
    /// They are of an epoch that ended before them.
    Late = 5,
    /// They claim a position that was received before, and the log does not show with which message.
    Unlogged = 6,
}

/// So many pushes are not delivered.
pub fn dropped(reason: Dropped, pushes: usize) {
    STREAMING.dropped[reason as usize].increment(pushes as u64);
}

/// The oldest message of a plain program has waited so long to be adopted.
pub fn capture_wait(waited: Duration) {
    STREAMING.capture_wait.set(waited.as_secs_f64());
}

/// On so many channels this replica was the last to adopt what plain programs published.
pub fn leads(channels: usize) {
    STREAMING.leader.set(channels as f64);
}

/// Redis is asked for so many channels and patterns.
pub fn topics(topics: usize) {
    STREAMING.topics.set(topics as f64);
}

/// So many channels can't be read, while others can.
pub fn unreadable(channels: usize) {
    STREAMING.unreadable.set(channels as f64);
}

/// So many captured topics are refused.
pub fn uncaptured(topics: usize) {
    STREAMING.uncaptured.set(topics as f64);
}
