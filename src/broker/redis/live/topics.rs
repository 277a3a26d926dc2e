//! What a live connection follows, found by the bytes that Redis names it with.

use std::collections::HashMap;

use bytes::Bytes;

use crate::broker::Topic;

#[derive(Debug, Default)]
pub(super) struct Topics {
    channels: HashMap<Bytes, Topic>,
    patterns: HashMap<Bytes, Topic>,
}

impl Topics {
    pub(super) fn insert(&mut self, topic: Topic) {
        let (map, name) = self.place(&topic);
        map.insert(name, topic);
    }

    pub(super) fn remove(&mut self, topic: &Topic) {
        let (map, name) = self.place(topic);
        map.remove(&name);
    }

    fn place(&mut self, topic: &Topic) -> (&mut HashMap<Bytes, Topic>, Bytes) {
        let name = Bytes::copy_from_slice(name(topic).as_bytes());
        match topic {
            Topic::Channel(_) => (&mut self.channels, name),
            Topic::Pattern(_) => (&mut self.patterns, name),
        }
    }

    pub(super) fn channel(&self, name: &[u8]) -> Option<&Topic> {
        self.channels.get(name)
    }

    pub(super) fn pattern(&self, name: &[u8]) -> Option<&Topic> {
        self.patterns.get(name)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Topic> {
        self.channels.values().chain(self.patterns.values())
    }
}

pub(super) fn name(topic: &Topic) -> &str {
    match topic {
        Topic::Channel(channel) => channel.as_str(),
        Topic::Pattern(pattern) => pattern.as_str(),
    }
}
