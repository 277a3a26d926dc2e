//! A request's body that says what is read of it.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tidings::limits::STREAM_WINDOW_BYTES;

use super::Backlog;

/// The body of a call.
pub(crate) struct Followed<B: Body<Data = Bytes> + Unpin> {
    inner: B,
    backlog: Arc<Backlog>,
}

impl<B: Body<Data = Bytes> + Unpin> Followed<B> {
    /// Made where the connection is read, for each request.
    pub(crate) fn new(inner: B, backlog: Arc<Backlog>) -> Self {
        backlog.accepted.fetch_add(1, Ordering::Relaxed);
        backlog.open.fetch_add(1, Ordering::Relaxed);
        Self { inner, backlog }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Followed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.backlog.is_read(data.len());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: Body<Data = Bytes> + Unpin> Drop for Followed<B> {
    /// What lies there goes with it. No client may have sent more than its window.
    fn drop(&mut self) {
        let mut left = STREAM_WINDOW_BYTES as usize;
        let mut nobody = Context::from_waker(Waker::noop());
        while left > 0 && !self.inner.is_end_stream() {
            let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut self.inner).poll_frame(&mut nobody) else { break };
            let length = frame.data_ref().map_or(0, Bytes::len);
            self.backlog.is_read(length);
            left = left.saturating_sub(length.max(1));
        }
        // Behind what was read: who sees none open sees all of that as well.
        self.backlog.open.fetch_sub(1, Ordering::Release);
    }
}
