//! Who follows which topic: from the first request, over the broker's confirmation, to the time when nobody does.

use std::{sync::Arc, time::Instant};

use tidings::{
    broker::{Error, LiveCommand, Topic},
    limits::{PATTERNS, TOPIC_LINGER, TOPICS},
};
use tokio::sync::oneshot;

use super::Task;
use crate::{
    feed::{Feed, Follower, Item},
    hub::{Refusal, intake::Intake, lock},
};

pub(super) struct Followed {
    pub(super) feed: Arc<Feed>,
    pub(super) intake: Intake,
    confirmed: bool,
    /// It is listened to whether or not anybody follows.
    pub(super) pinned: bool,
    waiting: Vec<FollowReply>,
}

pub(super) type FollowReply = oneshot::Sender<Result<Follower, Refusal>>;

impl Task {
    pub(super) fn follow(&mut self, topic: Topic, reply: FollowReply) {
        if !self.topics.contains_key(&topic) {
            if self.topics.len() >= TOPICS {
                let _ = reply.send(Err(Refusal::TooManyTopics));
                return;
            }
            if matches!(topic, Topic::Pattern(_)) && self.patterns.len() >= PATTERNS {
                let _ = reply.send(Err(Refusal::TooManyPatterns));
                return;
            }
            self.add(&topic);
            self.outbox.push_back(LiveCommand::Subscribe(topic.clone()));
        }
        if let Some(followed) = self.topics.get_mut(&topic) {
            followed.waiting.push(reply);
            followed.admit(self.linked);
        }
    }

    pub(super) fn add(&mut self, topic: &Topic) -> &mut Followed {
        if let Topic::Pattern(pattern) = topic
            && self.patterns.get(pattern).is_none()
        {
            self.patterns.insert(pattern.clone(), topic.clone());
        }
        self.topics.entry(topic.clone()).or_insert_with(|| {
            let feed = Feed::new(&self.rings);
            lock(&self.feeds).insert(topic.clone(), Arc::clone(&feed));
            let intake = Intake::new(topic, Arc::clone(&self.names), Arc::clone(&self.capture), self.room.clone());
            Followed { feed, intake, confirmed: false, pinned: false, waiting: Vec::new() }
        })
    }

    fn forget(&mut self, topic: &Topic) -> Option<Followed> {
        lock(&self.feeds).remove(topic);
        if let Topic::Pattern(pattern) = topic {
            self.patterns.remove(pattern);
        }
        self.topics.remove(topic)
    }

    pub(super) fn confirm(&mut self, topic: &Topic) {
        tracing::debug!(?topic, "subscribed");
        self.refused.remove(topic);
        if let Some(followed) = self.topics.get_mut(topic) {
            followed.confirmed = true;
            followed.admit(self.linked);
        }
    }

    /// Nothing will come through a topic: all that wait for it or follow it get an error.
    pub(super) fn refuse(&mut self, topic: &Topic, reason: String) {
        if self.refused.len() >= TOPICS {
            self.refused.clear();
        }
        // Clients come again; a line each time would hide all others.
        if self.refused.insert(topic.clone()) {
            tracing::warn!(?topic, reason, "the broker refuses the subscription");
        }
        self.not_captured(topic, &reason);
        let Some(followed) = self.forget(topic) else { return };
        followed.feed.push([Item::Refused(reason.as_str().into())]);
        for reply in followed.waiting {
            let _ = reply.send(Err(Refusal::Broker(Error::Unavailable(reason.clone()))));
        }
    }

    /// Ages the feeds and lets go of the topics that nobody has followed for long enough.
    pub(super) fn let_go(&mut self, now: Instant) {
        let mut idle = Vec::new();
        for (topic, followed) in &mut self.topics {
            followed.feed.age(now);
            followed.waiting.retain(|reply| !reply.is_closed());
            let since = followed.feed.idle_since();
            if followed.waiting.is_empty() && since.is_some_and(|since| now.duration_since(since) >= TOPIC_LINGER) {
                match followed.pinned {
                    true => followed.intake.set_silent(true),
                    false => idle.push(topic.clone()),
                }
            }
        }
        for topic in idle {
            self.forget(&topic);
            self.outbox.push_back(LiveCommand::Unsubscribe(topic));
        }
    }
}

impl Followed {
    /// Admits those that wait, once the subscription is confirmed and the link is up.
    pub(super) fn admit(&mut self, linked: bool) {
        if !(self.confirmed && linked) {
            return;
        }
        if !self.waiting.is_empty() {
            self.intake.set_silent(false);
        }
        for reply in self.waiting.drain(..) {
            // A stream that stopped waiting drops the follower, and with it its slot.
            let _ = reply.send(Ok(self.feed.follow()));
        }
    }
}
