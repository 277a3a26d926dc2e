//! Whose turn it is to adopt, as far as a replica knows.

use std::time::Duration;

use tidings::limits::{CAPTURE_ASK_PAUSE, LEASE};
use tokio::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Turn {
    lease: Lease,
    /// The last adoption that this replica knows of was its own.
    leads: bool,
    /// The lease was asked for.
    asked: bool,
}

/// Whose the lease is.
#[derive(Debug, Clone, Copy, Default)]
enum Lease {
    /// Nobody's, or our own: both are found out by adopting.
    #[default]
    Open,
    /// Another replica's until then, unless it adopts again.
    Other(Instant),
}

impl Turn {
    /// Another replica adopted something.
    pub(super) fn was_anothers(&mut self, now: Instant) {
        self.leads = false;
        self.lease = match std::mem::take(&mut self.asked) {
            true => Lease::Open,
            false => Lease::Other(now + LEASE),
        };
    }

    /// This replica adopted something, and may have given up the lease with it.
    pub(super) fn was_ours(&mut self, given_up: bool, now: Instant) {
        self.asked = false;
        self.leads = !given_up;
        self.lease = if given_up { Lease::Other(now + LEASE) } else { Lease::Open };
    }

    /// It is another replica's for so long. Answers when to try again, where that one was asked for it.
    pub(super) fn is_anothers(&mut self, for_ms: u64, asked: bool, now: Instant) -> Option<Instant> {
        self.leads = false;
        self.asked = asked;
        self.lease = Lease::Other(now + Duration::from_millis(for_ms));
        asked.then_some(now + CAPTURE_ASK_PAUSE)
    }

    /// Nothing is left to adopt.
    pub(super) fn rest(&mut self) {
        self.asked = false;
    }

    /// Until when to wait where it is another's turn; something is held since a time.
    pub(super) fn wait(&self, since: Instant, now: Instant) -> Option<Instant> {
        let ask_at = since + LEASE;
        match self.lease {
            Lease::Other(until) if now < until && self.asked => Some(until),
            Lease::Other(until) if now < until && now < ask_at => Some(until.min(ask_at)),
            _ => None,
        }
    }

    /// Whether the lease is asked for by now.
    pub(super) fn asks(since: Instant, now: Instant) -> bool {
        now >= since + LEASE
    }

    pub(super) fn leads(&self) -> bool {
        self.leads
    }
}
