//! What durable subscriptions count.

use std::sync::LazyLock;

use ::metrics::{Counter, Gauge, counter, gauge};

use super::{
    CONSUMER_DELIVERIES, CONSUMERS, DEAD_LETTERS, LOST, REDRIVEN, RETURNS, SETTLEMENTS, SUBSCRIPTION_BACKLOG,
    SUBSCRIPTION_CONSUMERS, SUBSCRIPTION_DEAD_LETTERS, SUBSCRIPTION_LOST, SUBSCRIPTION_OLDEST,
    SUBSCRIPTION_OUTSTANDING, SUBSCRIPTION_WAITING,
};

pub(super) struct Work {
    consumers: Gauge,
    deliveries: [Counter; 2],
    settlements: [[Counter; 3]; 4],
    returns: [Counter; 4],
    dead_letters: Counter,
    lost: Counter,
    redriven: Counter,
}

pub(super) static WORK: LazyLock<Work> = LazyLock::new(|| Work {
    consumers: gauge!(CONSUMERS),
    deliveries: ["first", "again"].map(|attempt| counter!(CONSUMER_DELIVERIES, "attempt" => attempt)),
    settlements: ["acknowledge", "reject", "dead_letter", "extend"].map(|decision| {
        ["done", "stale", "unknown"].map(|outcome| counter!(SETTLEMENTS, "decision" => decision, "outcome" => outcome))
    }),
    returns: ["deadline", "closed", "unsent", "abandoned"].map(|reason| counter!(RETURNS, "reason" => reason)),
    dead_letters: counter!(DEAD_LETTERS),
    lost: counter!(LOST),
    redriven: counter!(REDRIVEN),
});

/// An open stream of a consumer, counted for as long as it lives.
#[derive(Debug)]
pub struct Consumer(());

impl Consumer {
    /// One that has just been opened.
    pub fn open() -> Self {
        WORK.consumers.increment(1);
        Self(())
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        WORK.consumers.decrement(1);
    }
}

/// So many messages were leased to consumers, for the first time and again.
pub fn leased(first: u64, again: u64) {
    WORK.deliveries[0].increment(first);
    WORK.deliveries[1].increment(again);
}

/// What a consumer decides about a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decided {
    /// It is done.
    Acknowledge = 0,
    /// It is to be tried again.
    Reject = 1,
    /// It is to be put aside at once.
    DeadLetter = 2,
    /// It takes longer.
    Extend = 3,
}

/// What became of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It is so.
    Done = 0,
    /// The lease was over.
    Stale = 1,
    /// The broker has not answered.
    Unknown = 2,
}

/// A consumer decided about a delivery.
pub fn settled(decided: Decided, settled: Settled) {
    WORK.settlements[decided as usize][settled as usize].increment(1);
}

/// Why a lease ended that nobody has settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returned {
    /// Its deadline passed.
    Deadline = 0,
    /// Its stream ended.
    Closed = 1,
    /// Nobody took it in time.
    Unsent = 2,
    /// Its replica is gone.
    Abandoned = 3,
}

/// A lease was given back that nobody has settled.
pub fn returned(reason: Returned) {
    WORK.returns[reason as usize].increment(1);
}

/// So many messages died, and so many were lost before they were delivered.
pub fn ended(dead: usize, lost: u64) {
    WORK.dead_letters.increment(dead as u64);
    WORK.lost.increment(lost);
}

/// So many dead letters were put back.
pub fn redriven(letters: usize) {
    WORK.redriven.increment(letters as u64);
}

/// What is watched of a subscription that an operator has named.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SubscriptionGauges {
    /// Messages that are not settled.
    pub backlog: i64,
    /// Those of them that are out.
    pub outstanding: i64,
    /// Those that wait for their next attempt.
    pub waiting: i64,
    /// Dead letters.
    pub dead_letters: i64,
    /// Messages that were lost since it was created.
    pub lost: i64,
    /// For how long the oldest of the backlog has been there, in seconds.
    pub oldest: f64,
    /// Streams that are open on it.
    pub consumers: i32,
}

/// How a subscription stands that an operator has named.
pub fn subscription(name: &str, gauges: SubscriptionGauges) {
    let set = |family: &'static str, value: f64| gauge!(family, "subscription" => name.to_owned()).set(value);
    set(SUBSCRIPTION_BACKLOG, gauges.backlog as f64);
    set(SUBSCRIPTION_OUTSTANDING, gauges.outstanding as f64);
    set(SUBSCRIPTION_WAITING, gauges.waiting as f64);
    set(SUBSCRIPTION_DEAD_LETTERS, gauges.dead_letters as f64);
    set(SUBSCRIPTION_LOST, gauges.lost as f64);
    set(SUBSCRIPTION_OLDEST, gauges.oldest);
    set(SUBSCRIPTION_CONSUMERS, f64::from(gauges.consumers));
}
