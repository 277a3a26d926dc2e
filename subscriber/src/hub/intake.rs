//! What a feed makes of pushes: which messages are numbered in their channel's history, and which only claim to be.
//!
//! A claim (sequence and epoch in the JSON) that follows the last one is believed. For any other the channel's head is
//! looked up, over the live connection itself, or, where it is at or below what was received, the log ([`claims`]
//! decides); until the answer comes the channel's pushes are held, in order. They are believed or not, never lost for
//! being early: what does not fit into the bound is in the log if it was ours.
//!
//! On captured channels messages of plain programs are for no stream: the feed through which a channel is captured
//! hands them to [`capture`](crate::capture). What comes to the streams is the notice of their adoption, a numbered
//! message like any other.

use std::{collections::HashSet, sync::Arc};

use tidings::{
    broker::{Head, Topic},
    channel::{ChannelName, Names},
    envelope::{Claim, EnvelopeRef},
    message::{Epoch, Position},
    metrics::{self, Dropped},
};

use crate::{
    capture::Capture,
    chunk::{Builder, Numbered},
    feed::{Item, Rewrite},
};

mod capture_forwarder;
mod claims;
mod held;
mod known;
mod looked;
mod verdict;
mod waiting;

pub(super) use held::Room;
pub(super) use looked::{Looked, Question};

use capture_forwarder::CaptureForwarder;
use claims::{Course, Shown};
use held::Held;
use known::{Asked, Captured, Channels, Hash, Known, Stage, State, Waiting};
use verdict::{Last, Mark};

/// What must be asked before a channel's pushes continue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    /// Its head, over the live connection.
    Head(ChannelName),
    /// Its log.
    Log(Question),
}

/// What a head says of what was received.
#[derive(Debug)]
pub(super) enum Missed {
    Nothing,
    /// Something was missed: it is elsewhere.
    Look,
    /// The log must be asked whether the history is still the one that was received.
    Ask(Question),
}

/// Messages of an ended epoch that were received, and that this history does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Late {
    pub(super) channel: ChannelName,
    pub(super) epoch: Epoch,
    /// The first that is not known to be lost.
    pub(super) from: i64,
    pub(super) to: i64,
}

pub(super) struct Intake {
    /// The one channel of a channel feed; a pattern's channels are read from each push.
    channel: Option<ChannelName>,
    channels: Channels,
    capture_forwarder: CaptureForwarder,
    builder: Builder,
    /// What precedes the chunk that is being built.
    items: Vec<Item>,
    /// Losses that pushes showed.
    late: Vec<Late>,
    /// How many pushes were dropped that Redis has lost.
    lost: usize,
    /// Nobody follows the feed: it only keeps account.
    silent: bool,
    held: Held,
    /// When what is pushed arrived, ms: read once for all that one read of the socket brought.
    arrival_ms: i64,
    news: bool,
    /// A push was dropped.
    loss: bool,
    /// Channels whose head can't be read.
    unreadable: HashSet<ChannelName>,
}

impl Intake {
    pub(super) fn new(topic: &Topic, names: Arc<Names>, capture: Arc<Capture>, room: Room) -> Self {
        let channel = match topic {
            Topic::Channel(channel) => Some(channel.clone()),
            Topic::Pattern(_) => None,
        };
        Self {
            channel,
            channels: Channels::new(topic.clone(), names, Arc::clone(&capture)),
            capture_forwarder: CaptureForwarder::new(capture),
            builder: Builder::default(),
            items: Vec::new(),
            late: Vec::new(),
            lost: 0,
            silent: false,
            held: Held::new(room),
            arrival_ms: 0,
            news: false,
            loss: false,
            unreadable: HashSet::new(),
        }
    }

    /// What is pushed from here on arrived at this time, in ms since 1970.
    pub(super) fn arrive(&mut self, at_ms: i64) {
        self.arrival_ms = at_ms;
    }

    /// Whether there is something to take.
    pub(super) fn has_news(&self) -> bool {
        self.news
    }

