//! The registry of channels, as writers keep it: a channel is listed before anything is written to it, so that a reader
//! that looks there finds every channel with messages. Also keeps this process's receipts.

use std::sync::Arc;

use tidings::{
    broker::{Error, Retention},
    channel::ChannelName,
    limits::HEAD_LINGER,
    message::{DataSet, Position},
};
use tokio::time::{Duration, Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{
    call::Seen,
    connection::{Connection, Session},
    error,
    keys::Keys,
    losses::Losses,
    receipts::Receipts,
    script,
};

pub(super) struct Registry {
    connection: Arc<Connection>,
    keys: Keys,
    receipts: Receipts,
    losses: Losses,
    /// Cancelled when nothing may wait for Redis any more.
    closing: CancellationToken,
}

impl Registry {
    pub(super) fn new(
        connection: Arc<Connection>,
        keys: Keys,
        retention: Retention,
        closing: CancellationToken,
    ) -> Arc<Self> {
        let lifetime = Duration::from_millis(retention.max_age_ms).saturating_add(HEAD_LINGER);
        let losses = Losses::new(Arc::clone(&connection), keys.clone(), retention);
        Arc::new(Self { connection, keys, receipts: Receipts::new(lifetime), losses, closing })
    }

    /// What this process knows of the channels it publishes on.
    pub(super) fn receipts(&self) -> &Receipts {
        &self.receipts
    }

    /// Reports that a channel's epoch went up to this position, as a push showed.
    pub(super) async fn report_loss(&self, channel: &ChannelName, position: Position) -> Result<(), Error> {
        self.losses.report(channel, Seen::from_push(position)).await
    }

    /// The connection, once the registry knows the channel. Nothing was written yet, whatever happens here.
    pub(super) async fn reach(&self, channel: &ChannelName, deadline: Instant) -> Result<Session, Error> {
        let at_hand =
            self.connection.open_session().filter(|session| self.receipts.is_registered(channel, session.generation));
        match at_hand {
            Some(session) if !self.closing.is_cancelled() => Ok(session),
            // Boxed: every publish would carry a state that is rarely needed.
            _ => Box::pin(self.reach_out(channel, deadline)).await,
        }
    }

    async fn reach_out(&self, channel: &ChannelName, deadline: Instant) -> Result<Session, Error> {
        let reached = async {
            let mut session = self.connection.session().await?;
            // Before anything is written there: the first write would replace what this server lacks.
            self.losses.report_all(&self.receipts, &session).await?;
            self.register(channel, &mut session).await?;
            Ok(session)
        };
        let Some(reached) = self.closing.run_until_cancelled(timeout_at(deadline, reached)).await else {
            return Err(error::closed());
        };
        match reached {
            Ok(Err(Error::OutcomeUnknown(text))) => Err(Error::Unavailable(text)),
            Ok(reached) => reached,
            Err(_) => Err(error::away(self.connection.timeout(), &self.connection.trouble())),
        }
    }

    /// Remembers the last receipt. A new epoch may mean that the registry was lost as well: it is written until a time
    /// at the latest, since receipts wait for it.
    pub(super) async fn note(&self, channel: &ChannelName, given: Seen, session: &Session, deadline: Instant) {
        if self.receipts.remember(channel, given, session.replication, deadline.into_std()) {
            let mut unregistered = Session { generation: 0, ..session.clone() };
            let registering = timeout_at(deadline, self.register(channel, &mut unregistered));
            let registered = Box::pin(self.closing.run_until_cancelled(registering)).await;
            if let Some(Err(error)) = registered.map(|registered| registered.unwrap_or_else(|_| Err(error::slow()))) {
                tracing::warn!(channel = channel.as_str(), %error, "a new epoch could not be written to the registry");
            }
            // Redis has lost something, perhaps also its record of earlier losses.
            Box::pin(self.report_older(channel, deadline)).await;
        }
    }

    /// Reports receipts of a channel's earlier epochs, as far as Redis has forgotten that those were lost.
    async fn report_older(&self, channel: &ChannelName, deadline: Instant) {
        let older = self.receipts.older(channel);
        if older.is_empty() {
            return;
        }
        let reporting = timeout_at(deadline, Box::pin(self.losses.report_older(channel, older, &self.receipts)));
        let reported = self.closing.run_until_cancelled(reporting).await;
        if let Some(Err(error)) = reported.map(|reported| reported.unwrap_or_else(|_| Err(error::slow()))) {
            tracing::debug!(channel = channel.as_str(), %error, "receipts of earlier epochs were not reported");
        }
    }

    /// Reports over each new connection what its server may not know, also where nothing is published any more, until
    /// the token is cancelled.
    pub(super) async fn report_losses(self: Arc<Self>) {
        let reporting = async {
            let mut generation = 0;
            loop {
                let Ok(session) = self.connection.session_after(generation).await else { return };
                generation = session.generation;
                if let Err(error) = self.losses.report_all(&self.receipts, &session).await {
                    tracing::debug!(%error, "receipts were not reported");
                }
            }
        };
        self.closing.run_until_cancelled(reporting).await;
    }

    /// Puts the channel into the registry where that has not been done lately.
    async fn register(&self, channel: &ChannelName, session: &mut Session) -> Result<(), Error> {
        if self.receipts.is_registered(channel, session.generation) {
            return Ok(());
        }
        let mut call = script::REGISTER.call();
        call.arg(2).arg(self.keys.registry()).arg(self.keys.data_set());
        call.arg(channel.as_str()).arg(DataSet::random().to_string());
        let sent = timeout(self.connection.timeout(), script::REGISTER.send(&call, &mut session.connection)).await;
        sent.map_err(|_| error::slow())?.map_err(|error| self.connection.failed(&error))?;
        self.receipts.register(channel, session.generation);
        Ok(())
    }
}
