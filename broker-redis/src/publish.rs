//! Publishing: a queue for each channel that has something to publish. What arrives while a round trip is under way
//! travels together in the next call (group commit).
//!
//! A publish is queued at once. The queue's task ([`Pipeline::drain`]) lives as long as there is something in it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tidings::{
    broker::{Error, Published, Retention},
    channel::ChannelName,
    message::Draft,
};
use tokio::sync::oneshot;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    connection::Connection,
    error::{closed, cut},
    group::Batch,
    keys::Keys,
    pipeline::Pipeline,
    registry::Registry,
};

/// The publishing side of the broker.
pub(super) struct Publisher {
    pipeline: Arc<Pipeline>,
    tasks: TaskTracker,
}

impl Publisher {
    /// Nothing waits for Redis any more when `closing` is cancelled.
    pub(super) fn new(
        connection: Arc<Connection>,
        registry: Arc<Registry>,
        keys: Keys,
        retention: Retention,
        closing: CancellationToken,
    ) -> Arc<Self> {
        let tasks = TaskTracker::new();
        let pipeline = Pipeline::new(connection, registry, keys, retention, tasks.clone(), closing);
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
