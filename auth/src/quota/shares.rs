//! Bytes of requests that come, as one connection or one address may have them under way.

use std::sync::Arc;

use tidings::limits::SMALL_BODY_BYTES;
use tokio::sync::Semaphore;

/// What bodies share. Small ones have a share of their own: large ones that stall must not keep them waiting.
#[derive(Debug)]
pub struct Shares {
    large: Arc<Semaphore>,
    small: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Shares {
    /// So many bytes of large bodies and of small ones, and so many bodies that may wait for them.
    pub fn new(large: usize, small: usize, waiting: usize) -> Self {
        let of = |size| Arc::new(Semaphore::new(size));
        Self { large: of(large), small: of(small), waiting: of(waiting) }
    }

    /// Those of a body so long.
    pub fn of(&self, bytes: usize) -> &Arc<Semaphore> {
        if bytes <= SMALL_BODY_BYTES { &self.small } else { &self.large }
    }

    /// Bodies that may still wait.
    pub fn waiting(&self) -> &Arc<Semaphore> {
        &self.waiting
    }
}
