//! What a feed makes of pushes: which messages have a place in their channel's history, and which only say so.
//!
//! A claim (sequence and epoch in the JSON) is believed only where the channel's head knows the epoch. The
//! head of a channel that is new to the feed, or that seems to have a new epoch, is looked up over the live connection
//! itself; until the answer comes the channel's pushes are held, in order. They are believed or not, never lost for
//! being early: what does not fit into the bound is in the log if it was ours.
//!
//! On captured channels messages of plain programs are for no stream: the feed through which a channel is captured hands
//! them to [`capture`](crate::capture). What comes to the streams is the notice of their adoption, a numbered message like
//! any other.

use std::sync::Arc;

use bytes::Bytes;
use tidings::{
    broker::{Head, Topic},
    channel::{ChannelName, Names},
    envelope::{Claim, Heard},
    message::Position,
    metrics::{self, Dropped},
};

use crate::{
    capture::Capture,
    frames::{Builder, Chunk, Place},
};

mod held;
mod known;
mod told;

use held::Held;
pub(super) use held::Room;
use known::{Captured, Channels, Epochs, Hash, Known, Stage, State, Waiting};
use told::Told;

pub(super) struct Intake {
    /// The one channel of a channel feed; a pattern's channels are read from each push.
    channel: Option<ChannelName>,
    channels: Channels,
    told: Told,
    builder: Builder,
    /// Nobody follows the feed: it only keeps account.
    silent: bool,
    held: Held,
    /// When what is pushed arrived, ms: read once for all that one read of the socket brought.
    arrival_ms: i64,
    news: bool,
    /// A push was dropped.
    loss: bool,
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
            told: Told::new(capture),
            builder: Builder::default(),
            silent: false,
            held: Held::new(room),
            arrival_ms: 0,
            news: false,
            loss: false,
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

    /// Tells the capture how far the numbered messages of its channel went.
    pub(super) fn tell_passed(&mut self) {
        self.told.flush();
    }

    /// Ends the chunk and hands out all of them.
    pub(super) fn take(&mut self) -> Vec<Chunk> {
        self.tell_passed();
        self.news = false;
        self.builder.finish()
    }

    /// Whether a push was dropped since this was last asked.
    pub(super) fn take_loss(&mut self) -> bool {
        std::mem::take(&mut self.loss)
    }

    /// The channels of which nothing was heard since this was last asked.
    pub(super) fn quiet(&mut self) -> impl Iterator<Item = &ChannelName> {
        self.channels.quiet()
    }

    /// Whether the feed has seen a channel's head.
    pub(super) fn knows(&self, channel: &ChannelName) -> bool {
        self.channels.contains(channel)
    }

    /// Whether pushes of a channel wait for its head.
    pub(super) fn waits_for(&self, channel: &ChannelName) -> bool {
        self.channels.is_asked(channel)
    }

    /// Whether the feed has missed something of a channel that belongs to it: the head, which comes behind all pushes before
    /// it, is elsewhere than the pushes led to.
    pub(super) fn has_missed(&mut self, channel: &ChannelName, head: Option<&Head>) -> bool {
        self.channels.compare(channel, head)
    }

    /// The live connection was lost: the head that pushes wait for comes from another one.
    pub(super) fn outlive(&mut self) {
        self.channels.outlive();
    }

    /// Pushes were missed: what was known of the channels may be old. Those that wait for their head go on waiting.
    pub(super) fn forget(&mut self) {
        self.channels.forget();
    }

    /// Takes one push. Answers the channel whose head must be looked up, if it must.
    pub(super) fn push(&mut self, name: &[u8], payload: &[u8]) -> Option<ChannelName> {
        let channel = match &self.channel {
            Some(channel) => channel.clone(),
            None => self.channels.named(name)?,
        };
        self.hear(channel, payload, None)
    }

    /// Takes a notice of a channel that belongs to the feed. Answers the same.
    pub(super) fn notice(&mut self, channel: &ChannelName, hash: &Hash, json: &[u8]) -> Option<ChannelName> {
        self.hear(channel.clone(), json, Some(*hash))
    }

    fn hear(&mut self, channel: ChannelName, payload: &[u8], notice: Option<Hash>) -> Option<ChannelName> {
        let arrival_ms = self.arrival_ms;
        match self.channels.stage(&channel) {
            Stage::New if !self.channels.add(&channel, State::asked()) => {
                lose(&channel, &mut self.loss);
                return None;
            }
            Stage::New => {
                self.hold(&channel, payload, arrival_ms, notice);
                return Some(channel);
            }
            Stage::Asked => {
                self.hold(&channel, payload, arrival_ms, notice);
                return None;
            }
            Stage::Read => {}
        }
        let heard = Heard::read(payload, arrival_ms);
        if self.place(&channel, &heard, payload, arrival_ms, notice) {
            return None;
        }
        if let Some(known) = self.channels.get_mut(&channel) {
            known.state = State::asked();
        }
        self.hold(&channel, payload, arrival_ms, notice);
        Some(channel)
    }

