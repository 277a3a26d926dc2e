//! What consumers decide about deliveries, and what becomes of that.

use std::time::Duration;

use tidings::{
    broker::Error,
    metrics::{self, Decided},
    pb,
    subscription::AckId,
};

use super::retry::Failure;

/// A delivery, and what is decided about it.
#[derive(Debug, Clone)]
pub(crate) struct Settle {
    /// As it was given.
    pub(crate) text: String,
    /// `None` where the text is no ack id: it is stale.
    pub(crate) id: Option<AckId>,
    pub(crate) decision: Decision,
}

/// What is decided about a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Its message is done.
    Acknowledge,
    /// Its message is given back.
    Reject(Failure),
    /// Its lease lasts so long from now on; `None` for as long as the subscription says.
    Extend(Option<Duration>),
}

/// What became of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// The lease was over, or never there.
    Stale,
    /// The broker has not answered.
    Unknown,
}

/// What became of decisions, in their order.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) settled: Vec<(Settle, Outcome)>,
    /// Why some are unknown.
    pub(crate) error: Option<Error>,
}

impl Settle {
    pub(crate) fn new(text: String, decision: Decision) -> Self {
        Self { id: text.parse().ok(), text, decision }
    }
}

impl Settled {
    /// Why nothing is known of any of them, where that is so.
    pub(crate) fn error_of_all(&self) -> Option<Error> {
        let all = !self.settled.is_empty() && self.settled.iter().all(|(_, outcome)| *outcome == Outcome::Unknown);
        self.error.clone().filter(|_| all)
    }

    /// Counts the decisions, by what became of them.
    pub(super) fn count(&self) {
        for (settle, outcome) in &self.settled {
            let decided = match &settle.decision {
                Decision::Acknowledge => Decided::Acknowledge,
                Decision::Reject(failure) if failure.is_dead => Decided::DeadLetter,
                Decision::Reject(_) => Decided::Reject,
                Decision::Extend(_) => Decided::Extend,
            };
            let settled = match outcome {
                Outcome::Done => metrics::Settled::Done,
                Outcome::Stale => metrics::Settled::Stale,
                Outcome::Unknown => metrics::Settled::Unknown,
            };
            metrics::settled(decided, settled);
        }
    }

    /// As it is answered.
    pub(crate) fn into_message(self) -> pb::Settled {
        let mut message = pb::Settled::default();
        for (settle, outcome) in self.settled {
            let list = match (outcome, &settle.decision) {
                (Outcome::Unknown, _) => &mut message.unknown_ids,
                (Outcome::Stale, _) => &mut message.stale_ids,
                (Outcome::Done, Decision::Acknowledge) => &mut message.acknowledged_ids,
                (Outcome::Done, Decision::Reject(_)) => &mut message.rejected_ids,
                (Outcome::Done, Decision::Extend(_)) => &mut message.extended_ids,
            };
            list.push(settle.text);
        }
        message
    }
}
