//! The books of one subscription of the embedded broker: a plain value without a clock or a lock, that knows of its
//! channel only what a [`Moment`] says.
//!
//! A change takes two steps under the broker's lock: all that it takes for true is compared, then it is carried out,
//! which can't fail. What the books cost is known at any time without going through them.

use std::time::Duration;

use bytes::Bytes;

use self::{keys::Keys, leases::Leases, letters::Letters, presence::Presence, retries::Retries};
use super::channel::Held;
use crate::{
    broker::subscriptions::{
        self as contract, Applied, Change, Claim, Closed, Due, Fate, Glance, Hold, Keyed, Letter, LetterId, Look, New,
        Outcome, Set, Start, State, Unchanged,
    },
    message::{Epoch, Position},
    subscription::{Attempts, Block, BlockId, Generation, OrderKey},
};

mod keys;
mod leases;
mod letters;
mod presence;
mod retries;

/// Bytes of memory that a subscription costs beside its settings and messages: an estimate, on the safe side.
const BOOKS_COST: usize = 1_024;

/// The broker's clock, and the channel's log, at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) now_ms: i64,
    /// The channel's epoch and last sequence.
    pub(super) end: Position,
    /// The lowest sequence retained; one above the last when none is.
    pub(super) first: i64,
}

impl Moment {
    /// Whether the log still has a message.
    fn retains(&self, epoch: Epoch, sequence: i64) -> bool {
        self.end.epoch == Some(epoch) && (self.first..=self.end.sequence).contains(&sequence)
    }
}

pub(super) struct Books {
    generation: Generation,
    revision: u64,
    settings: Bytes,
    create_ms: i64,
    used_ms: i64,
    hold: Hold,
    /// The sequence that is handed out next, and the last message before it.
    next: i64,
    position: Position,
    lost: u64,
    /// When it was moved last; 0 where it never was.
    sought_ms: i64,
    leases: Leases,
    retries: Retries,
    keys: Keys,
    letters: Letters,
    presence: Presence,
}

impl Books {
    pub(super) fn new(new: &New, moment: &Moment) -> Self {
        let position = begin(new.start, moment);
        Self {
            generation: new.generation,
            revision: 1,
            settings: new.settings.clone(),
            create_ms: moment.now_ms,
            used_ms: moment.now_ms,
            hold: new.hold,
            next: position.sequence.saturating_add(1),
            position,
            lost: 0,
            sought_ms: 0,
            leases: Leases::default(),
            retries: Retries::default(),
            keys: Keys::default(),
            letters: Letters::default(),
            presence: Presence::default(),
        }
    }

    /// Bytes of memory they hold, about.
    pub(super) fn cost(&self) -> usize {
        let kept = self.leases.cost() + self.retries.cost() + self.keys.cost() + self.letters.cost();
        BOOKS_COST + self.settings.len() + kept
    }

    /// By how much other settings make them grow.
    pub(super) fn growth_of_settings(&self, settings: &Bytes) -> usize {
        settings.len().saturating_sub(self.settings.len())
    }

    /// What is held of the log.
    pub(super) fn held(&self) -> Held {
        Held { from: self.lowest().map_or(self.next, |lowest| lowest.min(self.next)), hold: self.hold }
    }

    /// The lowest message that is out or waits, for its key too.
    fn lowest(&self) -> Option<i64> {
        [self.leases.lowest(), self.retries.lowest(), self.keys.lowest()].into_iter().flatten().min()
    }

    pub(super) fn is_of(&self, generation: Generation) -> bool {
        self.generation == generation
    }

    pub(super) fn is_revision(&self, revision: u64) -> bool {
        self.revision == revision
    }

    /// Whether they are as somebody has seen them.
    pub(super) fn is_unchanged(&self, seen: Unchanged) -> bool {
        self.is_revision(seen.revision) && seen.used_ms.is_none_or(|used_ms| self.used_ms == used_ms)
    }

    fn state(&self, moment: &Moment) -> State {
        State {
            now_ms: moment.now_ms,
            generation: self.generation,
            revision: self.revision,
            next: self.next,
            out: self.leases.out(),
            end: moment.end,
            due_ms: self.retries.due_ms(),
        }
    }

    pub(super) fn glance(&self) -> Glance {
        let Self { generation, revision, next, .. } = *self;
        Glance { generation, revision, next, out: self.leases.out(), waiting: self.retries.len() }
    }

