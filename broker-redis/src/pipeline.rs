//! What empties a channel's queue: optimistic calls where that can be, up to two of them under way, so that the
//! publisher and Redis work at the same time; otherwise one call after the other.
//!
//! Order holds, since a second call follows the first: it is carried out after that one or not at all, and then
//! takes the full script, when the first has.

use std::{collections::VecDeque, sync::Arc};

use futures_util::{FutureExt as _, future::BoxFuture};
use redis::{RedisResult, Value};
use tidings::{
    broker::Error,
    channel::ChannelName,
    message::Position,
    metrics::{Call, Timing},
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{
    call::{Seen, malformed_reply},
    connection::Session,
    error::{self, cut, slow},
    optimistic::{ChannelSnapshot, Clock, OptimisticAppend},
    publish::Publisher,
    queue::{self, Group, Job, answer, answer_all, deadline},
    script,
};

/// Calls under way for a channel.
const DEPTH: usize = 2;

/// A group on its way.
enum Step {
    /// An optimistic call, which has been handed over.
    Sent(Box<Sent>),
    /// To be sent with the full script when it is its turn.
    Waits(Group),
}

struct Sent {
    group: Group,
    append: OptimisticAppend,
    session: Session,
    deadline: Instant,
    answer: BoxFuture<'static, Answer>,
}

/// What Redis answered, or why it is not known.
type Answer = Result<RedisResult<Value>, Error>;

/// Whether nothing was written, so that the full script has to be taken.
fn is_refused(answer: &Answer) -> bool {
    match answer {
        Ok(Ok(answer)) => *answer == Value::Int(0),
        Ok(Err(error)) => script::is_missing(error),
        Err(_) => false,
    }
}

impl Step {
    /// The same, to be sent with the full script.
    fn wait(self) -> Self {
        match self {
            Self::Sent(sent) => Self::Waits(sent.group),
            waits @ Self::Waits(_) => waits,
        }
    }
}

impl Publisher {
    /// Publishes a channel's queue until it is empty. `filled` signals that there is enough for a second call. A task
    /// of its own, also for a lone publish: when it runs, publishes that came at the same time are in the queue as
    /// well, and travel together. When the first was sent at once, 256 callers together published a sixth less.
    pub(super) async fn drain(self: Arc<Self>, channel: ChannelName, filled: Arc<Notify>) {
        let mut under_way: VecDeque<Step> = VecDeque::with_capacity(DEPTH);
        loop {
            if let Some((group, snapshot)) = self.next_group(&channel, &under_way) {
                let preparing = self.prepare(&channel, group, snapshot, under_way.is_empty());
                under_way.push_back(preparing.await);
                continue;
            }
            let may_start = under_way.len() < DEPTH;
            let answer = match under_way.front_mut() {
                None => return,
                Some(Step::Waits(_)) => None,
                Some(Step::Sent(sent)) => tokio::select! {
                    answer = &mut sent.answer => Some(answer),
                    () = filled.notified(), if may_start => continue,
                },
            };
            match (under_way.pop_front(), answer) {
                (Some(Step::Sent(sent)), Some(answer)) => {
                    if is_refused(&answer) {
                        // Calls that were sent after it write nothing either.
                        under_way = under_way.into_iter().map(Step::wait).collect();
                    }
                    self.complete(&channel, *sent, answer).await;
                }
                (Some(Step::Waits(group)), _) => self.send_waiting(&channel, group).await,
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
        let fits = |job: &Job| job.min_replicas == 0 && !job.batch.has_ids() && job.since.elapsed() < limit;
        match under_way.back() {
            None => {
                let group = self.queues.next_group(channel)?;
                let snapshot = self.registry.receipts.snapshot(channel).filter(|_| group.iter().all(fits));
                Some((group, snapshot))
            }
            Some(Step::Sent(sent)) if under_way.len() < DEPTH => {
                let group = self.queues.second_group(channel, fits)?;
                Some((group, Some(sent.append.after)))
            }
            Some(_) => None,
        }
    }

    /// Hands an optimistic call over, where it can be made; at once, unless it is the `first`, which nothing is held up
    /// by.
    async fn prepare(
        &self,
        channel: &ChannelName,
        group: Group,
        snapshot: Option<ChannelSnapshot>,
        first: bool,
    ) -> Step {
        let Some(snapshot) = snapshot.filter(|_| !self.closing.is_cancelled()) else { return Step::Waits(group) };
        let deadline = deadline(&group, self.connection.timeout());
        let reaching = self.registry.reach(channel, deadline);
        let reached = if first { Some(reaching.await) } else { reaching.now_or_never() };
        let session = match reached {
            Some(Ok(session)) => session,
            // That took all the time there was.
            Some(Err(error)) if Instant::now() >= deadline => {
                self.queues.done(queue::bytes(&group));
                answer_all(group, &error);
                return Step::Waits(Group::new());
            }
            // Where Redis is away, the full script says so.
            Some(Err(_)) | None => return Step::Waits(group),
        };
        let messages = group.iter().map(|job| job.messages()).sum();
        let Some(append) = OptimisticAppend::after(snapshot, messages, &self.retention, session.generation) else {
            return Step::Waits(group);
        };
        let batches = group.iter().map(|job| &job.batch);
        let Some(publish_connection) = session.publish_connection.clone() else { return Step::Waits(group) };
        let sent = publish_connection.send(|out| append.write(out, &self.keys, channel, &self.retention, batches));
        // Nothing was handed over: the publish connection has just been lost.
        let Some(sent) = sent else { return Step::Waits(group) };
        #[cfg(simulation)]
        if !first {
            crate::simulation::count_second_call();
        }
        let (closing, timing) = (self.closing.clone(), Timing::begin());
        let answer = Box::pin(async move {
            let answered = async {
                let answer = timeout_at(deadline, sent).await;
                timing.end(Call::Publish);
                answer
            };
            let answer = closing.run_until_cancelled(answered).await.ok_or_else(cut)?;
            answer.map_err(|_| publish_connection.give_up()).map_err(|()| slow())?.map_err(|_| error::lost())
        });
        Step::Sent(Box::new(Sent { group, append, session, deadline, answer }))
    }

    async fn complete(self: &Arc<Self>, channel: &ChannelName, sent: Sent, answered: Answer) {
        let Sent { group, append, mut session, deadline, .. } = sent;
        let bytes = queue::bytes(&group);
        match answered {
            Ok(Ok(Value::Int(0))) => {
                self.registry.receipts.share(channel);
                self.send_full(channel, group).await;
            }
            Ok(Ok(Value::Int(clock_ms))) => {
                let after = ChannelSnapshot { clock: Clock::at(clock_ms), ..append.after };
                self.registry.receipts.set_snapshot(channel, after);
                let last = Position::new(after.epoch, after.last);
                let given = Seen { first: append.first(), last, time_ms: after.time_ms, call: Some(after.name) };
                self.registry.note(channel, given, &session, deadline).await;
                let published = append.receipts(group.iter().map(|job| &job.batch));
                answer(group, published);
            }
            Ok(Ok(_)) => {
                self.registry.receipts.doubt(channel);
                answer_all(group, &malformed_reply());
            }
            Ok(Err(error)) if script::is_missing(&error) => {
                // Nothing was carried out. What becomes of the loading shows at the next call.
                let loading = timeout_at(deadline, script::OPTIMISTIC.load(&mut session.connection));
                let _ = self.closing.run_until_cancelled(loading).await;
                self.send_full(channel, group).await;
            }
            Ok(Err(error)) => {
                self.registry.receipts.doubt(channel);
                answer_all(group, &self.connection.failed(&error));
            }
            Err(error) => {
                self.registry.receipts.doubt(channel);
                answer_all(group, &error);
            }
        }
        self.queues.done(bytes);
    }

    /// Boxed: the full script's state is many times that of everything else here, and would be copied with each task.
    fn send_full<'a>(self: &'a Arc<Self>, channel: &'a ChannelName, group: Group) -> BoxFuture<'a, ()> {
        Box::pin(self.send(channel, group))
    }

    async fn send_waiting(self: &Arc<Self>, channel: &ChannelName, group: Group) {
        let bytes = queue::bytes(&group);
        self.send_full(channel, group).await;
        self.queues.done(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{Role, ServerUrl, connection::Connection, keys::Keys, registry::Registry};
    use tidings::{broker::Retention, channel::Names};

    #[test]
    fn the_task_that_a_publish_may_begin_is_small() {
        let connection = Connection::new(
            ServerUrl::parse("redis://localhost").expect("valid").into(),
            Duration::from_secs(1),
            Role::Publisher,
        );
        let (keys, closing) = (Keys::new("tidings"), CancellationToken::new());
        let retention =
            Retention { max_messages: 1, max_bytes: 1, max_age_ms: 1, dedup_window_ms: 1, dedup_max_ids: 1 };
        let registry = Registry::new(Arc::clone(&connection), keys.clone(), retention, closing.clone());
        let publisher = Publisher::new(connection, registry, keys, retention, closing);
        let channel = Names::new("tidings", "").and_then(|names| names.parse("orders")).expect("valid");
        // It is copied several times while it is begun and ended.
        let bytes = size_of_val(&publisher.drain(channel, Arc::default()));
        assert!(bytes <= 2 << 10, "{bytes} bytes");
    }
}
