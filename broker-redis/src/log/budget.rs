//! How large a page may be. Redis ends connections to which more waits to be sent than its `client-output-buffer-limit
//! normal` allows, which is nothing by default. Where that is known, pages are a part of it; where a connection is lost
//! while a large page is read, the next ones are smaller, down to one run. Then they are also read one after the other.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tidings::{
    broker::PageLimit,
    limits::{OUTPUT_BUFFER_SHARE, PAGE_BOUND_AGE, RUN_BYTES},
};
use tokio::sync::MutexGuard as Turn;

#[derive(Debug)]
pub(crate) struct Budget {
    bound: Mutex<Option<Bound>>,
    turn: tokio::sync::Mutex<()>,
}

/// A measured bound.
#[derive(Debug, Clone, Copy)]
struct Bound {
    bytes: usize,
    since: Instant,
    cuts: u32,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { bound: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Bound>> {
        // Every change is a single assignment.
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The page that may be read: `output_limit` is what Redis says that may wait for one client, 0 where there is no
    /// limit or it does not say.
    pub(super) fn bound(&self, limit: PageLimit, output_limit: usize) -> PageLimit {
        let mut bound = self.lock();
        // A connection may have been lost for another reason.
        *bound = bound.filter(|bound| bound.since.elapsed() < PAGE_BOUND_AGE);
        let found = bound.map_or(usize::MAX, |bound| bound.bytes);
        let allowed = if output_limit == 0 { usize::MAX } else { output_limit / OUTPUT_BUFFER_SHARE };
        PageLimit { bytes: limit.bytes.min(found).min(allowed).max(1), ..limit }
    }

    /// Waits until no other page is read, where they are bounded.
    pub(super) async fn turn(&self, output_limit: usize) -> Option<Turn<'_, ()>> {
        if output_limit == 0 && self.lock().is_none() {
            return None;
        }
        Some(self.turn.lock().await)
    }

    /// The connection was lost while a page of so many bytes was read.
    pub(super) fn cut(&self, bytes: usize) {
        let mut bound = self.lock();
        let cuts = bound.map_or(0, |bound| bound.cuts) + 1;
        // Whatever is smaller than a run comes with the whole of it.
        let next = if bytes > RUN_BYTES { bytes / 2 } else { 1 };
        *bound = Some(Bound { bytes: bound.map_or(next, |bound| bound.bytes.min(next)), since: Instant::now(), cuts });
        // Once is a restart or the like.
        if cuts == 2 {
            tracing::warn!(
                bytes,
                "connections to Redis are lost while pages of logs are read; reading smaller ones: see its client-output-buffer-limit normal"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_shrink_down_to_a_run() {
        let budget = Budget::new();
        let limit = PageLimit { messages: 10, bytes: 1 << 20 };
        assert_eq!(budget.bound(limit, 0), limit);
        assert_eq!(budget.bound(limit, 1 << 20).bytes, (1 << 20) / OUTPUT_BUFFER_SHARE);
        let mut sizes = vec![limit.bytes];
        while sizes.last() != Some(&1) {
            budget.cut(budget.bound(limit, 0).bytes);
            sizes.push(budget.bound(limit, 0).bytes);
        }
        assert!(sizes.windows(2).all(|two| two[1] < two[0]) && sizes.len() < 10, "{sizes:?}");
        assert_eq!(budget.bound(limit, 1 << 20).bytes, 1);
    }
}
