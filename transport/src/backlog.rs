//! What came over an HTTP/2 connection and no call has read yet. It lies with h2, as much as its windows allow, for
//! calls that wait for something: for a share of what may be under way, for keys, or for the client to take answers.
//!
//! A connection's windows bound it, and connections are many. So all that an address has lie there is counted, as long
//! as it is more than a little; where that is too much its connections are not read from until calls have read some,
//! and the rest lies with the sender. What is read makes room at once, so that those who wait for nothing go on.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering},
};

use futures_util::task::AtomicWaker;
use tidings::limits::{BACKLOG_PART_BYTES, BACKLOG_SHORT_BYTES, FRAME_COST, UNCOUNTED_BACKLOG_BYTES};
use tidings_auth::Account;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(super) use self::{body::Followed, room::Room};

mod body;
mod room;

/// That of one connection. Bytes are counted with what h2 takes for each frame.
#[derive(Debug)]
pub(super) struct Backlog {
    /// Where there is none, nothing is waited for.
    address: Option<Arc<Account>>,
    /// Of HTTP/1, where nothing lies with a library, only what is read is counted, and nobody asks.
    unread: AtomicIsize,
    /// What it has of its address's share, in bytes.
    held: AtomicUsize,
    share: Mutex<Option<OwnedSemaphorePermit>>,
    /// Requests that have come to be calls, and those whose bodies are with them still.
    accepted: AtomicUsize,
    open: AtomicUsize,
    /// Whether something was read lately.
    has_moved: AtomicBool,
    /// Who reads the connection, where that waits.
    is_waiting: AtomicBool,
    reader: AtomicWaker,
}

impl Backlog {
    /// Nothing yet, of a connection from this address.
    pub(super) fn of(address: Option<Arc<Account>>) -> Arc<Self> {
        Arc::new(Self {
            address,
            unread: AtomicIsize::new(0),
            held: AtomicUsize::new(0),
            share: Mutex::default(),
            accepted: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            has_moved: AtomicBool::new(false),
            is_waiting: AtomicBool::new(false),
            reader: AtomicWaker::new(),
        })
    }

    /// A DATA frame begins. All of it counts, before h2 has it.
    pub(super) fn comes(&self, length: usize) {
        self.unread.fetch_add(cost(length), Ordering::Relaxed);
    }

    /// A call has read a frame.
    fn is_read(&self, length: usize) {
        // Before it is looked whether somebody waits for it.
        self.unread.fetch_sub(cost(length), Ordering::SeqCst);
        self.has_moved.store(true, Ordering::Relaxed);
        if self.held.load(Ordering::Relaxed) > 0 {
            self.give_back();
        }
        if self.is_waiting.load(Ordering::SeqCst) {
            self.reader.wake();
        }
    }

    /// Nothing is with any call: what was counted and never read came for calls that had ended.
    fn forget(&self) {
        self.unread.store(0, Ordering::Relaxed);
        self.give_back();
    }

    fn semaphore(&self) -> Option<&Arc<Semaphore>> {
        self.address.as_ref().map(|address| address.backlog())
    }

    /// Whether its address has little left.
    fn is_short(&self) -> bool {
        self.semaphore().is_some_and(|left| left.available_permits() < BACKLOG_SHORT_BYTES)
    }

    /// How much of the address's share is needed for what is unread.
    fn needed(&self) -> usize {
        let unread = usize::try_from(self.unread.load(Ordering::SeqCst)).unwrap_or_default();
        unread.saturating_sub(UNCOUNTED_BACKLOG_BYTES).next_multiple_of(BACKLOG_PART_BYTES)
    }

    /// Takes what it needs, as far as that is there. Whether it has all of it.
    fn take(&self) -> bool {
        let Some(left) = self.semaphore() else { return true };
        let lacks = self.needed().saturating_sub(self.held.load(Ordering::Relaxed));
        if lacks > 0 {
            let taken = lacks.min(left.available_permits());
            let share = u32::try_from(taken).ok().and_then(|taken| Arc::clone(left).try_acquire_many_owned(taken).ok());
            if let Some(share) = share {
                self.add(share);
            }
        }
        self.needed() <= self.held.load(Ordering::Relaxed)
    }

    fn add(&self, more: OwnedSemaphorePermit) {
        let mut share = self.share();
        match &mut *share {
            Some(share) => share.merge(more),
            None => *share = Some(more),
        }
        self.note(&share);
    }

    fn give_back(&self) {
        let mut share = self.share();
        let spare = share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits).saturating_sub(self.needed());
        if let Some(share) = &mut *share {
            drop(share.split(spare));
        }
        self.note(&share);
    }

    fn note(&self, share: &Option<OwnedSemaphorePermit>) {
        self.held.store(share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits), Ordering::Relaxed);
    }

    fn share(&self) -> MutexGuard<'_, Option<OwnedSemaphorePermit>> {
        self.share.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a frame takes. h2 keeps none that are empty.
fn cost(length: usize) -> isize {
    if length == 0 { 0 } else { (length + FRAME_COST) as isize }
}

#[cfg(test)]
mod tests;
