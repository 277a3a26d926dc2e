//! How large a page may be. Redis ends connections to which more waits to be sent than its `client-output-buffer-limit
//! normal` allows, which is nothing by default. Where that is known, pages are a part of it; where a connection is lost
//! while a large page is read, the next ones are smaller, down to one run. Then they are also read one after the other.
//!
//! A connection that is lost for another reason looks the same, and pages of one run take many times as long. So they
//! stay small for a moment only; longer, each time that it happens again with large ones.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tidings::{
    broker::PageLimit,
    limits::{OUTPUT_BUFFER_SHARE, PAGE_BOUND_MAX, PAGE_BOUND_TIME, RUN_BYTES},
};
use tokio::{
    sync::MutexGuard as Turn,
    time::{Duration, Instant},
};

#[derive(Debug)]
pub(crate) struct Budget {
    bound: Mutex<Bound>,
    turn: tokio::sync::Mutex<()>,
}

/// What was found out by losing connections.
#[derive(Debug, Clone, Copy)]
struct Bound {
    /// How large pages may be; `None` where nothing is known.
    bytes: Option<usize>,
    /// When the last connection was lost, and for how long pages are small from there.
    since: Instant,
    time: Duration,
}

impl Bound {
    /// What holds now.
    fn now(&mut self) -> Option<usize> {
        if self.since.elapsed() >= self.time {
            self.bytes = None;
        }
        self.bytes
    }
}

impl Budget {
    pub(crate) fn new() -> Self {
        let bound = Bound { bytes: None, since: Instant::now(), time: Duration::ZERO };
        Self { bound: Mutex::new(bound), turn: tokio::sync::Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Bound> {
        // Nothing that holds the lock leaves it half-written.
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The page that may be read: `output_limit` is what Redis says that may wait for one client, 0 where there is no
    /// limit or it does not say.
    pub(super) fn bound(&self, limit: PageLimit, output_limit: usize) -> PageLimit {
        let found = self.lock().now().unwrap_or(usize::MAX);
        let allowed = if output_limit == 0 { usize::MAX } else { output_limit / OUTPUT_BUFFER_SHARE };
        PageLimit { bytes: limit.bytes.min(found).min(allowed).max(1), ..limit }
    }

    /// Waits until no other page is read, where they are bounded.
    pub(super) async fn turn(&self, output_limit: usize) -> Option<Turn<'_, ()>> {
        if output_limit == 0 && self.lock().now().is_none() {
            return None;
        }
        Some(self.turn.lock().await)
    }

    /// The connection was lost while a page of so many bytes was read.
    pub(super) fn cut(&self, bytes: usize) {
        let mut bound = self.lock();
        let before = bound.now();
        // Whatever is smaller than a run comes with the whole of it. Of pages that are as small already, it is enough
        // at first that they no longer come together.
        let next = match before {
            _ if bytes > RUN_BYTES => bytes / 2,
            None => bytes,
            Some(_) => 1,
        };
        let is_again =
            before.is_none() && bound.time > Duration::ZERO && bound.since.elapsed() < bound.time + PAGE_BOUND_MAX;
        bound.time = match before {
            Some(_) => bound.time,
            None if is_again => (2 * bound.time).min(PAGE_BOUND_MAX),
            None => PAGE_BOUND_TIME,
        };
        bound.bytes = Some(before.map_or(next, |before| before.min(next)));
        bound.since = Instant::now();
        if is_again {
            tracing::warn!(
                bytes,
                "connections to Redis are lost while pages of logs are read; reading smaller ones: see its client-output-buffer-limit normal"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const LIMIT: PageLimit = PageLimit { messages: 10, bytes: 1 << 20 };

    fn bytes(budget: &Budget) -> usize {
        budget.bound(LIMIT, 0).bytes
    }

    #[tokio::test(start_paused = true)]
    async fn pages_shrink_down_to_a_run() {
        let budget = Budget::new();
        assert_eq!(budget.bound(LIMIT, 0), LIMIT);
        assert_eq!(budget.bound(LIMIT, 1 << 20).bytes, (1 << 20) / OUTPUT_BUFFER_SHARE);
        let mut sizes = vec![LIMIT.bytes];
        while sizes.last() != Some(&1) {
            budget.cut(bytes(&budget));
            sizes.push(bytes(&budget));
        }
        assert!(sizes.windows(2).all(|two| two[1] < two[0]) && sizes.len() < 10, "{sizes:?}");
        assert_eq!(budget.bound(LIMIT, 1 << 20).bytes, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn small_pages_are_first_read_one_after_the_other() {
        let budget = Budget::new();
        assert!(budget.turn(0).await.is_none());
        budget.cut(1_000);
        assert_eq!(bytes(&budget), 1_000);
        assert!(budget.turn(0).await.is_some());
        budget.cut(1_000);
        assert_eq!(bytes(&budget), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn they_are_as_large_as_before_in_a_moment_and_later_where_it_happens_again() {
        let budget = Budget::new();
        // A failover, and what comes with it, however often.
        for _ in 0..10 {
            budget.cut(bytes(&budget));
            advance(PAGE_BOUND_TIME / 2).await;
        }
        assert_eq!(bytes(&budget), 1);
        advance(PAGE_BOUND_TIME / 2).await;
        assert_eq!(bytes(&budget), LIMIT.bytes);
        assert!(budget.turn(0).await.is_none());
        // Large ones that end their connection time and again.
        let mut times = Vec::new();
        for _ in 0..10 {
            budget.cut(bytes(&budget));
            let began = Instant::now();
            while bytes(&budget) < LIMIT.bytes {
                advance(Duration::from_secs(1)).await;
            }
            times.push(began.elapsed());
        }
        assert_eq!(times[..3], [2, 4, 8].map(|times| times * PAGE_BOUND_TIME));
        assert_eq!(times[9], PAGE_BOUND_MAX);
        // Long after that it is the first time again.
        advance(2 * PAGE_BOUND_MAX).await;
        budget.cut(LIMIT.bytes);
        advance(PAGE_BOUND_TIME).await;
        assert_eq!(bytes(&budget), LIMIT.bytes);
    }
}
