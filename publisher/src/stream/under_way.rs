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
use tonic::Status;

use crate::{answer::Responder, request::AllowedChannel};

/// Neighbours that go to the broker together.
pub(super) struct Burst {
    pub(super) channel: AllowedChannel,
    pub(super) drafts: Vec<Draft>,
    pub(super) bytes: usize,
    pub(super) counted: Vec<Publish>,
}

impl Burst {
    pub(super) fn of(channel: AllowedChannel) -> Self {
        Self { channel, drafts: Vec::new(), bytes: 0, counted: Vec::new() }
    }

    pub(super) fn takes(&self, channel: &AllowedChannel, bytes: usize) -> bool {
        self.channel == *channel && self.drafts.len() < BURST_MESSAGES && self.bytes + bytes <= BURST_BYTES
    }
}

/// Messages that are not answered yet.
pub(super) struct UnderWay {
    pub(super) bytes: usize,
    pub(super) state: State,
    /// One for each message.
    pub(super) counted: Vec<Publish>,
}

pub(super) enum State {
    Refused(Status),
    Started(ChannelName, BoxFuture<'static, Published>),
}

/// Messages that have their answers.
pub(super) struct Answered {
    pub(super) bytes: usize,
    pub(super) counted: vec::IntoIter<Publish>,
    pub(super) outcome: Result<(Responder, vec::IntoIter<Receipt>), Status>,
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
