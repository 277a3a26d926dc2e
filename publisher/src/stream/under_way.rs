//! What a `PublishStream` has handed to the broker, or is about to.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    vec,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use tidings::{
    broker::{Published, Receipt},
    channel::ChannelName,
    limits::{BURST_BYTES, BURST_MESSAGES},
    message::Draft,
    metrics::Publish,
    status::{self, Call},
};
use tidings_transport::encoding::Encoder;
use tonic::Status;

use crate::{
    answer::{Responder, encode_error},
    request::{AllowedChannel, Batch},
};

/// Neighbours of a stream that go to the broker together: a batch that may still grow.
pub(super) struct Burst {
    batch: Batch,
    /// Of their requests.
    bytes: usize,
    /// One for each message.
    counted: Vec<Publish>,
}

impl Burst {
    pub(super) fn of(channel: AllowedChannel) -> Self {
        Self { batch: Batch { channel, drafts: Vec::new(), min_replicas: 0 }, bytes: 0, counted: Vec::new() }
    }

    pub(super) fn channel(&self) -> &AllowedChannel {
        &self.batch.channel
    }

    /// Whether a message of so many bytes may join it.
    pub(super) fn takes(&self, channel: &AllowedChannel, bytes: usize) -> bool {
        let has_room = self.batch.drafts.len() < BURST_MESSAGES && self.bytes + bytes <= BURST_BYTES;
        has_room && self.batch.channel == *channel
    }

    pub(super) fn push(&mut self, draft: Draft, bytes: usize, counted: Publish) {
        self.bytes += bytes;
        self.batch.drafts.push(draft);
        self.counted.push(counted);
    }

    /// The batch, the bytes of its requests, and what counts its messages.
    pub(super) fn into_parts(self) -> (Batch, usize, Vec<Publish>) {
        (self.batch, self.bytes, self.counted)
    }
}

/// Messages that are not answered yet.
pub(super) struct UnderWay {
    bytes: usize,
    state: State,
    /// One for each message.
    counted: Vec<Publish>,
}

impl UnderWay {
    /// They take so many bytes until they are answered.
    pub(super) fn new(bytes: usize, state: State, counted: Vec<Publish>) -> Self {
        Self { bytes, state, counted }
    }
}

pub(super) enum State {
    Refused(Status),
    Started(ChannelName, BoxFuture<'static, Published>),
}

/// Messages that have their answers.
pub(super) struct Answered {
    bytes: usize,
    counted: vec::IntoIter<Publish>,
    outcome: Result<(Responder, vec::IntoIter<Receipt>), Status>,
}

impl Answered {
    /// Encodes the next answer. Answers how many bytes are under way no more by that, which is all with the last one;
    /// `None` where there is no next.
    pub(super) fn encode_next(&mut self, encoder: &mut Encoder) -> Option<usize> {
        let counted = self.counted.next()?;
        let code = match &mut self.outcome {
            Ok((responder, receipts)) => responder.encode_next(encoder, receipts.next()),
            Err(status) => encode_error(encoder, status),
        };
        counted.end(code);
        Some(if self.counted.len() == 0 { std::mem::take(&mut self.bytes) } else { 0 })
    }
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
