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

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use tidings::{
    broker::{Head, Topic, adopt::Raw},
    channel::{ChannelName, Names},
    cursor::channel_hash,
    envelope::{self, Claim, Envelope},
    limits::{EXTRACT_BYTES, HELD_BYTES, PATTERN_CHANNELS},
    message::{Epoch, Position},
    metrics::{self, Dropped},
};

use crate::{
    capture::Capture,
    frames::{Builder, Chunk, Place},
};

pub(super) struct Intake {
    /// The one channel of a channel feed; a pattern's channels are read from each push.
    channel: Option<ChannelName>,
    names: Arc<Names>,
    known: HashMap<ChannelName, Known>,
    topic: Topic,
    capture: Arc<Capture>,
    /// Numbered messages that the capture has not been told of: those of a channel behind a position, up to another.
    passed: Option<(ChannelName, Position, Position)>,
    builder: Builder,
    /// Nobody follows the feed: it only keeps account.
    silent: bool,
    held_bytes: usize,
    news: bool,
    /// A push was dropped.
    loss: bool,
}

struct Known {
    hash: u64,
    /// Something was heard since that was last asked.
    heard: bool,
    captured: Captured,
    state: State,
}

/// Whether messages of plain programs on a channel are adopted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Captured {
    No,
    /// They are, and heard of through this feed.
    Here,
    /// They are, and heard of through another one.
    Elsewhere,
}

/// A push that waits for its channel's head.
struct Waiting {
    payload: Bytes,
    arrival_ms: i64,
    /// The hash of what was adopted, where it is a notice.
    notice: Option<Hash>,
    /// The live connection was lost since.
    outlived: bool,
}

type Hash = [u8; Raw::HASH_BYTES];

enum State {
    /// The head was asked for.
    Asked(VecDeque<Waiting>),
    Head {
        epochs: Vec<Epoch>,
        /// After the last message with a place that the feed has seen.
        position: Position,
    },
}

impl Intake {
    pub(super) fn new(topic: &Topic, names: Arc<Names>, capture: Arc<Capture>) -> Self {
        let channel = match topic {
            Topic::Channel(channel) => Some(channel.clone()),
            Topic::Pattern(_) => None,
        };
        Self {
            channel,
            names,
            known: HashMap::new(),
            topic: topic.clone(),
            capture,
            passed: None,
            builder: Builder::default(),
            silent: false,
            held_bytes: 0,
            news: false,
            loss: false,
        }
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
        for (channel, known) in &mut self.known {
            known.captured = captured(&self.capture, &self.topic, channel);
        }
    }

    /// Tells the capture how far the numbered messages of its channel went.
    pub(super) fn tell_passed(&mut self) {
        if let Some((channel, before, last)) = self.passed.take() {
            self.capture.pass(&channel, before, last);
        }
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
        let known = self.known.iter_mut();
        known.filter_map(|(channel, known)| (!std::mem::take(&mut known.heard)).then_some(channel))
    }

    /// Whether the feed has seen a channel's head.
    pub(super) fn knows(&self, channel: &ChannelName) -> bool {
        self.known.contains_key(channel)
    }

    /// Whether pushes of a channel wait for its head.
    pub(super) fn waits_for(&self, channel: &ChannelName) -> bool {
        matches!(self.known.get(channel).map(|known| &known.state), Some(State::Asked(_)))
    }

    /// Whether the feed has missed something of a channel that belongs to it: the head, which comes behind all pushes before
    /// it, is elsewhere than the pushes led to.
    pub(super) fn has_missed(&mut self, channel: &ChannelName, head: Option<&Head>) -> bool {
        let end = head.map_or(Position::START, Head::end);
        let epochs: Vec<Epoch> = head.into_iter().flat_map(|head| &head.epochs).map(|start| start.epoch).collect();
        let state = State::Head { epochs, position: end };
        match self.known.get_mut(channel) {
            None => {
                self.make_room();
                self.know(channel, state);
                // A stream of the channel itself begins with this very answer. To those of a pattern the channel may be new.
                self.channel.is_none() && end != Position::START
            }
            Some(Known { state: State::Head { position, .. }, .. }) if *position == end => false,
            Some(Known { state: State::Asked(_), .. }) => false,
            Some(known) => {
                known.state = state;
                true
            }
        }
    }

    /// The live connection was lost: the head that pushes wait for comes from another one.
    pub(super) fn outlive(&mut self) {
        for known in self.known.values_mut() {
            if let State::Asked(held) = &mut known.state {
                held.iter_mut().for_each(|waiting| waiting.outlived = true);
            }
        }
    }

