//! Reports of acknowledged messages that are not on Redis any more: a new epoch begins on the channel, whose start
//! names it, so that every reader learns of it.

use std::sync::Arc;

use redis::{Cmd, RedisError, Value};
use tidings::{
    broker::{Error, Retention},
    channel::ChannelName,
    limits::REPORTS_PER_CALL,
    message::Epoch,
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout_at},
};

use super::{
    call::{self, Seen},
    connection::{Connection, Session},
    error,
    keys::Keys,
    receipts::Receipts,
    script,
};

pub(super) struct Losses {
    connection: Arc<Connection>,
    keys: Keys,
    retention: Retention,
    /// The connection over which all was last reported.
    reported: Mutex<u64>,
}

impl Losses {
    pub(super) fn new(connection: Arc<Connection>, keys: Keys, retention: Retention) -> Self {
        Self { connection, keys, retention, reported: Mutex::new(0) }
    }

    /// Reports what one channel lacks.
    pub(super) async fn report(&self, channel: &ChannelName, seen: Seen) -> Result<(), Error> {
        let mut session = self.connection.session().await?;
        self.send(&mut session, &[(channel.clone(), seen)], None).await
    }

    /// Reports a publisher's receipts of a channel's earlier epochs.
    pub(super) async fn report_older(
        &self,
        channel: &ChannelName,
        older: Vec<Seen>,
        receipts: &Receipts,
    ) -> Result<(), Error> {
        let mut session = self.connection.session().await?;
        let some: Vec<_> = older.into_iter().map(|seen| (channel.clone(), seen)).collect();
        self.send(&mut session, &some, Some(receipts)).await
    }

    /// Reports all receipts that the server of this connection may not know, once. Servers with the same replication id
    /// have the same history.
    pub(super) async fn report_all(&self, receipts: &Receipts, session: &Session) -> Result<(), Error> {
        let mut reported = self.reported.lock().await;
        if *reported >= session.generation {
            return Ok(());
        }
        let mut session = session.clone();
        for some in receipts.unconfirmed(session.replication).chunks(REPORTS_PER_CALL) {
            self.send(&mut session, some, Some(receipts)).await?;
        }
        *reported = session.generation;
        Ok(())
    }

    async fn send(
        &self,
        session: &mut Session,
        some: &[(ChannelName, Seen)],
        receipts: Option<&Receipts>,
    ) -> Result<(), Error> {
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        for (channel, seen) in some {
            pipeline.add_command(self.call(channel, *seen, Epoch::random()));
        }
        let deadline = Instant::now() + self.connection.timeout();
        let answers = timeout_at(deadline, self.query(&pipeline, session)).await.map_err(|_| error::slow())??;
        for ((channel, seen), answer) in some.iter().zip(answers) {
            match answer {
                Ok(answer) => {
                    if answer == Value::Int(1) {
                        let Seen { first, last, .. } = seen;
                        tracing::warn!(
                            channel = channel.as_str(), first, last = last.sequence, epoch = ?last.epoch,
                            "Redis has lost messages that it had acknowledged; their readers are notified"
                        );
                    }
                    if let Some(receipts) = receipts {
                        receipts.confirm(channel, session.replication);
                    }
                }
                // Of one channel: the next publish there brings its receipts along.
                Err(error) => {
                    let error = self.connection.failed(&error);
                    tracing::debug!(channel = channel.as_str(), %error, "a loss could not be reported");
                }
            }
        }
        Ok(())
    }

    async fn query(
        &self,
        pipeline: &redis::Pipeline,
        session: &mut Session,
    ) -> Result<Vec<Result<Value, RedisError>>, Error> {
        let failed = |error| match self.connection.failed(&error) {
            // A report that was carried out changes nothing when it is repeated.
            Error::OutcomeUnknown(text) => Error::Unavailable(text),
            other => other,
        };
        let answers: Vec<Result<Value, RedisError>> =
            pipeline.query_async(&mut session.connection).await.map_err(failed)?;
        if !answers.iter().any(|answer| answer.as_ref().is_err_and(script::is_missing)) {
            return Ok(answers);
        }
        script::REPORT.load(&mut session.connection).await.map_err(failed)?;
        pipeline.query_async(&mut session.connection).await.map_err(failed)
    }

    fn call(&self, channel: &ChannelName, seen: Seen, name: Epoch) -> Cmd {
        let mut call = script::REPORT.call();
        call.arg(2).arg(self.keys.head(channel)).arg(self.keys.log(channel));
        // Not the name of the last call: one that was sent after it may be carried out before the report.
        call::write_common(&mut call, channel, &self.retention, Seen { call: None, ..seen }, name);
        call.arg(i32::from(seen.call.is_some()));
        call
    }
}
