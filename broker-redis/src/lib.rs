//! The Redis broker: *Pub/Sub for speed, a Redis Stream for truth*.
//!
//! What is on Redis, for a channel `c` and the key prefix `tidings`:
//!
//! | name | what |
//! |---|---|
//! | channel `c` | one JSON object a message, as [`envelope`](tidings::envelope) writes it |
//! | `tidings:{c}:log` | a Stream; an entry is a *run* of consecutive messages. Fields `t` (log time, ms), `b` (running count of bytes), and for each message an `m`, followed by an `r` (16-byte hash of what a plain program published) if it was adopted; the ID is `<last sequence>-<count>` |
//! | `tidings:{c}:head` | a hash: `v` format (2 where there is a hold), `e` epoch, `s` last sequence, `t` log time, `b` bytes, `r` replication id, `h` the last 16 epochs, `oid` `ob` `ot` the oldest run, `l` losses that were found out late, or where an epoch began that fell off the list, `dw` `dt` `dp` `du` the deduplication window in force, when it was last used, the one before and until when that counts, `w` the name of the last call that wrote, `p` who wrote before it, `a` the last adopted message, `hd` what subscriptions hold of the log: `<sequence>,<age, ms>,<bytes>` |
//! | `tidings:{c}:ids:<n>` | a hash of the ids that clients gave in window `n`, with their receipts |
//! | `tidings:{c}:lease` | a hash: which subscriber adopts what plain programs publish, and who asks to |
//! | channel `tidings:{c}:adopted` | a notice of each adopted message: its hash, then its JSON |
//! | `tidings:{c}:sub:<name>` | a hash, the books of a subscription: `v` format, `g` generation, `n` the next sequence, `pe` the epoch of the position before it, `o` how many are out, `r` revision, `set` settings, `c` `u` when it was created and used, `x` how many were lost, `db` bytes of dead letters |
//! | `tidings:{c}:sub-out:<name>` | a hash of its blocks, each by its name: what is out |
//! | `tidings:{c}:sub-wait:<name>` `tidings:{c}:sub-order:<name>` | two sorted sets of the sequences (16 digits) that wait for a retry: by when they are due (ms), and in their order |
//! | `tidings:{c}:sub-tries:<name>` `tidings:{c}:sub-kept:<name>` | two hashes, by sequence: the deliveries, and the JSON of what was put back from the dead letters |
//! | `tidings:{c}:sub-dead:<name>` `tidings:{c}:sub-letters:<name>` | the names of dead letters by when they died (ms), and a hash of the letters |
//! | `tidings:{c}:sub-outbox:<name>` | the names of those of them that are still to be published, in the same way |
//! | `tidings:{c}:subs` | a hash of the channel's subscriptions, each with what it holds of the log: `<sequence>,<age, ms>,<bytes>` |
//! | `tidings:{subscriptions}:index` | a hash of all subscriptions' names, each with `<when it was reserved, ms>,<channel>` |
//! | `tidings:{subscriptions}:names` | the same names in a sorted set, for their order |
//! | `tidings:channels` | a sorted set of channel names by the time of their last publish |
//! | `tidings:dataset` | a random name, given once: a flush ends it, a copy keeps it |
//! | channel `tidings:probe:<id>` | the probe of one live connection, a number a second |
//!
//! Five kinds of connections: one shared for commands (`connection`), one for optimistic publishes
//! (`publish_connection`), a few that wait for replicas (`wait`), one for long reads of logs (`log/bulk`), and the live
//! ones (`live`). All are made in `server`, which asks `topology` where the primary is; `sentinels` keeps that up to
//! date. Those that are used now and then are kept in `idle` for a while. Only this crate knows the `redis` crate.

