//! `StreamMessages` in front of the generated service: it answers with a body of shared, already framed chunks, which
//! the generated code would encode and copy again for each stream. Every other call goes through.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Buf;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, header};
use http_body_util::BodyExt as _;
use tidings::{
    channel::Names,
    codec,
    limits::GREETING_TIMEOUT,
    pb::{StreamMessagesRequest, subscriber_service_server::SubscriberServiceServer},
    status::{self, Call},
};
use tidings_transport::{DrainSignal, deadline};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body, server::NamedService};
use tower_service::Service;

use crate::{
    request,
    service::Subscriber,
    stream::{Session, Source, StreamBody},
};

const PATH: &str = "/tidings.v1.SubscriberService/StreamMessages";
/// The flag byte and the length of a gRPC frame.
const PREFIX: usize = 5;

/// The subscriber's service, with the raw streaming path.
#[derive(Clone)]
pub(crate) struct RawStreams {
    inner: SubscriberServiceServer<Subscriber>,
    streams: Arc<Streams>,
}

/// What opening a stream needs.
pub(crate) struct Streams {
    pub(crate) source: Source,
    pub(crate) names: Arc<Names>,
    pub(crate) stop: CancellationToken,
}

impl RawStreams {
    pub(crate) fn new(inner: SubscriberServiceServer<Subscriber>, streams: Streams) -> Self {
        Self { inner, streams: Arc::new(streams) }
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
        Box::pin(async move { Ok(streams.answer(request).await.unwrap_or_else(Status::into_http)) })
    }
}

impl Streams {
    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let drain = DrainSignal::of(request.extensions(), &self.stop);
        if drain.has_begun() {
            return Err(drain.status(Call::Read));
        }
        let deadline = deadline::of(request.headers()).map(|time| Instant::now() + time);
        let (session, heartbeat) = tokio::select! {
            opened = self.open(request.into_body()) => opened?,
            () = drain.begun() => return Err(drain.status(Call::Read)),
        };
        let body = StreamBody::new(session, heartbeat, deadline, drain);
        let mut response = Response::new(Body::new(body));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        Ok(response)
    }

    async fn open(&self, request: Body) -> Result<(Session, Option<Duration>), Status> {
        let message = timeout(GREETING_TIMEOUT, read(request)).await;
        let message = message.map_err(|_| status::request_too_slow(GREETING_TIMEOUT))??;
        let plan = request::plan(&message, &self.names)?;
        Ok((Session::open(&self.source, &plan).await?, plan.heartbeat))
    }
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
