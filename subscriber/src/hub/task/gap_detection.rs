//! Looking for what no push can show: a lost last message, the lost first message of a new channel, a flush.
//!
//! Every few seconds, and after each reconnection, the heads of channels of which nothing was received are read over
//! the live connection itself, all in one pipeline. An answer comes after every push before it, so that a head which is
//! elsewhere than the pushes led to means that some were lost. The registry shows which channels are new to a pattern.

use std::{collections::VecDeque, sync::Arc};

use tidings::{
    channel::ChannelName,
    limits::{HUB_ROUND_HEADS, HUB_ROUND_TICKS},
};

use super::topics::Topics;
use crate::hub::repair::Repair;

/// The rounds in which a hub looks for gaps.
pub(super) struct GapDetection {
    repair: Arc<Repair>,
    ticks: u32,
    /// Channels whose head is still to be asked for in this round.
    due: VecDeque<ChannelName>,
    /// How many of the registry's recent names were reported in this round, where there are more.
    skip: Option<usize>,
    /// How many channels the registry had.
    registered: usize,
}

/// What is to be asked for at a tick.
pub(super) struct Tick {
    /// The registry's recent names, without so many.
    pub(super) recent: Option<usize>,
    /// The heads of these channels.
    pub(super) heads: Vec<ChannelName>,
}

impl GapDetection {
    pub(super) fn new(repair: Arc<Repair>) -> Self {
        Self { repair, ticks: 0, due: VecDeque::new(), skip: None, registered: 0 }
    }

    /// Continues the round, or begins one when it is time.
    pub(super) fn tick(&mut self, topics: &mut Topics) -> Tick {
        self.ticks += 1;
        // A page at a time: while many channels are new, a round takes longer, and publishers do not wait for it.
        let mut recent = self.skip.take();
        if recent.is_some() {
            self.ticks = 0;
        }
        if self.due.is_empty() && self.ticks >= HUB_ROUND_TICKS {
            self.ticks = 0;
            self.due.extend(topics.quiet());
            recent = topics.have_patterns().then_some(0);
        }
        let heads = self.due.drain(..self.due.len().min(HUB_ROUND_HEADS)).collect();
        Tick { recent, heads }
    }

    /// After a reconnection the head of every channel that is a topic is asked for at once: it returns them. Streams of
    /// patterns look into the registry and the logs themselves, since they know channels of which nothing was ever
    /// received here.
    pub(super) fn restore(&mut self, topics: &mut Topics) -> Vec<ChannelName> {
        self.due.clear();
        self.skip = None;
        topics.forget_patterns();
        topics.channels()
    }

    /// Reads which channels were published on lately: some may be new to a pattern's feed.
    pub(super) fn read(
        &mut self,
        topics: &mut Topics,
        skip: usize,
        names: &[ChannelName],
        more: bool,
        registered: usize,
    ) {
        if skip == 0 {
            if registered < self.registered {
                // The registry has lost channels, perhaps by a flush: streams of patterns may have positions in what is
                // gone. They put back what they know by themselves; of those of a channel this is all there is.
                topics.break_patterns();
                self.repair.put_back(topics.followed_channels());
            }
            self.registered = registered;
        }
        self.due.extend(names.iter().filter(|name| topics.lack(name)).cloned());
        if more && !names.is_empty() {
            self.skip = Some(skip + names.len());
        }
    }
}
