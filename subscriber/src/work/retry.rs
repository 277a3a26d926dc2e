//! What becomes of a message after an attempt that failed: one policy for rejections and for leases that end.

use std::time::Duration;

use tidings::{backoff::jittered, subscription::Attempts};

/// How attempts go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetryPolicy {
    /// After the first attempt.
    pub(crate) min: Duration,
    /// At most.
    pub(crate) max: Duration,
    /// How many deliveries there are; 0 for no limit.
    pub(crate) attempts: u32,
}

/// A delivery that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Failure {
    /// How long the message waits, where somebody says so.
    pub(crate) delay: Option<Duration>,
    /// It is given up at once.
    pub(crate) is_dead: bool,
    /// Why, in somebody's words.
    pub(crate) reason: String,
    /// Nobody had begun: it does not count.
    pub(crate) is_uncounted: bool,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Another attempt, so long from now.
    Again(Attempts, Duration),
    /// None any more.
    Dead(Attempts, String),
}

impl RetryPolicy {
    /// What follows a delivery that failed, given those before it.
    pub(super) fn after(&self, before: Attempts, failure: &Failure, now_ms: i64) -> Next {
        let first_ms = if before.first_ms == 0 { now_ms } else { before.first_ms };
        let count = before.count.saturating_add(u32::from(!failure.is_uncounted));
        let attempts = Attempts { count, first_ms, ..before };
        if failure.is_dead {
            let reason = if failure.reason.is_empty() { "rejected by its consumer" } else { &failure.reason };
            return Next::Dead(attempts, reason.to_owned());
        }
        if self.is_used_up(attempts) && !failure.is_uncounted {
            let reason = match failure.reason.as_str() {
                "" => format!("all {} deliveries were used up", self.attempts),
                reason => reason.to_owned(),
            };
            return Next::Dead(attempts, reason);
        }
        let delay = match failure.delay {
            Some(delay) => delay,
            None if failure.is_uncounted => Duration::ZERO,
            None => self.backoff(count),
        };
        Next::Again(attempts, delay)
    }

    /// Whether no delivery is left.
    pub(super) fn is_used_up(&self, attempts: Attempts) -> bool {
        self.attempts > 0 && attempts.count >= self.attempts
    }

    /// How long to wait after so many attempts.
    fn backoff(&self, attempts: u32) -> Duration {
        let doubled = self.min.saturating_mul(1 << attempts.saturating_sub(1).min(30));
        jittered(doubled.min(self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const POLICY: RetryPolicy = RetryPolicy { min: SECOND, max: Duration::from_secs(10), attempts: 3 };

    fn after(count: u32, failure: &Failure) -> Next {
        POLICY.after(Attempts { count, first_ms: if count > 0 { 5 } else { 0 }, redrives: 0 }, failure, 7)
    }

    #[test]
    fn delays_double_up_to_the_longest_with_chance_in_their_half() {
        let delays = |attempts: u32| -> Vec<Duration> { (0..200).map(|_| POLICY.backoff(attempts)).collect() };
        for (attempts, full) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (60, 10)] {
            let full = Duration::from_secs(full);
            assert!(delays(attempts).iter().all(|delay| (full / 2..=full).contains(delay)), "{attempts}");
        }
        assert!(delays(1).iter().max() > delays(1).iter().min());
    }

    #[test]
    fn attempts_are_counted_up_to_their_limit() {
        let failed = Failure::default();
        let Next::Again(attempts, delay) = after(0, &failed) else { panic!("one more") };
        assert_eq!((attempts.count, attempts.first_ms), (1, 7));
        assert!(delay <= SECOND);
        assert!(matches!(after(1, &failed), Next::Again(Attempts { count: 2, first_ms: 5, .. }, _)));
        let Next::Dead(attempts, reason) = after(2, &failed) else { panic!("none more") };
        assert_eq!((attempts.count, reason.as_str()), (3, "all 3 deliveries were used up"));
        let reasoned = Failure { reason: "no such customer".to_owned(), ..Failure::default() };
        assert!(matches!(after(2, &reasoned), Next::Dead(_, reason) if reason == "no such customer"));
        // Without a limit there is no end.
        let endless = RetryPolicy { attempts: 0, ..POLICY };
        assert!(matches!(endless.after(Attempts { count: 1_000, ..Attempts::default() }, &failed, 7), Next::Again(..)));
    }

    #[test]
    fn a_rejections_own_words_count() {
        let later = Failure { delay: Some(7 * SECOND), ..Failure::default() };
        assert!(matches!(after(0, &later), Next::Again(_, delay) if delay == 7 * SECOND));
        let unsent = Failure { is_uncounted: true, ..Failure::default() };
        assert!(matches!(after(2, &unsent), Next::Again(Attempts { count: 2, .. }, Duration::ZERO)));
        let dead = Failure { is_dead: true, ..Failure::default() };
        assert!(matches!(after(0, &dead), Next::Dead(Attempts { count: 1, .. }, reason) if !reason.is_empty()));
    }
}
