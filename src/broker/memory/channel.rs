//! One channel of the embedded broker: its log, numbers and remembered ids. A plain value without a clock or a lock.
//!
//! To publish takes two steps, so that a call is carried out as a whole or not at all: an [`Append`] finds everything
//! that can refuse it and changes nothing, [`Channel::apply`] can't fail.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use uuid::Uuid;

use super::ids::{ID_COST, Ids, Known};
use crate::{
    broker::{Error, From, Head, PageLimit, Receipt, Retention, Stored, history::EpochStart, subscriptions::Hold},
    envelope::{Encoded, Stamp},
    limits::{HEAD_LINGER, HOLD_MESSAGES_FACTOR},
    message::{DataSet, DedupKey, Epoch, Position},
};

/// Bytes that a message costs beside its JSON, and a channel beside its messages: estimates, on the safe side.
const MESSAGE_COST: usize = 96;
const CHANNEL_COST: usize = 768;

/// A message that is to be numbered.
pub(super) struct Incoming {
    pub(super) id: Uuid,
    pub(super) dedup: Option<DedupKey>,
    pub(super) encoded: Encoded,
}

/// What a call is to write: for each message the sequence number that it gets, or has already.
pub(super) struct Append {
    time_ms: i64,
    numbers: Vec<(Known, bool)>,
    added: usize,
    added_ids: usize,
    added_bytes: usize,
}

/// What subscriptions hold of a log: all from a sequence on, within bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) from: i64,
    pub(super) hold: Hold,
}

impl Held {
    /// What both hold.
    pub(super) fn and(self, other: Self) -> Self {
        let hold = Hold { age: self.hold.age.max(other.hold.age), bytes: self.hold.bytes.max(other.hold.bytes) };
        Self { from: self.from.min(other.from), hold }
    }

    /// How much is kept of what is held, beside what is kept anyway.
    fn retention(&self, retention: &Retention) -> Retention {
        Retention {
            max_messages: retention.max_messages.saturating_mul(HOLD_MESSAGES_FACTOR),
            max_bytes: self.hold.bytes,
            max_age_ms: u64::try_from(self.hold.age.as_millis()).unwrap_or(u64::MAX),
            ..*retention
        }
    }
}

pub(super) struct Channel {
    epoch: Epoch,
    /// The last sequence given out, and its log time.
    last: i64,
    time_ms: i64,
    /// The messages up to `last`, without a hole.
    log: VecDeque<Entry>,
    log_bytes: usize,
    ids: Ids,
    /// `None` where it has no subscriptions.
    held: Option<Held>,
}

struct Entry {
    time_ms: i64,
    json: Bytes,
}

impl Channel {
    pub(super) fn new(held: Option<Held>) -> Self {
        let (log, ids) = (VecDeque::new(), Ids::default());
        Self { epoch: Epoch::random(), last: 0, time_ms: 0, log, log_bytes: 0, ids, held }
    }

    /// What subscriptions hold from now on. It acts when messages go.
    pub(super) fn hold(&mut self, held: Option<Held>) {
        self.held = held;
    }

    /// Bytes of memory it holds, about.
    pub(super) fn cost(&self) -> usize {
        CHANNEL_COST + self.log_bytes + self.log.len() * MESSAGE_COST + self.ids.len() * ID_COST
    }

    /// A lower bound of its size after an append, once the new messages have pushed out old ones.
    pub(super) fn cost_after(&self, retention: &Retention, append: &Append) -> usize {
        if append.added == 0 {
            return self.cost();
        }
        let ids = (self.ids.len() + append.added_ids) * ID_COST;
        if retention.max_messages == 0 {
            return CHANNEL_COST + ids;
        }
        let (gone, gone_bytes) = self.excess(retention, append.time_ms, append.added, append.added_bytes);
        let messages = self.log.len() - gone + append.added;
        CHANNEL_COST + ids + self.log_bytes - gone_bytes + append.added_bytes + messages * MESSAGE_COST
    }

    pub(super) fn head(&self, retention: &Retention, data_set: DataSet) -> Head {
        Head {
            epochs: vec![EpochStart { epoch: self.epoch, first: 1, previous_end: 0 }],
            last: self.last,
            first: self.first(),
            time_ms: self.time_ms,
            keeps_history: retention.max_messages > 0,
            losses: Vec::new(),
            data_set: Some(data_set),
            adopted: Position::START,
        }
    }

    /// Its epoch and last sequence.
    pub(super) fn end(&self) -> Position {
        Position { epoch: Some(self.epoch), sequence: self.last }
    }

    /// The lowest sequence retained; `last + 1` when none is.
    pub(super) fn first(&self) -> i64 {
        self.last + 1 - self.log.len() as i64
    }

    /// Finds each message's sequence number, and whether the call may be carried out.
    pub(super) fn prepare(
        &mut self,
        retention: &Retention,
        incoming: &[Incoming],
        now_ms: i64,
    ) -> Result<Append, Error> {
        let time_ms = now_ms.max(self.time_ms);
        self.ids.turn(time_ms, retention.dedup_window_ms);
        let mut append =
            Append { time_ms, numbers: Vec::with_capacity(incoming.len()), added: 0, added_ids: 0, added_bytes: 0 };
        let mut earlier = HashMap::new();
        for message in incoming {
            if let Some(key) = &message.dedup {
                let known = self.ids.get(key).or_else(|| earlier.get(key).copied());
                if let Some(known) = known {
                    append.numbers.push((known, true));
                    continue;
                }
            }
            append.added += 1;
            append.added_bytes += message.encoded.len();
            let known = Known { sequence: self.last + append.added as i64, time_ms };
            append.numbers.push((known, false));
            if let Some(key) = message.dedup {
                append.added_ids += 1;
                earlier.insert(key, known);
            }
        }
        match self.ids.has_room(append.added_ids, retention.dedup_max_ids) {
            true => Ok(append),
            false => Err(Error::TooManyIds { limit: retention.dedup_max_ids }),
        }
    }

