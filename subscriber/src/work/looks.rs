//! When the subscriptions of a replica are looked at: many together, so that they go to the broker in one write, and a
//! replica at rest wakes up seldom; but not all at once, which would be long for the broker.

use std::time::Duration;

use tidings::limits::LOOK_INTERVAL;
use tokio::time::Instant;

/// How many times in an interval some are looked at.
const STEPS: u32 = 20;

#[derive(Debug, Clone, Copy)]
pub(super) struct Looks {
    /// From when on times are counted.
    began: Instant,
}

impl Looks {
    pub(super) fn new() -> Self {
        Self { began: Instant::now() }
    }

    /// When one is looked at again that is looked at now: an interval later, or a little less.
    pub(super) fn next(self, now: Instant) -> Instant {
        let (step, then) = (LOOK_INTERVAL / STEPS, now + LOOK_INTERVAL);
        let over = then.saturating_duration_since(self.began).as_nanos() % step.as_nanos();
        then - Duration::from_nanos(u64::try_from(over).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn looks_are_an_interval_apart_at_most_and_few_times_have_all_of_them() {
        let (looks, mut times) = (Looks::new(), BTreeSet::new());
        for n in 0..1_000 {
            let now = Instant::now() + LOOK_INTERVAL * n / 1_000;
            let (first, second) = (looks.next(now), looks.next(looks.next(now)));
            assert!(first <= now + LOOK_INTERVAL && first + LOOK_INTERVAL / STEPS > now + LOOK_INTERVAL);
            assert_eq!(second, first + LOOK_INTERVAL);
            times.insert(first);
        }
        assert_eq!(times.len(), STEPS as usize);
    }
}
