//! The full script, which is always open: one call after the other, and each knows nothing beforehand.

use std::sync::Arc;

use tidings::{
    broker::{Error, Published, Receipt},
    channel::ChannelName,
    message::{Epoch, Position},
    metrics::{self, Call},
};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use super::{
    call::{self, Answer, Seen},
    connection::Session,
    error::{self, closed, cut, slow},
    group::Group,
    optimistic::{ChannelSnapshot, Clock},
    script,
    wait::Waiters,
    writing::Writing,
};

/// What publishes groups with the full script.
pub(super) struct FullScript {
    writing: Writing,
    waiters: Waiters,
    /// Those that wait for replicas.
    tasks: TaskTracker,
}

impl FullScript {
    pub(super) fn new(writing: Writing, tasks: TaskTracker) -> Arc<Self> {
        let waiters = Waiters::new(Arc::clone(&writing.connection));
        Arc::new(Self { writing, waiters, tasks })
    }

    /// Publishes a group, and answers it.
    pub(super) async fn send(self: &Arc<Self>, channel: &ChannelName, group: Group) {
        let limit = self.writing.connection.timeout();
        let (group, late) = group.split_late(limit);
        if !late.is_empty() {
            let trouble = self.writing.connection.known_trouble();
            let reason = trouble.unwrap_or_else(|| "publishes before this one took all the time".to_owned());
            late.answer_all(&error::away(limit, &reason));
        }
        if group.is_empty() {
            return;
        }
        if self.writing.closing.is_cancelled() {
            return group.answer_all(&closed());
        }
        let sent = match group.min_replicas() {
            0 => self.call(channel, &group).await,
            wanted => return self.send_and_wait(channel, group, wanted).await,
        };
        match sent {
            Ok(published) => group.answer(published),
            Err(error) => {
                self.writing.registry.receipts().doubt(channel);
                group.answer_all(&error);
            }
        }
    }

    /// One call of the script over the shared connection.
    async fn call(&self, channel: &ChannelName, group: &Group) -> Result<Vec<Published>, Error> {
        let deadline = group.deadline(self.writing.connection.timeout());
        let mut session = self.writing.registry.reach(channel, deadline).await?;
        let name = Epoch::random();
        let call = self.write(channel, group, name);
        let sending = timeout_at(deadline, script::PUBLISH.send(&call, &mut session.connection));
        let sending = metrics::timed(Call::Publish, sending);
        let sent = self.writing.closing.run_until_cancelled(sending).await.ok_or_else(cut)?;
        let answer = sent.map_err(|_| slow())?.map_err(|error| self.writing.connection.failed(&error))?;
        let answer = self.read(answer, group)?;
        self.note(channel, &answer, name, &session, deadline).await;
        Ok(answer.published)
    }

    /// The script and WAIT, one after the other on a connection of their own. The channel's next call starts as soon
    /// as the script has answered.
    async fn send_and_wait(self: &Arc<Self>, channel: &ChannelName, group: Group, wanted: u32) {
        let begun = async {
            let deadline = group.deadline(self.writing.connection.timeout());
            let session = self.writing.registry.reach(channel, deadline).await?;
            let name = Epoch::random();
            let call = self.write(channel, &group, name);
            let sending = metrics::timed(Call::Publish, self.waiters.send(session.generation, &call, wanted, deadline));
            let (answer, wait) = self.writing.closing.run_until_cancelled(sending).await.ok_or_else(cut)??;
            let answer = self.read(answer, &group)?;
            self.note(channel, &answer, name, &session, deadline).await;
            Ok((answer.published, wait))
        };
        match begun.await {
            Err(error) => {
                self.writing.registry.receipts().doubt(channel);
                group.answer_all(&error);
            }
            Ok((published, wait)) => {
                let full = Arc::clone(self);
                self.tasks.spawn(async move {
                    let reached = full.waiters.finish(wait, wanted, &full.writing.closing);
                    let reached = metrics::timed(Call::Wait, reached).await;
                    let published = published.into_iter().map(|receipts| {
                        let (receipts, replicas) = (receipts?, reached.clone()?);
                        Ok(receipts.into_iter().map(|receipt| Receipt { replicas, ..receipt }).collect())
                    });
                    group.answer(published.collect());
                });
            }
        }
    }

    fn write(&self, channel: &ChannelName, group: &Group, name: Epoch) -> redis::Cmd {
        let seen = self.writing.registry.receipts().seen(channel);
        call::write(&self.writing.keys, channel, &self.writing.retention, seen, name, group)
    }

    fn read(&self, answer: redis::Value, group: &Group) -> Result<Answer, Error> {
        let answer = call::read(answer, group, self.writing.retention.dedup_max_ids)?;
        let own_ms = self.writing.retention.dedup_window_ms;
        if let Some(window_ms) = answer
            .window_ms
            .filter(|window_ms| *window_ms != own_ms && self.writing.connection.is_other_window(*window_ms))
        {
            let text = "another publisher has a longer --dedup-window, which is in force on the channels that both publish on: set \
                        the same for all";
            tracing::warn!(window_ms, own_ms, "{text}");
        }
        Ok(answer)
    }

    /// Remembers the last receipt, and how the call left the channel.
    async fn note(&self, channel: &ChannelName, answer: &Answer, name: Epoch, session: &Session, deadline: Instant) {
        let known = self.writing.registry.receipts();
        let all = || answer.published.iter().flatten().flatten();
        for repeated in all().filter(|receipt| receipt.duplicate) {
            // Its message was given out as well.
            known.repeat(channel, Position::new(repeated.epoch, repeated.sequence), repeated.time_ms);
        }
        let receipts = || all().filter(|receipt| !receipt.duplicate).map(|receipt| receipt.sequence);
        let last = all().filter(|receipt| !receipt.duplicate).max_by_key(|receipt| receipt.sequence);
        if let (Some(last), Some(first)) = (last, receipts().min()) {
            let Receipt { epoch, sequence, time_ms, .. } = *last;
            // The call was made after that, and did all that a full one does.
            let full = ((deadline - self.writing.connection.timeout()).into_std(), session.generation);
            let snapshot = ChannelSnapshot { name, epoch, last: sequence, time_ms, clock: Clock::at(time_ms), full };
            known.set_snapshot(channel, snapshot);
            // Other publishers got the receipts before it: an epoch has no holes.
            let first = if answer.epoch_first > 0 { answer.epoch_first } else { first };
            let given = Seen { first, last: Position::new(epoch, sequence), time_ms, call: Some(name) };
            self.writing.registry.note(channel, given, session, deadline).await;
        } else {
            known.doubt(channel);
        }
    }
}
