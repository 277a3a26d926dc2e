//! The fast path of `PublishStream`, in front of the generated service: requests come off tonic's decoder as they do there, and answers
//! are a body of frames, of which the generated code makes messages and frames once more. Every other call goes through, and so
//! does one whose encoding is not known here: the generated service refuses it before it calls ours.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use http::{HeaderValue, Request, Response};
use prost::bytes::Buf as _;
use tidings::{
    codec,
    limits::DECODE_BYTES,
    pb::{PublishStreamRequest, publisher_service_server::PublisherServiceServer},
};
use tidings_transport::{DrainSignal, deadline, grpc};
use tonic::{
    Status, Streaming,
    body::Body,
    codec::{DecodeBuf, Decoder},
    server::NamedService,
};
use tower_service::Service;

use super::{Answers, Taken};
use crate::{operation::Publisher, service::Service as Generated};

const PATH: &str = "/tidings.v1.PublisherService/PublishStream";

/// The publisher's service, with its stream.
#[derive(Clone)]
pub(crate) struct RawStreams {
    inner: PublisherServiceServer<Generated>,
    publisher: Publisher,
}

impl RawStreams {
    pub(crate) fn new(inner: PublisherServiceServer<Generated>, publisher: Publisher) -> Self {
        Self { inner, publisher }
    }

    fn answer(&self, request: Request<Body>) -> Response<Body> {
        let timeout = deadline::of(request.headers());
        let drain = DrainSignal::of(request.extensions(), self.publisher.shutdown());
        let intake = Streaming::new_request(Requests, request.into_body(), None, Some(DECODE_BYTES));
        let answers = Answers::new(self.publisher.clone(), intake, drain, timeout);
        grpc::response(answers)
    }
}

impl NamedService for RawStreams {
    const NAME: &'static str = <PublisherServiceServer<Generated> as NamedService>::NAME;
}

impl Service<Request<Body>> for RawStreams {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.inner, context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let encoding = request.headers().get("grpc-encoding").map(HeaderValue::as_bytes);
        if request.uri().path() == PATH && encoding.is_none_or(|encoding| encoding == b"identity") {
            return ready(Ok(self.answer(request))).boxed();
        }
        self.inner.call(request)
    }
}

/// Decodes requests, and says how many bytes each took.
struct Requests;

impl Decoder for Requests {
    type Item = Taken;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Taken>, Status> {
        let bytes = buffer.remaining();
        let PublishStreamRequest { request } = codec::decode(buffer)?;
        Ok(Some(Taken { request, bytes }))
    }
}
