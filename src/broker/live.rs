//! The live side of a broker: the commands to a connection that carries pushes, and its events.
//!
//! Commands are carried out, and events reported, in order: an answer comes after every push that happened before it.
//! Pushes may be lost, but never without [`LiveEvent::Lost`] where the connection itself knows of it.

use bytes::Bytes;

use super::{Error, Head, adopt};
use crate::channel::{ChannelName, Pattern};

/// What a live connection follows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Topic {
    /// One channel.
    Channel(ChannelName),
    /// All channels that match.
    Pattern(Pattern),
}

/// A command to a live connection. Commands are carried out in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LiveCommand {
    /// Answered by [`LiveEvent::Subscribed`], after which every push arrives.
    Subscribe(Topic),
    /// The same for a topic whose plain messages are adopted: notices are subscribed to as well, and before the topic,
    /// so that every push is followed by its notice. Also answered by [`LiveEvent::Captured`].
    Capture(Topic),
    /// Ends a subscription; a few pushes may still come.
    Unsubscribe(Topic),
    /// Answered by [`LiveEvent::Head`], which comes after every push that happened before it.
    Check(ChannelName),
    /// Answered by [`LiveEvent::Recent`]: which channels were published on within the last two minutes, without the
    /// `skip` most recent ones.
    Recent {
        /// How many names were reported already.
        skip: usize,
    },
}

/// An event of a live connection. Events arrive in order.
#[derive(Debug, Clone)]
pub enum LiveEvent {
    /// The subscription is confirmed.
    Subscribed(Topic),
    /// A message on a channel, seen through a topic. `payload` is any bytes.
    Push {
        /// The topic that brought it.
        topic: Topic,
        /// The channel's name, which for a pattern may be any bytes.
        channel: Bytes,
        /// The payload as it was published.
        payload: Bytes,
    },
    /// A plain program's message was adopted. This comes after the push of that message.
    Notice {
        /// The captured topic that brought it.
        topic: Topic,
        /// The channel.
        channel: ChannelName,
        /// The [hash](adopt::Raw::hash) of the payload.
        hash: [u8; adopt::Raw::HASH_BYTES],
        /// The message as it is in the log.
        json: Bytes,
    },
    /// From here on notices arrive of all messages that are adopted on the topic's channels.
    Captured(Topic),
    /// They do not come, or not any more, for this reason. The topic itself is not concerned.
    NotCaptured(Topic, String),
    /// A push that was larger than a message may be, and was not kept.
    Oversized {
        /// The topic it came through.
        topic: Topic,
        /// Its size.
        bytes: usize,
    },
    /// The head of a channel at this point among the pushes. When the link is lost before the answer, none comes: ask
    /// again after `Restored`.
    Head(ChannelName, Option<Head>),
    /// The head of a channel could not be read at this point: ask again.
    NoHead(ChannelName, Error),
    /// Channels that were published on lately, the most recent first, some at a time. When the link is lost before the
    /// answer, none comes.
    Recent {
        /// The topic that was asked for.
        skip: usize,
        /// Their names.
        names: Vec<ChannelName>,
        /// Whether there are more.
        more: bool,
        /// How many channels there are in all. When they become fewer, some may have been flushed.
        registered: usize,
    },
    /// The topic can't be subscribed to, or not any more: nothing comes through it.
    Refused(Topic, String),
    /// Pushes may be missing from here on.
    Lost(String),
    /// All subscriptions are confirmed again; messages that were missed in between are in the log.
    Restored,
}

impl LiveEvent {
    /// Whether it is something that was published, and no answer.
    pub fn is_message(&self) -> bool {
        matches!(self, Self::Push { .. } | Self::Notice { .. } | Self::Oversized { .. })
    }
}

/// The asking side of a live connection. Dropping it ends the connection.
pub type LiveControl = tokio::sync::mpsc::Sender<LiveCommand>;

/// The sending side: what one read of the transport brought, together.
pub type LiveEvents = tokio::sync::mpsc::Receiver<Vec<LiveEvent>>;
