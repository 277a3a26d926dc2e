//! `PublishStream`: many publishes under way on one call, answered in their order.
//!
//! The stream of answers drives everything: asked for the next answer, it first takes in requests as far as its bounds
//! allow, and starts them in their order. Whoever does not read the answers is not read from either, and nothing is
//! spawned. A publish that fails is an answer; only the end of the call is a status.
//!
//! What stands in the way together goes to the broker together, where nothing tells the difference: neighbours of one channel
//! without ids of their own, which are small.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
    vec,
};

use futures_util::{
    FutureExt as _, Stream, StreamExt as _,
    future::{BoxFuture, Fuse, FusedFuture as _},
    stream::FuturesOrdered,
};
use prost::Message as _;
use tidings::{
    broker::{Published, Receipt},
    channel::ChannelName,
    limits::{BURST_BYTES, BURST_MESSAGES, DECODE_BYTES, PUBLISH_STREAM_BYTES, PUBLISH_STREAM_IN_FLIGHT},
    message::Draft,
    metrics::Publish,
    pb::{PublishStreamRequest, PublishStreamResponse, publish_stream_response::Result as Outcome},
    server::Ending,
    status::{self, Call},
};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{Status, Streaming};

use crate::{
    answer::{Responder, only},
    request::{self, Ids, Place, Publication},
    service::{Publisher, code},
};

/// The answers of one call.
pub(crate) struct Answers {
    publisher: Publisher,
    /// `None` when nothing more is taken in.
    intake: Option<Streaming<PublishStreamRequest>>,
    /// What was taken in and not handed to the broker yet.
    burst: Option<Burst>,
    ids: Ids,
    under_way: FuturesOrdered<UnderWay>,
    answered: Option<Answered>,
    messages_under_way: usize,
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
            burst: None,
            ids: Ids::default(),
            under_way: FuturesOrdered::new(),
            answered: None,
            messages_under_way: 0,
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
        // What is taken in together gets ids of one moment.
        self.ids = Ids::default();
        // One message more than the bytes allow may be under way: the largest must pass.
        while self.messages_under_way < PUBLISH_STREAM_IN_FLIGHT && self.bytes_under_way < PUBLISH_STREAM_BYTES {
            let Some(intake) = &mut self.intake else { break };
            match intake.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(request))) => self.start(request),
                Poll::Ready(Some(Err(status))) => self.close(Some(refine(status))),
                Poll::Ready(None) => self.close(None),
                Poll::Pending => break,
            }
        }
        self.start_burst();
    }

    fn close(&mut self, end: Option<Status>) {
        if self.intake.take().is_some() {
            self.end = end;
        }
    }

    fn start(&mut self, request: PublishStreamRequest) {
        let bytes = request.encoded_len();
        let counted = Publish::begin(1);
        self.messages_under_way += 1;
        self.bytes_under_way += bytes;
        let known = self.burst.as_ref().map(|burst| &burst.channel);
        let checked = match request.request {
            Some(request) => request::one(request, self.publisher.names(), Place::Stream, known, &mut self.ids),
            None => Err(status::message_missing("request")),
        };
        match checked {
            Ok((channel, draft, 0)) if !draft.deduplicate && bytes <= BURST_BYTES => {
                self.join(channel, draft, bytes, counted);
            }
            Ok((channel, draft, min_replicas)) => {
                self.start_burst();
                let publication = Publication { channel, drafts: vec![draft], min_replicas };
                let (channel, published) = self.publisher.start(publication);
                let state = State::Started(channel, published);
                self.under_way.push_back(UnderWay { bytes, state, counted: vec![counted] });
            }
            Err(status) => {
                self.start_burst();
                let state = State::Refused(status);
                self.under_way.push_back(UnderWay { bytes, state, counted: vec![counted] });
            }
        }
    }

    fn join(&mut self, channel: ChannelName, draft: Draft, bytes: usize, counted: Publish) {
        if self.burst.as_ref().is_some_and(|burst| !burst.takes(&channel, bytes)) {
            self.start_burst();
        }
        let burst = self.burst.get_or_insert_with(|| Burst::of(channel));
        burst.bytes += bytes;
        burst.drafts.push(draft);
        burst.counted.push(counted);
    }

    fn start_burst(&mut self) {
        let Some(Burst { channel, drafts, bytes, counted }) = self.burst.take() else { return };
        let (channel, published) = self.publisher.start(Publication { channel, drafts, min_replicas: 0 });
        self.under_way.push_back(UnderWay { bytes, state: State::Started(channel, published), counted });
    }

    /// The next answer of what is answered.
    fn next_answer(&mut self) -> Option<Outcome> {
        let answered = self.answered.as_mut()?;
        let counted = answered.counted.next()?;
        self.messages_under_way -= 1;
        if answered.counted.len() == 0 {
            self.bytes_under_way -= std::mem::take(&mut answered.bytes);
        }
        let answer = match &mut answered.outcome {
            Ok((responder, receipts)) => only(receipts.next().as_slice()).map(|receipt| responder.respond(receipt)),
            Err(status) => Err(status.clone()),
        };
        counted.end(code(&answer));
        Some(match answer {
            Ok(response) => Outcome::Response(response),
            Err(status) => Outcome::Error(status::to_publish_error(&status)),
        })
    }
}

