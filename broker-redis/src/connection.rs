//! The command connection: one, shared and pipelined, for everything but pushes and waiting for replicas.
//!
//! A keeper task makes it, checks that the server is one that can be worked with, probes it, and makes it again when it
//! is lost. It reports through [`State`], and logs a loss and a return once each.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::OptionFuture;
use redis::{AsyncConnectionConfig, RedisError, RedisResult};
use tidings::{
    backoff::Backoff,
    broker::{Error, State},
    limits::{OUTPUT_BUFFER_BYTES, PROBE_INTERVAL, PUBLISH_READ_BYTES, SESSION_LASTED},
    metrics::{self, Call},
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    Role, error,
    log_throttle::LogThrottle,
    multiplexed::MultiplexedConnection,
    output_limit,
    publish_connection::{Driver, PublishConnection},
    readiness::Probed,
    receipts::{ReplicationId, replication_id},
    resp_connection::RespConnection,
    role, script,
    server::{Server, Steps},
};

/// The oldest Redis whose scripts can check permissions and be refused whole.
const OLDEST: (u32, u32) = (7, 0);

/// A connection, and how many there were before it.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) connection: MultiplexedConnection,
    pub(super) generation: u64,
    /// The server's replication id when the connection was made.
    pub(super) replication: ReplicationId,
    /// Where this process publishes.
    pub(super) publish_connection: Option<Arc<PublishConnection>>,
}

/// Why a connection is of no use any more.
enum Ended {
    /// For this reason.
    Lost(String),
    /// Another server is the primary.
    Replaced,
}

/// What became of a probe.
pub(super) enum Published {
    /// Redis took it.
    Sent,
    /// Redis is away.
    Away,
    /// The user may not; there is no use in trying again.
    Refused(String),
}

/// The shared side of the command connection.
pub(super) struct Connection {
    server: Server,
    timeout: Duration,
    role: Role,
    session: watch::Sender<Option<Session>>,
    state: watch::Sender<State>,
    checked: watch::Sender<Probed>,
    /// Bytes that Redis lets wait for a client; 0 where there is no limit, or it may not be asked.
    output_limit: AtomicUsize,
    broken: Arc<Notify>,
    log_throttle: LogThrottle,
}

impl Connection {
    /// For a process of this role: for who publishes there is to be a connection for optimistic calls as well.
    pub(super) fn new(server: Server, timeout: Duration, role: Role) -> Arc<Self> {
        let state = State::Down("Redis is not connected yet".to_owned());
        Arc::new(Self {
            server,
            timeout,
            role,
            session: watch::Sender::new(None),
            state: watch::Sender::new(state),
            checked: watch::Sender::new(None),
            output_limit: AtomicUsize::new(0),
            broken: Arc::default(),
            log_throttle: LogThrottle::default(),
        })
    }

    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// When the server was last found to be one that can be worked with.
    pub(super) fn checked(&self) -> watch::Receiver<Probed> {
        self.checked.subscribe()
    }

    /// Bytes that Redis lets wait for a client; 0 where there is no limit, or it does not say.
    pub(super) fn output_limit(&self) -> usize {
        self.output_limit.load(Ordering::Relaxed)
    }

    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The open connection, if there is one.
    pub(super) fn open_session(&self) -> Option<Session> {
        self.session.borrow().clone()
    }

    /// The open connection; waits for one as long as the timeout allows.
    pub(super) async fn session(&self) -> Result<Session, Error> {
        let mut session = self.session.subscribe();
        let waited = timeout(self.timeout, session.wait_for(Option::is_some)).await;
        match waited.map(|session| session.ok().and_then(|session| session.clone())) {
            Ok(Some(session)) => Ok(session),
            _ => Err(error::away(self.timeout, &self.trouble())),
        }
    }

    /// The first connection after the one of this generation, whenever it comes.
    pub(super) async fn session_after(&self, generation: u64) -> Result<Session, Error> {
        let mut session = self.session.subscribe();
        let next =
            session.wait_for(|session| session.as_ref().is_some_and(|session| session.generation > generation)).await;
        next.ok().and_then(|session| session.clone()).ok_or_else(error::closed)
    }

    /// Whether this deduplication window, which is not the configured one, was not met before.
    pub(super) fn is_other_window(&self, window_ms: u64) -> bool {
        self.log_throttle.is_new_window(window_ms)
    }

    /// Publishes a live connection's probe.
    pub(super) async fn publish_probe(&self, channel: &str, number: u64) -> Published {
        let Ok(mut session) = self.session().await else { return Published::Away };
        match redis::cmd("PUBLISH").arg(channel).arg(number).query_async(&mut session.connection).await {
            Ok(()) => Published::Sent,
            Err(error) if error.code() == Some("NOPERM") => Published::Refused(error.to_string()),
            Err(_) => Published::Away,
        }
    }

