//! The broker's clock, as far as its answers tell.

use std::time::Duration;

use tokio::time::Instant;

/// Reads the broker's clock. What an answer says was so at some moment between its question and its arrival, so there
/// are two readings: one that is never ahead, and one that is never behind. Leases are written by the latter, so that
/// they end on the broker when they end here, or later, however long an answer was under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct BrokerClock {
    asked: Instant,
    arrived: Instant,
    now_ms: i64,
}

impl BrokerClock {
    /// As an answer says that arrives now.
    pub(super) fn heard(now_ms: i64, asked: Instant) -> Self {
        Self { asked, arrived: Instant::now(), now_ms }
    }

    /// What the broker's clock shows now, at least, ms since 1970.
    pub(super) fn now_ms(&self) -> i64 {
        self.now_ms.saturating_add(ms(self.arrived.elapsed()))
    }

    /// What the broker's clock shows now, at most.
    pub(super) fn latest_ms(&self) -> i64 {
        // What is less than a millisecond counts too.
        self.now_ms.saturating_add(ms(self.asked.elapsed())).saturating_add(1)
    }

    /// When the broker's clock will show this time, at the latest.
    pub(super) fn when(&self, time_ms: i64) -> Instant {
        let wait = u64::try_from(time_ms.saturating_sub(self.now_ms)).unwrap_or(0);
        self.arrived + Duration::from_millis(wait)
    }
}

/// Milliseconds, as times are counted.
pub(super) fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_from_the_last_answer() {
        let asked = Instant::now();
        tokio::time::advance(Duration::from_millis(40)).await;
        let clock = BrokerClock::heard(1_000, asked);
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!(clock.latest_ms(), 1_291);
        assert_eq!(clock.now_ms(), 1_250);
        assert_eq!(clock.when(1_500), Instant::now() + Duration::from_millis(250));
        assert!(clock.when(0) <= Instant::now());
    }
}
