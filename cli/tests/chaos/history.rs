//! What happened in a run, as its clients saw it: all that the checker judges by. Times count from the run's beginning.

use std::{collections::BTreeMap, time::Duration};

use tidings::{
    broker::{Loss, history::EpochStart},
    message::{Epoch, Position},
    pb::GapReason,
};
use uuid::Uuid;

use crate::work::story::Story;

/// A moment of the run.
pub(crate) type At = Duration;
/// Positions in some channels, by name: what a cursor says.
pub(crate) type Positions = BTreeMap<String, Position>;

/// Everything that happened.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    /// Publishes through the publishers, a repeat for each try.
    pub(crate) attempts: Vec<Attempt>,
    /// Publishes of plain Redis programs.
    pub(crate) plain: Vec<Plain>,
    /// Streams, one for each time that one was asked for.
    pub(crate) streams: Vec<Stream>,
    /// What was done to the services and to Redis.
    pub(crate) faults: Vec<Fault>,
    /// Looks at Redis itself, in order.
    pub(crate) samples: Vec<Sample>,
    /// What Redis holds at the end.
    pub(crate) logs: BTreeMap<String, Log>,
    /// What happened around durable subscriptions.
    pub(crate) stories: Vec<Story>,
    /// When the last fault was over.
    pub(crate) calm: At,
    /// What was noticed while it ran: an answer that did not come, a stream that did not come to the end.
    pub(crate) troubles: Vec<String>,
}

/// One try to publish one message.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) channel: String,
    /// What the message says; every message says something else.
    pub(crate) body: String,
    /// The id that the client gave.
    pub(crate) id: Option<Uuid>,
    /// The publisher that was asked; one that was restarted is another.
    pub(crate) instance: usize,
    /// The call; a batch is one.
    pub(crate) call: usize,
    pub(crate) began: At,
    pub(crate) ended: At,
    pub(crate) outcome: Outcome,
}

/// What became of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is in the log.
    Receipt { position: Position, duplicate: bool },
    /// It was not published, says the answer.
    Refused,
    /// It may have been.
    Unknown,
    /// An answer that nothing explains.
    Odd(String),
}

/// What a plain program published.
#[derive(Debug, Clone)]
pub(crate) struct Plain {
    pub(crate) channel: String,
    pub(crate) body: String,
}

/// One stream.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    /// The client; its streams continue each other where `start` says so.
    pub(crate) reader: usize,
    /// The subscriber that was asked; one that was restarted is another.
    pub(crate) instance: usize,
    /// The channel or pattern.
    pub(crate) topic: String,
    pub(crate) is_pattern: bool,
    pub(crate) start: Start,
    /// Whether it was to end with OUT_OF_RANGE instead of reporting a gap.
    pub(crate) fails_on_gap: bool,
    pub(crate) asked: At,
    /// When the headers had arrived.
    pub(crate) opened: Option<At>,
    pub(crate) events: Vec<(At, Event)>,
    pub(crate) end: End,
}

/// Where a stream was to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    Now,
    Earliest,
    Last(i64),
    After(Positions),
}

/// What a stream said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Started(Positions),
    CaughtUp(Positions),
    Heartbeat(Positions),
    /// `position` is where the message is; `cursor` what its cursor says.
    Message {
        channel: String,
        id: String,
        body: String,
        position: Position,
        cursor: Position,
    },
    Gap {
        channel: String,
        epoch: Option<Epoch>,
        first: i64,
        last: i64,
        reason: GapReason,
        cursor: Position,
    },
    /// What can't be understood.
    Odd(String),
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// It was open when the run was over.
    Open,
    /// The client let go of it.
    Closed,
    /// It ended with a status, or was refused with one. With OUT_OF_RANGE a cursor says where to resume.
    Status { at: At, code: tonic::Code, reason: String, cursor: Option<(String, Position)> },
}

/// What was done to the services or to Redis.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fault {
    pub(crate) what: String,
    pub(crate) began: At,
    pub(crate) ended: At,
    /// Publishes that were answered after this moment, and before the fault was over, may be lost.
    pub(crate) loses_from: Option<At>,
    /// Older messages, trimmed ones as well, may be there again.
    pub(crate) restores: bool,
    /// The subscriber whose streams it ends.
    pub(crate) ends_streams_of: Option<usize>,
}

/// One look at Redis itself: the channels that had a head or a log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    pub(crate) began: At,
    pub(crate) ended: At,
    pub(crate) heads: BTreeMap<String, Head>,
}

/// A channel's head.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) epochs: Vec<EpochStart>,
    /// What was found out to be lost when later epochs began.
    pub(crate) losses: Vec<Loss>,
    /// The lowest sequence in the log; one above the last when it is empty.
    pub(crate) first: i64,
    pub(crate) last: i64,
}

/// A channel at the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    pub(crate) head: Head,
    pub(crate) messages: Vec<Logged>,
}

/// A message of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logged {
    pub(crate) position: Position,
    pub(crate) id: String,
    pub(crate) body: String,
}

impl Stream {
    /// Whether a channel is one of the stream's.
    pub(crate) fn covers(&self, channel: &str) -> bool {
        match self.topic.strip_suffix('*').filter(|_| self.is_pattern) {
            Some(prefix) => channel.starts_with(prefix),
            None => channel == self.topic,
        }
    }
}

impl History {
    /// What happened, in numbers.
    pub(crate) fn summary(&self) -> String {
        let events = self.streams.iter().flat_map(|stream| &stream.events);
        let messages = events.clone().filter(|(_, event)| matches!(event, Event::Message { .. })).count();
        let gaps = events.filter(|(_, event)| matches!(event, Event::Gap { .. })).count();
        let receipts = self.attempts.iter().filter(|attempt| matches!(attempt.outcome, Outcome::Receipt { .. }));
        let stories: String = self.stories.iter().map(|story| format!("; {}", story.summary())).collect();
        format!(
            "{} faults, {} tries with {} receipts, {} streams with {messages} messages and {gaps} gaps{stories}",
            self.faults.len(),
            self.attempts.len(),
            receipts.count(),
            self.streams.len()
        )
    }
}
