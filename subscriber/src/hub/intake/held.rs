//! How much waits for heads. All feeds of a hub share one bound, so that many topics cost no more than one.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use tidings::limits::{HELD_BYTES, HELD_PUSH_COST};

/// What all feeds hold, in bytes.
#[derive(Debug, Clone, Default)]
pub(in crate::hub) struct Room(Arc<AtomicUsize>);

/// The payload of a push that waits, which gives its room back.
#[derive(Debug)]
pub(super) struct Held {
    payload: Bytes,
    room: Room,
}

impl Room {
    /// Holds a payload, in a copy: the push itself keeps all alive that one read of the socket brought.
    pub(super) fn hold(&self, payload: &[u8]) -> Held {
        self.0.fetch_add(cost(payload), Relaxed);
        Held { payload: Bytes::copy_from_slice(payload), room: self.clone() }
    }

    /// What all feeds together hold, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// Whether that is more than they may.
    pub(super) fn is_too_full(&self) -> bool {
        self.bytes() > HELD_BYTES
    }
}

impl Deref for Held {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.payload
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.0.fetch_sub(cost(&self.payload), Relaxed);
    }
}

fn cost(payload: &[u8]) -> usize {
    payload.len() + HELD_PUSH_COST
}
