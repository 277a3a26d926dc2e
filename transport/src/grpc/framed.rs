//! The body of a response: frames, and then the status as trailers.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http_body::{Body, Frame};
use tonic::Status;

use super::trailers;
use crate::{deadline::Deadline, encoding::Encoded};

/// Sends what a stream has until it ends, fails, or its client waits no longer. Then all that it held is freed.
pub(crate) struct Framed<S> {
    messages: Option<S>,
    deadline: Deadline,
}

impl<S> Framed<S> {
    pub(crate) fn new(messages: S, deadline: Deadline) -> Self {
        Self { messages: Some(messages), deadline }
    }
}

impl<S: Stream<Item = Result<Encoded, Status>> + Unpin> Body for Framed<S> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let Some(messages) = &mut this.messages else { return Poll::Ready(None) };
        let end = match this.deadline.poll_passed(context) {
            Poll::Ready(status) => Err(status),
            Poll::Pending => match ready!(messages.poll_next_unpin(context)) {
                Some(Ok(encoded)) => return Poll::Ready(Some(Ok(Frame::data(encoded.into_frames())))),
                Some(Err(status)) => Err(status),
                None => Ok(()),
            },
        };
        this.messages = None;
        Poll::Ready(Some(Ok(Frame::trailers(trailers(end)))))
    }

    fn is_end_stream(&self) -> bool {
        self.messages.is_none()
    }
}
