//! Who waits for which channel's head.

use std::collections::{HashMap, VecDeque};

use tidings::{broker::Head, channel::ChannelName};
use tokio::sync::oneshot;

use super::Refusal;

pub(super) type HeadReply = oneshot::Sender<Result<Option<Head>, Refusal>>;

/// The questions under way. Answers come in the order of the questions; a question that was asked while another was
/// under way gets an answer of its own.
#[derive(Default)]
pub(super) struct Checks {
    asked: HashMap<ChannelName, VecDeque<Vec<HeadReply>>>,
}

impl Checks {
    pub(super) fn add(&mut self, channel: &ChannelName, replies: Vec<HeadReply>) {
        self.asked.entry(channel.clone()).or_default().push_back(replies);
    }

    pub(super) fn is_asked(&self, channel: &ChannelName) -> bool {
        self.asked.contains_key(channel)
    }

    /// Those whose question was answered.
    pub(super) fn answered(&mut self, channel: &ChannelName) -> Vec<HeadReply> {
        let Some(asked) = self.asked.get_mut(channel) else { return Vec::new() };
        let replies = asked.pop_front().unwrap_or_default();
        if asked.is_empty() {
            self.asked.remove(channel);
        }
        replies
    }

    /// All questions, which were lost with the connection, with those who still wait.
    pub(super) fn lost(&mut self) -> Vec<(ChannelName, Vec<HeadReply>)> {
        let lost = std::mem::take(&mut self.asked).into_iter();
        lost.map(|(channel, asked)| {
            let mut replies: Vec<HeadReply> = asked.into_iter().flatten().collect();
            replies.retain(|reply| !reply.is_closed());
            (channel, replies)
        })
        .collect()
    }
}
