//! `ConsumeMessages`: deliveries out, settlements in, on one stream.
//!
//! The stream of responses drives everything: asked for the next bytes, it takes in requests, hands them on, and sends
//! what the dispatcher has put into its [`Outbox`]. A client that does not read is not sent to: what waits for it goes
//! to others after a moment.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{FutureExt as _, Stream, StreamExt as _, future::BoxFuture};
use prost::Message;
use tidings::{
    limits::{DELIVERIES_BYTES, DRAIN_SETTLEMENTS, SETTLEMENTS},
    pb::{self, consume_messages_request::Request, consume_messages_response::Response},
    status::{self, Call},
};
use tidings_transport::{
    CallContext, DrainSignal,
    encoding::{Encoded, Encoder},
    operation::{Received, Requests},
};
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep, interval_at, sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::Status;

use super::request::consuming::{self, Started};
use super::{CreditLimit, Desk, Outbox, Seat, Settle, Settling, delivery::RawReceived, mailbox::Consumer};

/// `ReceivedMessages`, and the response that has it.
#[derive(Clone, PartialEq, Message)]
struct RawReceivedMessages {
    #[prost(message, repeated, tag = "1")]
    messages: Vec<RawReceived>,
}

#[derive(Clone, PartialEq, Message)]
struct RawResponse {
    #[prost(message, optional, tag = "2")]
    received: Option<RawReceivedMessages>,
}

/// What is opened: the place at the dispatcher, and the subscription.
type Opening = BoxFuture<'static, Result<(Started, Seat, pb::Subscription), Status>>;

enum State {
    /// The first request has not come.
    Waiting,
    Opening(Opening),
    Open(Box<Open>),
    Ended,
}

struct Open {
    seat: Seat,
    heartbeat: Option<Pin<Box<Interval>>>,
    /// Settlements that are being carried out, in their order.
    settlements: VecDeque<(Vec<String>, Settling)>,
    /// How many decisions they have; one without any counts as well.
    deciding: usize,
    /// A request for which the dispatcher has no room yet: until then no other is read.
    asking: Option<BoxFuture<'static, ()>>,
    /// When a stream ends whose server stops.
    end: Option<Pin<Box<Sleep>>>,
}