    /// Reads the head that was asked for. Answers whether the feed has news.
    pub(super) fn learn(&mut self, channel: &ChannelName, head: Option<&Head>) -> bool {
        let Some(Known { state, .. }) = self.channels.get_mut(channel) else { return false };
        let State::Asked(held) = state else { return false };
        let held: Vec<_> =
            std::mem::take(held).into_iter().inspect(|waiting| self.held.remove(&waiting.payload)).collect();
        let epochs = Epochs::of(head);
        let end = head.map_or(Position::START, Head::end);
        // A message without a place stands behind what came before it, not behind what is still in the hand.
        let mut heard: Vec<_> = held.iter().map(|waiting| Heard::read(&waiting.payload, waiting.arrival_ms)).collect();
        let claims = heard.iter().filter_map(Heard::claim).filter(|claim| epochs.contains(claim.epoch));
        let first = claims.min_by_key(|claim| claim.sequence);
        let position = match first {
            Some(Claim { epoch, sequence }) if sequence <= end.sequence => Position::new(epoch, sequence - 1),
            _ => end,
        };
        *state = State::Head { epochs, position };
        let news = (!held.is_empty() || self.loss) && !self.news;
        for (heard, waiting) in heard.iter_mut().zip(&held) {
            if !self.channels.believes(channel, heard.claim()) {
                // The head has just been read: an epoch that it lacks is a stranger's.
                heard.disbelieve();
            }
            self.place(channel, heard, &waiting.payload, waiting.arrival_ms, waiting.notice);
            if waiting.outlived {
                self.told.before_break(channel);
            }
        }
        news
    }

    /// Puts a message into the chunk, or where it belongs on a captured channel; false when its claim must be looked up first.
    fn place(
        &mut self,
        channel: &ChannelName,
        heard: &Heard<'_>,
        payload: &[u8],
        arrival_ms: i64,
        notice: Option<Hash>,
    ) -> bool {
        let Some(known) = self.channels.get_mut(channel) else { return false };
        let State::Head { epochs, position } = &mut known.state else { return false };
        if heard.claim().is_some_and(|claim| !epochs.contains(claim.epoch)) {
            return false;
        }
        let (hash, captured) = (known.hash, known.captured);
        let place = match heard.claim() {
            Some(Claim { epoch, sequence }) => {
                *position = Position::new(epoch, sequence);
                // The date of what was adopted is a plain program's own; it is in the log since just now.
                let time_ms = if notice.is_some() { arrival_ms } else { heard.time_ms() };
                Place { before: Position::new(epoch, sequence - 1), sequence, position: *position, time_ms }
            }
            None => Place { before: *position, sequence: 0, position: *position, time_ms: heard.time_ms() },
        };
        // What has no place says nothing of numbered messages: one may have been lost all the same.
        known.heard |= place.sequence > 0;
        match (captured, notice) {
            // Whoever published this as a notice was a stranger.
            (_, Some(_)) if place.sequence == 0 => return true,
            (Captured::Here | Captured::Elsewhere, None) if place.sequence == 0 => {
                if self.told.plain(channel, captured, payload, &heard.envelope()) {
                    return true;
                }
            }
            (Captured::Here, Some(adopted)) => self.told.notice(channel, place, &adopted),
            (Captured::Here, None) => self.told.pass(channel, place),
            (Captured::No | Captured::Elsewhere, _) => {}
        }
        tracing::debug!(channel = channel.as_str(), id = %heard.envelope().id, sequence = place.sequence, "heard");
        self.news = true;
        if !self.silent {
            self.builder.push(channel, hash, place, &heard.parts(), || epochs.origin(place.position));
        }
        true
    }

    fn hold(&mut self, channel: &ChannelName, payload: &[u8], arrival_ms: i64, notice: Option<Hash>) {
        let Some(Known { state: State::Asked(held), .. }) = self.channels.get_mut(channel) else { return };
        self.held.add(payload);
        // A copy: the push itself keeps all alive that one read of the socket brought.
        held.push_back(Waiting { payload: Bytes::copy_from_slice(payload), arrival_ms, notice, outlived: false });
        while self.held.is_too_much()
            && let Some(oldest) = held.pop_front()
        {
            self.held.remove(&oldest.payload);
            lose(channel, &mut self.loss);
        }
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