    /// Pushes were missed: what was known of the channels may be old. Those that wait for their head go on waiting.
    pub(super) fn forget(&mut self) {
        self.known.retain(|_, known| matches!(known.state, State::Asked(_)));
    }

    /// Takes one push. Answers the channel whose head must be looked up, if it must.
    pub(super) fn push(&mut self, name: &[u8], payload: &[u8]) -> Option<ChannelName> {
        let channel = match &self.channel {
            Some(channel) => channel.clone(),
            None => self.named(name)?,
        };
        self.hear(channel, payload, None)
    }

    /// Takes a notice of a channel that belongs to the feed. Answers the same.
    pub(super) fn notice(&mut self, channel: &ChannelName, hash: &Hash, json: &[u8]) -> Option<ChannelName> {
        self.hear(channel.clone(), json, Some(*hash))
    }

    fn hear(&mut self, channel: ChannelName, payload: &[u8], notice: Option<Hash>) -> Option<ChannelName> {
        let arrival_ms = chrono::Utc::now().timestamp_millis();
        if !self.known.contains_key(&channel) {
            self.make_room();
            self.know(&channel, State::Asked(VecDeque::new()));
            self.hold(&channel, payload, arrival_ms, notice);
            return Some(channel);
        }
        if let Some(State::Asked(_)) = self.known.get(&channel).map(|known| &known.state) {
            self.hold(&channel, payload, arrival_ms, notice);
            return None;
        }
        let envelope = envelope::decode(payload, arrival_ms);
        if self.place(&channel, &envelope, payload, arrival_ms, notice) {
            return None;
        }
        if let Some(known) = self.known.get_mut(&channel) {
            known.state = State::Asked(VecDeque::new());
        }
        self.hold(&channel, payload, arrival_ms, notice);
        Some(channel)
    }

    fn know(&mut self, channel: &ChannelName, state: State) {
        let (hash, captured) = (channel_hash(channel.as_str()), captured(&self.capture, &self.topic, channel));
        self.known.insert(channel.clone(), Known { hash, heard: true, captured, state });
    }

    /// Reads the head that was asked for. Answers whether the feed has news.
    pub(super) fn learn(&mut self, channel: &ChannelName, head: Option<&Head>) -> bool {
        let Some(Known { state, .. }) = self.known.get_mut(channel) else { return false };
        let State::Asked(held) = state else { return false };
        let held: Vec<_> = std::mem::take(held)
            .into_iter()
            .map(|waiting| {
                self.held_bytes -= waiting.payload.len();
                (envelope::decode(&waiting.payload, waiting.arrival_ms), waiting)
            })
            .collect();
        let epochs: Vec<Epoch> = head.into_iter().flat_map(|head| &head.epochs).map(|start| start.epoch).collect();
        let end = head.map_or(Position::START, Head::end);
        // A message without a place stands behind what came before it, not behind what is still in the hand.
        let claims =
            held.iter().filter_map(|(envelope, _)| envelope.claim).filter(|claim| epochs.contains(&claim.epoch));
        let first = claims.min_by_key(|claim| claim.sequence);
        let position = match first {
            Some(Claim { epoch, sequence }) if sequence <= end.sequence => Position::new(epoch, sequence - 1),
            _ => end,
        };
        *state = State::Head { epochs, position };
        let news = (!held.is_empty() || self.loss) && !self.news;
        for (mut envelope, waiting) in held {
            if !self.believes(channel, envelope.claim) {
                // The head has just been read: an epoch that it lacks is a stranger's.
                envelope.disbelieve();
            }
            self.place(channel, &envelope, &waiting.payload, waiting.arrival_ms, waiting.notice);
            if waiting.outlived {
                self.capture.held_before_break(channel);
            }
        }
        news
    }

    fn believes(&self, channel: &ChannelName, claim: Option<Claim>) -> bool {
        match (self.known.get(channel).map(|known| &known.state), claim) {
            (Some(State::Head { epochs, .. }), Some(claim)) => epochs.contains(&claim.epoch),
            _ => false,
        }
    }

