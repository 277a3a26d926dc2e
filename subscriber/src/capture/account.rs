//! What one captured channel's messages of plain programs are known to have become. A plain value: it is told what the live
//! connection tells, in that order, and says what to do next.
//!
//! Whatever this replica has heard is held until it is known to be adopted: by a notice, or by the log where notices were
//! missed. Every numbered message of the channel moves the `place`; one that does not follow it leaves a `missed` range, which
//! is read before anything is adopted. A message comes before its notice on the connection, so what a range tells of was
//! heard before the range was found, or will not be heard at all.
//!
//! Should the account be wrong all the same, adopting changes nothing (see [`adopt`](tidings::broker::adopt)), and the head
//! is looked at again.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tidings::{
    broker::{
        Head,
        adopt::{Adopted, Adoption, Raw},
    },
    limits::{BACKOFF_MAX, BACKOFF_MIN, CAPTURE_ASK_PAUSE, CAPTURE_NOTICES, CAPTURE_RANGES, LEASE},
    message::Position,
};
use tokio::time::Instant;

use super::held::Held;

#[derive(Debug, Default)]
pub(super) struct Account {
    held: Held,
    /// Just after the last numbered message that was heard of; `None` before a head was seen.
    place: Option<Position>,
    /// The last adopted message.
    adopted: Position,
    missed: VecDeque<Range>,
    /// The head must be looked at before anything is adopted.
    unsure: bool,
    forgetful: bool,
    lease: Lease,
    /// The last adoption that this replica knows of was its own.
    leads: bool,
    /// The lease was asked for.
    asked: bool,
    /// The place of the last message that was adopted here, and until when its notice is waited for.
    awaited: Option<(Position, Instant)>,
    work: Option<Work>,
    not_before: Option<Instant>,
    failures: u32,
    /// A failure was told since the last success.
    complained: bool,
}

/// Whose the lease is, as far as is known.
#[derive(Debug, Clone, Copy, Default)]
enum Lease {
    /// Nobody's, or our own: both are found out by adopting.
    #[default]
    Open,
    /// Another replica's until then, unless it adopts again.
    Other(Instant),
}

/// What is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Check,
    Read,
    Adopt,
}

/// Numbered messages that were not heard of: those behind `from`, up to `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) from: Position,
    pub(super) to: Position,
    /// What was adopted behind it is known already.
    outdated: bool,
}

/// What to do next. Until it is told how that went, an account says nothing else.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Nothing.
    Rest,
    /// Nothing before this time, unless something is heard.
    Wait(Instant),
    /// Have the head told, on the live connection.
    Check,
    /// Read this from the log.
    Read(Range),
    /// Adopt.
    Adopt { messages: Vec<Arc<Raw>>, adopted: Position, seen: Position, ask: bool },
}

impl Account {
    /// A message of a plain program was heard.
    pub(super) fn hold(&mut self, raw: Raw, now: Instant) {
        self.held.push(raw, now);
    }

    /// The live connection was lost. What was heard before the first head may have been adopted anywhere in the log by now:
    /// nothing tells where it was heard.
    pub(super) fn break_off(&mut self) {
        if self.place.is_none() && !self.held.is_empty() {
            self.place = Some(Position::START);
        }
    }

    /// Numbered messages were heard of: those behind `before`, up to `last`, in one epoch.
    pub(super) fn pass(&mut self, before: Position, last: Position) -> bool {
        let Some(place) = self.place else { return true };
        let same = place.epoch == last.epoch;
        if same && last.sequence <= place.sequence {
            return false;
        }
        let follows = same && before.sequence <= place.sequence || place == Position::START && before.sequence == 0;
        if !follows {
            self.miss(place, before);
        }
        self.place = Some(last);
        true
    }

    /// A message was adopted, by whomever.
    pub(super) fn notice(&mut self, before: Position, at: Position, hash: &[u8; Raw::HASH_BYTES], now: Instant) {
        if !self.pass(before, at) {
            return;
        }
        self.held.take(hash);
        self.know_adopted(at);
        let own = self.work == Some(Work::Adopt)
            || self.awaited.is_some_and(|(last, _)| last.epoch == at.epoch && at.sequence <= last.sequence);
        if !own {
            self.leads = false;
            self.lease = match std::mem::take(&mut self.asked) {
                true => Lease::Open,
                false => Lease::Other(now + LEASE),
            };
        }
    }

    /// The channel's head, at this point among what was heard.
    pub(super) fn look(&mut self, head: Option<&Head>) {
        let end = head.map_or(Position::START, Head::end);
        self.forgetful = head.is_some_and(|head| !head.keeps_history);
        match self.place.replace(end) {
            // Where the head fell back or is gone, the log has nothing that was missed.
            Some(place)
                if place != end
                    && end.epoch.is_some()
                    && (place.epoch != end.epoch || place.sequence < end.sequence) =>
            {
                self.miss(place, end);
            }
            _ => {}
        }
        self.unsure = false;
        self.know_adopted(head.map_or(Position::START, |head| head.adopted));
    }

