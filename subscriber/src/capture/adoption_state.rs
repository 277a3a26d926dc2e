//! What one captured channel's messages of plain programs are known to have become. A plain value: it gets what the
//! live connection delivers, in that order, and says what to do next.
//!
//! All that this replica has received is held until it is known to be adopted: by a notice, or by the log where notices
//! were missed. Every numbered message of the channel moves the `position`; one that does not follow it leaves a
//! `missed` range, which is read before anything is adopted. A message comes before its notice on the connection, so
//! what a range contains was received before the range was found, or will not be received at all.
//!
//! Should the state be wrong all the same, adopting changes nothing (see [`adopt`](tidings::broker::adopt)), and the
//! head is looked at again.

use std::sync::Arc;

use tidings::{
    broker::{
        Head,
        adopt::{Adopted, Adoption, Raw},
    },
    limits::CAPTURE_NOTICES,
    message::Position,
};
use tokio::time::Instant;

pub(super) use self::ranges::Range;
use self::{
    attempts::{Attempts, Work},
    ranges::Ranges,
    turn::Turn,
};
use super::held::Held;

mod attempts;
mod ranges;
mod turn;

#[derive(Debug, Default)]
pub(super) struct AdoptionState {
    held: Held,
    /// Just after the last numbered message that was received; `None` before a head was seen.
    position: Option<Position>,
    /// The last adopted message.
    adopted: Position,
    missed: Ranges,
    /// The head must be looked at before anything is adopted.
    unsure: bool,
    forgetful: bool,
    /// The position of the last message that was adopted here, and until when its notice is waited for.
    awaited: Option<(Position, Instant)>,
    turn: Turn,
    attempts: Attempts,
}

/// What to do next. Until it gets the result, a state returns nothing else.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Nothing.
    Rest,
    /// Nothing before this time, unless something is received.
    Wait(Instant),
    /// Read the head, on the live connection.
    Check,
    /// Read this from the log.
    Read(Range),
    /// Adopt.
    Adopt { messages: Vec<Arc<Raw>>, adopted: Position, seen: Position, ask: bool },
}

impl AdoptionState {
    /// A message of a plain program was received.
    pub(super) fn hold(&mut self, raw: Raw, now: Instant) {
        self.held.push(raw, now);
    }

    /// The live connection was lost. What was received before the first head may have been adopted anywhere in the log
    /// by now: its position when it was received is unknown.
    pub(super) fn break_off(&mut self) {
        if self.position.is_none() && !self.held.is_empty() {
            self.position = Some(Position::START);
        }
    }

    /// Numbered messages were received: those after `before`, up to `last`, in one epoch.
    pub(super) fn pass(&mut self, before: Position, last: Position) -> bool {
        let Some(position) = self.position else { return true };
        let same = position.epoch == last.epoch;
        if same && last.sequence <= position.sequence {
            return false;
        }
        let follows =
            same && before.sequence <= position.sequence || position == Position::START && before.sequence == 0;
        if !follows {
            self.miss(position, before);
        }
        self.position = Some(last);
        true
    }

    /// Redis went back to a position within its epoch, and other messages follow there. Which was adopted last, the
    /// head says.
    pub(super) fn rewrite(&mut self, to: Position) {
        if let Some(position) = &mut self.position
            && position.epoch == to.epoch
            && position.sequence > to.sequence
        {
            *position = to;
            self.unsure = true;
        }
    }

    /// A message was adopted, by whomever.
    pub(super) fn notice(&mut self, before: Position, at: Position, hash: &[u8; Raw::HASH_BYTES], now: Instant) {
        if !self.pass(before, at) {
            return;
        }
        self.held.take(hash);
        self.know_adopted(at);
        let own = self.attempts.is(Work::Adopt)
            || self.awaited.is_some_and(|(last, _)| last.epoch == at.epoch && at.sequence <= last.sequence);
        if !own {
            self.turn.was_anothers(now);
        }
    }

    /// The channel's head, at this point among what was received.
    pub(super) fn look(&mut self, head: Option<&Head>) {
        let end = head.map_or(Position::START, Head::end);
        self.forgetful = head.is_some_and(|head| !head.keeps_history);
        match self.position.replace(end) {
            // Where the head fell back or is gone, the log has nothing that was missed.
            Some(position)
                if position != end
                    && end.epoch.is_some()
                    && (position.epoch != end.epoch || position.sequence < end.sequence) =>
            {
                self.miss(position, end);
            }
            _ => {}
        }
        self.unsure = false;
        self.know_adopted(head.map_or(Position::START, |head| head.adopted));
    }

