//! The answer to a stream of requests, for as long as its caller waits and is believed. Operations end by themselves;
//! reflection, which comes from a crate, would go on after its caller's token.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::{Status, body::Body};

use crate::{deadline::Deadline, grpc};

/// A response's body until its end, or that of its call.
pub(super) struct Lasting {
    /// None once it is over.
    inner: Option<Body>,
    lifetime: Deadline,
}

impl Lasting {
    pub(super) fn new(inner: Body, lifetime: Deadline) -> Self {
        Self { inner: Some(inner), lifetime }
    }
}

impl HttpBody for Lasting {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let mut frame = Pin::new(inner).poll_frame(context);
        // What ends by itself says how; what goes on, however busily, does so within its time.
        let goes_on = match &frame {
            Poll::Ready(Some(Ok(frame))) => frame.is_data(),
            Poll::Ready(_) => false,
            Poll::Pending => true,
        };
        if goes_on && let Poll::Ready(status) = self.lifetime.poll_passed(context) {
            self.inner = None;
            frame = Poll::Ready(Some(Ok(Frame::trailers(grpc::trailers(Err(status))))));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}
