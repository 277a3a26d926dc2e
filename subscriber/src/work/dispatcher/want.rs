//! What is wanted of deliveries, and by whom.

use tidings::{
    message::Epoch,
    metrics::{self, Returned},
    subscription::{Block, BlockId},
};

use super::super::{outbox::LeaseKey, outcome::Decision, retry::Failure};

/// One decision of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) batch: u64,
    pub(super) index: usize,
}

/// A decision about a message.
#[derive(Debug, Clone)]
pub(super) struct Want {
    pub(super) by: By,
    /// The block in which it was leased, or its own, and its sequence.
    pub(super) key: LeaseKey,
    /// Where an ack id says it.
    pub(super) epoch: Option<Epoch>,
    pub(super) decision: Decision,
}

/// Whose decision it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Consumer(Ticket),
    /// This process's own: the stream has ended.
    Closed,
    /// This process's own: the lease is over, which ends so on the broker. Where somebody has extended it meanwhile,
    /// it is not.
    Over(i64),
    /// Another process's lease that is over.
    Swept,
}

impl Want {
    /// Counts a lease that ended though no consumer settled it.
    pub(super) fn count(&self) {
        let is_unsent = matches!(&self.decision, Decision::Reject(failure) if failure.is_uncounted);
        match self.by {
            By::Consumer(_) => {}
            By::Closed => metrics::returned(Returned::Closed),
            By::Over(_) if is_unsent => metrics::returned(Returned::Unsent),
            By::Over(_) => metrics::returned(Returned::Deadline),
            By::Swept => metrics::returned(Returned::Abandoned),
        }
    }

    /// Whether somebody has extended a lease that was over, as its block shows.
    pub(super) fn is_extended(&self, id: BlockId, block: &Block) -> bool {
        matches!(self.by, By::Over(deadline_ms) if id != self.key.block || deadline_ms != block.deadline_ms)
    }
}

/// Why a lease is given back, and how.
#[derive(Debug, Clone)]
pub(super) struct GivenBack {
    pub(super) failure: Failure,
    /// Its time is over, or that to send it.
    pub(super) is_over: bool,
}