    /// Puts a message into the chunk, or where it belongs on a captured channel; false when its claim must be looked up first.
    fn place(
        &mut self,
        channel: &ChannelName,
        envelope: &Envelope,
        payload: &[u8],
        arrival_ms: i64,
        notice: Option<Hash>,
    ) -> bool {
        let Some(known) = self.known.get_mut(channel) else { return false };
        let State::Head { epochs, position } = &mut known.state else { return false };
        if envelope.claim.is_some_and(|claim| !epochs.contains(&claim.epoch)) {
            return false;
        }
        known.heard = true;
        let (hash, captured) = (known.hash, known.captured);
        let place = match envelope.claim {
            Some(Claim { epoch, sequence }) => {
                *position = Position::new(epoch, sequence);
                // The date of what was adopted is a plain program's own; it is in the log since just now.
                let time_ms = if notice.is_some() { arrival_ms } else { envelope.time_ms };
                Place { before: Position::new(epoch, sequence - 1), sequence, position: *position, time_ms }
            }
            None => Place { before: *position, sequence: 0, position: *position, time_ms: envelope.time_ms },
        };
        match (captured, notice) {
            // Whoever published this as a notice was a stranger.
            (_, Some(_)) if place.sequence == 0 => return true,
            (Captured::Here | Captured::Elsewhere, None) if place.sequence == 0 => {
                if self.capture(channel, captured, payload, envelope) {
                    return true;
                }
            }
            (Captured::Here, Some(adopted)) => {
                self.tell_passed();
                self.capture.notice(channel, place.before, place.position, &adopted);
            }
            (Captured::Here, None) => self.pass(channel, place),
            (Captured::No | Captured::Elsewhere, _) => {}
        }
        tracing::debug!(channel = channel.as_str(), id = %envelope.id, sequence = place.sequence, "heard");
        self.news = true;
        if !self.silent {
            self.builder.push(channel, hash, place, envelope);
        }
        true
    }

    /// Hands what a plain program published to the capture. False when it is too large to be adopted, by anyone.
    fn capture(&mut self, channel: &ChannelName, captured: Captured, payload: &[u8], envelope: &Envelope) -> bool {
        if captured == Captured::Elsewhere {
            return Raw::fits(payload, envelope);
        }
        let Some(raw) = Raw::new(payload, envelope) else { return false };
        self.tell_passed();
        self.capture.hold(channel, raw);
        true
    }

    /// Notes that a numbered message was heard. The capture is told of many at once.
    fn pass(&mut self, channel: &ChannelName, place: Place) {
        if let Some((of, _, last)) = &mut self.passed
            && *last == place.before
            && of == channel
        {
            *last = place.position;
            return;
        }
        self.tell_passed();
        self.passed = Some((channel.clone(), place.before, place.position));
    }

    fn hold(&mut self, channel: &ChannelName, payload: &[u8], arrival_ms: i64, notice: Option<Hash>) {
        let Some(Known { state: State::Asked(held), .. }) = self.known.get_mut(channel) else { return };
        self.held_bytes += payload.len();
        // A copy: the push itself keeps all alive that one read of the socket brought.
        held.push_back(Waiting { payload: Bytes::copy_from_slice(payload), arrival_ms, notice, outlived: false });
        while self.held_bytes > HELD_BYTES
            && let Some(oldest) = held.pop_front()
        {
            self.held_bytes -= oldest.payload.len();
            metrics::dropped(Dropped::Held, 1);
            // One line for many: they go one by one.
            if !std::mem::replace(&mut self.loss, true) {
                tracing::warn!(
                    channel = channel.as_str(),
                    "too much waits for the channel's head; dropped the oldest push"
                );
            }
        }
    }

    /// The name of a pattern's channel. Names that break the rules are not delivered to patterns.
    fn named(&self, name: &[u8]) -> Option<ChannelName> {
        let text = std::str::from_utf8(name).ok();
        if let Some(text) = text
            && let Some((channel, _)) = self.known.get_key_value(text)
        {
            return Some(channel.clone());
        }
        let channel = text.and_then(|text| self.names.parse(text).ok());
        if channel.is_none() {
            metrics::dropped(Dropped::Name, 1);
            static ONCE: std::sync::Once = std::sync::Once::new();
            ONCE.call_once(|| {
                let name = String::from_utf8_lossy(&name[..name.len().min(EXTRACT_BYTES)]);
                tracing::warn!(%name, "channels whose names break the rules are not delivered to patterns");
            });
        }
        channel
    }

    /// Forgets the channels that wait for nothing when there are too many; they are looked up again when they are heard.
    fn make_room(&mut self) {
        if self.known.len() >= PATTERN_CHANNELS {
            self.forget();
        }
    }
}

fn captured(capture: &Capture, topic: &Topic, channel: &ChannelName) -> Captured {
    match capture.source(channel) {
        None => Captured::No,
        Some(source) if source == topic => Captured::Here,
        Some(_) => Captured::Elsewhere,
    }
}

#[cfg(test)]
mod tests;
