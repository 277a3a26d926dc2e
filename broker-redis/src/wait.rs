//! Publishes that wait for replicas. WAIT covers the writes of its own connection only, and everything after it on
//! that connection waits too (see Redis's page on WAIT): so there is a small pool of connections, and each is lent to
//! one call.

use std::sync::{Arc, Mutex, PoisonError};

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

use super::{connection::Connection, error, multiplexed::MultiplexedConnection, script};

pub(super) struct Waiters {
    connection: Arc<Connection>,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<MultiplexedConnection>>,
}

/// A WAIT under way, with the connection that it holds.
pub(super) struct Waiting {
    reached: BoxFuture<'static, RedisResult<Value>>,
    lent: MultiplexedConnection,
    permit: OwnedSemaphorePermit,
}

impl Waiters {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self { connection, permits: Arc::new(Semaphore::new(WAIT_CONNECTIONS)), idle: Mutex::default() }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<MultiplexedConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the script followed at once by WAIT. Answers when the script has, until a time at the latest;
    /// [`finish`](Self::finish) waits on.
    pub(super) async fn send(&self, call: &Cmd, wanted: u32, deadline: Instant) -> Result<(Value, Waiting), Error> {
        let limit = self.connection.timeout();
        let away = |_| error::away(limit, "all connections that wait for replicas are in use, or Redis gives none");
        let (permit, lent) = timeout_at(deadline, self.borrow()).await.map_err(away)??;
        let sent = timeout_at(deadline, self.send_on(lent, permit, call, wanted)).await;
        sent.map_err(|_| error::slow())?
    }

    async fn send_on(
        &self,
        lent: MultiplexedConnection,
        permit: OwnedSemaphorePermit,
        call: &Cmd,
        wanted: u32,
    ) -> Result<(Value, Waiting), Error> {
        let (answer, waiting) = self.on(lent, permit, call, wanted).await;
        match answer {
            Err(error) if script::is_missing(&error) => {
                let mut lent = waiting.lent;
                drop(waiting.reached);
                script::PUBLISH.load(&mut lent).await.map_err(|error| unpublished(self.connection.failed(&error)))?;
                let (answer, waiting) = self.on(lent, waiting.permit, call, wanted).await;
                Ok((answer.map_err(|error| self.connection.failed(&error))?, waiting))
            }
            answer => Ok((answer.map_err(|error| self.connection.failed(&error))?, waiting)),
        }
    }

    async fn on(
        &self,
        lent: MultiplexedConnection,
        permit: OwnedSemaphorePermit,
        call: &Cmd,
        wanted: u32,
    ) -> (RedisResult<Value>, Waiting) {
        let limit = self.connection.timeout();
        let (mut first, mut second) = (lent.clone(), lent.clone());
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
        (answer, Waiting { reached, lent, permit })
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
        let Waiting { reached, lent, permit } = waiting;
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
        self.idle().push(lent);
        drop(permit);
        if reached >= wanted { Ok(reached) } else { Err(short(reached)) }
    }

    async fn borrow(&self) -> Result<(OwnedSemaphorePermit, MultiplexedConnection), Error> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(|_| Error::Unavailable("the broker is closed".to_owned()))?;
        if let Some(mut idle) = self.take() {
            // One that was lost while it was idle is found out before anything is handed to it.
            let ping: RedisResult<()> = redis::cmd("PING").query_async(&mut idle).await;
            if ping.is_ok() {
                return Ok((permit, idle));
            }
        }
        // Twice the time, since WAIT itself takes all of it.
        let dedicated = self.connection.dedicated("tidings-wait", self.connection.timeout() * 2).await;
        let lent = dedicated.map_err(|reason| Error::Unavailable(format!("Redis could not be reached: {reason}")))?;
        Ok((permit, lent))
    }

    fn take(&self) -> Option<MultiplexedConnection> {
        self.idle().pop()
    }
}

/// Nothing was published yet, whatever happened.
fn unpublished(error: Error) -> Error {
    match error {
        Error::OutcomeUnknown(text) => Error::Unavailable(text),
        other => other,
    }
}
