//! Operations whatever their messages are: a request comes as protobuf, and what is answered is encoded. So a protocol
//! calls any operation of the table without knowing its types.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    future::{BoxFuture, ready},
    stream::BoxStream,
};
use tidings::codec;
use tonic::Status;

use super::{Bidirectional, Received, Respond as _, ServerStreaming, Unary};
use crate::{
    CallContext,
    encoding::{Encoded, Encoder},
};

/// The answer of one message.
pub(crate) type Answer = BoxFuture<'static, Result<Encoded, Status>>;
/// Answers of many messages, some at a time.
pub(crate) type Answers = BoxStream<'static, Result<Encoded, Status>>;
/// Encoded requests, in their order.
pub(crate) type EncodedRequests = BoxStream<'static, Result<Bytes, Status>>;

/// An operation of the table. Cloning is cheap.
#[derive(Clone)]
pub(crate) enum AnyOperation {
    Unary(Arc<dyn AnyUnary>),
    ServerStreaming(Arc<dyn AnyServerStreaming>),
    Bidirectional(Arc<dyn AnyBidirectional>),
}

/// See [`Unary`].
pub(crate) trait AnyUnary: Send + Sync {
    fn call(&self, context: CallContext, request: Bytes) -> Answer;
}

/// See [`ServerStreaming`].
pub(crate) trait AnyServerStreaming: Send + Sync {
    fn open(&self, context: CallContext, request: Bytes) -> BoxFuture<'static, Result<Answers, Status>>;
}

/// See [`Bidirectional`].
pub(crate) trait AnyBidirectional: Send + Sync {
    fn open(&self, context: CallContext, requests: EncodedRequests) -> Answers;
}

/// Implements these traits for an operation: each for those of one kind.
struct Any<O>(O);

impl AnyOperation {
    pub(crate) fn unary(operation: impl Unary) -> Self {
        Self::Unary(Arc::new(Any(operation)))
    }

    pub(crate) fn server_streaming(operation: impl ServerStreaming) -> Self {
        Self::ServerStreaming(Arc::new(Any(operation)))
    }

    pub(crate) fn bidirectional(operation: impl Bidirectional) -> Self {
        Self::Bidirectional(Arc::new(Any(operation)))
    }
}

impl<O: Unary> AnyUnary for Any<O> {
    fn call(&self, context: CallContext, request: Bytes) -> Answer {
        // Begun at once: what has an order takes its position now.
        match codec::decode(request) {
            Ok(request) => {
                let answer = self.0.call(context, request);
                Box::pin(async move {
                    let mut encoder = Encoder::default();
                    answer.await?.encode(&mut encoder);
                    Ok(encoder.take())
                })
            }
            Err(status) => Box::pin(ready(Err(status))),
        }
    }
}

impl<O: ServerStreaming> AnyServerStreaming for Any<O> {
    fn open(&self, context: CallContext, request: Bytes) -> BoxFuture<'static, Result<Answers, Status>> {
        match codec::decode(request) {
            Ok(request) => {
                let opening = self.0.open(context, request);
                Box::pin(async move { Ok(opening.await?.boxed()) })
            }
            Err(status) => Box::pin(ready(Err(status))),
        }
    }
}

impl<O: Bidirectional> AnyBidirectional for Any<O> {
    fn open(&self, context: CallContext, requests: EncodedRequests) -> Answers {
        let requests = requests.map(|request| {
            let request = request?;
            Ok(Received { bytes: request.len(), message: codec::decode(request)? })
        });
        self.0.open(context, requests.boxed()).boxed()
    }
}
