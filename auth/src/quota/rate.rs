//! A rate: so much in a time, and some of it at once. One number says all (the generic cell rate algorithm, GCRA): the
//! time until which what was taken lasts. Taking more moves it on; it must not be further ahead than a burst.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// What all times are counted from.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

#[derive(Debug)]
pub(super) struct Rate {
    amount: u64,
    per_ns: u64,
    burst_ns: u64,
    /// Nanoseconds since the start. In the past where nothing of late was taken.
    until_ns: AtomicU64,
}

impl Rate {
    /// So much in a time, and as much at once as comes together in another one.
    pub(super) fn new(amount: u64, per: Duration, burst: Duration) -> Self {
        // Before the first time that is asked for.
        LazyLock::force(&START);
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self { amount: amount.max(1), per_ns: nanos(per), burst_ns: nanos(burst), until_ns: AtomicU64::new(0) }
    }

    pub(super) fn amount(&self) -> u64 {
        self.amount
    }

    fn cost_ns(&self, amount: u64) -> u64 {
        let cost = u128::from(amount) * u128::from(self.per_ns) / u128::from(self.amount);
        u64::try_from(cost).unwrap_or(u64::MAX)
    }

    /// Takes an amount, unless that is too much now; then it says when it is not. More than a burst can be had by
    /// a caller that took nothing before.
    pub(super) fn take(&self, amount: u64) -> Result<(), Duration> {
        let (now, cost) = (now_ns(), self.cost_ns(amount));
        let mut ahead = Duration::ZERO;
        let taken = self.until_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |until| {
            let next = until.max(now).saturating_add(cost);
            let over = next.saturating_sub(now).saturating_sub(self.burst_ns);
            ahead = Duration::from_nanos(over.min(until.saturating_sub(now)));
            ahead.is_zero().then_some(next)
        });
        taken.map(|_| ()).map_err(|_| ahead)
    }

    /// Takes an amount in any case, since it is gone already.
    pub(super) fn charge(&self, amount: u64) {
        let (now, cost) = (now_ns(), self.cost_ns(amount));
        let next = |until: u64| Some(until.max(now).saturating_add(cost));
        // It never says no.
        let _ = self.until_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// Gives back what was taken and not used.
    pub(super) fn give_back(&self, amount: u64) {
        let cost = self.cost_ns(amount);
        let next = |until: u64| Some(until.saturating_sub(cost));
        let _ = self.until_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// How long until no more than a burst is taken.
    pub(super) fn owed(&self) -> Option<Duration> {
        let ahead = self.until_ns.load(Ordering::Relaxed).saturating_sub(now_ns());
        let over = ahead.saturating_sub(self.burst_ns);
        (over > 0).then(|| Duration::from_nanos(over))
    }
}

fn now_ns() -> u64 {
    u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_at_once_and_then_so_many_in_a_time() {
        advance(SECOND).await;
        let rate = Rate::new(10, SECOND, 2 * SECOND);
        assert_eq!((0..).take_while(|_| rate.take(1).is_ok()).count(), 20);
        assert_eq!(rate.take(1), Err(SECOND / 10));
        advance(SECOND).await;
        assert_eq!((0..).take_while(|_| rate.take(1).is_ok()).count(), 10);
        // A caller that waits as long as it is asked to is served.
        let wait = rate.take(5).expect_err("too much");
        advance(wait).await;
        assert_eq!(rate.take(5), Ok(()));
        // An idle time gives no more than one burst.
        advance(100 * SECOND).await;
        assert_eq!((0..).take_while(|_| rate.take(1).is_ok()).count(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_a_burst_is_had_by_whoever_took_nothing() {
        advance(SECOND).await;
        let rate = Rate::new(10, SECOND, 2 * SECOND);
        assert_eq!(rate.take(100), Ok(()));
        assert_eq!(rate.take(1), Err(10 * SECOND - 2 * SECOND + SECOND / 10));
        assert_eq!(rate.take(100), Err(10 * SECOND));
        advance(10 * SECOND).await;
        assert_eq!(rate.take(100), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_charged_is_owed_and_what_is_given_back_is_not() {
        advance(SECOND).await;
        let rate = Rate::new(10, SECOND, SECOND);
        rate.charge(10);
        assert_eq!(rate.owed(), None);
        rate.charge(5);
        assert_eq!(rate.owed(), Some(SECOND / 2));
        assert!(rate.take(1).is_err());
        rate.give_back(15);
        assert_eq!((0..).take_while(|_| rate.take(1).is_ok()).count(), 10);
    }
}
