//! Who follows which topic: from the first request, over the broker's confirmation, to the time when nobody does.
//!
//! What a stream asks for is admitted once the broker has confirmed its topic, and while nothing is missed: not between
//! the loss of the live connection and the time when the next one has confirmed all topics.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Instant,
};

use foldhash::{HashMap, HashMapExt as _};
use tidings::{
    broker::{Error, Topic},
    channel::{ChannelName, Names, PatternSet},
    limits::{PATTERNS, TOPIC_LINGER, TOPICS},
};
use tokio::sync::oneshot;

use crate::{
    capture::Capture,
    feed::{Feed, Follower, Item, Rings},
    hub::{
        Feeds, Refusal,
        intake::{Intake, Room},
        lock,
    },
};

pub(super) type FollowReply = oneshot::Sender<Result<Follower, Refusal>>;

/// The topics of a hub.
pub(super) struct Topics {
    followed: HashMap<Topic, Followed>,
    /// Those of them that are patterns.
    patterns: PatternSet<Topic>,
    /// Their feeds, where the hub's handle finds them.
    feeds: Feeds,
    /// All rings of those.
    rings: Arc<Rings>,
    /// For what waits for heads.
    room: Room,
    names: Arc<Names>,
    capture: Arc<Capture>,
    /// Topics of which it was said that they are refused.
    refused: HashSet<Topic>,
    /// Subscriptions are confirmed and nothing was missed.
    is_linked: bool,
}

/// One topic, its feed, and what its pushes have led to.
pub(super) struct Followed {
    feed: Arc<Feed>,
    intake: Intake,
    is_confirmed: bool,
    /// It is listened to whether or not anybody follows.
    is_pinned: bool,
    waiting: Vec<FollowReply>,
}

impl Topics {
    pub(super) fn new(feeds: Feeds, names: Arc<Names>, capture: Arc<Capture>) -> Self {
        Self {
            followed: HashMap::new(),
            patterns: PatternSet::default(),
            feeds,
            rings: Arc::default(),
            room: Room::default(),
            names,
            capture,
            refused: HashSet::new(),
            is_linked: true,
        }
    }

    /// Admits a stream, now or when the topic is confirmed, or refuses it. Answers whether the topic is new: then it is
    /// to be subscribed to.
    pub(super) fn follow(&mut self, topic: &Topic, reply: FollowReply) -> bool {
        let is_new = !self.followed.contains_key(topic);
        if is_new && self.followed.len() >= TOPICS {
            let _ = reply.send(Err(Refusal::TooManyTopics));
            return false;
        }
        if is_new && matches!(topic, Topic::Pattern(_)) && self.patterns.len() >= PATTERNS {
            let _ = reply.send(Err(Refusal::TooManyPatterns));
            return false;
        }
        let is_linked = self.is_linked;
        let followed = self.add(topic);
        followed.waiting.push(reply);
        followed.admit(is_linked);
        is_new
    }

    /// Keeps a topic, whether or not anybody follows.
    pub(super) fn pin(&mut self, topic: &Topic) {
        let followed = self.add(topic);
        if !followed.is_pinned {
            followed.is_pinned = true;
            followed.intake.set_silent(followed.feed.followers() == 0);
        }
    }

    fn add(&mut self, topic: &Topic) -> &mut Followed {
        if let Topic::Pattern(pattern) = topic
            && self.patterns.get(pattern).is_none()
        {
            self.patterns.insert(pattern.clone(), topic.clone());
        }
        self.followed.entry(topic.clone()).or_insert_with(|| {
            let feed = Feed::new(&self.rings);
            lock(&self.feeds).insert(topic.clone(), Arc::clone(&feed));
            let intake = Intake::new(topic, Arc::clone(&self.names), Arc::clone(&self.capture), self.room.clone());
            Followed { feed, intake, is_confirmed: false, is_pinned: false, waiting: Vec::new() }
        })
    }

    fn forget(&mut self, topic: &Topic) -> Option<Followed> {
        lock(&self.feeds).remove(topic);
        if let Topic::Pattern(pattern) = topic {
            self.patterns.remove(pattern);
        }
        self.followed.remove(topic)
    }

    /// The broker has confirmed the subscription.
    pub(super) fn confirm(&mut self, topic: &Topic) {
        tracing::debug!(?topic, "subscribed");
        self.refused.remove(topic);
        if let Some(followed) = self.followed.get_mut(topic) {
            followed.is_confirmed = true;
            followed.admit(self.is_linked);
        }
    }

    /// Nothing will come through a topic: all that wait for it or follow it get an error.
    pub(super) fn refuse(&mut self, topic: &Topic, reason: &str) {
        if self.refused.len() >= TOPICS {
            self.refused.clear();
        }
        // Clients come again; a line each time would hide all others.
        if self.refused.insert(topic.clone()) {
            tracing::warn!(?topic, reason, "the broker refuses the subscription");
        }
        let Some(followed) = self.forget(topic) else { return };
        followed.feed.push([Item::Refused(reason.into())]);
        for reply in followed.waiting {
            let _ = reply.send(Err(Refusal::Broker(Error::Unavailable(reason.to_owned()))));
        }
    }