    fn know_adopted(&mut self, at: Position) {
        self.adopted = at;
        self.missed.outdate();
    }

    fn miss(&mut self, from: Position, to: Position) {
        if self.held.is_empty() || self.forgetful {
            // Nothing is held that the log could have, or there is no log; only what was adopted last is unknown.
            self.unsure = true;
            return;
        }
        self.missed.add(from, to);
    }

    /// Messages of the first missed range were read from the log, and reading continues at a position.
    pub(super) fn read(&mut self, adopted: impl Iterator<Item = (Position, Adopted)>, on: Position) {
        let Some(is_news) = self.missed.continue_at(on) else { return };
        for (at, message) in adopted {
            self.held.take(&message.hash);
            if is_news {
                self.adopted = at;
            }
        }
    }

    /// Drops the oldest message that is held. False where there is none.
    pub(super) fn drop_oldest(&mut self) -> bool {
        self.held.drop_oldest()
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.held.bytes()
    }

    /// Since when the oldest message is held.
    pub(super) fn since(&self) -> Option<Instant> {
        self.held.since()
    }

    pub(super) fn leads(&self) -> bool {
        self.turn.leads()
    }

    /// Whether nothing is held or under way.
    pub(super) fn is_idle(&self) -> bool {
        self.held.is_empty() && !self.attempts.is_under_way()
    }

    /// What to do now.
    pub(super) fn next(&mut self, now: Instant) -> Step {
        let Some(since) = self.held.since() else {
            self.unsure |= self.missed.clear();
            self.turn.rest();
            return Step::Rest;
        };
        if self.attempts.is_under_way() {
            return Step::Rest;
        }
        if let Some(until) = self.attempts.wait(now) {
            return Step::Wait(until);
        }
        let seen = match self.position {
            Some(position) if !self.unsure => position,
            _ => return self.begin(Work::Check, Step::Check),
        };
        if let Some(range) = self.missed.first() {
            return self.begin(Work::Read, Step::Read(range));
        }
        if let Some((last, until)) = self.awaited {
            let has_come = seen.epoch == last.epoch && seen.sequence >= last.sequence;
            if !has_come && now < until {
                return Step::Wait(until);
            }
            self.awaited = None;
            if !has_come {
                return self.begin(Work::Check, Step::Check);
            }
        }
        if let Some(until) = self.turn.wait(since, now) {
            return Step::Wait(until);
        }
        let (messages, adopted, ask) = (self.held.batch(), self.adopted, Turn::asks(since, now));
        self.begin(Work::Adopt, Step::Adopt { messages, adopted, seen, ask })
    }

    fn begin(&mut self, work: Work, step: Step) -> Step {
        self.attempts.begin(work);
        step
    }

    /// The head was read, and [`look`](Self::look) has seen it.
    pub(super) fn checked(&mut self, now: Instant) {
        self.attempts.end();
        // Otherwise it was not read here after all.
        if self.position.is_none() || self.unsure {
            self.attempts.pause(now);
        }
    }

    /// The first missed range was read to its end.
    pub(super) fn read_all(&mut self) {
        self.attempts.end();
        self.missed.finish();
    }

    /// How an adoption went; `asked` says that it asked for the lease.
    pub(super) fn settle(&mut self, adoption: Adoption, asked: bool, now: Instant) {
        self.attempts.end();
        match adoption {
            Adoption::Done { last, given_up } => {
                self.attempts.succeeded();
                self.awaited = Some((last, now + CAPTURE_NOTICES));
                self.turn.was_ours(given_up, now);
            }
            Adoption::Behind => {
                self.unsure = true;
                self.attempts.retry(now);
            }
            Adoption::Other { for_ms } => {
                let until = self.turn.is_anothers(for_ms, asked, now);
                self.attempts.postpone(until);
            }
        }
    }

    /// What was under way failed, with an outcome that may not be known. Answers whether that is news.
    pub(super) fn fail(&mut self, now: Instant) -> bool {
        self.unsure = true;
        self.attempts.failed(now)
    }
}

#[cfg(test)]
mod tests;
