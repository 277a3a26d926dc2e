//! Pauses between attempts: each twice as long as the one before, up to a longest.

use std::time::Duration;

use crate::limits::{BACKOFF_MAX, BACKOFF_MIN};

/// How long to wait before the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

/// The pauses after which a broker is asked again.
impl Default for Backoff {
    fn default() -> Self {
        Self::new(BACKOFF_MIN, BACKOFF_MAX)
    }
}

impl Backoff {
    /// The first pause, and the longest.
    pub const fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, failures: 0 }
    }

    /// The pause after one more failure.
    pub fn pause(&mut self) -> Duration {
        let pause = self.min.saturating_mul(1 << self.failures.min(16)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        pause
    }

    /// The same, of which a part is chance: see [`jittered`].
    pub fn jittered(&mut self) -> Duration {
        jittered(self.pause())
    }

    /// Whether nothing has failed since the last success.
    pub fn is_new(&self) -> bool {
        self.failures == 0
    }

    /// An attempt succeeded: the next pause is the first again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Half of a pause, and by chance up to all of it: many that failed together do not come back together.
pub fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_again_after_a_success() {
        let mut backoff = Backoff::new(SECOND, 7 * SECOND);
        assert!(backoff.is_new());
        let pauses: Vec<_> = (0..5).map(|_| backoff.pause().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 7, 7]);
        assert!(!backoff.is_new());
        backoff.reset();
        assert_eq!(backoff, Backoff::new(SECOND, 7 * SECOND));
        // However often it fails.
        let mut backoff = Backoff { failures: u32::MAX, ..Backoff::new(SECOND, Duration::MAX) };
        assert_eq!(backoff.pause(), 65_536 * SECOND);
    }

    #[test]
    fn a_half_of_a_pause_is_chance() {
        let pauses: Vec<_> = (0..1_000).map(|_| jittered(SECOND)).collect();
        assert!(pauses.iter().all(|pause| (SECOND / 2..=SECOND).contains(pause)));
        assert!(pauses.iter().max() > pauses.iter().min());
    }
}
