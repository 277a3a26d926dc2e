//! The topics of a live connection, found by the bytes that Redis names them with.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use foldhash::{HashMap, HashMapExt as _};
use tidings::{
    broker::Topic,
    channel::{ChannelName, Names, Pattern},
};

use super::carriers::{Carriers, Confirmed};
use crate::keys::Keys;

#[derive(Debug)]
pub(super) struct Topics {
    keys: Keys,
    names: Names,
    channels: HashMap<Bytes, Topic>,
    patterns: HashMap<Bytes, Topic>,
    /// Of which there are notices as well.
    captured: HashSet<Topic>,
    /// What the patterns come through.
    carriers: Carriers,
}

impl Topics {
    pub(super) fn new(keys: Keys, names: Names) -> Self {
        Self {
            keys,
            names,
            channels: HashMap::new(),
            patterns: HashMap::new(),
            captured: HashSet::new(),
            carriers: Carriers::default(),
        }
    }

    /// Adds a topic, or asks for it once more.
    pub(super) fn insert(&mut self, topic: Topic) {
        if let Topic::Pattern(pattern) = &topic {
            self.carriers.insert(pattern.clone());
        }
        let name = Bytes::copy_from_slice(name(&topic).as_bytes());
        self.map(&topic).insert(name, topic);
    }

    /// Removes a topic. Answers which subscriptions nothing comes through any more.
    pub(super) fn remove(&mut self, topic: &Topic) -> Vec<Bytes> {
        self.map(topic).remove(name(topic).as_bytes());
        self.release(topic);
        match topic {
            Topic::Channel(channel) => vec![Bytes::copy_from_slice(channel.as_str().as_bytes())],
            Topic::Pattern(pattern) => self.carriers.remove(pattern),
        }
    }

    /// Of a topic that is there already notices come as well.
    pub(super) fn capture(&mut self, topic: Topic) {
        if let Topic::Pattern(pattern) = &topic {
            self.carriers.set_apart(pattern);
        }
        let notices = Bytes::from(self.notices(&topic));
        self.map(&topic).insert(notices, topic.clone());
        self.captured.insert(topic);
    }

    /// Of a topic no notices come any more.
    pub(super) fn release(&mut self, topic: &Topic) {
        let notices = self.notices(topic);
        self.map(topic).remove(notices.as_bytes());
        self.captured.remove(topic);
    }

    /// Nothing is subscribed to yet: see [`Carriers::begin`].
    pub(super) fn begin(&mut self) {
        self.carriers.begin();
    }

    /// See [`Carriers::take_asked`].
    pub(super) fn take_asked(&mut self) -> Vec<(Pattern, Bytes)> {
        self.carriers.take_asked()
    }

    /// See [`Carriers::confirm`].
    pub(super) fn confirm(&mut self, topic: &Topic, pattern: &Pattern, carrier: &Bytes) -> Confirmed {
        self.carriers.confirm(topic, pattern, carrier)
    }

    /// See [`Carriers::was_refused`].
    pub(super) fn was_refused(&mut self, pattern: &Pattern, carrier: &Bytes) -> bool {
        self.carriers.was_refused(pattern, carrier)
    }

    /// See [`Carriers::topics`].
    pub(super) fn carried(&mut self, carrier: &[u8], channel: &[u8]) -> Option<Arc<[Topic]>> {
        self.carriers.topics(carrier, channel)
    }

    fn map(&mut self, topic: &Topic) -> &mut HashMap<Bytes, Topic> {
        match topic {
            Topic::Channel(_) => &mut self.channels,
            Topic::Pattern(_) => &mut self.patterns,
        }
    }

    /// The name under which a topic's notices come.
    pub(super) fn notices(&self, topic: &Topic) -> String {
        match topic {
            Topic::Channel(channel) => self.keys.adopted(channel),
            Topic::Pattern(pattern) => self.keys.adopted_pattern(pattern),
        }
    }

    /// Whether pushes under this name are a topic's notices, not its messages.
    pub(super) fn is_notice(&self, topic: &Topic, key: &[u8]) -> bool {
        key != name(topic).as_bytes()
    }

    pub(super) fn is_captured(&self, topic: &Topic) -> bool {
        self.captured.contains(topic)
    }

    /// The topic that a channel belongs to, or the notices of one.
    pub(super) fn channel(&self, name: &[u8]) -> Option<&Topic> {
        self.channels.get(name)
    }

    /// The same for a pattern.
    pub(super) fn pattern(&self, name: &[u8]) -> Option<&Topic> {
        self.patterns.get(name)
    }

    /// The channel of a notice that came under this name.
    pub(super) fn noticed(&self, name: &[u8]) -> Option<ChannelName> {
        let (before, after) = self.keys.adopted_around();
        let name = name.strip_prefix(before.as_bytes())?.strip_suffix(after.as_bytes())?;
        self.names.parse(std::str::from_utf8(name).ok()?).ok()
    }

    /// Each topic once; those of which there are notices first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Topic> {
        let named = self.channels.iter().chain(&self.patterns);
        let others = named.filter(|(key, topic)| *key == name(topic).as_bytes() && !self.is_captured(topic));
        self.captured.iter().chain(others.map(|(_, topic)| topic))
    }
}

pub(super) fn name(topic: &Topic) -> &str {
    match topic {
        Topic::Channel(channel) => channel.as_str(),
        Topic::Pattern(pattern) => pattern.as_str(),
    }
}