mod address;
mod adopt;
mod call;
mod connection;
pub mod doctor;
mod error;
mod full;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod group;
mod head;
mod idle;
mod keys;
mod live;
mod log;
mod log_throttle;
mod losses;
mod multiplexed;
mod net;
mod optimistic;
mod optimistic_calls;
mod output_limit;
mod password;
mod pipeline;
mod publish;
mod publish_connection;
mod queue;
mod readiness;
mod receipts;
mod registry;
mod resp;
mod resp_connection;
mod role;
mod run_id;
mod script;
mod sentinels;
mod server;
#[cfg(simulation)]
pub mod simulation;
mod subscriptions;
mod topology;
mod url;
mod wait;
mod writing;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tidings::{
    broker::{
        Adopter, Broker, DataSetNow, Error, From, HeadOf, LiveControl, LiveEvents, Page, PageLimit, Published,
        Retention, State,
    },
    channel::{ChannelName, Names, Pattern},
    limits::{CLOSE_TIMEOUT, LIVE_BATCHES, LIVE_COMMANDS, PROBE_GRACE},
    message::{Draft, Epoch, Position},
};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

pub use self::{
    password::PasswordError,
    server::{SentinelLogin, Server, ServerError, ServerFiles, TlsError, TlsFiles},
    url::{InvalidUrl, ServerUrl},
};

/// What the Redis broker needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The server.
    pub server: Server,
    /// What all keys begin with.
    pub key_prefix: String,
    /// How long a call may take.
    pub timeout: Duration,
    /// How many messages are kept, and for how long.
    pub retention: Retention,
    /// The part of the process that uses it.
    pub role: Role,
}

/// The part of a process that uses the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Publishing only: it also keeps the registry of channels in order.
    Publisher,
    /// Reading only.
    Subscriber,
    /// Both.
    Both,
}

/// A broker on a Redis server, 7.0 or later, or on the primary of a service that sentinels watch.
pub struct Redis {
    connection: Arc<connection::Connection>,
    publisher: Arc<publish::Publisher>,
    reader: Arc<log::Reader>,
    adopter: Arc<adopt::Adopter>,
    subscriptions: Arc<subscriptions::Subscriptions>,
    registry: Arc<registry::Registry>,
    live: Arc<live::Settings>,
    readiness: Arc<readiness::Readiness>,
    /// All but publishes, which are the publisher's own.
    tasks: TaskTracker,
    closing: CancellationToken,
    /// Ends the tasks also where nobody calls `close`.
    _end: DropGuard,
}

impl Redis {
    /// Starts to connect in the background, and keeps doing so as long as the broker lives. Call it within a Tokio
    /// runtime.
    ///
    /// # Panics
    ///
    /// When the key prefix can't begin a name; the flags check it before.
    pub fn start(settings: Settings) -> Arc<Self> {
        let Settings { server, key_prefix, timeout, retention, role } = settings;
        let connection = connection::Connection::new(server.clone(), timeout, role);
        let keys = keys::Keys::new(&key_prefix);
        let names = Names::new(&key_prefix, "").expect("an empty default channel is always valid");
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        let reader = log::Reader::new(Arc::clone(&connection), server.clone(), keys.clone(), names.clone(), retention);
        if let Some(sentinels) = sentinels::Sentinels::of(&server) {
            tasks.spawn(sentinels.keep(closing.clone()));
        }
        tasks.spawn(Arc::clone(&connection).keep(closing.clone()));
        if role != Role::Subscriber {
            let sweep = log::Sweep::new(Arc::clone(&connection), keys.clone(), names.clone(), retention);
            tasks.spawn(sweep.run(closing.clone()));
        }
        let registry = registry::Registry::new(Arc::clone(&connection), keys.clone(), retention, closing.clone());
        if role != Role::Subscriber {
            tasks.spawn(Arc::clone(&registry).report_losses());
        }
        let writing = writing::Writing {
            connection: Arc::clone(&connection),
            registry: Arc::clone(&registry),
            keys: keys.clone(),
            retention,
            closing: closing.clone(),
        };
        let keeps_history = retention.max_messages > 0;
        let probed = watch::Sender::new(None);
        // Who only publishes has no live connection: there the command connection's own checks count.
        let readiness = Arc::new(match role {
            Role::Publisher => readiness::Readiness::of_commands(connection.checked()),
            Role::Subscriber | Role::Both => readiness::Readiness::of_live(probed.subscribe()),
        });
        let (judge, state, until) = (Arc::clone(&readiness), connection.state(), closing.clone());
        tasks.spawn(async move { judge.keep(state, timeout + PROBE_GRACE, until).await });
        let subscriptions =
            subscriptions::Subscriptions::new(Arc::clone(&connection), keys.clone(), names.clone(), closing.clone());
        let live =
            live::Settings { server, keys, names, connection: Arc::clone(&connection), timeout, keeps_history, probed };
        Arc::new(Self {
            publisher: publish::Publisher::new(writing.clone()),
            adopter: Arc::new(adopt::Adopter::new(writing)),
            subscriptions: Arc::new(subscriptions),
            registry,
            live: Arc::new(live),
            readiness,
            connection,
            reader,
            tasks,
            _end: closing.clone().drop_guard(),
            closing,
        })
    }
}