    /// Ages the feeds and lets go of the topics that nobody has followed for long enough, which are returned: they are
    /// to be unsubscribed from.
    pub(super) fn let_go(&mut self, now: Instant) -> Vec<Topic> {
        let mut idle = Vec::new();
        for (topic, followed) in &mut self.followed {
            if followed.is_idle(now) {
                match followed.is_pinned {
                    true => followed.intake.set_silent(true),
                    false => idle.push(topic.clone()),
                }
            }
        }
        for topic in &idle {
            self.forget(topic);
        }
        idle
    }

    /// The live connection was lost.
    pub(super) fn lose(&mut self) {
        self.is_linked = false;
        for followed in self.followed.values_mut() {
            followed.intake.outlive();
        }
    }

    /// The live connection is back, and all topics are confirmed on it.
    pub(super) fn restore(&mut self) {
        self.is_linked = true;
        for followed in self.followed.values_mut() {
            followed.admit(true);
        }
    }

    pub(super) fn is_linked(&self) -> bool {
        self.is_linked
    }

    pub(super) fn len(&self) -> usize {
        self.followed.len()
    }

    pub(super) fn get_mut(&mut self, topic: &Topic) -> Option<&mut Followed> {
        self.followed.get_mut(topic)
    }

    /// The topics to which a channel may belong.
    pub(super) fn covering(&mut self, channel: &ChannelName) -> Vec<Topic> {
        let patterns = self.patterns.matching(channel.as_str());
        patterns.iter().cloned().chain([Topic::Channel(channel.clone())]).collect()
    }

    /// Whether pushes of a channel wait for its head or log, in any of them.
    pub(super) fn wait_for(&mut self, channel: &ChannelName) -> bool {
        let topics = self.covering(channel);
        topics.iter().any(|topic| self.followed.get(topic).is_some_and(|followed| followed.intake.waits_for(channel)))
    }

    /// Finds out again which channels are captured.
    pub(super) fn recapture(&mut self) {
        for followed in self.followed.values_mut() {
            followed.intake.recapture();
        }
    }

    /// The channels of which nothing was received since this was last asked. What nobody follows is not looked after:
    /// an account of what is captured finds out by itself.
    pub(super) fn quiet(&mut self) -> BTreeSet<ChannelName> {
        let mut quiet = BTreeSet::new();
        for followed in self.followed.values_mut().filter(|followed| !followed.intake.is_silent()) {
            quiet.extend(followed.intake.quiet().cloned());
        }
        quiet
    }

    /// Whether anybody follows a pattern.
    pub(super) fn have_patterns(&self) -> bool {
        let is_followed = |topic| self.followed.get(topic).is_some_and(|followed| !followed.intake.is_silent());
        self.patterns.iter().any(|(_, topic)| is_followed(topic))
    }

    /// Whether a channel is new to a pattern that somebody follows.
    pub(super) fn lack(&mut self, channel: &ChannelName) -> bool {
        let is_new = |topic: &Topic| {
            let followed = self.followed.get(topic);
            followed.is_some_and(|followed| !followed.intake.is_silent() && !followed.intake.knows(channel))
        };
        // Which patterns a name matches is remembered: most names come again in each round.
        self.patterns.matching(channel.as_str()).iter().any(is_new)
    }

    /// The channels that are topics.
    pub(super) fn channels(&self) -> Vec<ChannelName> {
        let channel = |topic: &Topic| match topic {
            Topic::Channel(channel) => Some(channel.clone()),
            Topic::Pattern(_) => None,
        };
        self.followed.keys().filter_map(channel).collect()
    }

    /// Those of them that somebody follows.
    pub(super) fn followed_channels(&self) -> Vec<ChannelName> {
        let channels = self.followed.iter().filter_map(|(topic, followed)| match topic {
            Topic::Channel(channel) if !followed.intake.is_silent() => Some(channel.clone()),
            _ => None,
        });
        channels.collect()
    }

    /// Pushes may have been missed: what was known of the channels of patterns may be old, and their streams look
    /// into the registry and the logs.
    pub(super) fn forget_patterns(&mut self) {
        for (topic, followed) in &mut self.followed {
            if let Topic::Pattern(_) = topic {
                followed.intake.forget();
                followed.feed.push([Item::Break]);
            }
        }
    }

    /// Has the streams of patterns look into the registry and the logs.
    pub(super) fn break_patterns(&self) {
        for (_, topic) in self.patterns.iter() {
            if let Some(followed) = self.followed.get(topic) {
                followed.feed.push([Item::Break]);
            }
        }
    }
}

impl Followed {
    pub(super) fn intake(&mut self) -> &mut Intake {
        &mut self.intake
    }

    /// Hands something to the topic's streams.
    pub(super) fn push(&self, items: impl IntoIterator<Item = Item>) {
        self.feed.push(items);
    }

    /// Ages the feed. Answers whether nobody has followed it for long enough.
    fn is_idle(&mut self, now: Instant) -> bool {
        self.feed.age(now);
        self.waiting.retain(|reply| !reply.is_closed());
        let since = self.feed.idle_since();
        self.waiting.is_empty() && since.is_some_and(|since| now.duration_since(since) >= TOPIC_LINGER)
    }

    /// Admits those that wait, once the subscription is confirmed and the link is up.
    fn admit(&mut self, is_linked: bool) {
        if !(self.is_confirmed && is_linked) {
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
