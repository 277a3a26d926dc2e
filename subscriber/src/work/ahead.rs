//! The messages ahead of a subscription: read as a stream reads them, and held until they are leased.
//!
//! It is a stream of the channel like any other, with its positions and gaps, so that messages come in their order,
//! from the log or from pushes. It is asked for more only while there is room here.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::Stream as _;
use tidings::{
    access::Rights,
    broker::Topic,
    channel::ChannelName,
    cursor,
    limits::{AHEAD_BYTES, AHEAD_MESSAGES},
    message::{Epoch, Mark, Position},
    pb,
    status::{self, Call},
    subscription::OrderKey,
};
use tidings_transport::{CallContext, encoding::Encoded};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::delivery::{Arrived, RawEvent};
use crate::{
    request::{Start, StreamOptions},
    stream::{self, Events, Source},
};

/// What comes next.
#[derive(Debug, Clone)]
pub(super) enum Item {
    /// A message.
    Message(Arrived),
    /// Messages that can't be had any more, and the position after them, where it is known.
    Lost(pb::Gap, Option<Position>),
}

pub(super) struct Ahead {
    source: Source,
    channel: ChannelName,
    /// The stream ends with the server.
    server: CancellationToken,
    events: Option<Events>,
    /// What the stream brought and was not looked at yet.
    encoded: Encoded,
    items: VecDeque<Item>,
    bytes: usize,
    /// Whether ordering keys count.
    is_ordered: bool,
}

impl Ahead {
    pub(super) fn new(source: Source, channel: ChannelName, server: CancellationToken) -> Self {
        let (encoded, items) = (Encoded::default(), VecDeque::new());
        Self { source, channel, server, events: None, encoded, items, bytes: 0, is_ordered: false }
    }

    pub(super) fn is_open(&self) -> bool {
        self.events.is_some()
    }

    /// Lets go of what is held, and follows no longer.
    pub(super) fn close(&mut self) {
        (self.events, self.encoded, self.bytes) = (None, Encoded::default(), 0);
        self.items = VecDeque::new();
    }

    /// Follows the channel from a position on. Ordering keys are read where they count.
    pub(super) async fn open(&mut self, after: Position, is_ordered: bool) -> Result<(), Status> {
        self.close();
        self.is_ordered = is_ordered;
        let context = CallContext::detached(Call::Consume, &self.server);
        // Who may consume was asked of the subscription, whose creator could subscribe.
        let topic = Rights::all().follow(Topic::Channel(self.channel.clone())).map_err(|_| status::internal())?;
        let options =
            StreamOptions { topic, start: Start::After(Mark::from(after)), fail_on_gap: false, heartbeat: None };
        let session = stream::open(&self.source, &options, &context).await?;
        self.events = Some(Events::new(session, None, context.drain().clone(), None, None));
        Ok(())
    }

    /// The next item.
    pub(super) fn first(&self) -> Option<&Item> {
        self.items.front()
    }

    /// The items in their order.
    pub(super) fn items(&self) -> impl Iterator<Item = &Item> {
        self.items.iter()
    }

    /// The ordering keys of so many of the first items, where they count.
    pub(super) fn keys(&self, items: usize) -> impl Iterator<Item = OrderKey> {
        self.items().take(items).filter_map(|item| match item {
            Item::Message(message) => message.key,
            Item::Lost(..) => None,
        })
    }

    /// Takes so many of the first items away.
    pub(super) fn advance(&mut self, items: usize) {
        for item in self.items.drain(..items.min(self.items.len())) {
            self.bytes -= item.bytes();
        }
    }

    /// Takes messages away that come before a sequence: others have them.
    pub(super) fn skip_to(&mut self, next: i64) {
        while let Some(Item::Message(message)) = self.items.front()
            && message.sequence < next
        {
            self.advance(1);
        }
    }

    /// Drops messages that are not in the channel's history any more. Whether there were any.
    pub(super) fn retain(&mut self, is_there: impl Fn(Epoch, i64) -> bool) -> bool {
        let before = self.items.len();
        self.items.retain(|item| match item {
            Item::Message(message) => is_there(message.epoch, message.sequence),
            Item::Lost(..) => true,
        });
        self.bytes = self.items.iter().map(Item::bytes).sum();
        self.items.len() < before
    }

    fn is_full(&self) -> bool {
        self.items.len() >= AHEAD_MESSAGES || self.bytes >= AHEAD_BYTES
    }

    /// Takes in what has come, as far as there is room. Ready where that is something new, or the stream has ended:
    /// then it is closed, and the error says why.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        let mut is_new = false;
        loop {
            while !self.is_full()
                && let Some(event) = self.encoded.take_first::<RawEvent>()
            {
                if let Some(item) = Item::of(event, &self.channel, self.is_ordered) {
                    self.bytes += item.bytes();
                    self.items.push_back(item);
                    is_new = true;
                }
            }
            let Some(events) = self.events.as_mut().filter(|_| self.encoded.is_empty()) else { break };
            match Pin::new(events).poll_next(cx) {
                Poll::Ready(Some(Ok(encoded))) => self.encoded = encoded,
                Poll::Ready(Some(Err(status))) => {
                    self.events = None;
                    return Poll::Ready(Err(status));
                }
                Poll::Ready(None) => {
                    self.events = None;
                    return Poll::Ready(Err(status::internal()));
                }
                Poll::Pending => break,
            }
        }
        if is_new { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl Item {
    fn of(event: RawEvent, channel: &ChannelName, is_ordered: bool) -> Option<Self> {
        match (event.message, event.gap) {
            (Some(message), _) => {
                let arrived = Arrived::read(message)?;
                Some(Self::Message(if is_ordered { arrived.keyed() } else { arrived }))
            }
            (None, gap) => gap.map(|gap| {
                let resume = cursor::decode_for(&gap.cursor, channel).ok().map(|mark| mark.position);
                Self::Lost(gap, resume)
            }),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Message(message) => message.message.len(),
            Self::Lost(..) => 0,
        }
    }
}
