//! What happened around one durable subscription, as its consumers saw it: all that the checker judges by.

use std::time::Duration;

use tidings::{message::Position, subscription::Generation};

use crate::history::{At, Fault};

/// Everything that happened.
#[derive(Debug, Clone, Default)]
pub(crate) struct Story {
    pub(crate) name: String,
    pub(crate) channel: String,
    /// Where its dead letters are published.
    pub(crate) letters: String,
    /// How often a message is delivered, at most.
    pub(crate) attempts: u32,
    /// It is in order by key.
    pub(crate) is_ordered: bool,
    /// Streams and pulls.
    pub(crate) sessions: Vec<Session>,
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) asks: Vec<Ask>,
    pub(crate) redrives: Vec<Redrive>,
    pub(crate) lost: Vec<Lost>,
    /// When it was said that there is no such subscription.
    pub(crate) missing: Vec<At>,
    /// Dead letters on their channel, as they were seen on Redis, in no order.
    pub(crate) copies: Vec<Copy>,
    /// How it stands at the end.
    pub(crate) ending: Option<Ending>,
}

/// A stream of deliveries, or a pull.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// The subscriber that was asked.
    pub(crate) instance: usize,
    pub(crate) opened: At,
    pub(crate) is_pull: bool,
    /// It was answered, or has begun: before that it may be refused.
    pub(crate) is_begun: bool,
    /// When its client let go of it, or had its answer.
    pub(crate) closed: Option<At>,
    /// How the server ended it.
    pub(crate) ended: Option<(At, String)>,
}

impl Session {
    /// Until when it is certain that what it has out belongs to it, as far as that is up to the session: a stream that
    /// ends gives back, and clients learn of it later than others get what it had.
    pub(crate) fn holds_until(&self, faults: &[Fault]) -> At {
        if self.is_pull {
            return At::MAX;
        }
        let ends = faults.iter().filter(|fault| fault.ends_streams_of == Some(self.instance));
        let ends = ends.map(|fault| fault.began);
        ends.chain(self.closed).chain(self.ended.as_ref().map(|(at, _)| *at)).min().unwrap_or(At::MAX)
    }

    /// When it was over for the client.
    pub(crate) fn over(&self) -> Option<At> {
        self.closed.into_iter().chain(self.ended.as_ref().map(|(at, _)| *at)).min()
    }
}

/// A message that a consumer received.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) session: usize,
    pub(crate) ack_id: String,
    /// The life of the subscription in which it was leased.
    pub(crate) generation: Generation,
    pub(crate) position: Position,
    pub(crate) body: String,
    /// Its ordering key; empty where it has none.
    pub(crate) key: String,
    pub(crate) attempt: u32,
    /// When the server sent it, by its deadline.
    pub(crate) sent: At,
    pub(crate) received: At,
    pub(crate) deadline: At,
}

/// What a consumer decided of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    Acknowledge,
    Reject { uncounted: bool, dead: bool, delay: Option<Duration> },
    Extend(Duration),
}

/// Something that was asked about a delivery, once.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) ack_id: String,
    pub(crate) deed: Deed,
    pub(crate) asked: At,
    /// `None` where no answer came.
    pub(crate) answered: Option<(At, Answer)>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    Stale,
    Unknown,
}

impl Ask {
    /// When it was said to be done.
    pub(crate) fn done(&self) -> Option<At> {
        self.answered.filter(|(_, answer)| *answer == Answer::Done).map(|(at, _)| at)
    }

    /// When it was said to be stale.
    pub(crate) fn stale(&self) -> Option<At> {
        self.answered.filter(|(_, answer)| *answer == Answer::Stale).map(|(at, _)| at)
    }
}

/// Dead letters that were to be put back.
#[derive(Debug, Clone)]
pub(crate) struct Redrive {
    pub(crate) ids: Vec<String>,
    /// The messages of these letters; `None` for all.
    pub(crate) positions: Option<Vec<Position>>,
    pub(crate) asked: At,
    pub(crate) ended: At,
    /// How many were, says the answer.
    pub(crate) count: Option<i64>,
}

impl Redrive {
    /// Whether it may have put this message back.
    pub(crate) fn covers(&self, position: Position) -> bool {
        self.positions.as_ref().is_none_or(|positions| positions.contains(&position))
    }
}

/// A loss that was reported.
#[derive(Debug, Clone)]
pub(crate) struct Lost {
    pub(crate) at: At,
    pub(crate) count: i64,
    pub(crate) first: Position,
    pub(crate) last: i64,
}

/// A dead letter on the dead-letter channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Copy {
    /// Where it is.
    pub(crate) at: Position,
    pub(crate) id: String,
    pub(crate) body: String,
    /// The message that died, how often it was delivered, and when it died (ms since 1970).
    pub(crate) of: Position,
    pub(crate) attempts: u32,
    pub(crate) dead_ms: i64,
}

/// A dead letter of the list.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    pub(crate) id: String,
    pub(crate) position: Position,
    pub(crate) body: String,
    pub(crate) dead_ms: i64,
}

/// A subscription at the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ending {
    /// Since when one consumer acknowledged all that came.
    pub(crate) began: At,
    /// The backlog, dead letters and losses before that.
    pub(crate) backlog_before: i64,
    pub(crate) dead_before: i64,
    pub(crate) lost_before: i64,
    pub(crate) backlog: i64,
    pub(crate) outstanding: i64,
    pub(crate) waiting: i64,
    pub(crate) dead: i64,
    pub(crate) lost: i64,
    pub(crate) letters: Vec<Letter>,
    /// What Redis keeps of it that should be gone: key and size.
    pub(crate) kept: Vec<(String, i64)>,
}

impl Story {
    /// What happened, in numbers.
    pub(crate) fn summary(&self) -> String {
        let done = |ask: &&Ask| ask.deed == Deed::Acknowledge && ask.done().is_some();
        let (deliveries, acknowledged) = (self.deliveries.len(), self.asks.iter().filter(done).count());
        let again = self.deliveries.iter().filter(|delivery| delivery.attempt > 1).count();
        let redriven: i64 = self.redrives.iter().filter_map(|redrive| redrive.count).sum();
        let (dead, lost) = self.ending.as_ref().map_or((0, 0), |ending| (ending.dead, ending.lost));
        format!(
            "{}: {deliveries} deliveries ({again} again), {acknowledged} acknowledged, {} copies of dead letters, \
             {redriven} put back, {dead} dead and {lost} lost at the end",
            self.name,
            self.copies.len()
        )
    }
}
