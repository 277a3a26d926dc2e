//! Publishing: a queue for each channel that has something to publish. What arrives while a round trip is under way
//! travels together in the next call (group commit).
//!
//! A publish is queued at once. The queue's task ([`Pipeline::drain`]) lives as long as there is something in it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tidings::{
    broker::{Error, Published},
    channel::ChannelName,
    message::Draft,
};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::{
    error::{closed, cut},
    group::Batch,
    pipeline::Pipeline,
    writing::Writing,
};

/// The publishing side of the broker.
pub(super) struct Publisher {
    pipeline: Arc<Pipeline>,
    tasks: TaskTracker,
}

impl Publisher {
    pub(super) fn new(writing: Writing) -> Arc<Self> {
        let tasks = TaskTracker::new();
        let pipeline = Pipeline::new(writing, tasks.clone());
        Arc::new(Self { pipeline, tasks })
    }

    /// Queues a batch in the channel's order, and returns a future of its outcome.
    pub(super) fn publish(
        &self,
        channel: &ChannelName,
        drafts: Vec<Draft>,
        min_replicas: u32,
    ) -> BoxFuture<'static, Published> {
        if drafts.is_empty() {
            return Box::pin(std::future::ready(Ok(Vec::new())));
        }
        match self.enqueue(channel, drafts, min_replicas) {
            Err(error) => Box::pin(std::future::ready(Err(error))),
            Ok(reply) => Box::pin(async move { reply.await.unwrap_or_else(|_| Err(cut())) }),
        }
    }

    /// Takes nothing more, and waits until all is answered.
    pub(super) async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn enqueue(
        &self,
        channel: &ChannelName,
        drafts: Vec<Draft>,
        min_replicas: u32,
    ) -> Result<oneshot::Receiver<Published>, Error> {
        let (batch, answer) = Batch::new(drafts, min_replicas)?;
        if self.tasks.is_closed() {
            return Err(closed());
        }
        if let Some(filled) = self.pipeline.add(channel, batch)? {
            self.tasks.spawn(Arc::clone(&self.pipeline).drain(channel.clone(), filled));
        }
        Ok(answer)
    }
}
