//! Publishing: a queue for each channel that has something to publish. What arrives while a round trip is under way
//! travels together in the next call (group commit).
//!
//! A publish is queued at once. The queue's task (`pipeline`) lives as long as there is something in
//! it. Here is the full script, which is always open: one call of the script that knows nothing beforehand.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tidings::{
    broker::{Error, Published, Receipt, Retention},
    channel::ChannelName,
    message::{Draft, Epoch, Position},
    metrics::{self, Call},
};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    call::{self, Answer, Batch, Seen},
    connection::{Connection, Session},
    error::{self, closed, cut, slow},
    keys::Keys,
    optimistic::{ChannelSnapshot, Clock},
    queue::{Group, Job, Queues, answer, answer_all, deadline},
    registry::Registry,
    script,
    wait::Waiters,
};

/// The publishing side of the broker.
pub(super) struct Publisher {
    pub(super) connection: Arc<Connection>,
    pub(super) keys: Keys,
    pub(super) retention: Retention,
    pub(super) registry: Arc<Registry>,
    waiters: Waiters,
    pub(super) queues: Queues,
    tasks: TaskTracker,
    /// Cancelled when nothing may wait for Redis any more.
    pub(super) closing: CancellationToken,
}

impl Publisher {
    pub(super) fn new(
        connection: Arc<Connection>,
        registry: Arc<Registry>,
        keys: Keys,
        retention: Retention,
        closing: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            waiters: Waiters::new(Arc::clone(&connection)),
            connection,
            keys,
            retention,
            registry,
            queues: Queues::default(),
            tasks: TaskTracker::new(),
            closing,
        })
    }

    /// Queues a batch in the channel's order, and returns a future of its outcome.
    pub(super) fn publish(
        self: &Arc<Self>,
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
        self: &Arc<Self>,
        channel: &ChannelName,
        drafts: Vec<Draft>,
        min_replicas: u32,
    ) -> Result<oneshot::Receiver<Published>, Error> {
        let batch = Batch::new(drafts)?;
        if self.tasks.is_closed() {
            return Err(closed());
        }
        let (job, answer) = Job::new(batch, min_replicas);
        if let Some(filled) = self.queues.add(channel, job)? {
            self.tasks.spawn(Arc::clone(self).drain(channel.clone(), filled));
        }
        Ok(answer)
    }

    /// Publishes a group with the full script, and answers it.
    pub(super) async fn send(self: &Arc<Self>, channel: &ChannelName, group: Group) {
        let limit = self.connection.timeout();
        let (group, late): (Group, Group) = group.into_iter().partition(|job| job.since.elapsed() < limit);
        if !late.is_empty() {
            let trouble = self.connection.known_trouble();
            let reason = trouble.unwrap_or_else(|| "publishes before this one took all the time".to_owned());
            answer_all(late, &error::away(limit, &reason));
        }
        if group.is_empty() {
            return;
        }
        if self.closing.is_cancelled() {
            return answer_all(group, &closed());
        }
        let sent = match group[0].min_replicas {
            0 => self.call(channel, &group).await,
            wanted => return self.send_and_wait(channel, group, wanted).await,
        };
        match sent {
            Ok(published) => answer(group, published),
            Err(error) => {
                self.registry.receipts.doubt(channel);
                answer_all(group, &error);
            }
        }
    }

    /// One call of the script over the shared connection.
    async fn call(&self, channel: &ChannelName, group: &[Job]) -> Result<Vec<Published>, Error> {
        let deadline = deadline(group, self.connection.timeout());
        let mut session = self.registry.reach(channel, deadline).await?;
        let name = Epoch::random();
        let call = self.write(channel, group, name);
        let sending = timeout_at(deadline, script::PUBLISH.send(&call, &mut session.connection));
        let sending = metrics::timed(Call::Publish, sending);
        let sent = self.closing.run_until_cancelled(sending).await.ok_or_else(cut)?;
        let answer = sent.map_err(|_| slow())?.map_err(|error| self.connection.failed(&error))?;
        let answer = self.read(answer, group)?;
        self.note(channel, &answer, name, &session, deadline).await;
        Ok(answer.published)
    }

    /// The script and WAIT, one after the other on a connection of their own. The channel's next call starts as soon
    /// as the script has answered.
    async fn send_and_wait(self: &Arc<Self>, channel: &ChannelName, group: Group, wanted: u32) {
        let begun = async {
            let deadline = deadline(&group, self.connection.timeout());
            let session = self.registry.reach(channel, deadline).await?;
            let name = Epoch::random();
            let call = self.write(channel, &group, name);
            let sending = metrics::timed(Call::Publish, self.waiters.send(&call, wanted, deadline));
            let (answer, wait) = self.closing.run_until_cancelled(sending).await.ok_or_else(cut)??;
            let answer = self.read(answer, &group)?;
            self.note(channel, &answer, name, &session, deadline).await;
            Ok((answer.published, wait))
        };
        match begun.await {
            Err(error) => {
                self.registry.receipts.doubt(channel);
                answer_all(group, &error);
            }
            Ok((published, wait)) => {
                let publisher = Arc::clone(self);
                self.tasks.spawn(async move {
                    let reached = publisher.waiters.finish(wait, wanted, &publisher.closing);
                    let reached = metrics::timed(Call::Wait, reached).await;
                    let published = published.into_iter().map(|receipts| {
                        let (receipts, replicas) = (receipts?, reached.clone()?);
                        Ok(receipts.into_iter().map(|receipt| Receipt { replicas, ..receipt }).collect())
                    });
                    answer(group, published.collect());
                });
            }
        }
    }

    fn write(&self, channel: &ChannelName, group: &[Job], name: Epoch) -> redis::Cmd {
        let batches = group.iter().map(|job| &job.batch);
        let seen = self.registry.receipts.seen(channel);
        call::write(&self.keys, channel, &self.retention, seen, name, group[0].min_replicas, batches)
    }

    fn read(&self, answer: redis::Value, group: &[Job]) -> Result<Answer, Error> {
        let batches: Vec<&Batch> = group.iter().map(|job| &job.batch).collect();
        let answer = call::read(answer, &batches, self.retention.dedup_max_ids)?;
        let own_ms = self.retention.dedup_window_ms;
        if let Some(window_ms) =
            answer.window_ms.filter(|window_ms| *window_ms != own_ms && self.connection.is_other_window(*window_ms))
        {
            let text = "another publisher has a longer --dedup-window, which is in force on the channels that both publish on: set \
                        the same for all";
            tracing::warn!(window_ms, own_ms, "{text}");
        }
        Ok(answer)
    }

    /// Remembers the last receipt, and how the call left the channel.
    async fn note(&self, channel: &ChannelName, answer: &Answer, name: Epoch, session: &Session, deadline: Instant) {
        let all = || answer.published.iter().flatten().flatten();
        for repeated in all().filter(|receipt| receipt.duplicate) {
            // Its message was given out as well.
            self.registry.receipts.repeat(channel, Position::new(repeated.epoch, repeated.sequence), repeated.time_ms);
        }
        let receipts = || all().filter(|receipt| !receipt.duplicate).map(|receipt| receipt.sequence);
        let last = all().filter(|receipt| !receipt.duplicate).max_by_key(|receipt| receipt.sequence);
        if let (Some(last), Some(first)) = (last, receipts().min()) {
            let Receipt { epoch, sequence, time_ms, .. } = *last;
            // The call was made after that, and did all that a full one does.
            let full = ((deadline - self.connection.timeout()).into_std(), session.generation);
            let snapshot = ChannelSnapshot { name, epoch, last: sequence, time_ms, clock: Clock::at(time_ms), full };
            self.registry.receipts.set_snapshot(channel, snapshot);
            // Other publishers got the receipts before it: an epoch has no holes.
            let first = if answer.epoch_first > 0 { answer.epoch_first } else { first };
            let given = Seen { first, last: Position::new(epoch, sequence), time_ms, call: Some(name) };
            self.registry.note(channel, given, session, deadline).await;
        } else {
            self.registry.receipts.doubt(channel);
        }
    }
}
