//! What waits to be published: a queue a channel, whose batches travel in groups.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tidings::{
    broker::{Error, Published},
    channel::ChannelName,
    limits::{BATCH_MESSAGES, GROUP_BYTES, PIPELINED_MESSAGES, WAITING_BYTES},
};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::call::Batch;

/// A batch on its way.
pub(super) struct Job {
    pub(super) batch: Batch,
    bytes: usize,
    pub(super) min_replicas: u32,
    pub(super) since: Instant,
    reply: oneshot::Sender<Published>,
}

impl Job {
    /// A batch, and where its answer will come.
    pub(super) fn new(batch: Batch, min_replicas: u32) -> (Self, oneshot::Receiver<Published>) {
        let bytes = batch.sizes.iter().sum();
        let (reply, answer) = oneshot::channel();
        (Self { batch, bytes, min_replicas, since: Instant::now(), reply }, answer)
    }

    /// How many messages it has.
    pub(super) fn messages(&self) -> usize {
        self.batch.drafts.len()
    }
}

/// The batches of one call.
pub(super) type Group = Vec<Job>;

/// What waits for one channel.
#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    messages: usize,
    /// Notified when there is enough for a second call.
    filled: Arc<Notify>,
}

/// The queues of all channels that have something to publish.
/// Messages that wait for a second call. In the simulation few are published, and calls overlap all the same.
const SECOND_CALL: usize = if cfg!(simulation) { 2 } else { PIPELINED_MESSAGES };

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
    pub(super) fn add(&self, channel: &ChannelName, job: Job) -> Result<Option<Arc<Notify>>, Error> {
        if self.waiting_bytes.fetch_add(job.bytes, Ordering::Relaxed) + job.bytes > WAITING_BYTES {
            self.waiting_bytes.fetch_sub(job.bytes, Ordering::Relaxed);
            return Err(Error::Unavailable(format!(
                "more than {WAITING_BYTES} bytes wait for Redis already; it is slower than what is published"
            )));
        }
        let mut queues = self.lock();
        if let Some(queue) = queues.get_mut(channel) {
            let before = queue.messages;
            queue.push(job);
            if (before..queue.messages).contains(&(SECOND_CALL - 1)) {
                queue.filled.notify_one();
            }
            return Ok(None);
        }
        let mut queue = Queue::default();
        queue.push(job);
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
    pub(super) fn second_group(&self, channel: &ChannelName, fits: impl Fn(&Job) -> bool) -> Option<Group> {
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
    fn push(&mut self, job: Job) {
        self.messages += job.messages();
        self.jobs.push_back(job);
    }

    /// Takes as many from the front as one call carries and as fit.
    fn take(&mut self, fits: impl Fn(&Job) -> bool) -> Group {
        let (mut messages, mut bytes) = (0, 0);
        let mut group = Group::new();
        while let Some(job) = self.jobs.front().filter(|job| fits(job)) {
            messages += job.messages();
            bytes += job.bytes;
            // WAIT holds its connection, so what needs replicas travels apart from what doesn't.
            let joins = |first: &Job| {
                messages <= BATCH_MESSAGES && bytes <= GROUP_BYTES && job.min_replicas == first.min_replicas
            };
            if !group.first().is_none_or(joins) {
                break;
            }
            self.messages -= job.messages();
            group.extend(self.jobs.pop_front());
        }
        group
    }
}

/// The JSON of a group.
pub(super) fn bytes(group: &[Job]) -> usize {
    group.iter().map(|job| job.bytes).sum()
}

/// Until when a group's call may take: the first of it has waited longest.
pub(super) fn deadline(group: &[Job], limit: Duration) -> Instant {
    group.first().map_or_else(Instant::now, |job| job.since) + limit
}

/// Answers each batch of a group.
pub(super) fn answer(group: Group, published: Vec<Published>) {
    for (job, published) in group.into_iter().zip(published) {
        // The caller may have gone.
        let _ = job.reply.send(published);
    }
}

/// Answers all of them with the same error.
pub(super) fn answer_all(group: Group, error: &Error) {
    for job in group {
        let _ = job.reply.send(Err(error.clone()));
    }
}
