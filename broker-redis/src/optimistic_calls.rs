//! Optimistic calls: handed over on their own connection, and completed when their answers come.

use futures_util::{FutureExt as _, future::BoxFuture};
use redis::{RedisResult, Value};
use tidings::{
    broker::Error,
    channel::ChannelName,
    message::Position,
    metrics::{Call, Timing},
};
use tokio::time::{Instant, timeout_at};

use super::{
    call::{Seen, malformed_reply},
    connection::Session,
    error::{self, cut, slow},
    group::Group,
    optimistic::{ChannelSnapshot, Clock, OptimisticAppend},
    script,
    writing::Writing,
};

/// What makes them.
pub(super) struct OptimisticCalls {
    writing: Writing,
}

/// What became of a group for which a call was to be made.
pub(super) enum Begun {
    /// It was handed over.
    Sent(Box<Sent>),
    /// It can't be made, and the full script has to be taken.
    Unsent(Group),
    /// Redis could not be reached in all the time there was.
    Late(Group, Error),
}

/// A group under way, in a call that has been handed over.
pub(super) struct Sent {
    group: Group,
    append: OptimisticAppend,
    session: Session,
    deadline: Instant,
    answer: BoxFuture<'static, Answer>,
}

/// What Redis answered, or why it is not known.
pub(super) struct Answer(Result<RedisResult<Value>, Error>);

impl Sent {
    /// How the call leaves the channel, when it is carried out.
    pub(super) fn after(&self) -> ChannelSnapshot {
        self.append.after
    }

    /// Its answer, which comes once.
    pub(super) async fn answer(&mut self) -> Answer {
        (&mut self.answer).await
    }

    pub(super) fn group(&self) -> &Group {
        &self.group
    }

    pub(super) fn into_group(self) -> Group {
        self.group
    }
}

impl Answer {
    /// Whether nothing was written, so that the full script has to be taken.
    pub(super) fn is_refused(&self) -> bool {
        match &self.0 {
            Ok(Ok(answer)) => *answer == Value::Int(0),
            Ok(Err(error)) => script::is_missing(error),
            Err(_) => false,
        }
    }
}

impl OptimisticCalls {
    pub(super) fn new(writing: Writing) -> Self {
        Self { writing }
    }

    /// Hands a call over, where it can be made after `snapshot`; at once, unless it is the `first`, which nothing is
    /// held up by.
    pub(super) async fn begin(
        &self,
        channel: &ChannelName,
        group: Group,
        snapshot: ChannelSnapshot,
        first: bool,
    ) -> Begun {
        if self.writing.closing.is_cancelled() {
            return Begun::Unsent(group);
        }
        let deadline = group.deadline(self.writing.connection.timeout());
        let reaching = self.writing.registry.reach(channel, deadline);
        let reached = if first { Some(reaching.await) } else { reaching.now_or_never() };
        let session = match reached {
            Some(Ok(session)) => session,
            Some(Err(error)) if Instant::now() >= deadline => return Begun::Late(group, error),
            // Where Redis is away, the full script says so.
            Some(Err(_)) | None => return Begun::Unsent(group),
        };
        let append = OptimisticAppend::after(snapshot, group.messages(), &self.writing.retention, session.generation);
        let Some(append) = append else { return Begun::Unsent(group) };
        let Some(publish_connection) = session.publish_connection.clone() else { return Begun::Unsent(group) };
        let sent = publish_connection
            .send(|out| append.write(out, &self.writing.keys, channel, &self.writing.retention, &group));
        // Nothing was handed over: the publish connection has just been lost.
        let Some(sent) = sent else { return Begun::Unsent(group) };
        #[cfg(simulation)]
        if !first {
            crate::simulation::count_second_call();
        }
        let (closing, timing) = (self.writing.closing.clone(), Timing::begin());
        let answer = Box::pin(async move {
            let answered = async {
                let answer = timeout_at(deadline, sent).await;
                timing.end(Call::Publish);
                answer
            };
            let answer = match closing.run_until_cancelled(answered).await {
                None => Err(cut()),
                Some(Err(_)) => {
                    publish_connection.give_up();
                    Err(slow())
                }
                Some(Ok(answer)) => answer.map_err(|_| error::lost()),
            };
            Answer(answer)
        });
        Begun::Sent(Box::new(Sent { group, append, session, deadline, answer }))
    }

    /// Completes a call with its answer. Returns its group where nothing was written: the full script has to be taken.
    pub(super) async fn end(&self, channel: &ChannelName, sent: Sent, Answer(answer): Answer) -> Option<Group> {
        let Sent { group, append, mut session, deadline, .. } = sent;
        let receipts = self.writing.registry.receipts();
        let error = match answer {
            Ok(Ok(Value::Int(0))) => {
                receipts.share(channel);
                return Some(group);
            }
            Ok(Ok(Value::Int(clock_ms))) => {
                let after = ChannelSnapshot { clock: Clock::at(clock_ms), ..append.after };
                receipts.set_snapshot(channel, after);
                let last = Position::new(after.epoch, after.last);
                let given = Seen { first: append.first(), last, time_ms: after.time_ms, call: Some(after.name) };
                self.writing.registry.note(channel, given, &session, deadline).await;
                let published = append.receipts(&group);
                group.answer(published);
                return None;
            }
            Ok(Err(error)) if script::is_missing(&error) => {
                // Nothing was carried out. What becomes of the loading shows at the next call.
                let loading = timeout_at(deadline, script::OPTIMISTIC.load(&mut session.connection));
                let _ = self.writing.closing.run_until_cancelled(loading).await;
                return Some(group);
            }
            Ok(Ok(_)) => malformed_reply(),
            Ok(Err(error)) => self.writing.connection.failed(&error),
            Err(error) => error,
        };
        receipts.doubt(channel);
        group.answer_all(&error);
        None
    }
}
