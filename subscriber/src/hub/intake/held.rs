//! Pushes that wait for their channel's head, or log, in the order in which they came. All feeds of a hub share one
//! bound, so that many topics cost no more than one.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use tidings::{
    broker::adopt::Raw,
    envelope::{Claim, EnvelopeRef},
    limits::{HELD_BYTES, HELD_PUSH_COST, MESSAGE_BYTES, UNREADABLE_HELD},
};

/// What all feeds hold, in bytes.
#[derive(Debug, Clone, Default)]
pub(in crate::hub) struct Room(Arc<AtomicUsize>);

#[cfg(test)]
impl Room {
    /// What is taken of it.
    pub(super) fn taken(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// The hash of what was adopted.
pub(super) type Hash = [u8; Raw::HASH_BYTES];

/// One push as it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Push<'a> {
    pub(super) payload: &'a [u8],
    pub(super) arrival_ms: i64,
    /// Where it is a notice.
    pub(super) notice: Option<&'a Hash>,
}

/// A push that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    payload: Bytes,
    arrival_ms: i64,
    notice: Option<Hash>,
    outlived: bool,
}

/// The pushes of one channel that wait. Their room is given back with them.
#[derive(Debug)]
pub(super) struct Held {
    room: Room,
    pushes: VecDeque<Waiting>,
}

impl Waiting {
    /// What came.
    pub(super) fn push(&self) -> Push<'_> {
        Push { payload: &self.payload, arrival_ms: self.arrival_ms, notice: self.notice.as_ref() }
    }

    /// Whether the live connection was lost since.
    pub(super) fn is_outlived(&self) -> bool {
        self.outlived
    }

    fn claim(&self) -> Option<Claim> {
        EnvelopeRef::read(&self.payload, self.arrival_ms).claim()
    }

    fn cost(&self) -> usize {
        self.payload.len() + HELD_PUSH_COST
    }
}

impl Held {
    pub(super) fn new(room: &Room) -> Self {
        Self { room: room.clone(), pushes: VecDeque::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pushes.is_empty()
    }

    /// Adds one after all others.
    pub(super) fn push(&mut self, Push { payload, arrival_ms, notice }: Push<'_>) {
        // A copy: the push itself keeps all alive that one read of the socket brought.
        let payload = Bytes::copy_from_slice(payload);
        let waiting = Waiting { payload, arrival_ms, notice: notice.copied(), outlived: false };
        self.room.0.fetch_add(waiting.cost(), Ordering::Relaxed);
        self.pushes.push_back(waiting);
    }

    /// Takes the oldest.
    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.pushes.pop_front()?;
        self.room.0.fetch_sub(waiting.cost(), Ordering::Relaxed);
        Some(waiting)
    }

    /// Lets the one that was just taken wait on.
    pub(super) fn put_back(&mut self, waiting: Waiting) {
        self.room.0.fetch_add(waiting.cost(), Ordering::Relaxed);
        self.pushes.push_front(waiting);
    }

    /// Takes the oldest, where all feeds together hold more than they may.
    pub(super) fn pop_excess(&mut self) -> Option<Waiting> {
        if self.room.0.load(Ordering::Relaxed) > HELD_BYTES { self.pop() } else { None }
    }

    /// Drops the oldest, beyond the part of a channel that can't be read. Answers how many.
    pub(super) fn shed(&mut self) -> usize {
        // Of small ones some hundreds, of the largest one.
        let (mut bytes, mut kept) = (0, 0);
        for waiting in self.pushes.iter().rev().take(UNREADABLE_HELD) {
            bytes += waiting.payload.len();
            if kept > 0 && bytes > MESSAGE_BYTES {
                break;
            }
            kept += 1;
        }
        let excess = self.pushes.len() - kept;
        for _ in 0..excess {
            self.pop();
        }
        excess
    }

    /// The live connection was lost.
    pub(super) fn outlive(&mut self) {
        self.pushes.iter_mut().for_each(|waiting| waiting.outlived = true);
    }

    /// Whether it was lost since one of them came.
    pub(super) fn has_outlived(&self) -> bool {
        self.pushes.iter().any(|waiting| waiting.outlived)
    }

    /// What they claim, as far as they do.
    pub(super) fn claims(&self) -> impl DoubleEndedIterator<Item = Claim> {
        self.pushes.iter().filter_map(Waiting::claim)
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.pushes.iter().map(Waiting::cost).sum()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let bytes = self.pushes.iter().map(Waiting::cost).sum();
        self.room.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}
