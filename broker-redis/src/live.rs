//! The live connection: owns its socket, reads it in bulk, and hands over what one read brought as one batch.
//!
//! A task keeps it: it connects, subscribes to everything that is followed, and says [`LiveEvent::Restored`] when all
//! of it is confirmed. When the session is lost it says so and begins again. While the hub is slow the socket is not
//! read, so Redis's own limit (client-output-buffer-limit pubsub) ends a connection that is too slow, which is repaired
//! from the log.

mod answer_timeout;
mod carriers;
mod probe;
mod questions;
mod replies;
mod requests;
mod restoring;
mod session;
mod topics;

use std::{sync::Arc, time::Duration};

use tidings::{
    backoff::Backoff,
    broker::{LiveCommand, LiveEvent, State},
    channel::Names,
    limits::{LOG_QUIET, PROBE_INTERVAL, SESSION_LASTED},
    metrics,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use self::{session::LiveSession, topics::Topics};
use super::{connection::Connection, keys::Keys, readiness::Probed, server::Server, topology::Moves};

/// The settings of a live connection.
pub(super) struct Settings {
    pub(super) server: Server,
    pub(super) keys: Keys,
    pub(super) names: Names,
    /// Where probes are published.
    pub(super) connection: Arc<Connection>,
    pub(super) timeout: Duration,
    pub(super) keeps_history: bool,
    /// Notified whenever a probe has come through.
    pub(super) probed: watch::Sender<Probed>,
}

/// Why a session ended.
enum End {
    /// Nobody listens any more.
    Unwanted,
    /// It was lost, for this reason.
    Lost(String),
    /// It is up in TCP and of no use, for this reason.
    Useless(String),
}

impl From<String> for End {
    fn from(reason: String) -> Self {
        Self::Lost(reason)
    }
}

struct Live {
    settings: Arc<Settings>,
    commands: mpsc::Receiver<LiveCommand>,
    events: mpsc::Sender<Vec<LiveEvent>>,
    topics: Topics,
    /// It was said that sessions are of no use, and none has worked since.
    warned: bool,
    /// A session that worked, or the second in a row that did not last, was lost for this reason, and the command
    /// connection of that time.
    closed: Option<(Option<u64>, String)>,
    /// When the log last said that such a session was the only one.
    said_closed: Option<Instant>,
}

/// Keeps a live connection until nobody listens or the token is cancelled.
pub(super) async fn keep(
    settings: Arc<Settings>,
    commands: mpsc::Receiver<LiveCommand>,
    events: mpsc::Sender<Vec<LiveEvent>>,
    closing: CancellationToken,
) {
    let topics = Topics::new(settings.keys.clone(), settings.names.clone());
    let live = Live { settings, commands, events, topics, warned: false, closed: None, said_closed: None };
    let _: Option<()> = closing.run_until_cancelled(live.keep_on()).await;
}

impl Live {
    async fn keep_on(mut self) {
        let mut backoff = Backoff::default();
        let (mut is_reported, mut connected, mut lasted) = (false, false, true);
        loop {
            let settings = Arc::clone(&self.settings);
            let moves = settings.server.moves();
            let reason = match LiveSession::open(settings).await {
                Ok(mut session) => {
                    let opened = Instant::now();
                    if std::mem::replace(&mut connected, true) {
                        metrics::reconnected(metrics::Connection::Live);
                    }
                    if let Some((generation, reason)) = self.closed.take()
                        && self.generation() == generation
                    {
                        self.say_closed(&reason);
                    }
                    let was_lost = std::mem::take(&mut is_reported);
                    let end = session.run(was_lost, &mut self.topics, &mut self.commands, &self.events).await;
                    // One that came too early, while Redis was still loading, has restored nothing.
                    is_reported = was_lost && !session.has_restored();
                    self.warned &= !session.has_worked();
                    // One that Redis ends at once, time and again, comes back less and less often.
                    let has_lasted = opened.elapsed() >= SESSION_LASTED;
                    if has_lasted {
                        backoff.reset();
                    }
                    let is_again = !std::mem::replace(&mut lasted, has_lasted) && !has_lasted;
                    match end {
                        End::Unwanted => return,
                        End::Lost(reason) => {
                            let generation = self.generation();
                            let is_alone = session.has_worked() || is_again && generation.is_some();
                            self.closed = is_alone.then(|| (generation, reason.clone()));
                            reason
                        }
                        End::Useless(reason) => self.warn(reason),
                    }
                }
                Err(reason) => reason,
            };
            if !is_reported {
                // The command connection logs that Redis is away; here it is one more symptom.
                tracing::debug!(reason, "the live connection to Redis was lost");
                is_reported = true;
                if self.events.send(vec![LiveEvent::Lost(reason)]).await.is_err() {
                    return;
                }
            }
            self.settings.server.doubt();
            if !self.pause(backoff.jittered(), moves).await {
                return;
            }
        }
    }

    /// Logs that a session could not be used, once until a session has worked. Returns the reason.
    fn warn(&mut self, reason: String) -> String {
        // Where the command connection can't be used either, its keeper says so, though it may notice a moment later:
        // what counts is that it was answered while this one was silent.
        let connection = &self.settings.connection;
        let answered = connection.checked().borrow().map(|at| at.elapsed());
        let is_alone = *connection.state().borrow() == State::Up
            && answered.is_some_and(|age| age < PROBE_INTERVAL + self.settings.timeout / 2);
        if is_alone && !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                server = %self.settings.server,
                reason,
                "replacing a live connection to Redis that delivers nothing; streams recover from the log"
            );
        }
        reason
    }

    /// Which command connection there is.
    fn generation(&self) -> Option<u64> {
        self.settings.connection.open_session().map(|session| session.generation)
    }

    /// A live connection was lost while commands continued over theirs: Redis ends one alone where more waits to be
    /// sent to it than its limit for Pub/Sub.
    fn say_closed(&mut self, reason: &str) {
        if self.said_closed.is_none_or(|said| said.elapsed() >= LOG_QUIET) {
            self.said_closed = Some(Instant::now());
            tracing::warn!(
                server = %self.settings.server,
                reason,
                "only the live connection to Redis was closed: see client-output-buffer-limit pubsub; streams recover from the log"
            );
        }
    }

    /// Waits, though not for a new primary, and takes commands meanwhile. False when nobody gives any more.
    async fn pause(&mut self, pause: Duration, mut moves: Moves) -> bool {
        let over = timeout(pause, moves.next());
        tokio::pin!(over);
        loop {
            tokio::select! {
                _ = &mut over => return true,
                command = self.commands.recv() => match command {
                    None => return false,
                    Some(LiveCommand::Subscribe(topic)) => self.topics.insert(topic),
                    Some(LiveCommand::Capture(topic)) => {
                        self.topics.insert(topic.clone());
                        self.topics.capture(topic);
                    }
                    Some(LiveCommand::Unsubscribe(topic)) => drop(self.topics.remove(&topic)),
                    // Asked again after `Restored`.
                    Some(LiveCommand::Check(_) | LiveCommand::Recent { .. }) => {}
                },
            }
        }
    }
}
