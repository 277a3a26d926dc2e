//! How much waits for heads. All feeds of a hub share one bound, so that many topics cost no more than one, and a large
//! message that comes through many of them waits once.

use std::{
    ops::Deref,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use tidings::limits::{HELD_BYTES, HELD_PUSH_COST, SHARED_BYTES};

/// What all feeds hold.
#[derive(Debug, Clone, Default)]
pub(in crate::hub) struct Room(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    bytes: AtomicUsize,
    /// The large payload that came last: topics bring a message one after the other.
    last: Mutex<Weak<Payload>>,
}

/// The payload of a push that waits, which gives its room back.
#[derive(Debug)]
pub(super) struct Held {
    payload: Arc<Payload>,
    room: Room,
}

#[derive(Debug)]
struct Payload {
    bytes: Box<[u8]>,
    room: Room,
}

impl Room {
    /// Holds a payload, in a copy: the push itself keeps all alive that one read of the socket brought.
    pub(super) fn hold(&self, payload: &[u8]) -> Held {
        self.0.bytes.fetch_add(HELD_PUSH_COST, Relaxed);
        let payload = match payload.len() {
            SHARED_BYTES.. => self.share(payload),
            _ => Arc::new(self.copy(payload)),
        };
        Held { payload, room: self.clone() }
    }

    fn share(&self, payload: &[u8]) -> Arc<Payload> {
        // Nothing that holds the lock leaves it half-written.
        let mut last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = last.upgrade().filter(|last| *last.bytes == *payload) {
            return same;
        }
        let copy = Arc::new(self.copy(payload));
        *last = Arc::downgrade(&copy);
        copy
    }

    fn copy(&self, payload: &[u8]) -> Payload {
        self.0.bytes.fetch_add(payload.len(), Relaxed);
        Payload { bytes: payload.into(), room: self.clone() }
    }

    /// What all feeds together hold, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.0.bytes.load(Relaxed)
    }

    /// Whether all feeds together hold more than they may.
    pub(super) fn is_too_full(&self) -> bool {
        self.bytes() > HELD_BYTES
    }
}

impl Deref for Held {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.payload.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.0.bytes.fetch_sub(HELD_PUSH_COST, Relaxed);
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        self.room.0.bytes.fetch_sub(self.bytes.len(), Relaxed);
    }
}
