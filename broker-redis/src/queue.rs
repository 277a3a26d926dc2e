//! What waits to be published: a queue a channel, whose batches travel in groups.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tidings::{
    broker::Error,
    channel::ChannelName,
    limits::{BATCH_MESSAGES, GROUP_BYTES, PIPELINED_MESSAGES, WAITING_BYTES},
};
use tokio::sync::Notify;

use super::group::{Batch, Group};

/// What waits for one channel.
#[derive(Default)]
struct Queue {
    batches: VecDeque<Batch>,
    messages: usize,
    /// Notified when there is enough for a second call.
    filled: Arc<Notify>,
}

/// Messages that wait for a second call. In the simulation few are published, and calls overlap all the same.
const SECOND_CALL: usize = if cfg!(simulation) { 2 } else { PIPELINED_MESSAGES };

/// The queues of all channels that have something to publish.
#[derive(Default)]
pub(super) struct Queues {
    queues: Mutex<HashMap<ChannelName, Queue>>,
    waiting_bytes: AtomicUsize,
}

impl Queues {
    fn lock(&self) -> MutexGuard<'_, HashMap<ChannelName, Queue>> {
        // Nothing that holds the lock leaves it half-written.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a batch. Where its channel's queue is new, and nobody empties it yet: what signals that there is
    /// enough for a second call.
    pub(super) fn add(&self, channel: &ChannelName, batch: Batch) -> Result<Option<Arc<Notify>>, Error> {
        if self.waiting_bytes.fetch_add(batch.bytes(), Ordering::Relaxed) + batch.bytes() > WAITING_BYTES {
            self.waiting_bytes.fetch_sub(batch.bytes(), Ordering::Relaxed);
            return Err(Error::Unavailable(format!(
                "more than {WAITING_BYTES} bytes wait for Redis already; it is slower than what is published"
            )));
        }
        let mut queues = self.lock();
        if let Some(queue) = queues.get_mut(channel) {
            let before = queue.messages;
            queue.push(batch);
            if (before..queue.messages).contains(&(SECOND_CALL - 1)) {
                queue.filled.notify_one();
            }
            return Ok(None);
        }
        let mut queue = Queue::default();
        queue.push(batch);
        let filled = Arc::clone(&queue.filled);
        queues.insert(channel.clone(), queue);
        Ok(Some(filled))
    }

    /// The batches that travel in the next call. Removes the queue when there are none.
    pub(super) fn next_group(&self, channel: &ChannelName) -> Option<Group> {
        let mut queues = self.lock();
        let group = queues.get_mut(channel)?.take(|_| true);
        if group.is_empty() {
            queues.remove(channel);
            return None;
        }
        Some(group)
    }

    /// The batches that travel in a second call, where there are enough of them, and where they fit.
    pub(super) fn second_group(&self, channel: &ChannelName, fits: impl Fn(&Batch) -> bool) -> Option<Group> {
        let mut queues = self.lock();
        let queue = queues.get_mut(channel).filter(|queue| queue.messages >= SECOND_CALL)?;
        let group = queue.take(fits);
        (!group.is_empty()).then_some(group)
    }

    /// A group of so many bytes waits no more.
    pub(super) fn done(&self, bytes: usize) {
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Queue {
    fn push(&mut self, batch: Batch) {
        self.messages += batch.messages();
        self.batches.push_back(batch);
    }

    /// Takes as many from the front as one call carries and as fit.
    fn take(&mut self, fits: impl Fn(&Batch) -> bool) -> Group {
        let (mut messages, mut bytes) = (0, 0);
        let mut group = Group::default();
        while let Some(batch) = self.batches.front().filter(|batch| fits(batch)) {
            messages += batch.messages();
            bytes += batch.bytes();
            // WAIT holds its connection, so what needs replicas travels apart from what doesn't.
            let joins = |first: &Batch| {
                messages <= BATCH_MESSAGES && bytes <= GROUP_BYTES && batch.min_replicas() == first.min_replicas()
            };
            if !group.batches().next().is_none_or(joins) {
                break;
            }
            self.messages -= batch.messages();
            if let Some(batch) = self.batches.pop_front() {
                group.push(batch);
            }
        }
        group
    }
}
