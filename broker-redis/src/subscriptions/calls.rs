//! Calls of the scripts of subscriptions, over the shared connection.

use std::sync::Arc;

use redis::{Cmd, Pipeline, Value};
use tidings::broker::{Error, subscriptions::Place};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::{connection::Connection, error, keys::Keys, log::Queries, script::Script};

/// What makes them; cloning is cheap.
#[derive(Clone)]
pub(super) struct Calls {
    connection: Arc<Connection>,
    queries: Queries,
    keys: Keys,
    closing: CancellationToken,
}

impl Calls {
    pub(super) fn new(connection: Arc<Connection>, keys: Keys, closing: CancellationToken) -> Self {
        Self { queries: Queries::new(Arc::clone(&connection)), connection, keys, closing }
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The beginning of a call: what `subscription.lua` takes.
    pub(super) fn of(&self, script: &Script, place: &Place) -> Cmd {
        let keys = &self.keys;
        let mut call = script.call();
        call.arg(14).arg(keys.books(place)).arg(keys.head(&place.channel)).arg(keys.log(&place.channel));
        call.arg(keys.blocks_out(place)).arg(keys.waiting(place)).arg(keys.waiting_order(place));
        call.arg(keys.attempts(place)).arg(keys.kept(place)).arg(keys.dead(place)).arg(keys.letters(place));
        call.arg(keys.subscriptions(&place.channel)).arg(keys.outbox(place)).arg(keys.order_keys(place));
        call.arg(keys.parked(place)).arg(place.channel.as_str());
        call
    }

    /// Sends a call that writes, within the connection's timeout. What has no answer may have been carried out.
    pub(super) async fn write(&self, script: &Script, call: &Cmd) -> Result<Value, Error> {
        let deadline = Instant::now() + self.connection.timeout();
        let session = self.closing.run_until_cancelled(self.connection.session()).await;
        let mut session = session.ok_or_else(error::closed)??;
        let sending = timeout_at(deadline, script.send(call, &mut session.connection));
        let sent = self.closing.run_until_cancelled(sending).await.ok_or_else(error::cut)?;
        let answer = sent.map_err(|_| error::slow())?;
        answer.map_err(|failed| error::of_subscription(&failed).unwrap_or_else(|| self.connection.failed(&failed)))
    }

    /// Sends a call that reads; it changes nothing, so that no answer is like no connection.
    pub(super) async fn read(&self, scripts: &[&Script], call: Cmd) -> Result<Value, Error> {
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors().add_command(call);
        self.read_last(&pipeline, scripts).await
    }

    /// Sends such calls together, each of which must succeed, and returns the last answer.
    pub(super) async fn read_last(&self, pipeline: &Pipeline, scripts: &[&Script]) -> Result<Value, Error> {
        Ok(self.read_all(pipeline, scripts).await?.pop().unwrap_or_default())
    }

    /// Sends such calls together, each of which must succeed.
    pub(super) async fn read_all(&self, pipeline: &Pipeline, scripts: &[&Script]) -> Result<Vec<Value>, Error> {
        let answers = self.queries.each(pipeline, scripts).await?;
        answers.into_iter().map(|answer| self.queries.of_channel(answer)).collect()
    }
}
