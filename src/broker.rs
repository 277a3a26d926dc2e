//! What Tidings needs from a broker. Read alone, this page explains the product.
//!
//! A broker keeps, for each channel, a *log*: messages numbered 1, 2, 3 … within an *epoch*, trimmed at its old end. To
//! publish is to number, keep and *push*, in one step. Pushes are fast and may be lost; the log is the truth, so a
//! reader that follows pushes and sees a sequence jump reads the log. [`history`] says what a reader makes of a
//! position and a head.
//!
//! Two brokers do the same: [`memory`] within one process, the crate `tidings-redis` across many. One suite of tests
//! holds both to it. This module knows no gRPC.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    channel::{ChannelName, Pattern},
    envelope::EnvelopeRef,
    message::{DataSet, Draft, Epoch},
};

pub mod adopt;
mod closing;
pub mod history;
mod live;
pub mod memory;
pub mod subscriptions;
mod walk;

pub use adopt::Adopter;
pub use closing::closed_after;
pub use history::{Absence, Gap, GapReason, Head, Loss};
pub use live::{LiveCommand, LiveControl, LiveEvent, LiveEvents, Topic};
pub use subscriptions::Subscriptions;
pub use walk::{Walk, busy_listing};

/// The two sides share one broker.
pub type Shared = Arc<dyn Broker>;

/// A log of messages for each channel, and pushes of new messages.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// Publishes messages of one channel: consecutively and together, or none. Messages whose id was published within
    /// the deduplication window (or is in the list already) are answered with the first receipt instead.
    ///
    /// The call's position in the channel's order is fixed when it is made, not when the future is polled. The caller
    /// keeps to the limits of a batch; a message over [`READ_MESSAGE_BYTES`](crate::limits::READ_MESSAGE_BYTES) is
    /// refused here, where its JSON is made.
    fn publish(&self, channel: &ChannelName, drafts: Vec<Draft>, min_replicas: u32) -> BoxFuture<'static, Published>;

    /// The present state of each channel, in the order asked. One that can't be read spoils no other.
    async fn heads(&self, channels: &[ChannelName]) -> Result<Vec<HeadOf>, Error>;

    /// Which data set the broker has now, and what time it is there. For a caller that finds a channel without a head:
    /// a head that expired is no loss, one that was flushed is.
    async fn data_set(&self) -> Result<DataSetNow, Error>;

    /// Has the broker remember that messages of an epoch were given out up to `to`, which is beyond its own log: a new
    /// epoch begins, whose start names them. Does nothing where that is known already, is so far beyond that it may be
    /// forged, or the channel has no head.
    async fn report_loss(&self, channel: &ChannelName, epoch: Epoch, to: i64) -> Result<(), Error>;

    /// One page of a channel's log, with the head at the same moment.
    async fn read(&self, channel: &ChannelName, from: From, limit: PageLimit) -> Result<Page, Error>;

    /// The greatest sequence that was published before this time (log time, ms); what follows is as new or newer. The
    /// channel's last sequence where all is older, one below the first retained where nothing is.
    async fn sequence_before(&self, channel: &ChannelName, time_ms: i64) -> Result<i64, Error>;

    /// The lowest `limit` names of the registry, in byte order, that come after `after` and match the pattern. Names
    /// that come or go meanwhile may be in it or not.
    ///
    /// One call at a time goes through the names, a piece of them at a time ([`Walk`]); the others wait for their turn,
    /// [`LIST_WAIT`](crate::limits::LIST_WAIT) at most.
    async fn channels(&self, pattern: Option<&Pattern>, after: &str, limit: usize) -> Result<Vec<ChannelName>, Error>;

    /// Puts those of the channels that have a head and that the registry lacks back into it. Answers how many that
    /// were.
    async fn register_again(&self, channels: &[ChannelName]) -> Result<usize, Error>;

    /// Opens the live side: one connection that carries the pushes of all topics asked of it. It reconnects by itself.
    fn live(&self) -> (LiveControl, LiveEvents);

    /// Takes what plain programs publish into the log; `None` where no plain program can publish, as in the embedded
    /// broker.
    fn adopter(&self) -> Option<Arc<dyn Adopter>> {
        None
    }

    /// Keeps the books of durable subscriptions.
    fn subscriptions(&self) -> Arc<dyn Subscriptions>;

    /// Whether the broker can be used now, and if not, why: what health checks and logs report.
    fn state(&self) -> watch::Receiver<State>;

    /// The same for callers that need pushes as well: up only while a recent probe has come back as a push.
    fn live_state(&self) -> watch::Receiver<State> {
        self.state()
    }

    /// How long ago a probe last went the whole way to the broker and back; `None` when none has yet.
    fn probe_age(&self) -> Option<Duration>;

    /// How the broker is called in a line for people, such as "Redis at 127.0.0.1:6379".
    fn describe(&self) -> String;

    /// Ends its tasks and waits for them. Publishes that wait are answered.
    async fn close(&self);
}