    /// Why there is no connection now.
    pub(super) fn trouble(&self) -> String {
        self.known_trouble().unwrap_or_else(|| "it does not answer".to_owned())
    }

    /// The same, where it is known that there is none.
    pub(super) fn known_trouble(&self) -> Option<String> {
        match &*self.state.borrow() {
            State::Down(reason) => Some(reason.clone()),
            State::Up => None,
        }
    }

    /// Turns an error of a call into ours, and has a broken connection replaced.
    pub(super) fn failed(&self, error: &RedisError) -> Error {
        if error.is_unrecoverable_error() || error.is_timeout() || error.code().is_some_and(|code| code == "READONLY") {
            self.broken.notify_one();
        }
        let meaning = error::of_call(error);
        self.log_throttle.note(error, &meaning);
        meaning
    }

    /// A connection of one's own under a name, for calls that others must not wait for. Errors say in words why there
    /// is none.
    pub(super) async fn dedicated(
        &self,
        name: &str,
        response_timeout: Duration,
    ) -> Result<MultiplexedConnection, String> {
        let steps = Steps::default();
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(response_timeout));
        let opening = MultiplexedConnection::open(&self.server, &steps, name, config, self.timeout);
        steps.within(Server::attempt_limit(self.timeout), opening).await
    }

    async fn connect(&self, steps: &Steps) -> Result<MultiplexedConnection, String> {
        let broken = Arc::clone(&self.broken);
        let disconnected = move |push: redis::PushInfo| {
            if push.kind == redis::PushKind::Disconnection {
                // Noticed at once, so that the next publish waits for another connection instead of failing on this
                // one.
                broken.notify_one();
            }
            Ok::<(), redis::aio::SendError>(())
        };
        let config =
            AsyncConnectionConfig::new().set_response_timeout(Some(self.timeout)).set_push_sender(disconnected);
        MultiplexedConnection::open(&self.server, steps, "tidings-command", config, self.timeout).await
    }

    /// Keeps the connection until the token is cancelled.
    pub(super) async fn keep(self: Arc<Self>, closing: CancellationToken) {
        let ended = closing.run_until_cancelled(self.keep_on()).await;
        debug_assert!(ended.is_none(), "the keeper never ends");
        self.session.send_replace(None);
        self.state.send_replace(State::Down("the connection to Redis was closed".to_owned()));
    }

    async fn keep_on(&self) {
        let mut backoff = Backoff::default();
        let mut generation = 0;
        loop {
            let mut moves = self.server.moves();
            match self.open().await {
                Ok((connection, publish_connection, replication)) => {
                    generation += 1;
                    if generation > 1 {
                        metrics::reconnected(metrics::Connection::Command);
                    }
                    let opened = Instant::now();
                    self.up();
                    let (publish_connection, driver) = publish_connection.map(PublishConnection::over).unzip();
                    self.session.send_replace(Some(Session {
                        connection: connection.clone(),
                        generation,
                        replication,
                        publish_connection,
                    }));
                    let ended = self.watch(connection, driver).await;
                    // One that Redis ends at once, time and again, comes back less and less often.
                    if opened.elapsed() >= SESSION_LASTED {
                        backoff.reset();
                    }
                    self.session.send_replace(None);
                    match ended {
                        Ended::Lost(reason) => self.down(reason),
                        // The log has said it: what can't be used would be the next one.
                        Ended::Replaced => self.set_down("another server has become the primary".to_owned()),
                    }
                }
                Err(reason) => self.down(reason),
            }
            self.server.doubt();
            // A new primary is not waited for.
            let _ = timeout(backoff.jittered(), moves.next()).await;
        }
    }

    /// One attempt: everything that it takes until the server can be worked with.
    async fn open(&self) -> Result<(MultiplexedConnection, Option<RespConnection>, ReplicationId), String> {
        let steps = Steps::default();
        steps.within(Server::attempt_limit(self.timeout), self.open_by(&steps)).await
    }

    async fn open_by(
        &self,
        steps: &Steps,
    ) -> Result<(MultiplexedConnection, Option<RespConnection>, ReplicationId), String> {
        let mut connection = self.connect(steps).await?;
        steps.begin("what is asked of Redis first".to_owned());
        let replication = self.check(&mut connection).await?;
        self.warn_of_eviction(&mut connection).await;
        self.ask_for_output_limit(&mut connection).await;
        script::load(&mut connection).await.map_err(|error| error::of_connecting(&error))?;
        let lacks = script::lacks(&mut connection, self.role).await.map_err(|error| error::of_connecting(&error))?;
        if !lacks.is_empty() {
            return Err(format!("this server can't be worked with: {lacks}"));
        }
        let publish_connection = match self.role {
            Role::Publisher | Role::Both => {
                let (server, read_bytes) = (&self.server, PUBLISH_READ_BYTES);
                Some(RespConnection::greet(server, steps, "tidings-publish", read_bytes, self.timeout).await?)
            }
            Role::Subscriber => None,
        };
        self.checked.send_replace(Some(Instant::now()));
        Ok((connection, publish_connection, replication))
    }

    /// Probes the connection, beside the task of its publish connection; answers why it is of no use any more.
    async fn watch(&self, mut connection: MultiplexedConnection, publish_connection: Option<Driver>) -> Ended {
        let idle = publish_connection.as_ref().map(Driver::connection);
        // The publish connection's work is done in a task of its own, which ends with this.
        let mut publish_connection =
            publish_connection.map(|driver| AbortOnDropHandle::new(tokio::spawn(driver.run())));
        let mut lost = OptionFuture::from(publish_connection.as_mut());
        let replaced = connection.replaced();
        tokio::pin!(replaced);
        loop {
            tokio::select! {
                biased;
                // Everything else fails then as well.
                () = &mut replaced => return Ended::Replaced,
                () = sleep(PROBE_INTERVAL) => {}
                () = self.broken.notified() => {}
                Some(reason) = &mut lost => {
                    return Ended::Lost(reason.unwrap_or_else(|_| "the connection broke".to_owned()));
                }
            }
            let checked = tokio::select! {
                biased;
                () = &mut replaced => return Ended::Replaced,
                checked = metrics::timed(Call::Check, self.check(&mut connection)) => checked,
            };
            if let Err(reason) = checked {
                return Ended::Lost(reason);
            }
            self.checked.send_replace(Some(Instant::now()));
            // Redis, or a proxy before it, may end idle connections.
            if let Some(publish_connection) = &idle {
                publish_connection.ping();
            }
        }
    }

    fn up(&self) {
        metrics::redis_up(true);
        self.log_throttle.is_well();
        if self.state.send_replace(State::Up) != State::Up {
            tracing::info!(server = %self.server, "connected to Redis");
        }
    }

    fn down(&self, reason: String) {
        if self.log_throttle.is_new_reason(&reason) {
            tracing::warn!(server = %self.server, reason, "Redis can't be used now; trying again until it can");
        }
        self.set_down(reason);
    }

    fn set_down(&self, reason: String) {
        metrics::redis_up(false);
        self.state.send_replace(State::Down(reason));
    }

    /// Pages of logs must keep to it. Where the user may not ask, it is found out when a connection is cut.
    async fn ask_for_output_limit(&self, connection: &mut MultiplexedConnection) {
        let asked: RedisResult<HashMap<String, String>> =
            redis::cmd("CONFIG").arg("GET").arg("client-output-buffer-limit").query_async(connection).await;
        let setting = asked.unwrap_or_default().into_values().next().unwrap_or_default();
        let limit = output_limit::read(&setting);
        let before = self.output_limit.swap(limit, Ordering::Relaxed);
        if limit != before && (1..OUTPUT_BUFFER_BYTES).contains(&limit) {
            let text = "Redis ends connections to which more waits to be sent than its client-output-buffer-limit normal; pages of logs are read in small pieces";
            tracing::warn!(bytes = limit, "{text}");
        }
    }

    /// An eviction policy may throw logs and heads away, which no promise survives.
    async fn warn_of_eviction(&self, connection: &mut MultiplexedConnection) {
        let info: RedisResult<String> = redis::cmd("INFO").arg("memory").query_async(connection).await;
        let info = info.unwrap_or_default();
        let policy = info.lines().find_map(|line| line.trim().strip_prefix("maxmemory_policy:"));
        let Some(policy) = policy.filter(|policy| self.log_throttle.is_new_policy(policy)) else { return };
        if policy != "noeviction" {
            let text = "Redis may evict logs when its memory is full: set its maxmemory-policy to noeviction";
            tracing::warn!(policy, "{text}");
        }
    }

    /// Whether the server can be worked with: it is not too old, a primary, and not loading. Answers its replication
    /// id.
    async fn check(&self, connection: &mut MultiplexedConnection) -> Result<ReplicationId, String> {
        let info: String = redis::cmd("INFO")
            .arg("server")
            .arg("replication")
            .query_async(connection)
            .await
            .map_err(|error| error::of_connecting(&error))?;
        let field = |name: &str| {
            info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim).unwrap_or_default()
        };
        if field("redis_version").is_empty() {
            return Err("this server can't be worked with: it does not report its version (INFO server)".to_owned());
        }
        let mut version = field("redis_version").split('.').map(|part| part.parse().unwrap_or(0));
        let version = (version.next().unwrap_or(0), version.next().unwrap_or(0));
        if version < OLDEST {
            let (major, minor) = version;
            return Err(format!("Redis {major}.{minor} is too old; 7.0 or later is needed"));
        }
        if role::is_primary(role::of_info(&info)) { Ok(replication_id(&info)) } else { Err(self.server.not_primary()) }
    }
}
