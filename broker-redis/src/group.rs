//! What is published, on its way to Redis: batches, and the groups in which they travel.

use std::time::Duration;

use tidings::{
    broker::{Error, Published},
    envelope,
    limits::READ_MESSAGE_BYTES,
    message::Draft,
};
use tokio::{sync::oneshot, time::Instant};

/// Messages of one publish: all of them are published, or none. They are written only when they are sent.
#[derive(Debug)]
pub(super) struct Batch {
    drafts: Vec<Draft>,
    /// What each has as JSON, with the widest stamp.
    sizes: Vec<usize>,
    bytes: usize,
    min_replicas: u32,
    since: Instant,
    reply: oneshot::Sender<Published>,
}

impl Batch {
    /// Measures messages. Also where their answer will come.
    ///
    /// # Errors
    ///
    /// One is larger than a message may be.
    pub(super) fn new(drafts: Vec<Draft>, min_replicas: u32) -> Result<(Self, oneshot::Receiver<Published>), Error> {
        let sizes: Vec<_> = drafts.iter().map(envelope::len).collect();
        if let Some(bytes) = sizes.iter().find(|bytes| **bytes > READ_MESSAGE_BYTES) {
            return Err(Error::TooLarge { bytes: *bytes, limit: READ_MESSAGE_BYTES });
        }
        let bytes = sizes.iter().sum();
        let (reply, answer) = oneshot::channel();
        Ok((Self { drafts, sizes, bytes, min_replicas, since: Instant::now(), reply }, answer))
    }

    pub(super) fn drafts(&self) -> &[Draft] {
        &self.drafts
    }

    /// The same, each with its bytes as JSON with the widest stamp.
    pub(super) fn sized(&self) -> impl Iterator<Item = (&Draft, &usize)> + Clone {
        self.drafts.iter().zip(&self.sizes)
    }

    /// How many messages it has.
    pub(super) fn messages(&self) -> usize {
        self.drafts.len()
    }

    /// Their JSON.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn min_replicas(&self) -> u32 {
        self.min_replicas
    }

    /// Whether it has ids of its client's.
    pub(super) fn has_ids(&self) -> bool {
        self.drafts.iter().any(|draft| draft.dedup.is_some())
    }

    /// Whether it has waited for less than this.
    pub(super) fn is_within(&self, limit: Duration) -> bool {
        self.since.elapsed() < limit
    }

    fn answer(self, published: Published) {
        // The caller may have gone.
        let _ = self.reply.send(published);
    }
}

/// The batches of one channel that travel in one call of a script, with the same `min_replicas`.
#[derive(Debug, Default)]
pub(super) struct Group(Vec<Batch>);

impl Group {
    pub(super) fn push(&mut self, batch: Batch) {
        self.0.push(batch);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn batches(&self) -> impl Iterator<Item = &Batch> + Clone {
        self.0.iter()
    }

    /// How many batches it has.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many messages it has.
    pub(super) fn messages(&self) -> usize {
        self.batches().map(Batch::messages).sum()
    }

    /// Their JSON.
    pub(super) fn bytes(&self) -> usize {
        self.batches().map(Batch::bytes).sum()
    }

    /// Replicas that must have it.
    pub(super) fn min_replicas(&self) -> u32 {
        self.0.first().map_or(0, Batch::min_replicas)
    }

    /// Whether some have ids of their clients'.
    pub(super) fn has_ids(&self) -> bool {
        self.batches().any(Batch::has_ids)
    }

    /// Until when its call may take: the first of it has waited longest.
    pub(super) fn deadline(&self, limit: Duration) -> Instant {
        self.0.first().map_or_else(Instant::now, |batch| batch.since) + limit
    }

    /// Those that have waited for less than this, and the others.
    pub(super) fn split_late(self, limit: Duration) -> (Self, Self) {
        let (within, late) = self.0.into_iter().partition(|batch| batch.is_within(limit));
        (Self(within), Self(late))
    }

    /// Answers each batch.
    pub(super) fn answer(self, published: Vec<Published>) {
        for (batch, published) in self.0.into_iter().zip(published) {
            batch.answer(published);
        }
    }

    /// Answers all of them with the same error.
    pub(super) fn answer_all(self, error: &Error) {
        for batch in self.0 {
            batch.answer(Err(error.clone()));
        }
    }
}
