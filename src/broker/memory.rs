//! The embedded broker: the semantics of the Redis broker, in this process's memory, gone when it exits.
//!
//! One lock guards everything, and what needs it is done while the caller waits: no call awaits under it, so calls
//! take effect in the order in which they are made, and a push is put in its readers' queues in the moment in which its
//! message enters the log. Nothing here waits for a reader: see `live`. All that is kept has a bound (`Bounds`).

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::timeout,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use self::{
    channel::{Channel, Incoming},
    live::{Connections, Queue},
    shelf::Shelf,
};
use super::{
    Broker, DataSetNow, Error, From, Head, HeadOf, LiveCommand, LiveControl, LiveEvent, LiveEvents, Page, PageLimit,
    Published, Receipt, Retention, State, Walk, busy_listing,
};
use crate::{
    channel::{ChannelName, Pattern},
    envelope,
    limits::{
        BATCH_MESSAGES, EMBEDDED_BYTES, EMBEDDED_CHANNELS, EMBEDDED_COMMANDS, EMBEDDED_EVENTS, EMBEDDED_QUEUE_BYTES,
        EMBEDDED_SWEPT, LIST_WAIT, NAME_SCANS, READ_MESSAGE_BYTES, REGISTRY_RECENT_NAMES,
    },
    message::{DataSet, Draft, Epoch},
};

mod books;
mod channel;
mod ids;
mod live;
mod shelf;
mod subscriptions;

/// See the [module](self).
pub struct Memory {
    inner: Arc<Inner>,
    state: watch::Sender<State>,
    tasks: TaskTracker,
    closing: CancellationToken,
    /// Whose turn it is to go through the names of all channels.
    listing: Semaphore,
    /// Ends the tasks also where nobody calls `close`.
    _end: DropGuard,
}

/// The time, in ms since 1970.
type Clock = Box<dyn Fn() -> i64 + Send + Sync>;

/// What the broker keeps at most: the constants of [`limits`](crate::limits), but in tests.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    channels: usize,
    bytes: usize,
    queue_bytes: usize,
}

impl Bounds {
    const LIMITS: Self = Self { channels: EMBEDDED_CHANNELS, bytes: EMBEDDED_BYTES, queue_bytes: EMBEDDED_QUEUE_BYTES };
}

struct Inner {
    retention: Retention,
    bounds: Bounds,
    clock: Clock,
    data_set: DataSet,
    core: Mutex<Core>,
}

/// What the lock guards.
#[derive(Default)]
struct Core {
    channels: BTreeMap<ChannelName, Channel>,
    shelf: Shelf,
    /// The cost of all channels and subscriptions.
    bytes: usize,
    /// The channel that was swept last.
    swept: Option<ChannelName>,
    connections: Connections,
    closed: bool,
}

impl Memory {
    /// A broker without any message. It can be used at once.
    pub fn new(retention: Retention) -> Arc<Self> {
        Self::with_clock(retention, system_time_ms)
    }

    /// The same by another clock than the system's, in ms since 1970: for tests and simulations, whose time is their
    /// own.
    pub fn with_clock(retention: Retention, clock: impl Fn() -> i64 + Send + Sync + 'static) -> Arc<Self> {
        Self::build(retention, Bounds::LIMITS, Box::new(clock))
    }

    fn build(retention: Retention, bounds: Bounds, clock: Clock) -> Arc<Self> {
        let closing = CancellationToken::new();
        Arc::new(Self {
            inner: Arc::new(Inner { retention, bounds, clock, data_set: DataSet::random(), core: Mutex::default() }),
            state: watch::Sender::new(State::Up),
            tasks: TaskTracker::new(),
            listing: Semaphore::new(NAME_SCANS),
            _end: closing.clone().drop_guard(),
            closing,
        })
    }
}

