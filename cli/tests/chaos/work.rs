//! Durable subscriptions in a run: their consumers do everything wrong that workers can do, dead letters are put back,
//! and at the end one good consumer drains each.

mod consumer;
mod ending;
mod fate;
mod manager;
mod notes;
mod site;
pub(crate) mod story;

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use tidings::pb::{RetryPolicy, Subscription};
use tidings_testing::duration;
use tokio::task::JoinSet;

use self::{consumer::Consumer, notes::Notes, site::Site, story::Story};
use crate::board::{Board, CAPTURED};

/// Consumers of each.
const CONSUMERS: usize = 3;

/// What a subscription is like.
struct Plan {
    name: &'static str,
    channel: &'static str,
    attempts: i32,
    ack_deadline: Duration,
    backoff: [Duration; 2],
    is_ordered: bool,
}

/// A busy one, one beside unnumbered messages, one of what plain programs publish, and one that is in order by key.
const PLANS: [Plan; 4] = [
    Plan {
        name: "w.busy",
        channel: "c.1",
        attempts: 4,
        ack_deadline: Duration::from_millis(2_000),
        backoff: [Duration::from_millis(100), Duration::from_millis(400)],
        is_ordered: false,
    },
    Plan {
        name: "w.calm",
        channel: "c.3",
        attempts: 3,
        ack_deadline: Duration::from_millis(3_000),
        backoff: [Duration::from_millis(200), Duration::from_millis(800)],
        is_ordered: false,
    },
    Plan {
        name: "w.captured",
        channel: CAPTURED,
        attempts: 5,
        ack_deadline: Duration::from_millis(2_500),
        backoff: [Duration::ZERO, Duration::from_millis(300)],
        is_ordered: false,
    },
    Plan {
        name: "w.keyed",
        channel: "c.0",
        attempts: 3,
        ack_deadline: Duration::from_millis(2_000),
        backoff: [Duration::from_millis(50), Duration::from_millis(200)],
        is_ordered: true,
    },
];

/// The channels on which dead letters are published.
pub(crate) fn letter_channels() -> Vec<String> {
    PLANS.iter().map(|plan| letters(plan.name)).collect()
}

fn letters(name: &str) -> String {
    format!("{}{name}", crate::board::LETTERS)
}

/// All subscriptions and those who use them.
pub(crate) struct Work {
    subscriptions: Vec<(&'static Plan, Site, Notes)>,
    rng: Rng,
    consumers: JoinSet<()>,
    watchers: JoinSet<()>,
}

impl Work {
    /// Creates them all, before there is any message.
    pub(crate) async fn create(board: &Arc<Board>, mut rng: Rng) -> Self {
        let mut subscriptions = Vec::new();
        for plan in &PLANS {
            let story = Story {
                name: plan.name.to_owned(),
                channel: plan.channel.to_owned(),
                letters: letters(plan.name),
                attempts: plan.attempts.unsigned_abs(),
                is_ordered: plan.is_ordered,
                ..Story::default()
            };
            let notes = Notes::new(board, story);
            let site = Site::new(board, &notes, plan.settings());
            site.create(&mut rng).await;
            subscriptions.push((plan, site, notes));
        }
        Self { subscriptions, rng, consumers: JoinSet::new(), watchers: JoinSet::new() }
    }

    /// Begins to use them.
    pub(crate) fn begin(&mut self, mut rng: Rng) {
        for (plan, site, _) in &self.subscriptions {
            for _ in 0..CONSUMERS {
                self.consumers.spawn(Consumer::new(site.clone(), rng.fork()).run());
            }
            self.consumers.spawn(manager::manage(site.clone(), rng.fork()));
            self.watchers.spawn(manager::watch(site.clone(), letters(plan.name)));
        }
    }

    /// Waits until all consumers have ended, which they do once the faults are over; then drains all subscriptions.
    pub(crate) async fn drain(&mut self) {
        while let Some(done) = self.consumers.join_next().await {
            done.expect("a consumer that does not panic");
        }
        let mut drained = JoinSet::new();
        for (plan, site, _) in &self.subscriptions {
            let (channel, letters, name) = (plan.channel.to_owned(), letters(plan.name), plan.name.to_owned());
            drained.spawn(ending::drain(site.clone(), self.rng.fork(), channel, letters, name));
        }
        while let Some(done) = drained.join_next().await {
            done.expect("a consumer that does not panic");
        }
    }

    /// What happened to each, once all is over.
    pub(crate) async fn stories(mut self) -> Vec<Story> {
        while let Some(done) = self.watchers.join_next().await {
            done.expect("one that looks and does not panic");
        }
        self.subscriptions.iter().map(|(_, _, notes)| notes.take()).collect()
    }
}

impl Plan {
    fn settings(&self) -> Subscription {
        let [min_backoff, max_backoff] = self.backoff.map(duration);
        Subscription {
            name: self.name.to_owned(),
            channel: self.channel.to_owned(),
            ack_deadline: duration(self.ack_deadline),
            max_delivery_attempts: Some(self.attempts),
            retry_policy: Some(RetryPolicy { min_backoff, max_backoff }),
            ordered: self.is_ordered,
            ..Subscription::default()
        }
    }
}