#[async_trait]
impl Broker for Redis {
    fn publish(&self, channel: &ChannelName, drafts: Vec<Draft>, min_replicas: u32) -> BoxFuture<'static, Published> {
        self.publisher.publish(channel, drafts, min_replicas)
    }

    async fn heads(&self, channels: &[ChannelName]) -> Result<Vec<HeadOf>, Error> {
        self.reader.heads(channels).await
    }

    async fn data_set(&self) -> Result<DataSetNow, Error> {
        self.reader.data_set().await
    }

    async fn report_loss(&self, channel: &ChannelName, epoch: Epoch, to: i64) -> Result<(), Error> {
        self.registry.report_loss(channel, Position::new(epoch, to)).await
    }

    async fn read(&self, channel: &ChannelName, from: From, limit: PageLimit) -> Result<Page, Error> {
        self.reader.page(channel, from, limit).await
    }

    async fn sequence_before(&self, channel: &ChannelName, time_ms: i64) -> Result<i64, Error> {
        self.reader.sequence_before(channel, time_ms).await
    }

    async fn channels(&self, pattern: Option<&Pattern>, after: &str, limit: usize) -> Result<Vec<ChannelName>, Error> {
        self.reader.channels(pattern, after, limit).await
    }

    async fn register_again(&self, channels: &[ChannelName]) -> Result<usize, Error> {
        self.reader.register_again(channels).await
    }

    fn live(&self) -> (LiveControl, LiveEvents) {
        let (control, commands) = mpsc::channel(LIVE_COMMANDS);
        let (events, received) = mpsc::channel(LIVE_BATCHES);
        self.tasks.spawn(live::keep(Arc::clone(&self.live), commands, events, self.closing.clone()));
        (control, received)
    }

    fn adopter(&self) -> Option<Arc<dyn Adopter>> {
        Some(Arc::clone(&self.adopter) as _)
    }

    fn subscriptions(&self) -> Arc<dyn tidings::broker::Subscriptions> {
        Arc::clone(&self.subscriptions) as _
    }

    fn state(&self) -> watch::Receiver<State> {
        self.connection.state()
    }

    fn live_state(&self) -> watch::Receiver<State> {
        self.readiness.state()
    }

    fn probe_age(&self) -> Option<Duration> {
        self.readiness.probe_age()
    }

    fn describe(&self) -> String {
        format!("Redis at {}", self.connection.server())
    }

    async fn close(&self) {
        // Nothing new is taken. A Redis that answers does so in this time; one that hangs must not keep the process.
        self.tasks.close();
        let _ = timeout(CLOSE_TIMEOUT, self.publisher.finish()).await;
        self.closing.cancel();
        self.publisher.finish().await;
        self.tasks.wait().await;
    }
}
