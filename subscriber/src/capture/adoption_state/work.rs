//! What a state wants done, and what it makes of how that went.

use std::{sync::Arc, time::Duration};

use tidings::{
    broker::adopt::{Adoption, Raw},
    limits::{CAPTURE_ASK_PAUSE, CAPTURE_NOTICES, LEASE},
    message::Position,
};
use tokio::time::Instant;

use super::{AdoptionState, Lease, Range};

/// What is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Check,
    Read,
    Adopt,
}

/// What to do next. Until it gets the result, a state returns nothing else.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::capture) enum Step {
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
    /// What to do now.
    pub(in crate::capture) fn next(&mut self, now: Instant) -> Step {
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
        let seen = match self.position {
            Some(position) if !self.unsure => position,
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

    /// The head was read, and [`look`](Self::look) has seen it.
    pub(in crate::capture) fn checked(&mut self, now: Instant) {
        self.work = None;
        match self.position {
            Some(_) if !self.unsure => {}
            // It was not read here after all.
            _ => self.not_before = Some(now + self.backoff.jittered()),
        }
    }

    /// The first missed range was read to its end.
    pub(in crate::capture) fn read_all(&mut self) {
        self.work = None;
        self.missed.pop_front();
    }

    /// How an adoption went; `asked` says that it asked for the lease.
    pub(in crate::capture) fn settle(&mut self, adoption: Adoption, asked: bool, now: Instant) {
        self.work = None;
        match adoption {
            Adoption::Done { last, given_up } => {
                self.backoff.reset();
                self.is_failure_logged = false;
                self.awaited = Some((last, now + CAPTURE_NOTICES));
                self.asked = false;
                self.leads = !given_up;
                self.lease = if given_up { Lease::Other(now + LEASE) } else { Lease::Open };
            }
            Adoption::Behind => {
                self.unsure = true;
                // Once it is what happens; again and again it must not spin.
                let is_first = self.backoff.is_new();
                let pause = self.backoff.jittered();
                self.not_before = (!is_first).then(|| now + pause);
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
    pub(in crate::capture) fn fail(&mut self, now: Instant) -> bool {
        self.work = None;
        self.unsure = true;
        self.not_before = Some(now + self.backoff.jittered());
        !std::mem::replace(&mut self.is_failure_logged, true)
    }
}