fn system_time_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[async_trait]
impl Broker for Memory {
    fn publish(&self, channel: &ChannelName, drafts: Vec<Draft>, min_replicas: u32) -> BoxFuture<'static, Published> {
        Box::pin(std::future::ready(self.inner.publish(channel, &drafts, min_replicas)))
    }

    async fn heads(&self, channels: &[ChannelName]) -> Result<Vec<HeadOf>, Error> {
        let mut heads = Vec::with_capacity(channels.len());
        // Others get their turn between pieces of a long list.
        for piece in channels.chunks(BATCH_MESSAGES) {
            let mut core = self.inner.open()?;
            heads.extend(piece.iter().map(|channel| Ok(self.inner.head(&mut core, channel))));
        }
        Ok(heads)
    }

    async fn data_set(&self) -> Result<DataSetNow, Error> {
        drop(self.inner.open()?);
        Ok(DataSetNow { data_set: Some(self.inner.data_set), time_ms: (self.inner.clock)() })
    }

    async fn report_loss(&self, _: &ChannelName, _: Epoch, _: i64) -> Result<(), Error> {
        // Nothing is lost here but with the process, and then there is nobody left to say so.
        Ok(())
    }

    async fn register_again(&self, _: &[ChannelName]) -> Result<usize, Error> {
        // The channels themselves are the registry.
        Ok(0)
    }

    async fn read(&self, channel: &ChannelName, from: From, limit: PageLimit) -> Result<Page, Error> {
        let mut core = self.inner.open()?;
        let head = self.inner.head(&mut core, channel);
        let (messages, is_last) = match core.channels.get(channel) {
            Some(channel) => channel.read(from, limit),
            None => (Vec::new(), true),
        };
        Ok(Page { head, messages, is_last })
    }

    async fn sequence_before(&self, channel: &ChannelName, time_ms: i64) -> Result<i64, Error> {
        let mut core = self.inner.open()?;
        Ok(self.inner.channel(&mut core, channel).map_or(0, |channel| channel.sequence_before(time_ms)))
    }

    async fn channels(&self, pattern: Option<&Pattern>, after: &str, limit: usize) -> Result<Vec<ChannelName>, Error> {
        // One at a time: who lists waits for who lists, and nobody else does.
        let _turn = timeout(LIST_WAIT, self.listing.acquire()).await.map_err(|_| busy_listing())?;
        let mut walk = Walk::new(pattern, after, limit);
        while !walk.is_over() {
            self.inner.walk(&mut walk)?;
            tokio::task::yield_now().await;
        }
        Ok(walk.found)
    }

    fn live(&self) -> (LiveControl, LiveEvents) {
        let (control, commands) = mpsc::channel(EMBEDDED_COMMANDS);
        let (events, received) = mpsc::channel(EMBEDDED_EVENTS);
        let queue = Arc::new(Queue::new(self.inner.bounds.queue_bytes));
        let id = self.inner.lock().connections.open(queue.clone());
        let (inner, closing) = (self.inner.clone(), self.closing.clone());
        self.tasks.spawn(async move {
            let carry_out = |command| inner.carry_out(id, command);
            closing.run_until_cancelled(live::run(&queue, commands, events, carry_out)).await;
            inner.lock().connections.close(id);
        });
        (control, received)
    }

    fn subscriptions(&self) -> Arc<dyn super::Subscriptions> {
        self.inner.clone()
    }

    fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    fn probe_age(&self) -> Option<Duration> {
        // There is nothing in between that a probe could get lost in.
        Some(Duration::ZERO)
    }

    fn describe(&self) -> String {
        "embedded broker (memory of this process)".to_owned()
    }

    async fn close(&self) {
        self.inner.lock().closed = true;
        self.state.send_replace(State::Down("the embedded broker is closed".to_owned()));
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().expect("nothing panics under this lock")
    }

    /// The lock, for calls that need a broker that is not closed.
    fn open(&self) -> Result<MutexGuard<'_, Core>, Error> {
        let core = self.lock();
        match core.closed {
            true => Err(Error::Unavailable("the embedded broker is closed".to_owned())),
            false => Ok(core),
        }
    }

    /// A channel as it is now: without a log that has expired, and not at all where even its head is.
    fn channel<'a>(&self, core: &'a mut Core, name: &ChannelName) -> Option<&'a mut Channel> {
        let now_ms = (self.clock)();
        if core.channels.get(name)?.is_gone(&self.retention, now_ms) {
            core.bytes -= core.channels.remove(name)?.cost();
            return None;
        }
        let channel = core.channels.get_mut(name)?;
        core.bytes -= channel.cost();
        channel.expire(&self.retention, now_ms);
        core.bytes += channel.cost();
        Some(channel)
    }

    fn head(&self, core: &mut Core, name: &ChannelName) -> Option<Head> {
        self.channel(core, name).map(|channel| channel.head(&self.retention, self.data_set))
    }

    /// Goes on with a walk over the names, for as long as publishes can wait.
    fn walk(&self, walk: &mut Walk<'_>) -> Result<(), Error> {
        let core = self.open()?;
        let now_ms = (self.clock)();
        let is_there = |channel: &Channel| !channel.is_gone(&self.retention, now_ms);
        walk.step(core.channels.range::<str, _>(walk.rest()).map(|(name, channel)| (name, is_there(channel))));
        Ok(())
    }

    fn carry_out(&self, id: u64, command: LiveCommand) {
        let mut core = self.lock();
        match command {
            // There is nothing to capture.
            LiveCommand::Subscribe(topic) | LiveCommand::Capture(topic) => core.connections.subscribe(id, topic),
            LiveCommand::Unsubscribe(topic) => core.connections.unsubscribe(id, &topic),
            LiveCommand::Check(channel) => {
                let head = self.head(&mut core, &channel);
                core.connections.send(id, LiveEvent::Head(channel, head));
            }
            // All of them: few, and none of them is ever lost here but by a slow reader.
            LiveCommand::Recent { skip } => {
                let names: Vec<_> = core.channels.keys().skip(skip).take(REGISTRY_RECENT_NAMES).cloned().collect();
                let (more, registered) = (names.len() == REGISTRY_RECENT_NAMES, core.channels.len());
                core.connections.send(id, LiveEvent::Recent { skip, names, more, registered });
            }
        }
    }

    fn publish(&self, name: &ChannelName, drafts: &[Draft], min_replicas: u32) -> Published {
        if min_replicas > 0 {
            return Err(Error::NoReplicas);
        }
        if drafts.is_empty() {
            return Ok(Vec::new());
        }
        // The longest part of the work needs no lock.
        let incoming = drafts.iter().map(incoming).collect::<Result<Vec<_>, _>>()?;
        let mut core = self.open()?;
        self.sweep(&mut core);
        let (receipts, published) = self.append(&mut core, name, &incoming)?;
        core.connections.deliver(name, &published);
        Ok(receipts)
    }

    /// Takes messages into a channel's log: all or none.
    fn append(
        &self,
        core: &mut Core,
        name: &ChannelName,
        incoming: &[Incoming],
    ) -> Result<(Vec<Receipt>, Vec<Bytes>), Error> {
        let now_ms = (self.clock)();
        let known = self.channel(core, name).is_some();
        if !known && core.channels.len() >= self.bounds.channels {
            return Err(Error::Full("it keeps no more channels"));
        }
        let mut fresh = (!known).then(|| Channel::new(core.shelf.held(name)));
        let channel = match &mut fresh {
            Some(fresh) => fresh,
            None => core.channels.get_mut(name).expect("it was there a moment ago, under the same lock"),
        };
        let append = channel.prepare(&self.retention, incoming, now_ms)?;
        let before = if known { channel.cost() } else { 0 };
        let after = channel.cost_after(&self.retention, &append);
        if after > before && core.bytes - before + after > self.bounds.bytes {
            return Err(Error::Full("its memory is used up"));
        }
        let answer = channel.apply(&self.retention, incoming, append);
        core.bytes = core.bytes - before + channel.cost();
        if let Some(fresh) = fresh {
            core.channels.insert(name.clone(), fresh);
        }
        Ok(answer)
    }

    /// Looks at the next few channels in turn, so that the logs of quiet channels go in time.
    fn sweep(&self, core: &mut Core) {
        let from = core.swept.take().map_or(Bound::Unbounded, Bound::Excluded);
        let names: Vec<_> =
            core.channels.range((from, Bound::Unbounded)).take(EMBEDDED_SWEPT).map(|(name, _)| name.clone()).collect();
        for name in &names {
            self.channel(core, name);
        }
        // At the end of the list it begins again.
        core.swept = names.into_iter().nth(EMBEDDED_SWEPT - 1);
    }
}

fn incoming(draft: &Draft) -> Result<Incoming, Error> {
    let encoded = envelope::encode(draft);
    match encoded.len() {
        bytes if bytes > READ_MESSAGE_BYTES => Err(Error::TooLarge { bytes, limit: READ_MESSAGE_BYTES }),
        _ => Ok(Incoming { id: draft.id, dedup: draft.dedup, encoded }),
    }
}

#[cfg(test)]
mod tests;
