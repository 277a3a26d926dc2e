//! What a feed knows of its channels: whether their heads were read, what those said, and what waits for them.
//!
//! A channel of which pushes wait is never forgotten, since its pushes would be lost with it. The others may be at any
//! time: they are looked up again when they receive a push.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use foldhash::{HashMap, HashMapExt as _};
use tidings::{
    broker::{Head, Topic, adopt::Raw},
    channel::{ChannelName, Names},
    cursor::{ChannelHash, channel_hash},
    limits::{EXTRACT_BYTES, PATTERN_CHANNELS},
    message::Position,
    metrics::{self, Dropped},
};

use super::claims::{Course, Shown};
use crate::capture::Capture;

/// The channels of one feed.
pub(super) struct Channels {
    topic: Topic,
    names: Arc<Names>,
    capture: Arc<Capture>,
    pub(super) known: HashMap<ChannelName, Known>,
    /// Those that had a head when they were forgotten, as far as that was not read since.
    forgotten: HashSet<ChannelName>,
}

pub(super) struct Known {
    pub(super) hash: ChannelHash,
    /// Something was received since that was last asked.
    pub(super) received: bool,
    pub(super) captured: Captured,
    pub(super) state: State,
}

/// Whether messages of plain programs on a channel are adopted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Captured {
    No,
    /// They are, and received through this feed.
    Here,
    /// They are, received through another one.
    Elsewhere,
}

/// A push that waits for its channel's head, or log.
#[derive(Debug)]
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
    /// Something was asked for.
    Asked(Box<Asked>),
    /// The head was read.
    Head(Course),
}

/// What waits for an answer.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) held: VecDeque<Waiting>,
    /// What was known before.
    pub(super) before: Option<Course>,
    /// The log was asked, not the head.
    pub(super) is_log: bool,
}

/// How far a feed is with a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing is known of it.
    New,
    /// Something was asked for.
    Asked,
    /// Its head was read.
    Read,
}

impl Channels {
    pub(super) fn new(topic: Topic, names: Arc<Names>, capture: Arc<Capture>) -> Self {
        Self { topic, names, capture, known: HashMap::new(), forgotten: HashSet::new() }
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
            Some(State::Head(_)) => Stage::Read,
        }
    }

    /// Whether pushes of a channel wait.
    pub(super) fn is_asked(&self, channel: &ChannelName) -> bool {
        self.stage(channel) == Stage::Asked
    }

    /// Whether pushes of a channel are held.
    pub(super) fn holds(&self, channel: &ChannelName) -> bool {
        let known = self.known.get(channel).map(|known| &known.state);
        matches!(known, Some(State::Asked(asked)) if !asked.held.is_empty())
    }

    /// Adds a channel that was not known. Where there are too many, those that wait for nothing are forgotten; false
    /// where all of them wait.
    pub(super) fn add(&mut self, channel: &ChannelName, state: State) -> bool {
        if self.known.len() >= PATTERN_CHANNELS {
            self.forget();
        }
        if self.known.len() >= PATTERN_CHANNELS {
            return false;
        }
        let (hash, captured) = (channel_hash(channel.as_str()), captured(&self.capture, &self.topic, channel));
        self.known.insert(channel.clone(), Known { hash, received: true, captured, state });
        true
    }

    /// Takes a head that was read for any reason. Returns whether it is elsewhere than what was received has led to.
    pub(super) fn compare(&mut self, channel: &ChannelName, head: Option<&Head>) -> Shown {
        match self.known.get_mut(channel).map(|known| &mut known.state) {
            None => {
                let course = Course::read(head);
                // A stream of the channel itself begins with this very answer. To those of a pattern the channel may be
                // new.
                let is_news = matches!(self.topic, Topic::Pattern(_)) && course.position != Position::START;
                self.add(channel, State::Head(course));
                if is_news { Shown::Elsewhere } else { Shown::Nothing }
            }
            Some(State::Head(course)) => course.compare(head),
            Some(State::Asked(_)) => Shown::Nothing,
        }
    }

    /// The channels of which nothing was received since this was last asked.
    pub(super) fn quiet(&mut self) -> impl Iterator<Item = &ChannelName> {
        let known = self.known.iter_mut();
        known.filter_map(|(channel, known)| (!std::mem::take(&mut known.received)).then_some(channel))
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
            if let State::Asked(asked) = &mut known.state {
                asked.held.iter_mut().for_each(|waiting| waiting.outlived = true);
            }
        }
    }

    /// Forgets all that wait for nothing.
    pub(super) fn forget(&mut self) {
        let had_head =
            |known: &Known| matches!(&known.state, State::Head(course) if course.position != Position::START);
        let forgotten = self.known.iter().filter(|(_, known)| had_head(known)).map(|(channel, _)| channel.clone());
        self.forgotten = forgotten.collect();
        self.known.retain(|_, known| matches!(known.state, State::Asked(_)));
    }

    /// A head was read: whether there was one when the channel was forgotten.
    pub(super) fn recall(&mut self, channel: &ChannelName) -> bool {
        self.forgotten.remove(channel)
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

fn captured(capture: &Capture, topic: &Topic, channel: &ChannelName) -> Captured {
    match capture.source(channel) {
        None => Captured::No,
        Some(source) if source == topic => Captured::Here,
        Some(_) => Captured::Elsewhere,
    }
}
