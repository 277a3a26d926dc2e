//! Pushes that wait for their channel's head, or log, in the order in which they came.

use std::collections::VecDeque;

use tidings::{
    broker::adopt::Raw,
    envelope::{Claim, EnvelopeRef},
    limits::{MESSAGE_BYTES, UNREADABLE_HELD},
};

use super::held::{Held, Room};

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
    payload: Held,
    arrival_ms: i64,
    notice: Option<Hash>,
    outlived: bool,
}

/// The pushes of one channel that wait.
#[derive(Debug)]
pub(super) struct Queue {
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
}

impl Queue {
    pub(super) fn new(room: &Room) -> Self {
        Self { room: room.clone(), pushes: VecDeque::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pushes.is_empty()
    }

    /// Adds one after all others.
    pub(super) fn push(&mut self, Push { payload, arrival_ms, notice }: Push<'_>) {
        let payload = self.room.hold(payload);
        self.pushes.push_back(Waiting { payload, arrival_ms, notice: notice.copied(), outlived: false });
    }

    /// Takes the oldest.
    pub(super) fn pop(&mut self) -> Option<Waiting> {
        self.pushes.pop_front()
    }

    /// Lets the one that was just taken wait on.
    pub(super) fn put_back(&mut self, waiting: Waiting) {
        self.pushes.push_front(waiting);
    }

    /// Takes the oldest, where all feeds together hold more than they may.
    pub(super) fn pop_excess(&mut self) -> Option<Waiting> {
        if self.room.is_too_full() { self.pop() } else { None }
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
        self.pushes.drain(..excess);
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
}