    /// Whether anybody follows the feed. Nothing is framed for nobody.
    pub(super) fn set_silent(&mut self, silent: bool) {
        self.silent = silent;
    }

    pub(super) fn is_silent(&self) -> bool {
        self.silent
    }

    /// Finds out again which channels are captured.
    pub(super) fn recapture(&mut self) {
        self.channels.recapture();
    }

    /// Reports to the capture how far the numbered messages of its channel went.
    pub(super) fn report_passed(&mut self) {
        self.capture_forwarder.flush();
    }

    /// Ends the chunk and hands out all there is for the streams.
    pub(super) fn take(&mut self) -> Vec<Item> {
        self.report_passed();
        self.news = false;
        self.seal();
        std::mem::take(&mut self.items)
    }

    fn seal(&mut self) {
        self.items.extend(self.builder.finish().into_iter().map(Item::Chunk));
    }

    /// The losses that pushes showed since this was last asked.
    pub(super) fn take_late(&mut self) -> Vec<Late> {
        std::mem::take(&mut self.late)
    }

    /// How many pushes were dropped since this was last asked because Redis has lost them.
    pub(super) fn take_lost(&mut self) -> usize {
        std::mem::take(&mut self.lost)
    }

    /// Whether a push was dropped since this was last asked.
    pub(super) fn take_loss(&mut self) -> bool {
        std::mem::take(&mut self.loss)
    }

    /// The channels of which nothing was received since this was last asked.
    pub(super) fn quiet(&mut self) -> impl Iterator<Item = &ChannelName> {
        self.channels.quiet()
    }

    /// Whether the feed has seen a channel's head.
    pub(super) fn knows(&self, channel: &ChannelName) -> bool {
        self.channels.contains(channel)
    }

    /// Whether pushes of a channel wait for its head or log.
    pub(super) fn waits_for(&self, channel: &ChannelName) -> bool {
        self.channels.is_asked(channel)
    }

    /// Whether pushes of a channel are held until it is known what they are.
    pub(super) fn holds(&self, channel: &ChannelName) -> bool {
        self.channels.holds(channel)
    }

    /// Whether the feed has missed something of a channel that belongs to it: the head, which comes after all pushes
    /// before it, is elsewhere than the pushes led to.
    pub(super) fn has_missed(&mut self, channel: &ChannelName, head: Option<&Head>) -> Missed {
        match self.channels.compare(channel, head) {
            Shown::Nothing => Missed::Nothing,
            Shown::Elsewhere => Missed::Look,
            Shown::Rewritten { from, last } => {
                self.rewrite(channel, from, last);
                Missed::Look
            }
            Shown::Doubt => self.doubt(channel).map_or(Missed::Nothing, Missed::Ask),
        }
    }

    /// The live connection was lost: the head that pushes wait for comes from another one.
    pub(super) fn outlive(&mut self) {
        self.channels.outlive();
    }

    /// Pushes were missed: what was known of the channels may be old. Those that wait for their head keep waiting.
    pub(super) fn forget(&mut self) {
        self.channels.forget();
    }

    /// Takes one push. Answers what must be asked first, if anything must.
    pub(super) fn push(&mut self, name: &[u8], payload: &[u8]) -> Option<Ask> {
        let channel = match &self.channel {
            Some(channel) => channel.clone(),
            None => self.channels.named(name)?,
        };
        self.receive(channel, payload, None)
    }

    /// Takes a notice of a channel that belongs to the feed. Answers the same.
    pub(super) fn notice(&mut self, channel: &ChannelName, hash: &Hash, json: &[u8]) -> Option<Ask> {
        self.receive(channel.clone(), json, Some(*hash))
    }

