//! What holds for every call, before it reaches its service: the client's `grpc-timeout` bounds the time until the
//! response's headers, a panic becomes INTERNAL, a request's body is looked after ([`bodies`](super::bodies)), and one that can't be decoded is
//! refused in our words.
//!
//! Behind the headers a stream is on its own; it reads the same deadline by [`deadline`].

use std::{
    collections::HashSet,
    convert::Infallible,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::future::{CatchUnwind, FutureExt as _};
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body::Body as HttpBody;
use pin_project_lite::pin_project;
use tidings::{limits, status};
use tokio::time::Sleep;
use tonic::{Code, Status, body::Body};
use tower_service::Service;

use super::{
    bodies::{Bodies, Meter, Metered, Takes},
    deadline,
};

/// Wraps the routes.
#[derive(Debug, Clone)]
pub(super) struct DeadlineAndPanicLayer<S> {
    inner: S,
    streaming: Arc<HashSet<String>>,
}

impl<S> DeadlineAndPanicLayer<S> {
    /// Calls of a service, of which these paths take as many messages as a client likes. The others take one.
    pub(super) fn new(inner: S, streaming: HashSet<String>) -> Self {
        Self { inner, streaming: Arc::new(streaming) }
    }

    fn takes(&self, uri: &Uri) -> Takes {
        if self.streaming.contains(uri.path()) { Takes::Many } else { Takes::One }
    }
}

impl<S, B> Service<Request<B>> for DeadlineAndPanicLayer<S>
where
    S: Service<Request<Metered<B>>, Response = Response<Body>, Error = Infallible>,
    B: HttpBody<Data = Bytes>,
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
        if !is_plain(request.headers()) {
            return Call { inner: None, deadline, uri };
        }
        let takes = self.takes(&uri);
        let (mut head, body) = request.into_parts();
        let bodies = head.extensions.remove::<Bodies>().unwrap_or_default();
        let request = Request::from_parts(head, Metered::new(body, Meter::new(bodies, takes)));
        Call { inner: Some(AssertUnwindSafe(self.inner.call(request)).catch_unwind()), deadline, uri }
    }
}

pin_project! {
    /// One call until its headers.
    pub(super) struct Call<F> {
        // `None` of a request that is compressed.
        #[pin]
        inner: Option<CatchUnwind<AssertUnwindSafe<F>>>,
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
        let Some(inner) = this.inner.as_pin_mut() else {
            return Poll::Ready(Ok(status::compressed().into_http()));
        };
        match inner.poll(context) {
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

/// Whether a request says that it is not compressed.
fn is_plain(headers: &HeaderMap) -> bool {
    let encoding = headers.get("grpc-encoding").map(HeaderValue::as_bytes);
    encoding.is_none_or(|encoding| encoding == b"identity")
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
