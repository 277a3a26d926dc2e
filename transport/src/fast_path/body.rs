//! What such a call sends, and what it passes on where it does not answer by itself.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::{Body as HttpBody, Frame};
use hyper::body::Incoming;
use tonic::body::Body;

use crate::grpc;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The response with one message, which a gRPC frame holds, and the status OK behind it.
pub(super) fn respond(frame: Bytes) -> Response<Body> {
    grpc::response(One { frame: Some(frame) })
}

/// One message and its trailers. It is read to its end and not beyond.
struct One {
    frame: Option<Bytes>,
}

impl HttpBody for One {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(match self.frame.take() {
            Some(frame) => Frame::data(frame),
            None => {
                let mut trailers = HeaderMap::with_capacity(1);
                trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
                Frame::trailers(trailers)
            }
        })))
    }
}

/// A request's body from its beginning, some of which was read already.
pub(super) struct Reread {
    pub(super) read: Option<Bytes>,
    pub(super) rest: Incoming,
}

impl HttpBody for Reread {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.read.take() {
            Some(read) => Poll::Ready(Some(Ok(Frame::data(read)))),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_none() && self.rest.is_end_stream()
    }
}