    fn receive(&mut self, channel: ChannelName, payload: &[u8], notice: Option<Hash>) -> Option<Ask> {
        let arrival_ms = self.arrival_ms;
        match self.channels.stage(&channel) {
            Stage::New if !self.channels.add(&channel, State::Asked(Box::default())) => {
                lose(&channel, &mut self.loss);
                return None;
            }
            Stage::New => {
                self.hold(&channel, payload, arrival_ms, notice);
                return Some(Ask::Head(channel));
            }
            Stage::Asked => {
                self.hold(&channel, payload, arrival_ms, notice);
                return None;
            }
            Stage::Read => {}
        }
        let envelope = EnvelopeRef::read(payload, arrival_ms);
        if self.accept(&channel, &envelope, payload, arrival_ms, notice) {
            return None;
        }
        self.doubt_push(&channel, payload, arrival_ms, notice)
    }

    /// Puts a message into the chunk, or where it belongs on a captured channel; false when its claim is not what comes
    /// next.
    fn accept(
        &mut self,
        channel: &ChannelName,
        envelope: &EnvelopeRef<'_>,
        payload: &[u8],
        arrival_ms: i64,
        notice: Option<Hash>,
    ) -> bool {
        let Some(known) = self.channels.get_mut(channel) else { return false };
        let State::Head(course) = &mut known.state else { return false };
        let (hash, captured) = (known.hash, known.captured);
        let numbered = match envelope.claim() {
            Some(claim) if !course.follows(claim) => return false,
            Some(claim @ Claim { epoch, sequence }) => {
                let bits = Mark::bits(payload);
                // The date of what was adopted is a plain program's own; it is in the log since just now.
                let (time_ms, mark) = match notice {
                    Some(_) => (arrival_ms, Mark { time_ms: 0, bits }),
                    None => (envelope.time_ms(), Mark { time_ms: envelope.time_ms(), bits }),
                };
                course.pass(claim, mark);
                Numbered { before: Position::new(epoch, sequence - 1), sequence, position: course.position, time_ms }
            }
            None => {
                let before = course.position;
                Numbered { before, sequence: 0, position: before, time_ms: envelope.time_ms() }
            }
        };
        // An unnumbered message says nothing of numbered messages: one may have been lost all the same.
        known.received |= numbered.sequence > 0;
        match (captured, notice) {
            // A stranger published this as a notice.
            (_, Some(_)) if numbered.sequence == 0 => return true,
            (Captured::Here | Captured::Elsewhere, None) if numbered.sequence == 0 => {
                if self.capture_forwarder.plain(channel, captured, payload, &envelope.envelope()) {
                    return true;
                }
            }
            (Captured::Here, Some(adopted)) => self.capture_forwarder.notice(channel, numbered, &adopted),
            (Captured::Here, None) => self.capture_forwarder.pass(channel, numbered),
            (Captured::No | Captured::Elsewhere, _) => {}
        }
        tracing::debug!(channel = channel.as_str(), id = %envelope.envelope().id, sequence = numbered.sequence, "received");
        self.news = true;
        if !self.silent {
            self.builder.push(channel, hash, numbered, &envelope.parts(), || course.origin(numbered.position));
        }
        true
    }

    /// The epoch of a channel was rewritten from a sequence on: streams that have what was there go back.
    fn rewrite(&mut self, channel: &ChannelName, from: i64, last: Last) {
        let Some(epoch) = last.position.epoch else { return };
        tracing::warn!(
            channel = channel.as_str(),
            %epoch,
            from,
            to = last.position.sequence,
            "Redis went back within an epoch, and other messages have replaced those that were delivered; streams are notified"
        );
        self.capture_forwarder.rewrite(channel, Position::new(epoch, from - 1));
        if !self.silent {
            self.seal();
            let (to, time_ms) = (last.position.sequence, last.mark.time_ms);
            self.items.push(Item::Rewritten(Arc::new(Rewrite { channel: channel.clone(), epoch, from, to, time_ms })));
        }
        self.news = true;
    }
}

/// Counts a push that is dropped before its channel's head is known.
fn lose(channel: &ChannelName, loss: &mut bool) {
    metrics::dropped(Dropped::Held, 1);
    // One line for many: they go one by one.
    if !std::mem::replace(loss, true) {
        tracing::warn!(channel = channel.as_str(), "too much waits for the channel's head; dropped the oldest push");
    }
}

#[cfg(test)]
mod tests;
