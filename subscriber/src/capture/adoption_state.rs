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

use std::collections::VecDeque;

use tidings::{
    backoff::Backoff,
    broker::{
        Head,
        adopt::{Adopted, Raw},
    },
    limits::{CAPTURE_RANGES, LEASE},
    message::Position,
};
use tokio::time::Instant;

use super::held::Held;

mod work;

pub(super) use work::Step;
use work::Work;

#[derive(Debug, Default)]
pub(super) struct AdoptionState {
    held: Held,
    /// Just after the last numbered message that was received; `None` before a head was seen.
    position: Option<Position>,
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
    /// The position of the last message that was adopted here, and until when its notice is waited for.
    awaited: Option<(Position, Instant)>,
    work: Option<Work>,
    not_before: Option<Instant>,
    backoff: Backoff,
    /// A failure was logged since the last success.
    is_failure_logged: bool,
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

/// Numbered messages that were not received: those after `from`, up to `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) from: Position,
    pub(super) to: Position,
    /// What was adopted after it is known already.
    outdated: bool,
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
        for range in &mut self.missed {
            range.outdated = true;
        }
    }

    fn miss(&mut self, from: Position, to: Position) {
        if self.held.is_empty() || self.forgetful {
            // Nothing is held that the log could have, or there is no log; only what was adopted last is unknown.
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

    /// Messages of the first missed range were read from the log, and reading continues at a position.
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
