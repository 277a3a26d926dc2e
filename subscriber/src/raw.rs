//! The fast path of `StreamMessages`, in front of the generated service: it answers with a body of shared, already framed chunks, which
//! the generated code would decode, encode and copy again for each stream. Every other call goes through.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Buf;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tidings::{
    codec,
    limits::GREETING_TIMEOUT,
    pb::{StreamMessagesRequest, subscriber_service_server::SubscriberServiceServer},
    status::{self, Call},
};
use tidings_transport::{
    deadline,
    grpc::{self, PREFIX},
};
use tokio::time::{Instant, timeout};
use tonic::{Status, body::Body, server::NamedService};
use tower_service::Service;

use crate::{service::Subscriber, streams::Streams};

const PATH: &str = "/tidings.v1.SubscriberService/StreamMessages";

/// The subscriber's service, with the raw streaming path.
#[derive(Clone)]
pub(crate) struct RawStreams {
    inner: SubscriberServiceServer<Subscriber>,
    streams: Arc<Streams>,
}

impl RawStreams {
    pub(crate) fn new(inner: SubscriberServiceServer<Subscriber>, streams: Arc<Streams>) -> Self {
        Self { inner, streams }
    }

    /// The generated service alone.
    pub(crate) fn into_generated(self) -> SubscriberServiceServer<Subscriber> {
        self.inner
    }
}

impl NamedService for RawStreams {
    const NAME: &'static str = <SubscriberServiceServer<Subscriber> as NamedService>::NAME;
}

impl Service<Request<Body>> for RawStreams {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path() != PATH {
            return self.inner.call(request);
        }
        let streams = Arc::clone(&self.streams);
        Box::pin(async move { Ok(answer(&streams, request).await.unwrap_or_else(Status::into_http)) })
    }
}

async fn answer(streams: &Streams, request: Request<Body>) -> Result<Response<Body>, Status> {
    let drain = streams.drain(request.extensions());
    let deadline = deadline::of(request.headers()).map(|time| Instant::now() + time);
    let message = tokio::select! {
        message = timeout(GREETING_TIMEOUT, read(request.into_body())) => message,
        () = drain.begun() => return Err(drain.status(Call::Read)),
    };
    let message = message.map_err(|_| status::request_too_slow(GREETING_TIMEOUT))??;
    let body = streams.open(&message, deadline, drain).await?;
    Ok(grpc::response(body))
}

/// Reads the one message of the request. The server has seen to it that it is one, and not too large.
async fn read(body: Body) -> Result<StreamMessagesRequest, Status> {
    let mut bytes = body.collect().await?.to_bytes();
    if bytes.len() < PREFIX {
        return Err(status::cut_off());
    }
    bytes.advance(PREFIX);
    codec::decode(bytes)
}
