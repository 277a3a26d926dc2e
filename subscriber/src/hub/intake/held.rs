//! How much waits for heads. All feeds of a hub share one bound, so that many topics cost no more than one.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tidings::limits::{HELD_BYTES, HELD_PUSH_COST};

/// What all feeds hold, in bytes.
#[derive(Debug, Clone, Default)]
pub(in crate::hub) struct Room(Arc<AtomicUsize>);

/// One feed's part of it, which is given back with the feed.
#[derive(Debug)]
pub(super) struct Held {
    room: Room,
    bytes: usize,
}

impl Held {
    pub(super) fn new(room: Room) -> Self {
        Self { room, bytes: 0 }
    }

    pub(super) fn add(&mut self, payload: &[u8]) {
        self.bytes += cost(payload);
        self.room.0.fetch_add(cost(payload), Ordering::Relaxed);
    }

    pub(super) fn remove(&mut self, payload: &[u8]) {
        self.bytes -= cost(payload);
        self.room.0.fetch_sub(cost(payload), Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether all feeds together hold more than they may.
    pub(super) fn is_too_much(&self) -> bool {
        self.room.0.load(Ordering::Relaxed) > HELD_BYTES
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn cost(payload: &[u8]) -> usize {
    payload.len() + HELD_PUSH_COST
}
