//! What empties a channel's queue: optimistic calls where that can be, up to two of them under way, so that the
//! publisher and Redis work at the same time; otherwise one call of the full script after the other.
//!
//! Order holds, since a second call follows the first: it is carried out after that one or not at all, and then
//! takes the full script, when the first has.

use std::{collections::VecDeque, sync::Arc};

use futures_util::future::BoxFuture;
use tidings::{broker::Error, channel::ChannelName};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::{
    connection::Connection,
    full::FullScript,
    group::{Batch, Group},
    optimistic::ChannelSnapshot,
    optimistic_calls::{Begun, OptimisticCalls, Sent},
    queue::Queues,
    registry::Registry,
    writing::Writing,
};

/// Calls under way for a channel.
const DEPTH: usize = 2;

/// A group on its way.
enum Step {
    /// In an optimistic call, which has been handed over.
    Sent(Box<Sent>),
    /// To be sent with the full script when it is its turn.
    Waits(Group),
}

impl Step {
    /// The same, to be sent with the full script.
    fn wait(self) -> Self {
        match self {
            Self::Sent(sent) => Self::Waits(sent.into_group()),
            waits @ Self::Waits(_) => waits,
        }
    }
}

/// The queues of all channels, and what sends from them.
pub(super) struct Pipeline {
    queues: Queues,
    connection: Arc<Connection>,
    registry: Arc<Registry>,
    optimistic: OptimisticCalls,
    full: Arc<FullScript>,
}

impl Pipeline {
    /// `tasks` has those that wait for replicas.
    pub(super) fn new(writing: Writing, tasks: TaskTracker) -> Arc<Self> {
        let Writing { connection, registry, .. } = writing.clone();
        let optimistic = OptimisticCalls::new(writing.clone());
        let full = FullScript::new(writing, tasks);
        Arc::new(Self { queues: Queues::default(), connection, registry, optimistic, full })
    }

    /// Queues a batch. Where nobody empties its channel's queue yet: what signals that there is enough for a second
    /// call, for [`drain`](Self::drain).
    pub(super) fn add(&self, channel: &ChannelName, batch: Batch) -> Result<Option<Arc<Notify>>, Error> {
        self.queues.add(channel, batch)
    }

    /// Publishes a channel's queue until it is empty. `filled` signals that there is enough for a second call. A task
    /// of its own, also for a lone publish: when it runs, publishes that came at the same time are in the queue as
    /// well, and travel together. When the first was sent at once, 256 callers together published a sixth less.
    pub(super) async fn drain(self: Arc<Self>, channel: ChannelName, filled: Arc<Notify>) {
        let mut under_way: VecDeque<Step> = VecDeque::with_capacity(DEPTH);
        loop {
            if let Some((group, snapshot)) = self.next_group(&channel, &under_way) {
                let beginning = self.begin(&channel, group, snapshot, under_way.is_empty());
                under_way.push_back(beginning.await);
                continue;
            }
            let may_start = under_way.len() < DEPTH;
            let answer = match under_way.front_mut() {
                None => return,
                Some(Step::Waits(_)) => None,
                Some(Step::Sent(sent)) => tokio::select! {
                    answer = sent.answer() => Some(answer),
                    () = filled.notified(), if may_start => continue,
                },
            };
            match (under_way.pop_front(), answer) {
                (Some(Step::Sent(sent)), Some(answer)) => {
                    if answer.is_refused() {
                        // Calls that were sent after it write nothing either.
                        under_way = under_way.into_iter().map(Step::wait).collect();
                    }
                    let bytes = sent.group().bytes();
                    if let Some(group) = self.optimistic.end(&channel, *sent, answer).await {
                        self.send_full(&channel, group).await;
                    }
                    self.queues.done(bytes);
                }
                (Some(Step::Waits(group)), _) => {
                    let bytes = group.bytes();
                    self.send_full(&channel, group).await;
                    self.queues.done(bytes);
                }
                _ => {}
            }
        }
    }

    /// The group that can be sent now, and the channel's state after the call before it, where that is known. Removes
    /// the queue where it is empty and nothing is under way.
    fn next_group(
        &self,
        channel: &ChannelName,
        under_way: &VecDeque<Step>,
    ) -> Option<(Group, Option<ChannelSnapshot>)> {
        let limit = self.connection.timeout();
        let fits = |batch: &Batch| batch.min_replicas() == 0 && !batch.has_ids() && batch.is_within(limit);
        match under_way.back() {
            None => {
                let group = self.queues.next_group(channel)?;
                let snapshot = self.registry.receipts().snapshot(channel).filter(|_| group.batches().all(fits));
                Some((group, snapshot))
            }
            Some(Step::Sent(sent)) if under_way.len() < DEPTH => {
                let group = self.queues.second_group(channel, fits)?;
                Some((group, Some(sent.after())))
            }
            Some(_) => None,
        }
    }

    /// Hands an optimistic call over, where it can be made; at once, unless it is the `first`.
    async fn begin(&self, channel: &ChannelName, group: Group, snapshot: Option<ChannelSnapshot>, first: bool) -> Step {
        let Some(snapshot) = snapshot else { return Step::Waits(group) };
        match self.optimistic.begin(channel, group, snapshot, first).await {
            Begun::Sent(sent) => Step::Sent(sent),
            Begun::Unsent(group) => Step::Waits(group),
            Begun::Late(group, error) => {
                self.queues.done(group.bytes());
                group.answer_all(&error);
                Step::Waits(Group::default())
            }
        }
    }

    /// Boxed: the full script's state is many times that of everything else here, and would be copied with each task.
    fn send_full<'a>(&'a self, channel: &'a ChannelName, group: Group) -> BoxFuture<'a, ()> {
        Box::pin(self.full.send(channel, group))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidings::{broker::Retention, channel::Names};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{Role, ServerUrl, keys::Keys};

    #[tokio::test]
    async fn the_task_that_a_publish_may_begin_is_small() {
        let connection = Connection::new(
            ServerUrl::parse("redis://localhost").expect("valid").into(),
            Duration::from_secs(1),
            Role::Publisher,
        );
        let (keys, closing) = (Keys::new("tidings"), CancellationToken::new());
        let retention =
            Retention { max_messages: 1, max_bytes: 1, max_age_ms: 1, dedup_window_ms: 1, dedup_max_ids: 1 };
        let registry = Registry::new(Arc::clone(&connection), keys.clone(), retention, closing.clone());
        let pipeline = Pipeline::new(Writing { connection, registry, keys, retention, closing }, TaskTracker::new());
        let channel = Names::new("tidings", "").and_then(|names| names.parse("orders")).expect("valid");
        // It is copied several times while it is begun and ended.
        let bytes = size_of_val(&pipeline.drain(channel, Arc::default()));
        assert!(bytes <= 2 << 10, "{bytes} bytes");
    }
}
