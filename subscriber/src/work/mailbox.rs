//! What is asked of a dispatcher, and the way to it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use tidings::{metrics, pb};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use super::{
    consumers::CreditLimit,
    outbox::{Outbox, Taken},
    outcome::{Settle, Settled},
};

/// What is asked of a dispatcher.
pub(crate) enum Request {
    /// To deliver to a stream, whose seat is at this dispatcher.
    Open(Consumer, Handle, oneshot::Sender<Opened>),
    /// To change its credit.
    Credit(u64, CreditLimit),
    /// To deliver to a call.
    Pull(Pull, oneshot::Sender<Result<Pulled, Status>>),
    /// To settle deliveries.
    Settle(Vec<Settle>, Asker, oneshot::Sender<Result<Settled, Status>>),
}

/// Who settles deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A call, which waits for the answer alone.
    Call,
    /// A stream, which goes on meanwhile.
    Stream,
}

impl Request {
    /// How many decisions it has, or counts for.
    pub(super) fn decisions(&self) -> usize {
        if let Self::Settle(settles, ..) = self { settles.len().max(1) } else { 1 }
    }
}

/// A stream that wants messages.
pub(crate) struct Consumer {
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) limit: CreditLimit,
    /// `None` for the subscription's.
    pub(crate) ack_deadline: Option<Duration>,
}

/// A stream that gets messages from now on.
pub(crate) struct Opened {
    /// Where nobody takes it, it is closed again.
    pub(crate) seat: Seat,
    /// The subscription as it is.
    pub(crate) subscription: pb::Subscription,
}

/// A call that wants messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pull {
    pub(crate) limit: CreditLimit,
    pub(crate) ack_deadline: Option<Duration>,
    /// How long it waits for the first.
    pub(crate) wait: Duration,
}

/// What a call gets.
pub(crate) type Pulled = Taken;

/// What comes in.
pub(super) struct Inbox {
    pub(super) requests: mpsc::Receiver<Request>,
    /// Streams that have ended, by their numbers.
    pub(super) closed: mpsc::UnboundedReceiver<u64>,
}

/// The way to a dispatcher.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) closed: mpsc::UnboundedSender<u64>,
    pub(super) backlog: Arc<AtomicI64>,
}

/// A stream's place at a dispatcher. When it is dropped, what the stream has is given back.
#[derive(Debug)]
pub(crate) struct Seat {
    key: u64,
    handle: Handle,
    _counted: metrics::Consumer,
}

/// What the dispatcher makes of a settlement, some time.
pub(crate) type Settling = oneshot::Receiver<Result<Settled, Status>>;

impl Seat {
    pub(super) fn new(key: u64, handle: Handle) -> Self {
        Self { key, handle, _counted: metrics::Consumer::open() }
    }

    /// Changes the stream's credit, some time.
    pub(crate) fn credit(&self, limit: CreditLimit) -> impl Future<Output = ()> + Send + use<> {
        let (requests, key) = (self.handle.requests.clone(), self.key);
        async move {
            // Where the dispatcher has ended, so has the stream.
            let _ended = requests.send(Request::Credit(key, limit)).await;
        }
    }

    /// Hands deliveries over to be settled. Where there is no room for more, the future does that, some time.
    pub(crate) fn settle(&self, settles: Vec<Settle>) -> (Settling, Option<BoxFuture<'static, ()>>) {
        let (reply, settling) = oneshot::channel();
        let asked = self.handle.requests.try_send(Request::Settle(settles, Asker::Stream, reply));
        let Err(mpsc::error::TrySendError::Full(request)) = asked else { return (settling, None) };
        let requests = self.handle.requests.clone();
        let asking = async move {
            // Where the dispatcher has ended, the receiver says that nobody answers.
            let _ended = requests.send(request).await;
        };
        (settling, Some(Box::pin(asking)))
    }

    /// The backlog, as it was known last.
    pub(crate) fn backlog(&self) -> i64 {
        self.handle.backlog.load(Relaxed)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let _ended = self.handle.closed.send(self.key);
    }
}