/// The responses of one call, encoded.
pub(crate) struct Responses {
    desk: Arc<Desk>,
    context: CallContext,
    /// `None` when nothing more is taken in.
    requests: Option<Requests<pb::ConsumeMessagesRequest>>,
    outbox: Arc<Outbox>,
    state: State,
    encoder: Encoder,
    /// Why its caller may consume no longer, once that is so.
    revoked: Option<BoxFuture<'static, Status>>,
    drain: DrainSignal,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Responses {
    pub(crate) fn new(desk: Arc<Desk>, context: CallContext, requests: Requests<pb::ConsumeMessagesRequest>) -> Self {
        let drain = context.drain().clone();
        Self {
            desk,
            context,
            requests: Some(requests),
            outbox: Arc::default(),
            state: State::Waiting,
            encoder: Encoder::default(),
            revoked: None,
            ended: Box::pin(drain.begun()),
            drain,
        }
    }

    fn end(&mut self, end: Result<(), Status>) -> Poll<Option<Result<Encoded, Status>>> {
        (self.state, self.requests) = (State::Ended, None);
        Poll::Ready(end.err().map(Err))
    }

    /// Takes in the first request.
    fn poll_start(&mut self, cx: &mut Context<'_>) -> Poll<Result<Opening, Status>> {
        let Some(requests) = &mut self.requests else { return Poll::Ready(Err(consuming::not_started())) };
        let first = match requests.poll_next_unpin(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => return Poll::Ready(Err(consuming::not_started())),
            Poll::Ready(Some(first)) => first?,
        };
        let started = consuming::started(first.message, &self.desk, &self.context)?;
        self.revoked = consuming::revoked(self.context.caller().clone(), started.name.clone());
        let (desk, outbox) = (Arc::clone(&self.desk), Arc::clone(&self.outbox));
        Poll::Ready(Ok(Box::pin(async move {
            let Started { name, limit, ack_deadline, .. } = &started;
            let consumer = || Consumer { outbox: Arc::clone(&outbox), limit: *limit, ack_deadline: *ack_deadline };
            let (seat, subscription) = desk.open(name, consumer).await?;
            Ok((started, seat, subscription))
        })))
    }

    fn started(&mut self, started: &Started, seat: Seat, subscription: pb::Subscription) {
        let heartbeat = started.heartbeat.map(|period| {
            let mut interval = interval_at(Instant::now() + period, period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            Box::pin(interval)
        });
        self.respond(Response::Started(pb::ConsumeStarted { subscription: Some(subscription) }));
        let (settlements, deciding, asking, end) = (VecDeque::new(), 0, None, None);
        self.state = State::Open(Box::new(Open { seat, heartbeat, settlements, deciding, asking, end }));
    }

    fn respond(&mut self, response: Response) {
        self.encoder.message(&pb::ConsumeMessagesResponse { response: Some(response) });
    }

    /// What an open stream does: everything that can be done now. Ready at its end.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.poll_drain(cx);
        self.poll_requests(cx)?;
        self.poll_settled(cx);
        let Self { state: State::Open(open), outbox, encoder, requests, .. } = self else { return Poll::Pending };
        if let Some(heartbeat) = &mut open.heartbeat
            && heartbeat.as_mut().poll_tick(cx).is_ready()
        {
            let heartbeat = pb::ConsumeHeartbeat { backlog_count: open.seat.backlog() };
            encoder.message(&pb::ConsumeMessagesResponse { response: Some(Response::Heartbeat(heartbeat)) });
        }
        if encoder.len() < DELIVERIES_BYTES
            && let Poll::Ready(taken) = outbox.poll_take(DELIVERIES_BYTES, cx)
        {
            let taken = taken?;
            for lost in taken.lost {
                encoder.message(&pb::ConsumeMessagesResponse { response: Some(Response::Lost(lost)) });
            }
            if !taken.messages.is_empty() {
                encoder.message(&RawResponse { received: Some(RawReceivedMessages { messages: taken.messages }) });
            }
        }
        let is_drained = open.end.as_mut().is_some_and(|end| end.as_mut().poll(cx).is_ready());
        if is_drained {
            return Poll::Ready(Err(self.drain.status(Call::Consume)));
        }
        // A client that sends nothing more has its answers, and what is out goes to others.
        if requests.is_none() && open.settlements.is_empty() {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    /// The server stops, or the connection is old: nothing more is delivered, settlements are taken for a while.
    fn poll_drain(&mut self, cx: &mut Context<'_>) {
        let State::Open(open) = &mut self.state else { return };
        if open.end.is_some() || self.ended.as_mut().poll(cx).is_pending() {
            return;
        }
        open.end = Some(Box::pin(sleep(DRAIN_SETTLEMENTS)));
        open.credit(CreditLimit { messages: 0, bytes: 0 });
        self.respond(Response::Draining(pb::Draining {}));
    }

    /// Takes in requests, as far as there is room for them.
    fn poll_requests(&mut self, cx: &mut Context<'_>) -> Result<(), Status> {
        loop {
            let State::Open(open) = &mut self.state else { return Ok(()) };
            if let Some(asking) = &mut open.asking {
                if asking.poll_unpin(cx).is_pending() {
                    return Ok(());
                }
                open.asking = None;
            }
            // Woken when one of those under way is answered, which makes room.
            if open.deciding >= SETTLEMENTS {
                return Ok(());
            }
            let Some(requests) = &mut self.requests else { return Ok(()) };
            let request = match requests.poll_next_unpin(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(None) => {
                    // Whoever settles nothing more gets nothing more.
                    open.credit(CreditLimit { messages: 0, bytes: 0 });
                    self.requests = None;
                    continue;
                }
                Poll::Ready(Some(request)) => request?,
            };
            self.take(request)?;
        }
    }

    fn take(&mut self, request: Received<pb::ConsumeMessagesRequest>) -> Result<(), Status> {
        let State::Open(open) = &mut self.state else { return Ok(()) };
        match request.message.request {
            Some(Request::Settlement(settlement)) => {
                let settles = consuming::settlement(settlement)?;
                open.settle(settles);
            }
            Some(Request::Credit(given)) if open.end.is_none() => {
                open.credit(consuming::changed(&given)?);
            }
            // Nothing more is delivered anyway.
            Some(Request::Credit(_)) => {}
            Some(Request::Ping(pb::Ping {})) => {
                let heartbeat = pb::ConsumeHeartbeat { backlog_count: open.seat.backlog() };
                self.respond(Response::Heartbeat(heartbeat));
            }
            Some(Request::Start(_)) => return Err(status::invalid("start", "the stream has begun already")),
            None => return Err(status::invalid("request", "set one of settlement, ping and credit")),
        }
        Ok(())
    }

    /// Answers settlements, in their order.
    fn poll_settled(&mut self, cx: &mut Context<'_>) {
        while let State::Open(open) = &mut self.state
            && let Some((_, settling)) = open.settlements.front_mut()
            && let Poll::Ready(settled) = settling.poll_unpin(cx)
        {
            let Some((texts, _)) = open.settlements.pop_front() else { return };
            open.deciding -= texts.len().max(1);
            let settled = match settled {
                Ok(Ok(settled)) => settled.into_message(),
                // The dispatcher has ended: the end of the stream says why.
                Ok(Err(_)) | Err(_) => pb::Settled { unknown_ids: texts, ..pb::Settled::default() },
            };
            self.respond(Response::Settled(settled));
        }
    }
}

impl Open {
    fn settle(&mut self, settles: Vec<Settle>) {
        let texts: Vec<_> = settles.iter().map(|settle| settle.text.clone()).collect();
        self.deciding += texts.len().max(1);
        let (settling, asking) = self.seat.settle(settles);
        self.settlements.push_back((texts, settling));
        self.asking = asking;
    }

    fn credit(&mut self, limit: CreditLimit) {
        let crediting = self.seat.credit(limit);
        let before = self.asking.take();
        self.asking = Some(Box::pin(async move {
            if let Some(before) = before {
                before.await;
            }
            crediting.await;
        }));
    }
}

impl Stream for Responses {
    type Item = Result<Encoded, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Encoded, Status>>> {
        let this = self.get_mut();
        loop {
            if let Some(Poll::Ready(status)) = this.revoked.as_mut().map(|revoked| revoked.as_mut().poll(cx)) {
                return this.end(Err(status));
            }
            match &mut this.state {
                State::Ended => return Poll::Ready(None),
                State::Waiting | State::Opening(_) if this.drain.has_begun() => {
                    let status = this.drain.status(Call::Consume);
                    return this.end(Err(status));
                }
                State::Waiting => match this.poll_start(cx) {
                    Poll::Pending => {
                        // It is woken when its connection drains, too.
                        let _pending = this.ended.as_mut().poll(cx);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(opening)) => this.state = State::Opening(opening),
                    Poll::Ready(Err(status)) => return this.end(Err(status)),
                },
                State::Opening(opening) => match opening.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok((started, seat, subscription))) => this.started(&started, seat, subscription),
                    Poll::Ready(Err(status)) => return this.end(Err(status)),
                },
                State::Open(_) => {
                    let polled = this.poll_open(cx);
                    if !this.encoder.is_empty() {
                        // What ends it is found again with the next poll.
                        return Poll::Ready(Some(Ok(this.encoder.take())));
                    }
                    return match polled {
                        Poll::Pending => Poll::Pending,
                        Poll::Ready(end) => this.end(end),
                    };
                }
            }
        }
    }
}
