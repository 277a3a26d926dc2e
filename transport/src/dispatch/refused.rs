//! A call that is refused before its request has come.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use http_body::Body as HttpBody;
use tidings::limits::{REFUSED_BODY_TIME, STREAM_WINDOW_BYTES};
use tokio::time::{Sleep, sleep};
use tonic::Status;

/// Reads its request's body and drops it, and then gives the status. Where an answer ended the call first, h2 would
/// reset its stream, count each frame that comes afterwards as an error of its own, and end the connection, with
/// everybody's calls, at 1,024 of them (`local_max_error_reset_streams`).
pub(super) struct Refused<B> {
    status: Status,
    body: B,
    /// What the client may still send, since it was given no larger window.
    left: usize,
    /// None until something has to be waited for.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<B> Refused<B> {
    pub(super) fn new(status: Status, body: B) -> Self {
        Self { status, body, left: STREAM_WINDOW_BYTES as usize, waiting: None }
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> Refused<B> {
    /// Ready at the body's end, or when it is not waited for any longer.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        while !self.body.is_end_stream() && self.left > 0 {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    let bytes = frame.data_ref().map_or(0, |data| data.remaining());
                    self.left = self.left.saturating_sub(bytes);
                }
                Poll::Ready(_) => break,
                Poll::Pending => {
                    let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(REFUSED_BODY_TIME)));
                    ready!(waiting.as_mut().poll(context));
                    break;
                }
            }
        }
        Poll::Ready(self.status.clone())
    }
}