    /// Carries out an append that was prepared under the same lock. Returns the receipts, and the JSON of new messages.
    pub(super) fn apply(
        &mut self,
        retention: &Retention,
        incoming: &[Incoming],
        append: Append,
    ) -> (Vec<Receipt>, Vec<Bytes>) {
        let mut receipts = Vec::with_capacity(incoming.len());
        let mut published = Vec::with_capacity(append.added);
        let stamp = Stamp::new(append.time_ms, self.epoch);
        for (message, (known, duplicate)) in incoming.iter().zip(append.numbers) {
            let Known { sequence, time_ms } = known;
            receipts.push(Receipt { id: message.id, epoch: self.epoch, sequence, time_ms, duplicate, replicas: 0 });
            if duplicate {
                continue;
            }
            if let Some(key) = message.dedup {
                self.ids.insert(key, known);
            }
            let json = Bytes::from(message.encoded.stamp_with(&stamp, sequence));
            if retention.max_messages > 0 {
                self.log_bytes += json.len();
                self.log.push_back(Entry { time_ms, json: json.clone() });
            }
            published.push(json);
            (self.last, self.time_ms) = (sequence, time_ms);
        }
        // Repeats alone change nothing.
        if !published.is_empty() {
            self.trim(retention, append.time_ms);
        }
        (receipts, published)
    }

    /// Removes messages that are too many or too old, at a publish.
    fn trim(&mut self, retention: &Retention, time_ms: i64) {
        let (gone, gone_bytes) = self.excess(retention, time_ms, 0, 0);
        self.log.drain(..gone);
        self.log_bytes -= gone_bytes;
    }

    /// Lets go what goes without a publish, as on Redis: the log as a whole, one max-age after its last message. A
    /// single message that is too old stays until the next publish.
    pub(super) fn expire(&mut self, retention: &Retention, now_ms: i64) {
        let now_ms = now_ms.max(self.time_ms);
        let held = self.held.filter(|held| held.from <= self.last).map(|held| held.retention(retention).max_age_ms);
        let kept_ms = ms(held.unwrap_or(0).max(retention.max_age_ms));
        if self.log.back().is_some_and(|last| last.time_ms.saturating_add(kept_ms) < now_ms) {
            (self.log, self.log_bytes) = (VecDeque::new(), 0);
        }
        self.ids.turn(now_ms, retention.dedup_window_ms);
    }

    /// How many of the oldest messages, and bytes of JSON, go when so many come. The newest of all stays whatever its
    /// size: its receipt says that it is retained.
    fn excess(&self, retention: &Retention, now_ms: i64, added: usize, added_bytes: usize) -> (usize, usize) {
        let first = self.first();
        // Once for all messages, since a log is gone through at each publish.
        let held = self.held.map(|held| (held.from, held.retention(retention)));
        let (count, bytes) = (self.log.len() + added, self.log_bytes + added_bytes);
        let (mut gone, mut gone_bytes) = (0, 0);
        for entry in &self.log {
            let (left, left_bytes) = (count - gone, bytes - gone_bytes);
            let fits = |limits: &Retention| {
                left as u64 <= limits.max_messages
                    && (left_bytes as u64 <= limits.max_bytes || left == 1)
                    && entry.time_ms >= now_ms.saturating_sub(ms(limits.max_age_ms))
            };
            let is_held = |(from, limits): &(i64, Retention)| first + gone as i64 >= *from && fits(limits);
            if fits(retention) || held.as_ref().is_some_and(is_held) {
                break;
            }
            gone += 1;
            gone_bytes += entry.json.len();
        }
        (gone, gone_bytes)
    }

    /// Whether it has been quiet for so long that not even its last sequence is remembered. One with subscriptions
    /// never is: their sequences are of its epoch.
    pub(super) fn is_gone(&self, retention: &Retention, now_ms: i64) -> bool {
        if self.held.is_some() {
            return false;
        }
        let lingers_ms = ms(retention.max_age_ms).saturating_add(HEAD_LINGER.as_millis() as i64);
        self.time_ms.saturating_add(lingers_ms) < now_ms
    }

    /// Messages from a position on, and whether the log ends with them.
    pub(super) fn read(&self, from: From, limit: PageLimit) -> (Vec<Stored>, bool) {
        let (first, end) = (self.first(), self.log.len());
        let index = |sequence: i64| usize::try_from(sequence.saturating_sub(first)).unwrap_or(0).min(end);
        let stored =
            |index: usize| Stored { sequence: first + index as i64, json: self.log[index].json.clone(), adopted: None };
        match from {
            From::After(sequence) => page((index(sequence.saturating_add(1))..end).map(stored), limit),
            From::Before(sequence) => page((0..index(sequence)).rev().map(stored), limit),
        }
    }

    /// The greatest sequence published before a log time.
    pub(super) fn sequence_before(&self, time_ms: i64) -> i64 {
        self.first() - 1 + self.log.partition_point(|entry| entry.time_ms < time_ms) as i64
    }
}

fn page(messages: impl Iterator<Item = Stored>, limit: PageLimit) -> (Vec<Stored>, bool) {
    let mut page = Vec::new();
    let mut bytes = 0;
    for message in messages {
        bytes += message.json.len();
        if !page.is_empty() && (page.len() >= limit.messages || bytes > limit.bytes) {
            return (page, false);
        }
        page.push(message);
    }
    (page, true)
}

fn ms(duration_ms: u64) -> i64 {
    i64::try_from(duration_ms).unwrap_or(i64::MAX)
}
