//! Publishes that wait for replicas. WAIT covers the writes of its own connection only, and everything after it on
//! that connection waits too (see Redis's page on WAIT): so there is a small pool of connections, and each is lent to
//! one call.

use std::sync::Arc;

use futures_util::{future::BoxFuture, poll};
use redis::{Cmd, RedisResult, Value};
use tidings::{
    broker::Error,
    limits::{BACKOFF_MAX, WAIT_CONNECTIONS},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{connection::Connection, error, idle::Idle, multiplexed::MultiplexedConnection, script};

pub(super) struct Waiters {
    connection: Arc<Connection>,
    permits: Arc<Semaphore>,
    idle: Idle<MultiplexedConnection>,
}

/// A connection that one call uses.
struct Lent {
    connection: MultiplexedConnection,
    /// The number of the command connection that the call belongs to.
    session: u64,
    permit: OwnedSemaphorePermit,
}

/// A WAIT under way, with the connection that it holds.
pub(super) struct Waiting {
    reached: BoxFuture<'static, RedisResult<Value>>,
    lent: Lent,
}

impl Waiters {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self { connection, permits: Arc::new(Semaphore::new(WAIT_CONNECTIONS)), idle: Idle::new() }
    }

    /// Sends the script followed at once by WAIT, over a connection that is as young as the command connection with
    /// this number. Answers when the script has, until a time at the latest; [`finish`](Self::finish) waits on.
    pub(super) async fn send(
        &self,
        session: u64,
        call: &Cmd,
        wanted: u32,
        deadline: Instant,
    ) -> Result<(Value, Waiting), Error> {
        let limit = self.connection.timeout();
        let away = |_| error::away(limit, "all connections that wait for replicas are in use, or Redis gives none");
        let lent = timeout_at(deadline, self.borrow(session)).await.map_err(away)??;
        let sent = timeout_at(deadline, self.send_on(lent, call, wanted)).await;
        sent.map_err(|_| error::slow())?
    }

    async fn send_on(&self, lent: Lent, call: &Cmd, wanted: u32) -> Result<(Value, Waiting), Error> {
        let (answer, waiting) = self.on(lent, call, wanted).await;
        match answer {
            Err(error) if script::is_missing(&error) => {
                let Waiting { reached, mut lent } = waiting;
                drop(reached);
                let loaded = script::PUBLISH.load(&mut lent.connection).await;
                loaded.map_err(|error| unpublished(self.connection.failed(&error)))?;
                let (answer, waiting) = self.on(lent, call, wanted).await;
                Ok((answer.map_err(|error| self.connection.failed(&error))?, waiting))
            }
            answer => Ok((answer.map_err(|error| self.connection.failed(&error))?, waiting)),
        }
    }

    async fn on(&self, lent: Lent, call: &Cmd, wanted: u32) -> (RedisResult<Value>, Waiting) {
        let limit = self.connection.timeout();
        let (mut first, mut second) = (lent.connection.clone(), lent.connection.clone());
        let mut script = Box::pin(async { first.send_packed_command(call).await.and_then(Value::extract_error) });
        let mut reached: BoxFuture<'static, _> = Box::pin(async move {
            let mut wait = redis::cmd("WAIT");
            wait.arg(wanted).arg(limit.as_millis() as u64);
            second.send_packed_command(&wait).await.and_then(Value::extract_error)
        });
        // Polled once in this order, they are one after the other in the connection's queue.
        let early = poll!(&mut script);
        let at_once = poll!(&mut reached);
        let answer = match early {
            std::task::Poll::Ready(answer) => answer,
            std::task::Poll::Pending => script.await,
        };
        if let std::task::Poll::Ready(at_once) = at_once {
            reached = Box::pin(std::future::ready(at_once));
        }
        (answer, Waiting { reached, lent })
    }

    /// How many replicas have what the script wrote, or how many are known to when the broker closes: none.
    pub(super) async fn finish(
        &self,
        waiting: Waiting,
        wanted: u32,
        closing: &CancellationToken,
    ) -> Result<u32, Error> {
        let limit = self.connection.timeout();
        let short = |reached| Error::ReplicasNotReached { wanted, reached, within_ms: limit.as_millis() as u64 };
        let Waiting { reached, lent } = waiting;
        // Redis ends the wait itself, unless it hangs.
        let reached = timeout(limit + BACKOFF_MAX, closing.run_until_cancelled(reached)).await.unwrap_or(None);
        let reached = match reached {
            Some(Ok(Value::Int(reached))) => u32::try_from(reached).unwrap_or(0),
            // Published, and nobody can say where it is: the connection was lost, or the user may not run WAIT, which
            // the log names.
            Some(Err(error)) => {
                self.connection.failed(&error);
                return Err(short(0));
            }
            Some(Ok(_)) | None => return Err(short(0)),
        };
        self.idle.put(lent.connection, lent.session);
        drop(lent.permit);
        if reached >= wanted { Ok(reached) } else { Err(short(reached)) }
    }

    async fn borrow(&self, session: u64) -> Result<Lent, Error> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(|_| Error::Unavailable("the broker is closed".to_owned()))?;
        if let Some(mut connection) = self.idle.take(session) {
            // One that was lost while it was idle is found out before anything is handed to it.
            let ping: RedisResult<()> = redis::cmd("PING").query_async(&mut connection).await;
            if ping.is_ok() {
                return Ok(Lent { connection, session, permit });
            }
        }
        // Twice the time, since WAIT itself takes all of it.
        let dedicated = self.connection.dedicated("tidings-wait", self.connection.timeout() * 2).await;
        let connection =
            dedicated.map_err(|reason| Error::Unavailable(format!("Redis could not be reached: {reason}")))?;
        Ok(Lent { connection, session, permit })
    }
}

/// Nothing was published yet, whatever happened.
fn unpublished(error: Error) -> Error {
    match error {
        Error::OutcomeUnknown(text) => Error::Unavailable(text),
        other => other,
    }
}