    /// See [`contract::Subscriptions::look`].
    pub(super) fn look(&mut self, look: Look, moment: &Moment) -> contract::Books {
        let is_meant = look.created_ms.is_none_or(|created_ms| created_ms == self.create_ms);
        if look.used && is_meant {
            self.used_ms = moment.now_ms;
        }
        if let Some(hold) = look.hold.filter(|_| is_meant) {
            self.hold = hold;
            self.lost += self.letters.trim(moment.now_ms);
        }
        if let Some((token, streams)) = look.consumers.filter(|_| is_meant) {
            self.presence.say(token, streams, moment.now_ms);
        }
        let ahead = Some(self.next).filter(|next| *next <= moment.end.sequence);
        let overdue = |(limit, grace)| self.leases.overdue(limit, grace, moment.now_ms);
        contract::Books {
            state: self.state(moment),
            settings: self.settings.clone(),
            create_ms: self.create_ms,
            used_ms: self.used_ms,
            position: self.position,
            waiting: self.retries.len(),
            parked: self.keys.len(),
            dead: self.letters.len(),
            unsent: self.letters.unsent(),
            lost: self.lost,
            consumers: self.presence.streams(moment.now_ms),
            oldest: self.lowest().into_iter().chain(ahead).min().filter(|_| look.oldest),
            overdue: look.overdue.map(overdue).unwrap_or_default(),
        }
    }

    pub(super) fn set(&mut self, revision: u64, settings: &Bytes) -> Set {
        if !self.is_revision(revision) {
            return Set::Differs;
        }
        self.revision += 1;
        self.settings = settings.clone();
        Set::Done
    }

    pub(super) fn seek(&mut self, to: Start, generation: Generation, hold: Hold, moment: &Moment) {
        self.position = begin(to, moment);
        self.next = self.position.sequence.saturating_add(1);
        (self.generation, self.hold, self.sought_ms) = (generation, hold, moment.now_ms);
        (self.leases, self.retries, self.keys) = (Leases::default(), Retries::default(), Keys::default());
    }

    /// See [`contract::Subscriptions::apply`]. Dead letters have to fit into `room`; all else is settled or is out
    /// anyway.
    pub(super) fn apply(
        &mut self,
        generation: Generation,
        changes: &[Change],
        moment: &Moment,
        mut room: usize,
    ) -> Applied {
        if !self.is_of(generation) {
            return Applied::Over(self.generation);
        }
        let mut outcomes = Vec::with_capacity(changes.len());
        for change in changes {
            let growth = self.letters.growth(change.dead.iter());
            if growth > room {
                outcomes.push(Outcome::Full);
                continue;
            }
            let outcome = self.change(change, moment);
            room -= if outcome == Outcome::Done { growth } else { 0 };
            outcomes.push(outcome);
        }
        Applied::Done(self.state(moment), outcomes)
    }

    fn change(&mut self, change: &Change, moment: &Moment) -> Outcome {
        if !self.is_as(change, moment) {
            return Outcome::Differs;
        }
        let is_too_much = |added| added > 0 && self.leases.out().saturating_add(added) > change.most_out;
        if u64::try_from(change.added()).is_ok_and(is_too_much) {
            return Outcome::Full;
        }
        if let Some(claim) = change.claim {
            (self.next, self.position) = (claim.to.sequence + 1, claim.to);
        }
        change.take.iter().for_each(|sequence| self.retries.take(*sequence));
        change.blocks.iter().for_each(|block| self.leases.put(block.id, block.to.as_ref()));
        for waiting in &change.wait {
            self.retries.remember(waiting.sequence, waiting.attempts);
            self.retries.wait(waiting.sequence, waiting.due_ms);
        }
        change.forget.iter().for_each(|sequence| self.retries.forget(*sequence));
        for letter in &change.dead {
            self.retries.forget(letter.sequence);
            self.lost += self.letters.add(letter, moment.now_ms);
        }
        self.lost += change.lost;
        change.close.iter().for_each(|keyed| self.keys.close(*keyed));
        change.park.iter().for_each(|keyed| self.park(*keyed, moment));
        for sequence in &change.open {
            if let Some(next) = self.keys.open(*sequence) {
                self.retries.wait(next, moment.now_ms);
            }
        }
        Outcome::Done
    }

    /// A message comes after others of its key; where there are none, it is due at once.
    fn park(&mut self, keyed: Keyed, moment: &Moment) {
        if self.keys.is_closed(&keyed.key) {
            return self.keys.park(keyed, None);
        }
        self.keys.close(keyed);
        self.retries.wait(keyed.sequence, moment.now_ms);
    }

    /// Whether all is as a change takes it to be.
    fn is_as(&self, change: &Change, moment: &Moment) -> bool {
        change.not_before_ms <= moment.now_ms
            && change.claim.is_none_or(|claim| self.is_next(&claim, moment))
            && change.take.iter().all(|sequence| self.retries.is_due(*sequence, moment.now_ms))
            && change
                .take
                .iter()
                .zip(&change.taken)
                .all(|(sequence, attempts)| self.retries.remembered(*sequence).attempts == *attempts)
            && change.blocks.iter().all(|block| self.leases.get(&block.id) == block.from.as_ref())
            && !change.close.iter().any(|keyed| self.keys.is_closed(&keyed.key))
    }

