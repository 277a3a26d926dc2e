//! What is asked of a subscription's books, and what they say.

use std::time::Duration;

use bytes::Bytes;

use super::Hold;
use crate::{
    message::Position,
    subscription::{Block, BlockId, Generation, Token},
};

/// How the books of a subscription must be for it to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unchanged {
    /// The revision of its settings.
    pub revision: u64,
    /// When it was used last, where that counts.
    pub used_ms: Option<i64>,
}

impl Unchanged {
    /// Its settings are those of a revision, whether it was used since or not.
    pub fn settings(revision: u64) -> Self {
        Self { revision, used_ms: None }
    }
}

/// What is looked for beside what is at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look {
    /// The lowest sequence that is not settled, which takes going through all blocks.
    pub oldest: bool,
    /// Up to so many blocks whose time is over, by so much at least.
    pub overdue: Option<(usize, Duration)>,
    /// The subscription is in use: puts off the time at which it may be deleted as unused.
    pub used: bool,
    /// Renews what it holds of the log, from the lowest sequence on that is not settled, and removes dead letters that
    /// are too old.
    pub hold: Option<Hold>,
    /// How many streams a process has open on it, which names itself. That counts for
    /// [`CONSUMERS_KEPT`](crate::limits::CONSUMERS_KEPT), or until the process says it again.
    pub consumers: Option<(Token, u64)>,
    /// Whoever looks means the subscription that was created then: of another one of its name nothing is renewed, and
    /// no use is noted.
    pub created_ms: Option<i64>,
}

/// Whether something has changed that nothing else shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glance {
    /// The present life of the subscription.
    pub generation: Generation,
    /// Counts up with its settings.
    pub revision: u64,
    /// Messages that are out.
    pub out: u64,
    /// The sequence that is handed out next.
    pub next: i64,
    /// Messages that wait for a retry.
    pub waiting: u64,
}

/// A subscription's books at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Books {
    /// What all answers say.
    pub state: State,
    /// The settings.
    pub settings: Bytes,
    /// When it was created.
    pub create_ms: i64,
    /// When it was used last.
    pub used_ms: i64,
    /// The last message before the one that is handed out next.
    pub position: Position,
    /// Messages that wait for a retry.
    pub waiting: u64,
    /// Messages that wait for their keys.
    pub parked: u64,
    /// Dead letters.
    pub dead: u64,
    /// Those of them that are still to be published.
    pub unsent: u64,
    /// Messages that were lost.
    pub lost: u64,
    /// Streams that are open on it, at all processes, as each has said.
    pub consumers: u64,
    /// The lowest sequence that is not settled; `None` where there is none, or it was not looked for.
    pub oldest: Option<i64>,
    /// Blocks whose time is over.
    pub overdue: Vec<(BlockId, Block)>,
}

/// What each answer says of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// The broker's clock.
    pub now_ms: i64,
    /// The present life of the subscription.
    pub generation: Generation,
    /// Counts up with its settings.
    pub revision: u64,
    /// The sequence that is handed out next.
    pub next: i64,
    /// Messages that are out.
    pub out: u64,
    /// The channel's epoch and last sequence.
    pub end: Position,
    /// When the next message is due that waits for a retry.
    pub due_ms: Option<i64>,
}

impl State {
    /// How many messages were not handed out yet.
    pub fn ahead(&self) -> u64 {
        u64::try_from(self.end.sequence.saturating_add(1).saturating_sub(self.next)).unwrap_or(0)
    }
}
