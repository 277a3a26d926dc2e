//! The hub: one live connection for all streams of this replica, one Redis subscription a topic, one [`Feed`] for its
//! streams.
//!
//! A single task owns the connection. It answers who wants to follow a topic (once the subscription is confirmed),
//! turns what one read brought into chunks, and lets go of topics that nobody follows. It never waits for a stream.

mod checks;
mod intake;
mod repair;
mod task;
mod unreadable;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tidings::{
    access::{Allowed, Read},
    broker::{Error, Head, Shared, State, Topic},
    channel::{ChannelName, Names},
    limits::{HUB_REQUESTS, MATCHES_AT_ONCE, PATTERNS, TOPICS},
    status::{self, Call},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use self::repair::Repair;
use crate::{
    capture::{Capture, HeadCheck},
    feed::{Feed, Follower},
    pages::Pages,
};

type Feeds = Arc<Mutex<HashMap<Topic, Arc<Feed>>>>;

/// What streams ask of the hub's task.
#[derive(Debug)]
enum Ask {
    Follow(Topic, oneshot::Sender<Result<Follower, Refusal>>),
    Check(ChannelName, oneshot::Sender<Result<Option<Head>, Refusal>>),
    /// A channel could not be read, for this reason.
    Unreadable(ChannelName, Error),
}

/// Why the hub does not do what a stream asks.
#[derive(Debug, Clone)]
pub(crate) enum Refusal {
    /// The broker is away, or refuses.
    Broker(Error),
    /// This replica follows as many channels and patterns as it may.
    TooManyTopics,
    /// So many of them are patterns.
    TooManyPatterns,
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Broker(error) => status::from_broker(error, Call::Read),
            Refusal::TooManyTopics => {
                let text = "follow fewer, or at another replica; an idle one is let go after some seconds";
                status::server_limit(format!("{TOPICS} channels and patterns are followed here already: {text}"))
            }
            Refusal::TooManyPatterns => {
                let text = "follow fewer, or at another replica; an idle one is let go after some seconds";
                status::server_limit(format!("{PATTERNS} patterns are followed here already: {text}"))
            }
        }
    }
}

impl HeadCheck for Hub {
    fn check_head<'a>(&'a self, channel: &'a ChannelName) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            match self.check(channel).await {
                Ok(_) => Ok(()),
                Err(Refusal::Broker(error)) => Err(error.to_string()),
                Err(Refusal::TooManyTopics | Refusal::TooManyPatterns) => Err("too many topics".to_owned()),
            }
        })
    }
}

/// The handle that streams have.
#[derive(Debug)]
pub(crate) struct Hub {
    asks: mpsc::Sender<Ask>,
    feeds: Feeds,
    repair: Arc<Repair>,
    broker_timeout: Duration,
    state: watch::Receiver<State>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Hub {
    /// Opens the live connection. Nobody waits for Redis longer than `broker_timeout`.
    pub(crate) fn start(
        broker: &Shared,
        pages: Arc<Pages>,
        names: Arc<Names>,
        capture: Arc<Capture>,
        broker_timeout: Duration,
    ) -> Arc<Self> {
        let (asks, inbox) = mpsc::channel(HUB_REQUESTS);
        let feeds = Feeds::default();
        let stop = CancellationToken::new();
        let (commands, events) = broker.live();
        let repair = Repair::new(Arc::clone(broker));
        let task = task::Task::new(broker, commands, Arc::clone(&feeds), pages, names, capture, Arc::clone(&repair));
        let task = tokio::spawn(task.run(inbox, events, stop.clone()));
        Arc::new(Self {
            asks,
            feeds,
            repair,
            broker_timeout,
            state: broker.state(),
            stop,
            task: Mutex::new(Some(task)),
        })
    }

    /// Follows a topic from now on: whatever is pushed after this returns, arrives.
    pub(crate) async fn follow(&self, topic: Allowed<Read, Topic>) -> Result<Follower, Refusal> {
        let topic = topic.into_inner();
        self.ask(|reply| Ask::Follow(topic, reply)).await
    }

    /// Puts channels back into the registry that it lacks, as far as they have a head.
    pub(crate) fn put_back(&self, channels: Vec<ChannelName>) {
        self.repair.put_back(channels);
    }

    /// The head of a channel at a point of its pushes: all that happened before it are in the feeds when this returns.
    pub(crate) async fn check(&self, channel: &ChannelName) -> Result<Option<Head>, Refusal> {
        self.ask(|reply| Ask::Check(channel.clone(), reply)).await
    }

    /// A channel could not be read while others can: it is named, and looked after. Streams of patterns that cover it
    /// are notified when it can be.
    pub(crate) async fn unreadable(&self, channel: &ChannelName, error: Error) {
        // Where the hub has ended, so have its streams.
        let _ = self.asks.send(Ask::Unreadable(channel.clone(), error)).await;
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Ask) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.asks.send(ask(reply)).await.ok()?;
            answer.await.ok()
        };
        let unavailable = |text: String| Err(Refusal::Broker(Error::Unavailable(text)));
        let within = self.broker_timeout.as_millis();
        let answer = match timeout(self.broker_timeout, asked).await {
            Ok(Some(answer)) => answer,
            Ok(None) => return unavailable("the server is stopping".to_owned()),
            Err(_) => {
                unavailable(format!("Redis did not confirm the subscription within {within} ms (--redis-timeout)"))
            }
        };
        match (answer, &*self.state.borrow()) {
            // What the live connection met is a symptom; the broker knows why, and what to do about it.
            (Err(Refusal::Broker(Error::Unavailable(_) | Error::Channel(_))), State::Down(reason)) => {
                unavailable(format!("Redis can't be used now: {reason}"))
            }
            (answer, _) => answer,
        }
    }

    /// How many streams follow each of these channels, by name or by pattern.
    pub(crate) async fn subscribers(&self, channels: &[ChannelName]) -> Vec<usize> {
        // The hub's task needs the table too, so it is gone through once, and matched without it.
        let (by_name, patterns) = {
            let feeds = lock(&self.feeds);
            let by_name = |channel: &ChannelName| feeds.get(&Topic::Channel(channel.clone())).cloned();
            let patterns = feeds.iter().filter_map(|(topic, feed)| match topic {
                Topic::Pattern(pattern) => Some((pattern.clone(), Arc::clone(feed))),
                Topic::Channel(_) => None,
            });
            (channels.iter().map(by_name).collect::<Vec<_>>(), patterns.collect::<Vec<_>>())
        };
        let count = |(channel, named): (&ChannelName, Option<Arc<Feed>>)| {
            let matching = patterns.iter().filter(|(pattern, _)| pattern.matches(channel.as_str()));
            named.map_or(0, |feed| feed.followers()) + matching.map(|(_, feed)| feed.followers()).sum::<usize>()
        };
        let mut counts = Vec::with_capacity(channels.len());
        for (matches, channel) in (0..).step_by(patterns.len().max(1)).zip(channels.iter().zip(by_name)) {
            counts.push(count(channel));
            // Others get their turn between some thousand matches.
            if matches % MATCHES_AT_ONCE + patterns.len() >= MATCHES_AT_ONCE {
                tokio::task::yield_now().await;
            }
        }
        counts
    }

    /// Ends the task and waits for it.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the hub's task failed");
        }
    }
}

fn lock(feeds: &Feeds) -> MutexGuard<'_, HashMap<Topic, Arc<Feed>>> {
    feeds.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
