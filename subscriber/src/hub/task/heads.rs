//! The heads that are asked for over the live connection: who waits for them, and when those that could not be read are
//! asked for again.

use std::{collections::HashSet, time::Instant};

use tidings::{
    broker::{Error, Head, State},
    channel::ChannelName,
    limits::{HUB_ROUND_HEADS, UNREADABLE_QUIET},
};
use tokio::sync::watch;

use crate::hub::{
    Refusal,
    checks::{Checks, HeadReply},
    unreadable::Unreadable,
};

/// The questions for heads of a hub.
pub(super) struct Heads {
    /// Of the broker as a whole.
    state: watch::Receiver<State>,
    checks: Checks,
    unreadable: Unreadable,
    /// Channels whose pushes wait for a head that could not be read.
    again: HashSet<ChannelName>,
    /// When it was last said that heads can't be read.
    said: Option<Instant>,
}

/// Why a head could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is the channel's own; it is asked for again from time to time.
    OfChannel,
    /// Others are not better off.
    OfBroker,
}

impl Heads {
    pub(super) fn new(state: watch::Receiver<State>) -> Self {
        Self { state, checks: Checks::default(), unreadable: Unreadable::default(), again: HashSet::new(), said: None }
    }

    /// A channel's head is asked for; all of these get the answer.
    pub(super) fn ask(&mut self, channel: &ChannelName, replies: Vec<HeadReply>) {
        self.checks.add(channel, replies);
    }

    /// Whether it is asked for already, or will be at its own time.
    pub(super) fn are_asked(&self, channel: &ChannelName) -> bool {
        self.checks.is_asked(channel) || self.unreadable.has(channel)
    }

    /// A channel's head was read. Answers whether it could not be read before.
    pub(super) fn read(&mut self, channel: &ChannelName) -> bool {
        self.again.remove(channel);
        self.unreadable.read(channel, Instant::now())
    }

    /// Answers those who asked first.
    pub(super) fn answer(&mut self, channel: &ChannelName, answer: &Result<Option<Head>, Error>) {
        for reply in self.checks.answered(channel) {
            let _ = reply.send(answer.clone().map_err(Refusal::Broker));
        }
    }

    /// A channel's head could not be read.
    pub(super) fn fail(&mut self, channel: &ChannelName, error: &Error) -> Fault {
        // Where the broker can't be used at all, it says so itself.
        let is_usable = *self.state.borrow() == State::Up;
        if let (Error::Channel(_), true) = (error, is_usable) {
            self.unreadable.note(channel, error, true, Instant::now());
            return Fault::OfChannel;
        }
        // It is not the channel's fault, and others are not better off: one line for all of them.
        if is_usable && self.said.is_none_or(|said| said.elapsed() >= UNREADABLE_QUIET) {
            self.said = Some(Instant::now());
            tracing::warn!(channel = channel.as_str(), %error, "heads can't be read; what is pushed waits");
        }
        Fault::OfBroker
    }

    /// A stream could not read a channel, for a reason of the channel's own.
    pub(super) fn note_unreadable(&mut self, channel: &ChannelName, error: &Error) {
        self.unreadable.note(channel, error, false, Instant::now());
    }

    /// Has a head asked for again that could not be read.
    pub(super) fn retry(&mut self, channel: ChannelName) {
        self.again.insert(channel);
    }

    /// The channels whose head is to be asked for again now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<ChannelName> {
        let mut due: Vec<_> = std::mem::take(&mut self.again).into_iter().collect();
        due.extend(self.unreadable.due(HUB_ROUND_HEADS, now));
        due
    }

    /// The questions under way, which were lost with the connection, with those who still wait.
    pub(super) fn lose(&mut self) -> Vec<(ChannelName, Vec<HeadReply>)> {
        self.unreadable.lost(Instant::now());
        self.checks.lost()
    }
}
