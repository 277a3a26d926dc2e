//! Looking for what no push can show: a lost last message, the lost first message of a new channel, a flush.
//!
//! Every few seconds, and after each reconnection, the heads of channels of which nothing was received are read over
//! the live connection itself, all in one pipeline. An answer comes after every push before it, so that a head which is
//! elsewhere than the pushes led to means that some were lost. The registry shows which channels are new to a pattern.

use std::collections::{BTreeSet, VecDeque};

use tidings::{
    broker::{LiveCommand, Topic},
    channel::ChannelName,
    limits::{HUB_ROUND_HEADS, HUB_ROUND_TICKS},
};

use super::Task;
use crate::feed::Item;

/// The rounds in which a hub looks for gaps.
#[derive(Debug, Default)]
pub(super) struct GapDetection {
    ticks: u32,
    /// Channels whose head is still to be asked for in this round.
    due: VecDeque<ChannelName>,
    /// How many of the registry's recent names were reported in this round, where there are more.
    skip: Option<usize>,
    /// How many channels the registry had.
    registered: usize,
}

impl Task {
    /// Continues the round, or begins one when it is time.
    pub(super) fn go_round(&mut self) {
        self.gap_detection.ticks += 1;
        // A page at a time: while many channels are new, a round takes longer, and publishers do not wait for it.
        if let Some(skip) = self.gap_detection.skip.take() {
            self.outbox.push_back(LiveCommand::Recent { skip });
            self.gap_detection.ticks = 0;
        }
        if self.gap_detection.due.is_empty() && self.gap_detection.ticks >= HUB_ROUND_TICKS {
            self.gap_detection.ticks = 0;
            let mut quiet = BTreeSet::new();
            // What nobody follows is not looked after: an account of what is captured finds out by itself.
            for followed in self.topics.values_mut().filter(|followed| !followed.intake.is_silent()) {
                quiet.extend(followed.intake.quiet().cloned());
            }
            self.gap_detection.due.extend(quiet);
            let is_followed = |topic| self.topics.get(topic).is_some_and(|followed| !followed.intake.is_silent());
            if self.patterns.iter().any(|(_, topic)| is_followed(topic)) {
                self.outbox.push_back(LiveCommand::Recent { skip: 0 });
            }
        }
        for _ in 0..HUB_ROUND_HEADS {
            let Some(channel) = self.gap_detection.due.pop_front() else { return };
            self.check_once(channel);
        }
    }

    /// After a reconnection every channel's head is asked for at once. Streams of patterns look into the registry and
    /// the logs themselves, since they know channels of which nothing was ever received here.
    pub(super) fn check_all(&mut self) {
        self.gap_detection.due.clear();
        self.gap_detection.skip = None;
        let mut channels = Vec::new();
        for (topic, followed) in &mut self.topics {
            match topic {
                Topic::Channel(channel) => channels.push(channel.clone()),
                Topic::Pattern(_) => {
                    followed.intake.forget();
                    followed.feed.push([Item::Break]);
                }
            }
        }
        for channel in channels {
            self.check_once(channel);
        }
    }

    fn check_once(&mut self, channel: ChannelName) {
        if !self.checks.is_asked(&channel) && !self.unreadable.has(&channel) {
            self.check(channel, None);
        }
    }

    /// Reads which channels were published on lately: some may be new to a pattern's feed.
    pub(super) fn recent(&mut self, skip: usize, names: &[ChannelName], more: bool, registered: usize) {
        if skip == 0 {
            if registered < self.gap_detection.registered {
                self.break_patterns();
                self.put_back_followed();
            }
            self.gap_detection.registered = registered;
        }
        let mut new = Vec::new();
        for name in names {
            let is_new = |topic: &Topic| {
                let followed = self.topics.get(topic);
                followed.is_some_and(|followed| !followed.intake.is_silent() && !followed.intake.knows(name))
            };
            // Which patterns a name matches is remembered: most names come again in each round.
            if self.patterns.matching(name.as_str()).iter().any(is_new) {
                new.push(name.clone());
            }
        }
        self.gap_detection.due.extend(new);
        if more && !names.is_empty() {
            self.gap_detection.skip = Some(skip + names.len());
        }
    }

    /// Streams of patterns put back what they know by themselves; of those of a channel this is all there is.
    fn put_back_followed(&self) {
        let channels = self.topics.iter().filter_map(|(topic, followed)| match topic {
            Topic::Channel(channel) if !followed.intake.is_silent() => Some(channel.clone()),
            _ => None,
        });
        self.repair.put_back(channels.collect());
    }

    /// The registry has lost channels, perhaps by a flush: streams of patterns may have positions in what is gone.
    fn break_patterns(&self) {
        for (_, topic) in self.patterns.iter() {
            if let Some(followed) = self.topics.get(topic) {
                followed.feed.push([Item::Break]);
            }
        }
    }
}
