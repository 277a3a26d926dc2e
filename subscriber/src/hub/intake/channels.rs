//! The channels that a feed knows.
//!
//! A channel of which pushes wait is never forgotten, since its pushes would be lost with it. The others may be at any
//! time: they are looked up again when they receive a push.

use std::{collections::HashSet, sync::Arc};

use foldhash::{HashMap, HashMapExt as _};
use tidings::{
    broker::{Head, Topic},
    channel::{ChannelName, Names},
    cursor::channel_hash,
    limits::{EXTRACT_BYTES, PATTERN_CHANNELS},
    message::Position,
    metrics::{self, Dropped},
};

use super::{
    claims::{Course, Shown},
    held::Room,
    known::{Captured, Known},
};
use crate::capture::Capture;

/// The channels of one feed.
pub(super) struct Channels {
    topic: Topic,
    names: Arc<Names>,
    capture: Arc<Capture>,
    known: HashMap<ChannelName, Known>,
    /// Those that had a head when they were forgotten, as far as that was not read since.
    forgotten: HashSet<ChannelName>,
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
        match self.known.get(channel) {
            None => Stage::New,
            Some(known) if known.is_asked() => Stage::Asked,
            Some(_) => Stage::Read,
        }
    }

    /// Whether pushes of a channel wait.
    pub(super) fn is_asked(&self, channel: &ChannelName) -> bool {
        self.stage(channel) == Stage::Asked
    }

    /// Whether pushes of a channel are held.
    pub(super) fn holds(&self, channel: &ChannelName) -> bool {
        self.known.get(channel).is_some_and(Known::holds)
    }

    /// Adds a channel that was not known, whose head is asked for. Where there are too many, those that wait for
    /// nothing are forgotten; false where all of them wait.
    pub(super) fn add(&mut self, channel: &ChannelName, room: &Room) -> bool {
        let has_room = self.make_room();
        if has_room {
            let known = Known::asked(channel_hash(channel.as_str()), self.captured(channel), room);
            self.known.insert(channel.clone(), known);
        }
        has_room
    }

    fn make_room(&mut self) -> bool {
        if self.known.len() >= PATTERN_CHANNELS {
            self.forget();
        }
        self.known.len() < PATTERN_CHANNELS
    }

    /// Takes a head that was read for any reason. Returns whether it is elsewhere than what was received has led to.
    pub(super) fn compare(&mut self, channel: &ChannelName, head: Option<&Head>) -> Shown {
        if let Some(known) = self.known.get_mut(channel) {
            return known.compare(head);
        }
        let course = Course::read(head);
        // A stream of the channel itself begins with this very answer. To those of a pattern the channel may be new.
        let is_news = matches!(self.topic, Topic::Pattern(_)) && course.position() != Position::START;
        if self.make_room() {
            let known = Known::read(channel_hash(channel.as_str()), self.captured(channel), course);
            self.known.insert(channel.clone(), known);
        }
        if is_news { Shown::Elsewhere } else { Shown::Nothing }
    }

    /// The channels of which nothing was received since this was last asked.
    pub(super) fn quiet(&mut self) -> impl Iterator<Item = &ChannelName> {
        let known = self.known.iter_mut();
        known.filter_map(|(channel, known)| (!known.take_received()).then_some(channel))
    }

    /// Finds out again which of them are captured.
    pub(super) fn recapture(&mut self) {
        for (channel, known) in &mut self.known {
            known.set_captured(captured(&self.capture, &self.topic, channel));
        }
    }

    fn captured(&self, channel: &ChannelName) -> Captured {
        captured(&self.capture, &self.topic, channel)
    }

    /// The live connection was lost: the head that pushes wait for comes from another one.
    pub(super) fn outlive(&mut self) {
        for held in self.known.values_mut().filter_map(Known::held) {
            held.outlive();
        }
    }

    /// Forgets all that wait for nothing.
    pub(super) fn forget(&mut self) {
        let forgotten = self.known.iter().filter(|(_, known)| known.has_head()).map(|(channel, _)| channel.clone());
        self.forgotten = forgotten.collect();
        self.known.retain(|_, known| known.is_asked());
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

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}

fn captured(capture: &Capture, topic: &Topic, channel: &ChannelName) -> Captured {
    match capture.source(channel) {
        None => Captured::No,
        Some(source) if source == topic => Captured::Here,
        Some(_) => Captured::Elsewhere,
    }
}
