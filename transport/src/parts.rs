//! Answers in parts of one frame. HTTP/2 holds what it was handed until its reader has room, and gRPC-Web as text makes
//! a copy of it for each stream: in parts, a stream that nobody reads holds one of them, however long the answer is.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tidings::limits::ANSWER_PART_BYTES;
use tonic::{Status, body::Body};
use tower_service::Service;

/// A service whose answers come in parts.
#[derive(Clone)]
pub(super) struct InParts<S>(pub(super) S);

impl<S, B> Service<Request<B>> for InParts<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move { Ok(answer.await?.map(|body| Body::new(Parts { inner: body, rest: Bytes::new() }))) })
    }
}

/// A body in parts.
struct Parts {
    inner: Body,
    /// What it gave and was not handed on yet.
    rest: Bytes,
}

/// Takes the next part of what is there. Three bytes are four characters of base64, so that no part but the last of a
/// message is padded.
pub(super) fn next(rest: &mut Bytes) -> Bytes {
    rest.split_to(rest.len().min(ANSWER_PART_BYTES / 3 * 3))
}

impl HttpBody for Parts {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.rest.is_empty() {
            let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        Poll::Ready(Some(Ok(Frame::data(next(&mut self.rest)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    #[tokio::test]
    async fn a_long_answer_comes_in_parts_that_are_not_padded() {
        for length in [0, 1, 3, ANSWER_PART_BYTES, 10 * ANSWER_PART_BYTES + 1] {
            let whole: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let mut body = Parts { inner: Body::new(Full::from(whole.clone())), rest: Bytes::new() };
            let mut read: Vec<Bytes> = Vec::new();
            while let Some(frame) = body.frame().await {
                read.push(frame.expect("no error").into_data().expect("data"));
            }
            assert!(read.iter().all(|part| part.len() <= ANSWER_PART_BYTES), "{length}");
            assert!(read.iter().rev().skip(1).all(|part| part.len() % 3 == 0), "{length}");
            assert_eq!(read.concat(), whole, "{length}");
            assert!(body.is_end_stream(), "{length}");
        }
    }
}
