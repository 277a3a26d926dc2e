//! What a feed knows of its channels: whether their heads were read, what those said, and what waits for them.
//!
//! A channel that waits for its head is never forgotten, since its pushes would be lost with it. The others may be at any
//! time: they are looked up again when they are heard.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use foldhash::{HashMap, HashMapExt as _};
use tidings::{
    broker::{
        Head, Topic,
        adopt::Raw,
        history::{self, EpochStart},
    },
    channel::{ChannelName, Names},
    cursor::{ChannelHash, channel_hash},
    envelope::Claim,
    limits::{EXTRACT_BYTES, PATTERN_CHANNELS},
    message::{Epoch, Position},
    metrics::{self, Dropped},
};

use crate::{capture::Capture, frames::Origin};

/// The channels of one feed.
pub(super) struct Channels {
    topic: Topic,
    names: Arc<Names>,
    capture: Arc<Capture>,
    pub(super) known: HashMap<ChannelName, Known>,
}

pub(super) struct Known {
    pub(super) hash: ChannelHash,
    /// Something was heard since that was last asked.
    pub(super) heard: bool,
    pub(super) captured: Captured,
    pub(super) state: State,
}

/// Whether messages of plain programs on a channel are adopted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Captured {
    No,
    /// They are, and heard of through this feed.
    Here,
    /// They are, and heard of through another one.
    Elsewhere,
}

/// A push that waits for its channel's head.
pub(super) struct Waiting {
    pub(super) payload: Bytes,
    pub(super) arrival_ms: i64,
    /// The hash of what was adopted, where it is a notice.
    pub(super) notice: Option<Hash>,
    /// The live connection was lost since.
    pub(super) outlived: bool,
}

pub(super) type Hash = [u8; Raw::HASH_BYTES];

pub(super) enum State {
    /// The head was asked for.
    Asked(VecDeque<Waiting>),
    Head {
        epochs: Epochs,
        /// After the last message with a place that the feed has seen.
        position: Position,
    },
}

/// What a head said of its epochs.
#[derive(Debug, Clone, Default)]
pub(super) struct Epochs {
    starts: Vec<EpochStart>,
    /// Messages are known to be lost before the first of them.
    after_loss: bool,
}

/// How far a feed is with a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing is known of it.
    New,
    /// Its head was asked for.
    Asked,
    /// Its head was read.
    Read,
}

impl State {
    /// Nothing waits yet for the head that is asked for.
    pub(super) fn asked() -> Self {
        Self::Asked(VecDeque::new())
    }

    /// The head was read.
    fn read(head: Option<&Head>) -> Self {
        Self::Head { epochs: Epochs::of(head), position: head.map_or(Position::START, Head::end) }
    }
}

impl Channels {
    pub(super) fn new(topic: Topic, names: Arc<Names>, capture: Arc<Capture>) -> Self {
        Self { topic, names, capture, known: HashMap::new() }
    }

    pub(super) fn get_mut(&mut self, channel: &ChannelName) -> Option<&mut Known> {
        self.known.get_mut(channel)
    }

    /// Whether anything is known of a channel.
    pub(super) fn contains(&self, channel: &ChannelName) -> bool {
        self.known.contains_key(channel)
    }

    pub(super) fn stage(&self, channel: &ChannelName) -> Stage {
        match self.known.get(channel).map(|known| &known.state) {
            None => Stage::New,
            Some(State::Asked(_)) => Stage::Asked,
            Some(State::Head { .. }) => Stage::Read,
        }
    }

    /// Whether a channel's head was asked for.
    pub(super) fn is_asked(&self, channel: &ChannelName) -> bool {
        self.stage(channel) == Stage::Asked
    }

    /// Whether a claim names an epoch of its channel, as far as its head was read.
    pub(super) fn believes(&self, channel: &ChannelName, claim: Option<Claim>) -> bool {
        match (self.known.get(channel).map(|known| &known.state), claim) {
            (Some(State::Head { epochs, .. }), Some(claim)) => epochs.contains(claim.epoch),
            _ => false,
        }
    }

    /// Adds a channel that was not known. Where there are too many, those that wait for nothing are forgotten; false where
    /// all of them wait.
    pub(super) fn add(&mut self, channel: &ChannelName, state: State) -> bool {
        if self.known.len() >= PATTERN_CHANNELS {
            self.forget();
        }
        if self.known.len() >= PATTERN_CHANNELS {
            return false;
        }
        let (hash, captured) = (channel_hash(channel.as_str()), captured(&self.capture, &self.topic, channel));
        self.known.insert(channel.clone(), Known { hash, heard: true, captured, state });
        true
    }

    /// Takes a head that was read for whatever reason. Answers whether it is elsewhere than what was heard has led to.
    pub(super) fn compare(&mut self, channel: &ChannelName, head: Option<&Head>) -> bool {
        let end = head.map_or(Position::START, Head::end);
        match self.known.get_mut(channel) {
            None => {
                self.add(channel, State::read(head));
                // A stream of the channel itself begins with this very answer. To those of a pattern the channel may be new.
                matches!(self.topic, Topic::Pattern(_)) && end != Position::START
            }
            Some(Known { state: State::Head { position, .. }, .. }) if *position == end => false,
            Some(Known { state: State::Asked(_), .. }) => false,
            Some(known) => {
                known.state = State::read(head);
                true
            }
        }
    }

    /// The channels of which nothing was heard since this was last asked.
    pub(super) fn quiet(&mut self) -> impl Iterator<Item = &ChannelName> {
        let known = self.known.iter_mut();
        known.filter_map(|(channel, known)| (!std::mem::take(&mut known.heard)).then_some(channel))
    }

    /// Finds out again which of them are captured.
    pub(super) fn recapture(&mut self) {
        for (channel, known) in &mut self.known {
            known.captured = captured(&self.capture, &self.topic, channel);
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

    /// Forgets all that wait for nothing.
    pub(super) fn forget(&mut self) {
        self.known.retain(|_, known| matches!(known.state, State::Asked(_)));
    }

    /// The name of a pattern's channel. Names that break the rules are not delivered to patterns.
    pub(super) fn named(&self, name: &[u8]) -> Option<ChannelName> {
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
}

impl Epochs {
    pub(super) fn of(head: Option<&Head>) -> Self {
        let Some(head) = head else { return Self::default() };
        let first = head.epochs.first();
        let after_loss = first.is_some_and(|first| head.losses.iter().any(|loss| loss.began == first.epoch));
        Self { starts: head.epochs.clone(), after_loss }
    }

    pub(super) fn contains(&self, epoch: Epoch) -> bool {
        self.starts.iter().any(|start| start.epoch == epoch)
    }

    /// Where a position lies.
    pub(super) fn origin(&self, position: Position) -> Origin {
        let Some(epoch) = position.epoch else { return Origin::default() };
        let is_first = self.starts.first().is_some_and(|first| first.epoch == epoch);
        Origin { lineage: history::lineage(&self.starts, epoch), after_loss: is_first && self.after_loss }
    }
}

fn captured(capture: &Capture, topic: &Topic, channel: &ChannelName) -> Captured {
    match capture.source(channel) {
        None => Captured::No,
        Some(source) if source == topic => Captured::Here,
        Some(_) => Captured::Elsewhere,
    }
}