/// A channel's present state; `None` where it has neither head nor log, [`Error::Channel`] where it can't be read.
pub type HeadOf = Result<Option<Head>, Error>;

/// One receipt for each draft, in the same order.
pub type Published = Result<Vec<Receipt>, Error>;

/// The broker's word that a message is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The message's id.
    pub id: Uuid,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its sequence, from 1.
    pub sequence: i64,
    /// Log time, ms since 1970.
    pub time_ms: i64,
    /// It had been published before; this is the first receipt.
    pub duplicate: bool,
    /// Replicas known to have it.
    pub replicas: u32,
}

/// How many messages a broker keeps of every channel, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Messages; 0 keeps none (they are numbered and pushed only).
    pub max_messages: u64,
    /// Bytes of JSON.
    pub max_bytes: u64,
    /// Age by log time, ms.
    pub max_age_ms: u64,
    /// How long ids are remembered at least, ms.
    pub dedup_window_ms: u64,
    /// Ids remembered per channel and window.
    pub dedup_max_ids: u64,
}

/// Where a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Upwards from the first message above this sequence.
    After(i64),
    /// Downwards from the last message below this sequence.
    Before(i64),
}

/// Where a page ends: at the first of both limits, but not before one run. One of thousands of messages may end
/// earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit {
    /// Messages; whole runs may bring some more.
    pub messages: usize,
    /// Bytes of JSON; whole runs may bring some more.
    pub bytes: usize,
}

/// One page of a log.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The channel at the moment of reading; `None` when it has neither head nor log.
    pub head: Option<Head>,
    /// In the order asked for; consecutive, but where the log itself is not.
    pub messages: Vec<Stored>,
    /// Whether the log had nothing further in that direction.
    pub is_last: bool,
}

/// One message of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its sequence.
    pub sequence: i64,
    /// The JSON as it was published.
    pub json: Bytes,
    /// What else is kept of it where a plain program published it.
    pub adopted: Option<adopt::Adopted>,
}

impl Stored {
    /// Log time, ms: what its JSON says, unless a plain program wrote that.
    pub fn time_ms(&self) -> i64 {
        match self.adopted {
            Some(adopted) => adopted.time_ms,
            None => EnvelopeRef::read(&self.json, 0).time_ms(),
        }
    }
}

/// A broker's data set at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataSetNow {
    /// Its name; `None` where it has none yet.
    pub data_set: Option<DataSet>,
    /// The broker's own clock, ms since 1970.
    pub time_ms: i64,
}

/// Whether a broker can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It answers.
    Up,
    /// It does not, for this reason.
    Down(String),
}

/// Why a call to a broker failed. For a publish it says whether it may have happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The message's JSON would be too large.
    #[error("the message has {bytes} bytes as JSON; at most {limit} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The broker is away or refuses work; nothing was done.
    #[error("{0}")]
    Unavailable(String),
    /// This channel alone can't be used: the broker refuses it, or keeps of it what is not understood. Nothing was
    /// done.
    #[error("{0}")]
    Channel(String),
    /// The call was handed over and no answer came: it may have been carried out.
    #[error("{0}")]
    OutcomeUnknown(String),
    /// It was published, and fewer replicas than asked for confirmed it in time.
    #[error("published, but only {reached} of {wanted} replicas confirmed it within {within_ms} ms")]
    ReplicasNotReached {
        /// Replicas asked for.
        wanted: u32,
        /// Replicas that confirmed.
        reached: u32,
        /// How long was waited.
        within_ms: u64,
    },
    /// This broker has no replicas at all.
    #[error("min_replicas needs Redis; the embedded broker has no replicas")]
    NoReplicas,
    /// The broker's memory is full; nothing was done.
    #[error(
        "Redis is out of memory (maxmemory reached, noeviction): free memory or raise maxmemory; nothing was published"
    )]
    OutOfMemory,
    /// The embedded broker holds as much as it may; nothing was done.
    #[error(
        "the embedded broker is full ({0}): lower --history-max-messages, --history-max-bytes or --history-max-age, or use Redis (--redis-url); nothing was published"
    )]
    Full(&'static str),
    /// So many ids were given within the deduplication window that no more can be remembered; nothing was done.
    #[error(
        "{limit} message ids are remembered in this deduplication window; publish without message_id, or raise --dedup-max-ids"
    )]
    TooManyIds {
        /// The limit.
        limit: u64,
    },
    /// A bug, or data that only a bug or a stranger can have written.
    #[error("{0}")]
    Internal(String),
}
