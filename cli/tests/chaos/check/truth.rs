//! What is known of the channels, from everybody who saw something of them: receipts, streams, looks at Redis, and what it
//! holds at the end.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tidings::{
    broker::history::EpochStart,
    limits::HEAD_EPOCHS,
    message::{Epoch, Position},
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
    /// What of other epochs the starts of epochs name as lost, first and last: by channel, the epoch that began, the one that lost.
    named: HashMap<(&'a str, Epoch, Epoch), (i64, i64)>,
    /// The greatest sequence that is known of an epoch.
    ends: HashMap<(&'a str, Epoch), i64>,
    /// What stands at a place.
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
                truth.logged.insert((channel, message.place));
                truth.seen.insert((channel, &message.body));
                truth.witness("the log", channel, message.place, &message.body, violations);
            }
        }
        for stream in &history.streams {
            for (_, event) in &stream.events {
                if let Event::Message { channel, body, place, .. } = event {
                    truth.seen.insert((channel, body));
                    truth.witness("a stream", channel, *place, body, violations);
                }
            }
        }
        for attempt in &history.attempts {
            if let Outcome::Receipt { place, .. } = attempt.outcome {
                truth.witness("a receipt", &attempt.channel, place, &attempt.body, violations);
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
        for loss in &head.losses {
            let (first, last) = self.named.entry((channel, loss.began, loss.epoch)).or_insert((loss.from, loss.to));
            (*first, *last) = (loss.from.min(*first), loss.to.max(*last));
        }
        if let Some(epoch) = previous {
            self.know(channel, Position::new(epoch, head.last));
        }
    }

    fn know(&mut self, channel: &'a str, place: Position) {
        if let Some(epoch) = place.epoch {
            let end = self.ends.entry((channel, epoch)).or_default();
            *end = place.sequence.max(*end);
        }
    }

    fn witness(&mut self, who: &str, channel: &'a str, place: Position, body: &'a str, to: &mut Vec<Violation>) {
        if place.sequence == 0 {
            return;
        }
        self.know(channel, place);
        let first = *self.bodies.entry((channel, place)).or_insert(body);
        if first != body {
            let text = format!("{who} says that {body} is at {} of {channel}, where {first} is", show(place));
            to.push(Violation { text, spot: Spot::Channel(channel.to_owned(), place.sequence) });
        }
    }

    /// Up to where the start of an epoch names losses of another one; 0 where it names none.
    pub(super) fn named(&self, channel: &str, began: Epoch, lost: Epoch) -> i64 {
        self.named.get(&(channel, began, lost)).map_or(0, |(_, last)| *last)
    }

    /// From where on an epoch's messages up to a sequence were found out late to be lost, where that is what the start of another one says.
    pub(super) fn found_out_late(&self, channel: &str, lost: Epoch, to: i64) -> Option<i64> {
        let named = self.named.iter().filter(|((of, _, epoch), _)| *of == channel && *epoch == lost);
        named.filter(|(_, (first, last))| (*first..=*last).contains(&to)).map(|(_, (first, _))| *first).min()
    }

    pub(super) fn began(&self, channel: &str, epoch: Epoch) -> Option<Began> {
        self.begun.get(&(channel, epoch)).copied()
    }

    /// Whether no message of an epoch is known.
    fn had_no_message(&self, channel: &str, epoch: Option<Epoch>) -> bool {
        epoch.is_some_and(|epoch| !self.ends.contains_key(&(channel, epoch)))
    }

    /// Whether a stream may step from an epoch that had no message back to the one before it, as far as is known.
    pub(super) fn steps_back(&self, channel: &str, at: Position, to: Position) -> bool {
        let previous = at.epoch.and_then(|epoch| self.began(channel, epoch)).and_then(|began| began.previous);
        let had_none = self.had_no_message(channel, at.epoch) || !self.reaches(channel, at);
        at.sequence == to.sequence && had_none && previous.is_none_or(|previous| Some(previous) == to.epoch)
    }

    /// Whether a message is known that stands at this place of its epoch or above it.
    pub(super) fn reaches(&self, channel: &str, place: Position) -> bool {
        let end = place.epoch.and_then(|epoch| self.ends.get(&(channel, epoch)));
        end.is_some_and(|end| *end >= place.sequence)
    }

    pub(super) fn was_seen(&self, channel: &str, body: &str) -> bool {
        self.seen.contains(&(channel, body))
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
    pub(super) fn is_logged(&self, channel: &str, place: Position) -> bool {
        self.logged.contains(&(channel, place))
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

    /// The lowest sequence that was retained when Redis was looked at next, unless that says nothing of the time before.
    pub(super) fn retained_after(&self, channel: &str, said: At) -> Option<i64> {
        let next = self.history.samples.iter().find(|sample| sample.began >= said)?;
        let head = next.heads.get(channel)?;
        // After a loss the log is another.
        let from = said.saturating_sub(LAG);
        let mut faults = self.history.faults.iter().filter(|fault| fault.loses_from.is_some() || fault.restores);
        (!faults.any(|fault| fault.ended >= from && fault.began <= next.ended)).then_some(head.first)
    }

    /// Whether the log was seen to have lost a place before it came to another: of what was adopted there, a replica that
    /// missed it can't learn any more.
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

    /// Whether a reader may go over from where it stands into another epoch without a word, with what it has heard of losses already.
    pub(super) fn crosses(&self, channel: &str, line: &Line, epoch: Option<Epoch>) -> Result<(), String> {
        let Some(began) = epoch.and_then(|epoch| self.began(channel, epoch)) else { return Ok(()) };
        let Began { start, previous } = began;
        let at = line.at;
        let told = line.told(at.epoch).max(previous.map_or(0, |previous| line.knows(previous)));
        // An epoch without a message made way for this one, perhaps before anybody looked: whoever stands at its beginning stands at
        // this one's.
        let made_way = match at.epoch.and_then(|epoch| self.began(channel, epoch)) {
            Some(stood) => stood.start.first == start.first,
            None => self.had_no_message(channel, at.epoch),
        };
        let into = show(Position { epoch, sequence: start.first });
        super::must!(
            start.first == at.sequence + 1,
            "goes over from {} into the epoch that begins at {into}, without a gap",
            show(at)
        );
        super::must!(
            start.previous_end <= at.sequence.max(told),
            "goes over from {} into {into}, without naming the loss up to {}",
            show(at),
            start.previous_end
        );
        let late = self.named.iter().filter(|((of, began, _), _)| *of == channel && Some(*began) == epoch);
        for ((_, _, lost), (_, to)) in late {
            super::must!(
                line.knows(*lost) >= *to,
                "goes over from {} into {into}, without naming the loss up to {}, which was found out late",
                show(at),
                show(Position::new(*lost, *to))
            );
        }
        super::must!(
            previous.is_none() || at.epoch.is_none() || previous == at.epoch || made_way,
            "goes over from {} into {into}, which follows another epoch",
            show(at)
        );
        Ok(())
    }
}
