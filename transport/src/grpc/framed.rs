//! The body of a response: frames, and the status after them as trailers.

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
use crate::deadline::Deadline;

/// Sends what a stream has until it ends, fails, or its client waits no longer. Then all that it held is freed.
pub(crate) struct Framed<S> {
    frames: Option<S>,
    deadline: Deadline,
}

impl<S> Framed<S> {
    pub(crate) fn new(frames: S, deadline: Deadline) -> Self {
        Self { frames: Some(frames), deadline }
    }
}

impl<S: Stream<Item = Result<Bytes, Status>> + Unpin> Body for Framed<S> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let Some(frames) = &mut this.frames else { return Poll::Ready(None) };
        let end = match this.deadline.poll_passed(context) {
            Poll::Ready(status) => Err(status),
            Poll::Pending => match ready!(frames.poll_next_unpin(context)) {
                Some(Ok(frames)) => return Poll::Ready(Some(Ok(Frame::data(frames)))),
                Some(Err(status)) => Err(status),
                None => Ok(()),
            },
        };
        this.frames = None;
        Poll::Ready(Some(Ok(Frame::trailers(trailers(end)))))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_none()
    }
}