    fn know_adopted(&mut self, at: Position) {
        self.adopted = at;
        for range in &mut self.missed {
            range.outdated = true;
        }
    }

    fn miss(&mut self, from: Position, to: Position) {
        if self.held.is_empty() || self.forgetful {
            // Nothing is held of which the log could tell, or there is no log; only what was adopted last is unknown.
            self.unsure = true;
            return;
        }
        if self.missed.len() >= CAPTURE_RANGES
            && let Some(last) = self.missed.back_mut()
        {
            *last = Range { to, outdated: false, ..*last };
            return;
        }
        self.missed.push_back(Range { from, to, outdated: false });
    }

    /// The log has told of messages of the first missed range, and leads on from a place.
    pub(super) fn read(&mut self, adopted: impl Iterator<Item = (Position, Adopted)>, on: Position) {
        let Some(range) = self.missed.front_mut() else { return };
        range.from = on;
        let outdated = range.outdated;
        for (at, message) in adopted {
            self.held.take(&message.hash);
            if !outdated {
                self.adopted = at;
            }
        }
    }

    /// What to do now.
    pub(super) fn next(&mut self, now: Instant) -> Step {
        let Some(since) = self.held.since() else {
            self.unsure |= self.missed.drain(..).any(|range| !range.outdated);
            self.asked = false;
            return Step::Rest;
        };
        if self.work.is_some() {
            return Step::Rest;
        }
        if let Some(not_before) = self.not_before.filter(|not_before| now < *not_before) {
            return Step::Wait(not_before);
        }
        let seen = match self.place {
            Some(place) if !self.unsure => place,
            _ => return self.begin(Work::Check, Step::Check),
        };
        if let Some(range) = self.missed.front() {
            let read = Step::Read(*range);
            return self.begin(Work::Read, read);
        }
        if let Some((last, until)) = self.awaited {
            if seen.epoch != last.epoch || seen.sequence < last.sequence {
                if now < until {
                    return Step::Wait(until);
                }
                self.awaited = None;
                return self.begin(Work::Check, Step::Check);
            }
            self.awaited = None;
        }
        let ask_at = since + LEASE;
        if let Lease::Other(until) = self.lease
            && now < until
            && (now < ask_at || self.asked)
        {
            return Step::Wait(if self.asked { until } else { until.min(ask_at) });
        }
        let (messages, adopted, ask) = (self.held.batch(), self.adopted, now >= ask_at);
        self.begin(Work::Adopt, Step::Adopt { messages, adopted, seen, ask })
    }

    fn begin(&mut self, work: Work, step: Step) -> Step {
        self.work = Some(work);
        step
    }

    /// The head was told, and [`look`](Self::look) has seen it.
    pub(super) fn checked(&mut self, now: Instant) {
        self.work = None;
        match self.place {
            Some(_) if !self.unsure => {}
            // It was not told here after all.
            _ => self.pause(now),
        }
    }

    /// The first missed range was read to its end.
    pub(super) fn read_all(&mut self) {
        self.work = None;
        self.missed.pop_front();
    }

    /// How an adoption went; `asked` says that it asked for the lease.
    pub(super) fn settle(&mut self, adoption: Adoption, asked: bool, now: Instant) {
        self.work = None;
        match adoption {
            Adoption::Done { last, given_up } => {
                self.failures = 0;
                self.complained = false;
                self.awaited = Some((last, now + CAPTURE_NOTICES));
                self.asked = false;
                self.leads = !given_up;
                self.lease = if given_up { Lease::Other(now + LEASE) } else { Lease::Open };
            }
            Adoption::Behind => {
                self.unsure = true;
                // Once it is what happens; again and again it must not spin.
                match self.failures {
                    0 => self.failures = 1,
                    _ => self.pause(now),
                }
            }
            Adoption::Other { for_ms } => {
                self.leads = false;
                self.asked = asked;
                self.lease = Lease::Other(now + Duration::from_millis(for_ms));
                self.not_before = asked.then_some(now + CAPTURE_ASK_PAUSE);
            }
        }
    }

    /// What was under way failed, with an outcome that may not be known. Answers whether that is news.
    pub(super) fn fail(&mut self, now: Instant) -> bool {
        self.work = None;
        self.unsure = true;
        self.pause(now);
        !std::mem::replace(&mut self.complained, true)
    }

    fn pause(&mut self, now: Instant) {
        let most = BACKOFF_MIN.saturating_mul(1 << self.failures.min(16)).min(BACKOFF_MAX);
        self.failures += 1;
        self.not_before = Some(now + most.mul_f64(0.5 + fastrand::f64() / 2.0));
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
        self.leads
    }

    /// Whether nothing is held or under way.
    pub(super) fn is_idle(&self) -> bool {
        self.held.is_empty() && self.work.is_none()
    }
}

#[cfg(test)]
mod tests;