    fn is_next(&self, claim: &Claim, moment: &Moment) -> bool {
        claim.from == self.next
            && claim.to.sequence >= claim.from
            && self.is_revision(claim.revision)
            && claim.to.epoch.is_some()
            && claim.to.epoch == moment.end.epoch
            && claim.to.sequence <= moment.end.sequence
    }

    pub(super) fn blocks(&self, ids: &[BlockId]) -> Vec<Option<Block>> {
        ids.iter().map(|id| self.leases.get(id).cloned()).collect()
    }

    pub(super) fn fates(&self, generation: Generation, messages: &[(Epoch, i64)], moment: &Moment) -> Vec<Fate> {
        let out = self.leases.sequences();
        let is_settled = |epoch: Epoch, sequence: i64| {
            self.is_of(generation)
                && Some(epoch) == moment.end.epoch
                && sequence < self.next
                && !out.contains(&sequence)
                && !self.retries.has(sequence)
                && !self.keys.has(sequence)
                // What died before it was moved may have been settled since.
                && self.letters.died_ms(epoch, sequence).is_none_or(|dead_ms| dead_ms < self.sought_ms)
                && (self.lost == 0 || moment.retains(epoch, sequence))
        };
        let fate = |(epoch, sequence): &(Epoch, i64)| match is_settled(*epoch, *sequence) {
            true => Fate::Settled,
            false => Fate::Open,
        };
        messages.iter().map(fate).collect()
    }

    pub(super) fn closed(&self, keys: &[OrderKey]) -> Closed {
        Closed { keys: keys.iter().map(|key| self.keys.is_closed(key)).collect(), parked: self.keys.len() }
    }

    pub(super) fn due(&self, generation: Generation, limit: usize, moment: &Moment) -> Vec<Due> {
        if self.is_of(generation) { self.retries.due(limit, moment.now_ms) } else { Vec::new() }
    }

    pub(super) fn remembered(&self, sequences: &[i64]) -> Vec<Due> {
        sequences.iter().map(|sequence| self.retries.remembered(*sequence)).collect()
    }

    pub(super) fn dead_letters(&self, after: Option<&LetterId>, limit: usize, bytes: usize) -> Vec<(LetterId, Letter)> {
        self.letters.page(after, limit, bytes)
    }

    pub(super) fn outbox(&self, limit: usize, bytes: usize) -> Vec<(LetterId, Letter)> {
        self.letters.outbox(limit, bytes)
    }

    pub(super) fn sent(&mut self, letters: &[LetterId]) {
        letters.iter().for_each(|id| self.letters.sent(id));
    }

    /// See [`contract::Subscriptions::redrive`]. What is handed out by itself after a seek does not wait as well.
    pub(super) fn redrive(&mut self, letters: &[LetterId], first: Duration, apart: Duration, moment: &Moment) -> usize {
        let mut redriven = 0;
        let mut due_ms = moment.now_ms.saturating_add(ms(first));
        let out = self.leases.sequences();
        for id in letters {
            // What is kept of a sequence is one message's.
            let is_taken = out.contains(&id.sequence) || self.retries.has(id.sequence) || self.keys.has(id.sequence);
            if is_taken {
                continue;
            }
            let Some(letter) = self.letters.remove(id) else { continue };
            redriven += 1;
            let Letter { epoch, sequence, attempts, json, key, .. } = letter;
            if sequence >= self.next && moment.retains(epoch, sequence) {
                continue;
            }
            let redrives = attempts.redrives.saturating_add(1);
            self.retries.remember(sequence, Attempts { count: 0, first_ms: attempts.first_ms, redrives });
            self.retries.keep(sequence, json);
            let keyed = key.map(|key| Keyed { key, sequence });
            if let Some(keyed) = keyed.filter(|keyed| self.keys.is_closed(&keyed.key)) {
                self.keys.park(keyed, Some(self.next - 1));
                continue;
            }
            keyed.into_iter().for_each(|keyed| self.keys.close(keyed));
            self.retries.wait(sequence, due_ms);
            due_ms = due_ms.saturating_add(ms(apart));
        }
        redriven
    }
}

/// The last message before the one that is handed out first.
fn begin(start: Start, moment: &Moment) -> Position {
    match start {
        Start::End => moment.end,
        // What is beyond the end is not there.
        Start::After(position) if position.sequence > moment.end.sequence => moment.end,
        Start::After(position) => position,
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
