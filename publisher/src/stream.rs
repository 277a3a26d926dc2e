//! `PublishStream`: many publishes under way on one call, answered in their order.
//!
//! The stream of answers drives everything: asked for the next answer, it first takes in requests as far as its bounds
//! allow, and starts them in their order. Whoever does not read the answers is not read from either, and nothing is
//! spawned. A publish that fails is an answer; only the end of the call is a status.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{
    FutureExt as _, Stream, StreamExt as _,
    future::{BoxFuture, Fuse, FusedFuture as _},
    stream::FuturesOrdered,
};
use prost::Message as _;
use tidings::{
    broker::Published,
    channel::ChannelName,
    limits::{DECODE_BYTES, PUBLISH_STREAM_BYTES, PUBLISH_STREAM_IN_FLIGHT},
    metrics::Publish,
    pb::{PublishStreamRequest, PublishStreamResponse, publish_stream_response::Result as Outcome},
    server::Ending,
    status::{self, Call},
};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{Status, Streaming};

use crate::{
    request::{self, Place},
    service::{Publisher, code, only, respond},
};

/// The answers of one call.
pub(crate) struct Answers {
    publisher: Publisher,
    /// `None` when nothing more is taken in.
    intake: Option<Streaming<PublishStreamRequest>>,
    under_way: FuturesOrdered<UnderWay>,
    bytes_under_way: usize,
    /// The status behind the last answer; `None` for OK.
    end: Option<Status>,
    ending: Ending,
    ended: Pin<Box<Fuse<WaitForCancellationFutureOwned>>>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Answers {
    /// Answers what comes in, until the connection ends and for at most `timeout`.
    pub(crate) fn new(
        publisher: Publisher,
        intake: Streaming<PublishStreamRequest>,
        ending: Ending,
        timeout: Option<Duration>,
    ) -> Self {
        let ended = Box::pin(ending.begun().fuse());
        Self {
            publisher,
            intake: Some(intake),
            under_way: FuturesOrdered::new(),
            bytes_under_way: 0,
            end: None,
            ending,
            ended,
            deadline: timeout.map(|timeout| Box::pin(sleep(timeout))),
        }
    }

    /// Takes in what there is and what there is room for.
    fn take_in(&mut self, context: &mut Context<'_>) {
        if !self.ended.is_terminated() && self.ended.poll_unpin(context).is_ready() {
            self.close(Some(self.ending.status(Call::Publish)));
        }
        // One message more than the bytes allow may be under way: the largest must pass.
        while self.under_way.len() < PUBLISH_STREAM_IN_FLIGHT && self.bytes_under_way < PUBLISH_STREAM_BYTES {
            let Some(intake) = &mut self.intake else { return };
            match intake.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(request))) => self.start(request),
                Poll::Ready(Some(Err(status))) => self.close(Some(refine(status))),
                Poll::Ready(None) => self.close(None),
                Poll::Pending => return,
            }
        }
    }

    fn close(&mut self, end: Option<Status>) {
        if self.intake.take().is_some() {
            self.end = end;
        }
    }

    fn start(&mut self, request: PublishStreamRequest) {
        let bytes = request.encoded_len();
        let counted = Some(Publish::begin(1));
        let checked = match request.request {
            Some(request) => request::single(request, self.publisher.names(), Place::Stream),
            None => Err(status::message_missing("request")),
        };
        let state = match checked {
            Ok(publication) => {
                let (channel, published) = self.publisher.start(publication);
                State::Started(channel, published)
            }
            Err(status) => State::Refused(status),
        };
        self.bytes_under_way += bytes;
        self.under_way.push_back(UnderWay { bytes, state, counted });
    }
}

impl Stream for Answers {
    type Item = Result<PublishStreamResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.deadline.as_mut().is_some_and(|deadline| deadline.poll_unpin(context).is_ready()) {
            this.deadline = None;
            this.close(None);
            this.under_way.clear();
            return Poll::Ready(Some(Err(status::deadline_exceeded())));
        }
        this.take_in(context);
        match ready!(this.under_way.poll_next_unpin(context)) {
            Some((bytes, outcome)) => {
                this.bytes_under_way -= bytes;
                Poll::Ready(Some(Ok(PublishStreamResponse { result: Some(outcome) })))
            }
            None if this.intake.is_none() => Poll::Ready(this.end.take().map(Err)),
            None => Poll::Pending,
        }
    }
}

/// One publish that is not answered yet.
struct UnderWay {
    bytes: usize,
    state: State,
    counted: Option<Publish>,
}

enum State {
    Refused(Status),
    Started(ChannelName, BoxFuture<'static, Published>),
}

impl Future for UnderWay {
    type Output = (usize, Outcome);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match &mut self.state {
            State::Refused(status) => Err(status.clone()),
            State::Started(channel, published) => match ready!(published.poll_unpin(context)) {
                Ok(receipts) => only(&receipts).map(|receipt| respond(channel, receipt)),
                Err(error) => Err(status::from_broker(error, Call::Publish)),
            },
        };
        if let Some(counted) = self.counted.take() {
            counted.end(code(&answer));
        }
        let outcome = match answer {
            Ok(response) => Outcome::Response(response),
            Err(status) => Outcome::Error(status::to_publish_error(&status)),
        };
        Poll::Ready((self.bytes, outcome))
    }
}

/// Says in our words what tonic's decoder found.
fn refine(status: Status) -> Status {
    status::of_decoder(status.code(), status.message(), DECODE_BYTES).unwrap_or(status)
}
