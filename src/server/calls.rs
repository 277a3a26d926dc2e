//! What holds for every call, before it reaches its service: the client's `grpc-timeout` bounds the time until the
//! response's headers, a panic becomes INTERNAL, and a request that can't be decoded is refused in our words.
//!
//! Behind the headers a stream is on its own; it reads the same deadline by [`deadline`].

use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::future::{CatchUnwind, FutureExt as _};
use http::{HeaderMap, Request, Response, Uri};
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tonic::{Code, Status, body::Body};
use tower_service::Service;

use super::deadline;
use crate::{limits, status};

/// Wraps the routes.
#[derive(Debug, Clone)]
pub(super) struct Calls<S> {
    inner: S,
}

impl<S> Calls<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, B> Service<Request<B>> for Calls<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Call<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let deadline = deadline::of(request.headers()).map(tokio::time::sleep);
        let uri = request.uri().clone();
        Call { inner: AssertUnwindSafe(self.inner.call(request)).catch_unwind(), deadline, uri }
    }
}

pin_project! {
    /// One call until its headers.
    pub(super) struct Call<F> {
        #[pin]
        inner: CatchUnwind<AssertUnwindSafe<F>>,
        #[pin]
        deadline: Option<Sleep>,
        uri: Uri,
    }
}

impl<F> Future for Call<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.inner.poll(context) {
            Poll::Ready(Ok(Ok(response))) => {
                let refused = of_tonic(response.headers(), this.uri);
                return Poll::Ready(Ok(refused.map_or(response, Status::into_http)));
            }
            Poll::Ready(Ok(Err(never))) => match never {},
            // The panic hook has logged it.
            Poll::Ready(Err(_panic)) => return Poll::Ready(Ok(status::internal().into_http())),
            Poll::Pending => {}
        }
        match this.deadline.as_pin_mut().map(|deadline| deadline.poll(context)) {
            Some(Poll::Ready(())) => {
                Poll::Ready(Ok(status::deadline_exceeded(status::Call::of(this.uri.path())).into_http()))
            }
            _ => Poll::Pending,
        }
    }
}

/// What tonic's decoder, or a generated service that lacks the method, says of a request, in our words. Their answers have no details,
/// as ours have.
fn of_tonic(headers: &HeaderMap, uri: &Uri) -> Option<Status> {
    let answer = Status::from_header_map(headers)?;
    match answer.details() {
        [] if answer.code() == Code::Unimplemented && answer.message().is_empty() => {
            Some(status::unknown_method(uri.path(), status::LISTED))
        }
        [] => status::of_decoder(answer.code(), answer.message(), limits::DECODE_BYTES),
        _ => None,
    }
}
