//! Generated services called as operations are: health and reflection are tonic's, and a protocol that is not gRPC has
//! nothing else to call.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::{
    FutureExt as _, StreamExt as _, TryStreamExt as _,
    future::{BoxFuture, ready},
    stream,
};
use http::{Request, header};
use http_body::Frame;
use http_body_util::StreamBody;
use tidings::status;
use tonic::{Status, body::Body, service::Routes};
use tower::util::ServiceExt as _;

use super::{
    CallContext,
    encoding::{Encoded, Encoder},
    grpc,
    methods::{Method, Shape},
    operation::any::{Answer, Answers, AnyBidirectional, AnyOperation, AnyServerStreaming, AnyUnary, EncodedRequests},
};

/// What a generated service does for a method, as an operation.
pub(super) fn operation(routes: &Routes, method: &Method) -> AnyOperation {
    let generated = Arc::new(Generated { routes: routes.clone(), path: method.path() });
    match method.shape() {
        Shape::Unary => AnyOperation::Unary(generated),
        Shape::ServerStreaming => AnyOperation::ServerStreaming(generated),
        Shape::Bidirectional => AnyOperation::Bidirectional(generated),
    }
}

struct Generated {
    routes: Routes,
    path: &'static str,
}

impl AnyBidirectional for Generated {
    fn open(&self, context: CallContext, requests: EncodedRequests) -> Answers {
        // A service may take what is wrong with a request for the end of them all.
        let fault = Arc::new(OnceLock::new());
        let seen = Arc::clone(&fault);
        let frames = requests.map(move |request| match request {
            Ok(message) => Ok(Frame::data(framed(&message).into_frames())),
            Err(status) => Err(seen.get_or_init(|| status).clone()),
        });
        let mut request = Request::new(Body::new(StreamBody::new(frames)));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = http::Uri::from_static(self.path);
        request.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/grpc"));
        request.extensions_mut().insert(context);
        let routes = self.routes.clone();
        let answers = stream::once(async move {
            let response = routes.oneshot(request).await.unwrap_or_else(|never| match never {});
            grpc::responses(response)
        });
        let answers = answers.try_flatten().map_ok(|message| framed(&message));
        answers
            .chain(stream::once(async move { fault.get().cloned() }).filter_map(|fault| ready(fault.map(Err))))
            .boxed()
    }
}

impl AnyServerStreaming for Generated {
    fn open(&self, context: CallContext, request: Bytes) -> BoxFuture<'static, Result<Answers, Status>> {
        ready(Ok(AnyBidirectional::open(self, context, only(request)))).boxed()
    }
}

impl AnyUnary for Generated {
    fn call(&self, context: CallContext, request: Bytes) -> Answer {
        let mut answers = AnyBidirectional::open(self, context, only(request));
        async move { answers.next().await.unwrap_or_else(|| Err(status::internal())) }.boxed()
    }
}

fn only(request: Bytes) -> EncodedRequests {
    stream::once(ready(Ok(request))).boxed()
}

fn framed(message: &Bytes) -> Encoded {
    let mut encoder = Encoder::default();
    encoder.written(message.len(), |buffer| buffer.extend_from_slice(message));
    encoder.take()
}