impl Stream for Answers {
    type Item = Result<PublishStreamResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.deadline.as_mut().is_some_and(|deadline| deadline.poll_unpin(context).is_ready()) {
            this.deadline = None;
            this.close(None);
            this.burst = None;
            this.answered = None;
            this.under_way.clear();
            return Poll::Ready(Some(Err(status::deadline_exceeded())));
        }
        this.take_in(context);
        loop {
            if let Some(outcome) = this.next_answer() {
                return Poll::Ready(Some(Ok(PublishStreamResponse { result: Some(outcome) })));
            }
            match ready!(this.under_way.poll_next_unpin(context)) {
                Some(answered) => this.answered = Some(answered),
                None if this.intake.is_none() => return Poll::Ready(this.end.take().map(Err)),
                None => return Poll::Pending,
            }
        }
    }
}

/// Neighbours that go to the broker together.
struct Burst {
    channel: ChannelName,
    drafts: Vec<Draft>,
    bytes: usize,
    counted: Vec<Publish>,
}

impl Burst {
    fn of(channel: ChannelName) -> Self {
        Self { channel, drafts: Vec::new(), bytes: 0, counted: Vec::new() }
    }

    fn takes(&self, channel: &ChannelName, bytes: usize) -> bool {
        self.channel == *channel && self.drafts.len() < BURST_MESSAGES && self.bytes + bytes <= BURST_BYTES
    }
}

/// Messages that are not answered yet.
struct UnderWay {
    bytes: usize,
    state: State,
    /// One for each message.
    counted: Vec<Publish>,
}

enum State {
    Refused(Status),
    Started(ChannelName, BoxFuture<'static, Published>),
}

/// Messages that have their answers.
struct Answered {
    bytes: usize,
    counted: vec::IntoIter<Publish>,
    outcome: Result<(Responder, vec::IntoIter<Receipt>), Status>,
}

impl Future for UnderWay {
    type Output = Answered;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answered> {
        let outcome = match &mut self.state {
            State::Refused(status) => Err(status.clone()),
            State::Started(channel, published) => match ready!(published.poll_unpin(context)) {
                Ok(receipts) => Ok((Responder::new(channel.clone()), receipts.into_iter())),
                Err(error) => Err(status::from_broker(error, Call::Publish)),
            },
        };
        let counted = std::mem::take(&mut self.counted).into_iter();
        Poll::Ready(Answered { bytes: self.bytes, counted, outcome })
    }
}

/// Says in our words what tonic's decoder found.
fn refine(status: Status) -> Status {
    status::of_decoder(status.code(), status.message(), DECODE_BYTES).unwrap_or(status)
}
