//! Keeps publishers from running ahead of the slowest reader by more than a window, so that a measurement tells what can be
//! sustained and not how a flood is caught up with.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use tokio::sync::Notify;

/// How far each reader is.
#[derive(Debug, Clone)]
pub(crate) struct Pace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    window: usize,
    read: Vec<AtomicUsize>,
    moved: Notify,
}

impl Pace {
    /// Of this many readers; a window in messages.
    pub(crate) fn new(readers: usize, window: usize) -> Self {
        let read = (0..readers).map(|_| AtomicUsize::new(0)).collect();
        Self(Arc::new(Inner { window, read, moved: Notify::new() }))
    }

    /// A reader has read so many.
    pub(crate) fn read(&self, reader: usize, count: usize) {
        self.0.read[reader].store(count, Relaxed);
        self.0.moved.notify_waiters();
    }

    /// Waits until so many have been published in good order.
    pub(crate) async fn wait(&self, published: usize) {
        loop {
            let moved = self.0.moved.notified();
            let slowest = self.0.read.iter().map(|read| read.load(Relaxed)).min().unwrap_or(0);
            if slowest.saturating_add(self.0.window) >= published {
                return;
            }
            moved.await;
        }
    }
}
