//! What waits to be published: a queue a channel, whose batches travel in groups.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::call::Outgoing;
use crate::{
    broker::{Error, Published},
    channel::ChannelName,
    limits::{BATCH_MESSAGES, GROUP_BYTES, WAITING_BYTES},
};

/// A batch on its way.
pub(super) struct Job {
    pub(super) messages: Vec<Outgoing>,
    bytes: usize,
    pub(super) min_replicas: u32,
    pub(super) since: Instant,
    reply: oneshot::Sender<Published>,
}

impl Job {
    /// A batch, and where its answer will come.
    pub(super) fn new(messages: Vec<Outgoing>, min_replicas: u32) -> (Self, oneshot::Receiver<Published>) {
        let bytes = messages.iter().map(|message| message.encoded.len()).sum();
        let (reply, answer) = oneshot::channel();
        (Self { messages, bytes, min_replicas, since: Instant::now(), reply }, answer)
    }
}

/// The batches of one call.
pub(super) type Group = Vec<Job>;

/// The queues of all channels that have something to publish.
#[derive(Default)]
pub(super) struct Queues {
    queues: Mutex<HashMap<ChannelName, VecDeque<Job>>>,
    waiting_bytes: AtomicUsize,
}

impl Queues {
    fn lock(&self) -> MutexGuard<'_, HashMap<ChannelName, VecDeque<Job>>> {
        // Nothing that holds the lock leaves it half-written.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a batch its place. True when its channel's queue is new, and nobody empties it yet.
    pub(super) fn add(&self, channel: &ChannelName, job: Job) -> Result<bool, Error> {
        if self.waiting_bytes.fetch_add(job.bytes, Ordering::Relaxed) + job.bytes > WAITING_BYTES {
            self.waiting_bytes.fetch_sub(job.bytes, Ordering::Relaxed);
            return Err(Error::Unavailable(format!(
                "more than {WAITING_BYTES} bytes wait for Redis already; it is slower than what is published"
            )));
        }
        let mut queues = self.lock();
        if let Some(queue) = queues.get_mut(channel) {
            queue.push_back(job);
            return Ok(false);
        }
        queues.insert(channel.clone(), VecDeque::from([job]));
        Ok(true)
    }

    /// The batches that travel in the next call. Removes the queue when there are none.
    pub(super) fn next_group(&self, channel: &ChannelName) -> Option<Group> {
        let mut queues = self.lock();
        let queue = queues.get_mut(channel)?;
        let Some(first) = queue.pop_front() else {
            queues.remove(channel);
            return None;
        };
        let (mut messages, mut bytes) = (first.messages.len(), first.bytes);
        let mut group = vec![first];
        while let Some(job) = queue.front() {
            messages += job.messages.len();
            bytes += job.bytes;
            // WAIT holds its connection, so what needs replicas travels apart from what doesn't.
            if messages > BATCH_MESSAGES || bytes > GROUP_BYTES || job.min_replicas != group[0].min_replicas {
                break;
            }
            group.extend(queue.pop_front());
        }
        Some(group)
    }

    /// A group of so many bytes waits no more.
    pub(super) fn done(&self, bytes: usize) {
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
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
        // Whoever asked may have gone.
        let _ = job.reply.send(published);
    }
}

/// Answers all of them with the same error.
pub(super) fn answer_all(group: Group, error: &Error) {
    for job in group {
        let _ = job.reply.send(Err(error.clone()));
    }
}
