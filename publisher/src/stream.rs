//! `PublishStream`: many publishes under way on one call, answered in their order.
//!
//! The stream of answers drives everything: asked for the next bytes, it takes in requests as far as its bounds allow,
//! starts them in their order, and writes what is answered. A client that does not read the answers is not read from
//! either, and nothing is spawned. A publish that fails is an answer; only the end of the call is a status.
//!
//! Requests that wait together go to the broker together, where nobody can see the difference: neighbours of one
//! channel without ids of their own, which are small.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{
    FutureExt as _, Stream, StreamExt as _,
    future::{Fuse, FusedFuture as _},
    stream::FuturesOrdered,
};
use tidings::{
    access::Rights,
    limits::{ANSWERS_BYTES, BURST_BYTES, PUBLISH_STREAM_BYTES, PUBLISH_STREAM_IN_FLIGHT},
    message::Draft,
    metrics::Publish,
    pb::PublishStreamRequest,
    status::{self, Call},
};
use tidings_transport::{
    CallContext, DrainSignal,
    encoding::{Encoded, Encoder},
    operation::{Received, Requests},
};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::Status;

use self::under_way::{Answered, Burst, State, UnderWay};
use crate::{
    publisher::{Publisher, charge},
    request::{self, AllowedChannel, Batch, Ids, RequestPath},
};

mod under_way;

/// The answers of one call, encoded.
pub(crate) struct Answers {
    publisher: Publisher,
    /// `None` when nothing more is taken in.
    intake: Option<Requests<PublishStreamRequest>>,
    /// What was taken in and not handed to the broker yet.
    burst: Option<Burst>,
    ids: Ids,
    under_way: FuturesOrdered<UnderWay>,
    answered: Option<Answered>,
    /// Answers that go out with the next poll that has nothing to add.
    encoder: Encoder,
    messages_under_way: usize,
    bytes_under_way: usize,
    /// The status after the last answer.
    end: Result<(), Status>,
    drain: DrainSignal,
    /// Whose call it is.
    call: CallContext,
    /// Those that the caller has while some are taken in.
    rights: Arc<Rights>,
    ended: Pin<Box<Fuse<WaitForCancellationFutureOwned>>>,
}

impl Answers {
    /// Answers what comes in, until the connection drains.
    pub(crate) fn new(publisher: Publisher, intake: Requests<PublishStreamRequest>, context: &CallContext) -> Self {
        let (drain, caller) = (context.drain().clone(), context.caller());
        let ended = Box::pin(drain.begun().fuse());
        Self {
            publisher,
            intake: Some(intake),
            burst: None,
            ids: Ids::default(),
            under_way: FuturesOrdered::new(),
            answered: None,
            encoder: Encoder::default(),
            messages_under_way: 0,
            bytes_under_way: 0,
            end: Ok(()),
            drain,
            rights: caller.rights(),
            call: context.clone(),
            ended,
        }
    }

    /// Takes in what there is and what there is room for.
    fn take_in(&mut self, context: &mut Context<'_>) {
        if !self.ended.is_terminated() && self.ended.poll_unpin(context).is_ready() {
            self.close(Err(self.drain.status(Call::Publish)));
        }
        // What is taken in together gets ids of one moment, and is allowed at that moment.
        self.ids = Ids::default();
        self.rights = self.call.caller().rights();
        // One message more than the bytes allow may be under way: the largest must pass.
        while self.messages_under_way < PUBLISH_STREAM_IN_FLIGHT && self.bytes_under_way < PUBLISH_STREAM_BYTES {
            let Some(intake) = &mut self.intake else { break };
            match intake.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(request))) => self.start(request),
                Poll::Ready(Some(Err(status))) => self.close(Err(status)),
                Poll::Ready(None) => self.close(Ok(())),
                Poll::Pending => break,
            }
        }
        self.start_burst();
    }

    fn close(&mut self, end: Result<(), Status>) {
        if self.intake.take().is_some() {
            self.end = end;
        }
    }

    fn start(&mut self, Received { message, bytes }: Received<PublishStreamRequest>) {
        let counted = Publish::begin(1);
        self.messages_under_way += 1;
        self.bytes_under_way += bytes;
        let known = self.burst.as_ref().map(Burst::channel);
        let checked = match message.request {
            Some(request) => charge(&self.call, 1, || bytes).and_then(|()| {
                let terms = self.publisher.terms(self.call.caller(), &self.rights);
                request::one(request, terms, RequestPath::Stream, known, &mut self.ids)
            }),
            None => Err(status::message_missing("request")),
        };
        match checked {
            Ok((channel, draft, 0)) if draft.dedup.is_none() && bytes <= BURST_BYTES => {
                self.join(channel, draft, bytes, counted);
            }
            Ok((channel, draft, min_replicas)) => {
                self.start_burst();
                let batch = Batch { channel, drafts: vec![draft], min_replicas };
                self.publish(batch, bytes, vec![counted]);
            }
            Err(status) => {
                self.start_burst();
                let state = State::Refused(status);
                self.under_way.push_back(UnderWay::new(bytes, state, vec![counted]));
            }
        }
    }

    fn join(&mut self, channel: AllowedChannel, draft: Draft, bytes: usize, counted: Publish) {
        if self.burst.as_ref().is_some_and(|burst| !burst.takes(&channel, bytes)) {
            self.start_burst();
        }
        let burst = self.burst.get_or_insert_with(|| Burst::of(channel));
        burst.push(draft, bytes, counted);
    }

    fn start_burst(&mut self) {
        let Some(burst) = self.burst.take() else { return };
        let (batch, bytes, counted) = burst.into_parts();
        self.publish(batch, bytes, counted);
    }

    fn publish(&mut self, batch: Batch, bytes: usize, counted: Vec<Publish>) {
        let state = match self.publisher.start(batch, self.call.account()) {
            Ok((channel, published)) => State::Started(channel, published),
            Err(status) => State::Refused(status),
        };
        self.under_way.push_back(UnderWay::new(bytes, state, counted));
    }

    /// Encodes the next answer of what is answered, where there is one.
    fn encode_next(&mut self) -> bool {
        let Some(answered) = self.answered.as_mut() else { return false };
        let Some(freed) = answered.encode_next(&mut self.encoder) else { return false };
        self.messages_under_way -= 1;
        self.bytes_under_way -= freed;
        true
    }

    /// What was encoded.
    fn send(&mut self) -> Poll<Option<Result<Encoded, Status>>> {
        Poll::Ready(Some(Ok(self.encoder.take())))
    }
}

impl Stream for Answers {
    type Item = Result<Encoded, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Encoded, Status>>> {
        let this = self.get_mut();
        loop {
            while this.encode_next() {
                if this.encoder.len() >= ANSWERS_BYTES {
                    return this.send();
                }
            }
            // What was answered has left room. Before it waits, it has asked for more as far as there is room.
            this.take_in(context);
            match this.under_way.poll_next_unpin(context) {
                Poll::Ready(Some(answered)) => this.answered = Some(answered),
                _ if !this.encoder.is_empty() => return this.send(),
                Poll::Ready(None) if this.intake.is_none() => {
                    return Poll::Ready(std::mem::replace(&mut this.end, Ok(())).err().map(Err));
                }
                _ => return Poll::Pending,
            }
        }
    }
}
