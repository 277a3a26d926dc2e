//! The hub's task.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use tidings::{
    broker::{Head, LiveCommand, LiveControl, LiveEvent, LiveEvents, Topic},
    channel::{ChannelName, Names},
    limits::{TOPIC_LINGER, TOPICS},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::interval,
};
use tokio_util::sync::CancellationToken;

use super::{Ask, Feeds, intake::Intake, lock};
use crate::feed::{Feed, Follower, Item};

/// How often feeds are aged and let go.
const TICK: Duration = Duration::from_secs(1);

pub(super) struct Task {
    commands: LiveControl,
    feeds: Feeds,
    names: Arc<Names>,
    topics: HashMap<Topic, Followed>,
    checks: HashMap<ChannelName, Checks>,
    /// Subscriptions stand and nothing was missed.
    linked: bool,
    /// What could not be handed to the connection yet: it is never waited for.
    outbox: VecDeque<LiveCommand>,
}

struct Followed {
    feed: Arc<Feed>,
    intake: Intake,
    confirmed: bool,
    waiting: Vec<oneshot::Sender<Follower>>,
}

/// Who waits for a channel's head. Answers come in the order of the questions; a question that was asked while
/// another was under way gets an answer of its own.
#[derive(Default)]
struct Checks {
    asked: VecDeque<Vec<oneshot::Sender<Option<Head>>>>,
}

impl Task {
    pub(super) fn new(commands: LiveControl, feeds: Feeds, names: Arc<Names>) -> Self {
        Self {
            commands,
            feeds,
            names,
            topics: HashMap::new(),
            checks: HashMap::new(),
            linked: true,
            outbox: VecDeque::new(),
        }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Ask>, mut events: LiveEvents, stop: CancellationToken) {
        let mut tick = interval(TICK);
        loop {
            let commands = self.commands.clone();
            tokio::select! {
                () = stop.cancelled() => return,
                permit = commands.reserve(), if !self.outbox.is_empty() => {
                    let Ok(permit) = permit else { return };
                    if let Some(command) = self.outbox.pop_front() {
                        permit.send(command);
                    }
                }
                batch = events.recv() => {
                    let Some(batch) = batch else { return };
                    self.batch(batch);
                }
                // Questions wait while commands do, so that the outbox stays small.
                ask = inbox.recv(), if self.outbox.len() < super::ASKS => {
                    let Some(ask) = ask else { return };
                    self.answer(ask);
                }
                _ = tick.tick() => self.tick(),
            }
        }
    }

    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Follow(topic, reply) => self.follow(topic, reply),
            Ask::Check(channel, reply) => self.check(channel, Some(reply)),
        }
    }

    fn follow(&mut self, topic: Topic, reply: oneshot::Sender<Follower>) {
        if !self.topics.contains_key(&topic) {
            if self.topics.len() >= TOPICS {
                tracing::warn!(limit = TOPICS, "too many channels and patterns are followed; a stream is refused");
                return;
            }
            let feed = Feed::new();
            lock(&self.feeds).insert(topic.clone(), Arc::clone(&feed));
            let intake = Intake::new(&topic, Arc::clone(&self.names));
            self.topics.insert(topic.clone(), Followed { feed, intake, confirmed: false, waiting: Vec::new() });
            self.outbox.push_back(LiveCommand::Subscribe(topic.clone()));
        }
        if let Some(followed) = self.topics.get_mut(&topic) {
            followed.waiting.push(reply);
            followed.admit(self.linked);
        }
    }

    fn check(&mut self, channel: ChannelName, reply: Option<oneshot::Sender<Option<Head>>>) {
        self.checks.entry(channel.clone()).or_default().asked.push_back(reply.into_iter().collect());
        self.outbox.push_back(LiveCommand::Check(channel));
    }

    fn batch(&mut self, batch: Vec<LiveEvent>) {
        let mut touched: Vec<Topic> = Vec::new();
        for event in batch {
            match event {
                LiveEvent::Push { topic, channel, payload } => {
                    let Some(followed) = self.topics.get_mut(&topic) else { continue };
                    if !followed.intake.has_news() {
                        touched.push(topic);
                    }
                    if let Some(unknown) = followed.intake.push(&channel, &payload) {
                        self.check(unknown, None);
                    }
                }
                LiveEvent::Oversized { topic, bytes } => {
                    tracing::warn!(?topic, bytes, "skipped what is larger than a message may be");
                }
                LiveEvent::Subscribed(topic) => self.confirm(&topic),
                LiveEvent::Head(channel, head) => self.head(channel, head, &mut touched),
                LiveEvent::Lost(reason) => {
                    self.linked = false;
                    tracing::debug!(reason, "the live connection was lost");
                }
                LiveEvent::Restored => self.restore(&mut touched),
            }
        }
        self.flush(&mut touched);
    }

    fn confirm(&mut self, topic: &Topic) {
        tracing::debug!(?topic, "subscribed");
        if let Some(followed) = self.topics.get_mut(topic) {
            followed.confirmed = true;
            followed.admit(self.linked);
        }
    }

    fn head(&mut self, channel: ChannelName, head: Option<Head>, touched: &mut Vec<Topic>) {
        for (topic, followed) in &mut self.topics {
            if followed.intake.learn(&channel, head.as_ref()) {
                touched.push(topic.clone());
            }
        }
        let Some(checks) = self.checks.get_mut(&channel) else { return };
        let replies = checks.asked.pop_front().unwrap_or_default();
        if checks.asked.is_empty() {
            self.checks.remove(&channel);
        }
        // The head's answer must not overtake the pushes before it.
        self.flush(touched);
        for reply in replies {
            let _ = reply.send(head.clone());
        }
    }

    /// Hands what was heard to the streams.
    fn flush(&mut self, touched: &mut Vec<Topic>) {
        for topic in touched.drain(..) {
            if let Some(followed) = self.topics.get_mut(&topic) {
                let chunks = followed.intake.take();
                followed.feed.push(chunks.into_iter().map(|chunk| Item::Chunk(Arc::new(chunk))));
            }
        }
    }

    fn restore(&mut self, touched: &mut Vec<Topic>) {
        self.flush(touched);
        self.linked = true;
        for followed in self.topics.values_mut() {
            followed.intake.forget();
            followed.feed.push([Item::Break]);
            followed.admit(true);
        }
        // Questions that were under way are lost with the connection.
        for (channel, checks) in &mut self.checks {
            let replies = std::mem::take(&mut checks.asked).into_iter().flatten().collect();
            checks.asked.push_back(replies);
            self.outbox.push_back(LiveCommand::Check(channel.clone()));
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let mut idle = Vec::new();
        for (topic, followed) in &mut self.topics {
            followed.feed.age(now);
            followed.waiting.retain(|reply| !reply.is_closed());
            let since = followed.feed.idle_since();
            if followed.waiting.is_empty() && since.is_some_and(|since| now.duration_since(since) >= TOPIC_LINGER) {
                idle.push(topic.clone());
            }
        }
        for topic in idle {
            self.topics.remove(&topic);
            lock(&self.feeds).remove(&topic);
            self.outbox.push_back(LiveCommand::Unsubscribe(topic));
        }
    }
}

impl Followed {
    /// Lets those in who wait, once the subscription is confirmed and the link stands.
    fn admit(&mut self, linked: bool) {
        if !(self.confirmed && linked) {
            return;
        }
        for reply in self.waiting.drain(..) {
            // Whoever stopped waiting drops the follower, and with it its place.
            let _ = reply.send(self.feed.follow());
        }
    }
}
