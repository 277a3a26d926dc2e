//! The dispatcher of a subscription: hands messages out to the consumers of this replica, and settles what they decide.
//!
//! One task, which does one thing at a time: it takes in what was asked, makes changes of it, has the broker carry them
//! out in one call, and tells everybody what became of it. What comes meanwhile waits for the next call, so that the
//! busier it is, the more goes together. All its knowledge of what is out may be wrong; the books decide.

use std::{
    future::{poll_fn, ready},
    sync::{Arc, atomic::AtomicI64},
    task::Poll,
};

use tidings::{
    broker::subscriptions::{Books, Place, Subscriptions},
    channel::Names,
    limits::DISPATCH_ROUND,
    status::{self, Call},
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use self::{engine::Engine, ledger::Stop};
use super::{
    holds::Holds,
    looks::Looks,
    mailbox::{Inbox, Request},
    settings::Settings,
};
use crate::stream::Source;

mod batches;
mod bundle;
mod engine;
mod joint;
mod ledger;
mod pace;
mod planner;
mod pulls;
mod recipients;
mod round;
mod sending;
mod settle_delay;
mod settler;
mod want;

/// What a dispatcher works with.
pub(super) struct Ground {
    pub(super) store: Arc<dyn Subscriptions>,
    pub(super) source: Source,
    pub(super) names: Arc<Names>,
    pub(super) holds: Arc<Holds>,
    pub(super) server: CancellationToken,
    /// The backlog, for heartbeats.
    pub(super) backlog: Arc<AtomicI64>,
    pub(super) looks: Looks,
}

pub(super) struct Dispatcher {
    inbox: Inbox,
    server: CancellationToken,
    engine: Engine,
}

impl Dispatcher {
    /// A dispatcher of a subscription that was found so, when that was asked.
    pub(super) fn new(
        place: Place,
        ground: Ground,
        inbox: Inbox,
        settings: Settings,
        (books, asked): (&Books, Instant),
    ) -> Self {
        let server = ground.server.clone();
        Self { inbox, server, engine: Engine::new(place, &ground, settings, (books, asked)) }
    }

    /// Works until nobody needs it any more, the subscription is gone, or the server has ended. Then its streams have
    /// ended before: what they had is given back.
    pub(super) async fn run(mut self) {
        while !self.engine.is_over() {
            let is_due = self.wait().await;
            if !is_due {
                continue;
            }
            match self.engine.cycle().await {
                Ok(()) => {}
                Err(Stop::Missing) => {
                    let missing = status::not_found(self.engine.name());
                    // Before anybody hears of it, so that whoever asks again asks another.
                    self.inbox.requests.close();
                    return self.engine.leave(&missing);
                }
                Err(Stop::Moved) => self.engine.moved(),
                Err(Stop::Broker(error)) => self.engine.away(&error),
            }
        }
        let draining = status::draining(Call::Consume);
        self.end(&draining);
    }

    /// Waits until there is something to do, and takes in what was asked. False where it is too early for it.
    async fn wait(&mut self) -> bool {
        let Self { inbox, server, engine } = self;
        let (next, goes_on) = (engine.next_time(), engine.goes_on());
        // Whether there is more to do than to settle.
        let mut is_more = true;
        let (mut request, mut closed) = (None, None);
        tokio::select! {
            biased;
            () = server.cancelled(), if !engine.is_draining() => {
                engine.drain();
                return false;
            }
            Some(key) = inbox.closed.recv() => closed = Some(key),
            Some(asked) = inbox.requests.recv() => {
                request = Some(asked);
                is_more = goes_on;
            }
            () = poll_fn(|cx| engine.poll(cx)) => {}
            () = ready(()), if goes_on => {}
            () = sleep_until(next) => {}
        }
        if request.is_some() {
            // What has come goes with the settlements, and with the credit that they free.
            is_more |= poll_fn(|cx| Poll::Ready(engine.poll_fill(cx))).await.is_ready();
        }
        while let Some(key) = closed {
            engine.close(key);
            closed = inbox.closed.try_recv().ok();
        }
        let mut taken = 0;
        while let Some(asked) = request.take().or_else(|| inbox.requests.try_recv().ok()) {
            taken += asked.decisions();
            is_more |= !matches!(asked, Request::Settle(..));
            engine.take(asked);
            if taken >= DISPATCH_ROUND {
                is_more = true;
                break;
            }
        }
        engine.is_due(is_more)
    }

    /// Ends all streams and calls.
    fn end(&mut self, status: &Status) {
        self.engine.end(status);
        // Whoever asks from now on finds that it has ended, and asks another.
        self.inbox.requests.close();
        while let Ok(request) = self.inbox.requests.try_recv() {
            match request {
                Request::Pull(_, reply) => drop(reply.send(Err(status.clone()))),
                Request::Settle(_, _, reply) => drop(reply.send(Err(status.clone()))),
                Request::Open(..) | Request::Credit(..) => {}
            }
        }
    }
}
