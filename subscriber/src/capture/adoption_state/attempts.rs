//! What is under way for a channel, and when the next may be tried.

use tidings::backoff::Backoff;
use tokio::time::Instant;

/// What is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Check,
    Read,
    Adopt,
}

#[derive(Debug, Default)]
pub(super) struct Attempts {
    work: Option<Work>,
    not_before: Option<Instant>,
    backoff: Backoff,
    /// A failure was logged since the last success.
    is_failure_logged: bool,
}

impl Attempts {
    pub(super) fn begin(&mut self, work: Work) {
        self.work = Some(work);
    }

    /// What was under way has ended.
    pub(super) fn end(&mut self) {
        self.work = None;
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.work.is_some()
    }

    /// Whether this is under way.
    pub(super) fn is(&self, work: Work) -> bool {
        self.work == Some(work)
    }

    /// Until when to wait.
    pub(super) fn wait(&self, now: Instant) -> Option<Instant> {
        self.not_before.filter(|not_before| now < *not_before)
    }

    pub(super) fn succeeded(&mut self) {
        self.backoff.reset();
        self.is_failure_logged = false;
    }

    /// The next attempt comes after a pause.
    pub(super) fn pause(&mut self, now: Instant) {
        self.not_before = Some(now + self.backoff.jittered());
    }

    /// The next may come at once where nothing failed before; again and again it must not spin.
    pub(super) fn retry(&mut self, now: Instant) {
        let is_first = self.backoff.is_new();
        self.pause(now);
        if is_first {
            self.not_before = None;
        }
    }

    /// The next comes at this time.
    pub(super) fn postpone(&mut self, until: Option<Instant>) {
        self.not_before = until;
    }

    /// It failed. Answers whether that is news.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        self.end();
        self.pause(now);
        !std::mem::replace(&mut self.is_failure_logged, true)
    }
}
