//! What is known of the channels, from everybody who saw something of them: receipts, streams, looks at Redis, and what
//! it holds at the end.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tidings::{
    broker::history::EpochStart,
    limits::HEAD_EPOCHS,
    message::{Epoch, MAX_SEQUENCE, Position},
};

use super::{Spot, Violation, show, walk::Line};
use crate::history::{At, Event, Head, History, Outcome};

/// How long what a stream says may have been on its way: readers stall, and so do servers.
const LAG: Duration = Duration::from_secs(8);

/// How an epoch began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Began {
    pub(super) start: EpochStart,
    /// The epoch before it, where a head listed it.
    pub(super) previous: Option<Epoch>,
}

pub(super) struct Truth<'a> {
    history: &'a History,
    begun: HashMap<(&'a str, Epoch), Began>,
    /// Up to where the starts of epochs name losses of others: by channel, the epoch that began, the one that lost.
    named: HashMap<(&'a str, Epoch, Epoch), i64>,
    /// The greatest sequence that is known of an epoch.
    ends: HashMap<(&'a str, Epoch), i64>,
    /// What is at a position.
    bodies: HashMap<(&'a str, Position), &'a str>,
    /// Everything that was seen somewhere.
    seen: HashSet<(&'a str, &'a str)>,
    plain: HashSet<(&'a str, &'a str)>,
    logged: HashSet<(&'a str, Position)>,
}

impl<'a> Truth<'a> {
    /// Gathers what is known. Witnesses that contradict each other are violations.
    pub(super) fn new(history: &'a History, violations: &mut Vec<Violation>) -> Self {
        let (begun, ends, bodies) = (HashMap::new(), HashMap::new(), HashMap::new());
        let (seen, logged) = (HashSet::new(), HashSet::new());
        let plain = history.plain.iter().map(|plain| (plain.channel.as_str(), plain.body.as_str())).collect();
        let named = HashMap::new();
        let mut truth = Self { history, begun, named, ends, bodies, seen, plain, logged };
        for (channel, head) in truth.history.samples.iter().flat_map(|sample| &sample.heads) {
            truth.head(channel, head);
        }
        for (channel, log) in &history.logs {
            truth.head(channel, &log.head);
            for message in &log.messages {
                truth.logged.insert((channel, message.position));
                truth.seen.insert((channel, &message.body));
                truth.witness("the log", channel, message.position, &message.body, violations);
            }
        }
        for stream in &history.streams {
            for (_, event) in &stream.events {
                if let Event::Message { channel, body, position, .. } = event {
                    truth.seen.insert((channel, body));
                    truth.witness("a stream", channel, *position, body, violations);
                }
            }
        }
        for attempt in &history.attempts {
            if let Outcome::Receipt { position, .. } = attempt.outcome {
                truth.witness("a receipt", &attempt.channel, position, &attempt.body, violations);
            }
        }
        truth
    }

    fn head(&mut self, channel: &'a str, head: &Head) {
        let mut previous = None;
        for start in &head.epochs {
            let began = self.begun.entry((channel, start.epoch)).or_insert(Began { start: *start, previous });
            began.previous = began.previous.or(previous);
            previous = Some(start.epoch);
        }
        // What a full list names at its oldest may be of a beginning before that: those who came by then know it.
        let oldest = head.epochs.first().filter(|_| head.epochs.len() >= HEAD_EPOCHS).map(|oldest| oldest.epoch);
        for loss in head.losses.iter().filter(|loss| Some(loss.began) != oldest && loss.to < MAX_SEQUENCE) {
            let named = self.named.entry((channel, loss.began, loss.epoch)).or_default();
            *named = loss.to.max(*named);
        }
        if let Some(epoch) = previous {
            self.know(channel, Position::new(epoch, head.last));
        }
    }

    fn know(&mut self, channel: &'a str, position: Position) {
        if let Some(epoch) = position.epoch {
            let end = self.ends.entry((channel, epoch)).or_default();
            *end = position.sequence.max(*end);
        }
    }

    fn witness(&mut self, who: &str, channel: &'a str, position: Position, body: &'a str, to: &mut Vec<Violation>) {
        if position.sequence == 0 {
            return;
        }
        self.know(channel, position);
        let first = *self.bodies.entry((channel, position)).or_insert(body);
        if first != body {
            let text = format!("{who} says that {body} is at {} of {channel}, where {first} is", show(position));
            to.push(Violation { text, spot: Spot::Channel(channel.to_owned(), position.sequence) });
        }
    }

    /// Up to where the start of an epoch names losses of another one; 0 where it names none.
    pub(super) fn named(&self, channel: &str, began: Epoch, lost: Epoch) -> i64 {
        self.named.get(&(channel, began, lost)).copied().unwrap_or_default()
    }

    /// Up to where the start of an epoch names losses, by the epoch that lost: the one before it, and what was found
    /// out late.
    pub(super) fn named_by(&self, channel: &str, began: Epoch) -> impl Iterator<Item = (Epoch, i64)> {
        let before = self.began(channel, began).and_then(|began| Some((began.previous?, began.start.previous_end)));
        let late = self.named.iter().filter(move |((of, by, _), _)| *of == channel && *by == began);
        before.into_iter().chain(late.map(|((_, _, lost), to)| (*lost, *to)))
    }

    pub(super) fn began(&self, channel: &str, epoch: Epoch) -> Option<Began> {
        self.begun.get(&(channel, epoch)).copied()
    }

    /// Whether a message is known that is at this position of its epoch or above it.
    pub(super) fn reaches(&self, channel: &str, position: Position) -> bool {
        let end = position.epoch.and_then(|epoch| self.ends.get(&(channel, epoch)));
        end.is_some_and(|end| *end >= position.sequence)
    }

    pub(super) fn was_seen(&self, channel: &str, body: &str) -> bool {
        self.seen.contains(&(channel, body))
    }

    /// What is at a position, as far as anybody saw it.
    pub(super) fn says(&self, channel: &str, position: Position) -> Option<&'a str> {
        self.bodies.get(&(channel, position)).copied()
    }

    /// Whether a plain program published this.
    pub(super) fn is_plain(&self, channel: &str, body: &str) -> bool {
        self.plain.contains(&(channel, body))
    }

    /// Everything that was seen in a log or a stream, by channel and body.
    pub(super) fn all_seen(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.seen.iter().copied()
    }

    /// Whether the log has a message at the end.
    pub(super) fn is_logged(&self, channel: &str, position: Position) -> bool {
        self.logged.contains(&(channel, position))
    }

    /// Whether a loss may have hit what was written within this time.
    pub(super) fn was_lost(&self, from: At, until: At) -> bool {
        let hits = |loses_from: At, ended: At| loses_from <= until && from <= ended;
        self.history.faults.iter().any(|fault| fault.loses_from.is_some_and(|at| hits(at, fault.ended)))
    }

    /// Whether Redis may have lost something by then.
    pub(super) fn loss_before(&self, at: At) -> bool {
        self.history.faults.iter().any(|fault| fault.loses_from.is_some() && fault.began <= at)
    }

    /// Whether older messages may have come back since shortly before a stream said something, until then.
    pub(super) fn may_be_back(&self, said: At, until: At) -> bool {
        self.was_restored(said.saturating_sub(LAG), until)
    }

    /// Whether older messages may have come back within this time.
    pub(super) fn was_restored(&self, from: At, until: At) -> bool {
        self.history.faults.iter().any(|fault| fault.restores && fault.ended >= from && fault.began <= until)
    }

    /// The lowest sequence that was retained when Redis was looked at next, unless that says nothing of the time
    /// before.
    pub(super) fn retained_after(&self, channel: &str, said: At) -> Option<i64> {
        let next = self.history.samples.iter().find(|sample| sample.began >= said)?;
        let head = next.heads.get(channel)?;
        // After a loss the log is another.
        let from = said.saturating_sub(LAG);
        let mut faults = self.history.faults.iter().filter(|fault| fault.loses_from.is_some() || fault.restores);
        (!faults.any(|fault| fault.ended >= from && fault.began <= next.ended)).then_some(head.first)
    }

    /// Whether the log was seen to have lost a position before it came to another: of what was adopted there, a replica
    /// that missed it can't learn any more.
    pub(super) fn was_trimmed_between(&self, channel: &str, lost: Position, second: Position) -> bool {
        let mut heads = self.history.samples.iter().filter_map(|sample| sample.heads.get(channel));
        heads.any(|head| head.first > lost.sequence && head.last < second.sequence)
    }

    /// Whether so many epochs have begun since that a head does not list this one any more.
    pub(super) fn is_unlisted(&self, channel: &str, epoch: Option<Epoch>, said: At) -> bool {
        let lacks = |head: &Head| {
            head.epochs.len() >= HEAD_EPOCHS && !head.epochs.iter().any(|start| Some(start.epoch) == epoch)
        };
        let mut samples = self.history.samples.iter().take_while(|sample| sample.began <= said);
        samples.any(|sample| sample.heads.get(channel).is_some_and(lacks))
            || self.history.logs.get(channel).is_some_and(|log| lacks(&log.head))
    }

    /// Whether a stream may be there without a gap, by what it has had and what was reported to it: nothing that leads
    /// there is missing, and every epoch before it that is new to it lost nothing of which it does not know.
    pub(super) fn leads_to(&self, channel: &str, line: &Line, to: Position) -> Result<(), String> {
        let (from, into) = (show(line.at), show(to));
        // A head lists what leads to it: an epoch that none lists, and that had messages, is of a history that is gone;
        // unless the other one was never seen either.
        let is_seen = to.epoch.is_some_and(|epoch| self.began(channel, epoch).is_some());
        let own = line.at.epoch.filter(|own| Some(*own) != to.epoch && self.began(channel, *own).is_none() && is_seen);
        let is_gone = own.is_some_and(|own| line.reported(own) == 0) && self.bodies.contains_key(&(channel, line.at));
        super::must!(!is_gone, "goes from {from}, which is gone, to {into}, and nothing is said of it");
        let mut position = to;
        while let Some(epoch) = position.epoch {
            let known = line.knows(epoch);
            let began = self.began(channel, epoch);
            let has_it = known >= position.sequence || began.is_some_and(|began| position.sequence < began.start.first);
            // Of an epoch that nobody saw begin it is not known what it has.
            let may_have_it = began.is_none() && !line.has_been_in(epoch) && position.sequence <= line.furthest();
            super::must!(
                has_it || may_have_it,
                "goes from {from} to {into}, and of what leads there {} is missing",
                show(Position { sequence: began.map_or(1, |began| began.start.first).max(known + 1), ..position })
            );
            let (false, Some(Began { start, previous })) = (line.has_been_in(epoch), began) else { return Ok(()) };
            for (lost, to) in self.named_by(channel, epoch) {
                super::must!(
                    line.knows(lost) >= to || line.may_come_from(start.first),
                    "goes from {from} to {into}, without naming the loss up to {} at {}",
                    show(Position::new(lost, to)),
                    show(Position { epoch: Some(epoch), sequence: start.first })
                );
            }
            position = Position { epoch: previous, sequence: start.first - 1 };
        }
        Ok(())
    }
}
