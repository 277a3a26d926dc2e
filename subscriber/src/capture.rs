//! Capture: what plain programs publish on some channels is taken into the log, once, by whichever replica comes first.
//!
//! The hub reports what it receives on captured channels: messages of plain programs, which no stream gets; notices of
//! what was adopted, which all streams get as they get numbered messages; and how far the numbered messages go.
//! [`adoption_state`] makes of that what is still to be adopted. A single task adopts, reads the log where notices were
//! missed, and has heads read. The hub waits for none of it.
//!
//! What this module must not know: how streams get messages, and what is on Redis.

mod adoption_state;
mod entries;
mod held;
mod missed;
mod table;
mod task;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tidings::{
    broker::{Adopter, Head, Shared, Topic, adopt::Raw},
    channel::ChannelName,
    message::Position,
    metrics,
};
use tokio::{sync::Notify, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

pub use self::entries::{InvalidCapture, parse};
use self::{entries::Entries, table::Table};

/// What is captured, and what is held of it. The hub's side.
#[derive(Debug, Default)]
pub(crate) struct Capture {
    entries: Entries,
    table: Mutex<Table>,
    /// There may be something to do.
    wake: Notify,
}

impl Capture {
    /// Captures these topics. Their notices must be [open](Self::open) first.
    pub(crate) fn new(topics: Vec<Topic>) -> Arc<Self> {
        Arc::new(Self { entries: Entries::new(topics), ..Self::default() })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing that holds the lock leaves it half-written.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be listened to.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.entries.topics()
    }

    /// The notices of a topic come from now on. Answers whether that is news.
    pub(crate) fn open(&self, topic: &Topic) -> bool {
        self.entries.set_open(topic, true)
    }

    /// The notices of a topic do not come: until they do, it is not captured. Answers whether that is news.
    pub(crate) fn close(&self, topic: &Topic) -> bool {
        self.entries.set_open(topic, false)
    }

    /// The topics whose notices do not come.
    pub(crate) fn closed(&self) -> impl Iterator<Item = &Topic> {
        self.entries.closed()
    }

    /// The topic through which a channel is captured; `None` where it is not.
    pub(crate) fn source(&self, channel: &ChannelName) -> Option<&Topic> {
        self.entries.source(channel)
    }

    /// Holds what a plain program published.
    pub(crate) fn hold(&self, channel: &ChannelName, raw: Raw) {
        self.update(|table, now| table.hold(channel, raw, now));
    }

    /// The live connection was lost.
    pub(crate) fn break_off(&self) {
        self.update(|table, _| table.break_off());
    }

    /// What was held last on a channel was received before the live connection was lost.
    pub(crate) fn held_before_break(&self, channel: &ChannelName) {
        self.update(|table, _| table.break_off_one(channel));
    }

    /// Numbered messages were received: those after `before`, up to `last`, in one epoch.
    pub(crate) fn pass(&self, channel: &ChannelName, before: Position, last: Position) {
        self.update(|table, _| table.pass(channel, before, last));
    }

    /// Other messages have replaced those that were received beyond a position.
    pub(crate) fn rewrite(&self, channel: &ChannelName, to: Position) {
        self.update(|table, _| table.rewrite(channel, to));
    }

    /// A message was adopted: the one at `at`, after `before`.
    pub(crate) fn notice(&self, channel: &ChannelName, before: Position, at: Position, hash: &[u8; Raw::HASH_BYTES]) {
        self.update(|table, now| table.notice(channel, before, at, hash, now));
    }

    /// A channel's head was read, after all that was received before.
    pub(crate) fn look(&self, channel: &ChannelName, head: Option<&Head>) {
        self.update(|table, _| table.look(channel, head));
    }

    /// Says how long the oldest message waits.
    pub(crate) fn report(&self) {
        let table = self.table();
        let since = table.since();
        // Of a topic that is not captured now nobody adopts any more.
        metrics::leads(table.leads(|channel| self.source(channel).is_some()));
        drop(table);
        metrics::capture_wait(since.map_or(Duration::ZERO, |since| since.elapsed()));
    }

    fn update(&self, change: impl FnOnce(&mut Table, Instant)) {
        let mut table = self.table();
        change(&mut table, Instant::now());
        if table.is_due() {
            self.wake.notify_one();
        }
    }
}

/// Reads a channel's head after all that was received of it before, and passes it to [`Capture::look`].
pub(crate) trait HeadCheck: Send + Sync + 'static {
    /// Returns when that has been done, or says why it can't be.
    fn check_head<'a>(&'a self, channel: &'a ChannelName) -> BoxFuture<'a, Result<(), String>>;
}

/// The task that adopts.
#[derive(Debug)]
pub(crate) struct Adopting {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Adopting {
    /// Adopts what the hub receives, until it is stopped.
    pub(crate) fn start(
        capture: Arc<Capture>,
        heads: Arc<dyn HeadCheck>,
        broker: Shared,
        adopter: Arc<dyn Adopter>,
    ) -> Self {
        let stop = CancellationToken::new();
        let source = Arc::new(task::Source::new(heads, broker, adopter));
        let task = tokio::spawn(task::Task::new(capture, source).run(stop.clone()));
        Self { stop, task }
    }

    /// Adopts what is held, for at most `limit`, and waits for the task.
    pub(crate) async fn finish(self, limit: Duration) {
        self.stop.cancel();
        let mut task = self.task;
        if tokio::time::timeout(limit, &mut task).await.is_err() {
            task.abort();
            // What it did not adopt, another replica does, if there is one that received it.
            let _ = task.await;
        }
    }
}
