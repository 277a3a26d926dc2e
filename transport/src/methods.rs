//! The table of what can be called: one line for each RPC. A method without a line can't be called, whatever services
//! there are.

use std::{marker::PhantomData, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    future::{BoxFuture, ready},
    stream,
};
use http::Response;
use prost::{Message, bytes::Buf as _};
use tidings::{
    codec::{self, Counted},
    limits::DECODE_BYTES,
    status::{self, Call},
};
use tonic::{
    Status, Streaming,
    body::Body,
    codec::{DecodeBuf, Decoder},
};

use super::{
    CallContext,
    deadline::Deadline,
    encoding::Encoder,
    grpc::{self, Framed},
    operation::{Bidirectional, Received, Respond as _, ServerStreaming, Unary},
};

/// How many messages go each way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One each way.
    Unary,
    /// One request, many responses.
    ServerStreaming,
    /// Many each way.
    Bidirectional,
}

/// What a caller needs to call a method at all. Which channels it may name is the operation's to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// To be signed in; a message that is sent needs the right to publish on its channel.
    Publish,
    /// To be signed in; what is read needs the right to subscribe.
    Subscribe,
    /// Nothing, unless the server is set otherwise: health and reflection, which say nothing of channels.
    Open,
}

impl Permission {
    pub(super) fn call(self) -> Call {
        match self {
            Self::Publish => Call::Publish,
            Self::Subscribe | Self::Open => Call::Read,
        }
    }
}

/// An RPC.
pub struct Method {
    path: &'static str,
    shape: Shape,
    permission: Permission,
    fast_path: Option<FastPath>,
    answer_bytes: usize,
}

/// A way to an operation past the router and the generated service, which answers the same.
pub(super) enum FastPath {
    OfOne(Arc<dyn OfOne>),
    OfMany(Arc<dyn OfMany>),
}

/// Answers one message.
pub(super) trait OfOne: Send + Sync {
    fn answer(&self, context: CallContext, message: Bytes) -> BoxFuture<'static, Result<Response<Body>, Status>>;
}

/// Answers a body of messages.
pub(super) trait OfMany: Send + Sync {
    fn answer(&self, context: CallContext, body: Body) -> Response<Body>;
}

impl Method {
    /// A method that the generated service alone answers. Its path is such as `/tidings.v1.PublisherService/Publish`.
    pub const fn generated(path: &'static str, shape: Shape, permission: Permission) -> Self {
        Self { path, shape, permission, fast_path: None, answer_bytes: 0 }
    }

    /// A method that has a fast path.
    pub fn unary(path: &'static str, permission: Permission, operation: impl Unary) -> Self {
        let fast_path = FastPath::OfOne(Arc::new(Single(operation)));
        Self { path, shape: Shape::Unary, permission, fast_path: Some(fast_path), answer_bytes: 0 }
    }

    /// A method that has a fast path.
    pub fn server_streaming(path: &'static str, permission: Permission, operation: impl ServerStreaming) -> Self {
        let fast_path = FastPath::OfOne(Arc::new(Streamed(operation)));
        Self { path, shape: Shape::ServerStreaming, permission, fast_path: Some(fast_path), answer_bytes: 0 }
    }

    /// A method that has a fast path.
    pub fn bidirectional(path: &'static str, permission: Permission, operation: impl Bidirectional) -> Self {
        let fast_path = FastPath::OfMany(Arc::new(Both(operation)));
        Self { path, shape: Shape::Bidirectional, permission, fast_path: Some(fast_path), answer_bytes: 0 }
    }

    /// A method whose one answer may be so long: it has a share of what may lie unread.
    #[must_use]
    pub const fn with_large_answer(mut self, bytes: usize) -> Self {
        self.answer_bytes = bytes;
        self
    }

    /// Where it is called.
    pub fn path(&self) -> &'static str {
        self.path
    }

    /// How many messages go each way.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// What its callers need.
    pub fn permission(&self) -> Permission {
        self.permission
    }

    pub(super) fn call(&self) -> Call {
        self.permission.call()
    }

    /// How long a large answer may be; 0 where answers are small, or many.
    pub(super) fn answer_bytes(&self) -> usize {
        self.answer_bytes
    }

    pub(super) fn fast_path(&self) -> Option<&FastPath> {
        self.fast_path.as_ref()
    }
}

/// All methods of a server.
pub(super) struct Methods {
    methods: Vec<Method>,
    served: Vec<&'static str>,
    elsewhere: Option<SocketAddr>,
}

impl Methods {
    /// The methods of the services that are served here. Where the other one is known, its callers are sent there.
    pub(super) fn new(mut methods: Vec<Method>, served: Vec<&'static str>, elsewhere: Option<SocketAddr>) -> Self {
        methods.extend(OF_EVERY_SERVER);
        Self { methods, served, elsewhere }
    }

    /// Takes all fast paths away.
    pub(super) fn without_fast_paths(mut self) -> Self {
        self.methods.iter_mut().for_each(|method| method.fast_path = None);
        self
    }

    /// The method that is called by this path.
    ///
    /// # Errors
    ///
    /// UNIMPLEMENTED, with where it is served, or that it is not.
    pub(super) fn find(&self, path: &str) -> Result<&Method, Status> {
        self.methods.iter().find(|method| method.path == path).ok_or_else(|| self.unknown(path))
    }

    fn unknown(&self, path: &str) -> Status {
        let service = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        let other = SERVICES.iter().find(|(name, _)| *name == service && !self.served.contains(name));
        match (other, self.elsewhere) {
            (Some(_), Some(address)) => status::wrong_service(service, &format!("the server at {address}")),
            (Some((_, location)), None) => status::wrong_service(service, location),
            (None, _) => status::unknown_method(path, status::LISTED),
        }
    }
}

/// What every server has.
const OF_EVERY_SERVER: [Method; 4] = [
    Method::generated("/grpc.health.v1.Health/Check", Shape::Unary, Permission::Open),
    Method::generated("/grpc.health.v1.Health/Watch", Shape::ServerStreaming, Permission::Open),
    Method::generated(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        Shape::Bidirectional,
        Permission::Open,
    ),
    Method::generated(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        Shape::Bidirectional,
        Permission::Open,
    ),
];

/// Both services, with what people start to have them.
const SERVICES: [(&str, &str); 2] = [
    ("tidings.v1.PublisherService", "tidings-publisher (port 3000 by default)"),
    ("tidings.v1.SubscriberService", "tidings-subscriber (port 3001 by default)"),
];

struct Single<O>(O);

impl<O: Unary> OfOne for Single<O> {
    fn answer(&self, context: CallContext, message: Bytes) -> BoxFuture<'static, Result<Response<Body>, Status>> {
        let begun = codec::decode(message).map(|request| self.0.call(context, request));
        Box::pin(async move {
            let mut encoder = Encoder::default();
            begun?.await?.encode(&mut encoder);
            // The answer is there: no deadline can end it any more.
            Ok(grpc::response(Framed::new(stream::once(ready(Ok(encoder.take()))), Deadline::none())))
        })
    }
}

struct Streamed<O>(O);

impl<O: ServerStreaming> OfOne for Streamed<O> {
    fn answer(&self, context: CallContext, message: Bytes) -> BoxFuture<'static, Result<Response<Body>, Status>> {
        let timer = context.lifetime();
        let begun = codec::decode(message).map(|request| self.0.open(context, request));
        Box::pin(async move { Ok(grpc::response(Framed::new(begun?.await?, timer))) })
    }
}

struct Both<O>(O);

impl<O: Bidirectional> OfMany for Both<O> {
    fn answer(&self, context: CallContext, body: Body) -> Response<Body> {
        let timer = context.lifetime();
        let requests = Streaming::new_request(Requests::default(), body, None, Some(DECODE_BYTES));
        let requests = requests.map(|request| request.map_err(grpc::refine)).boxed();
        grpc::response(Framed::new(self.0.open(context, requests), timer))
    }
}

/// Decodes requests, and says how many bytes each took.
struct Requests<M>(PhantomData<M>);

impl<M> Default for Requests<M> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<M: Message + Default + Counted> Decoder for Requests<M> {
    type Item = Received<M>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Received<M>>, Status> {
        let bytes = buffer.remaining();
        Ok(Some(Received { message: codec::decode(buffer)?, bytes }))
    }
}

#[cfg(test)]
mod tests {
    use tidings_testing::contract;

    use super::*;

    #[test]
    fn every_method_of_every_server_has_its_line() {
        let lines: Vec<_> = OF_EVERY_SERVER.iter().map(|method| (method.path.to_owned(), method.shape)).collect();
        let descriptors = [
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let described = descriptors.into_iter().flat_map(contract::methods).map(|method| {
            let shape = match (method.client_streams, method.server_streams) {
                (false, false) => Shape::Unary,
                (false, true) => Shape::ServerStreaming,
                (true, _) => Shape::Bidirectional,
            };
            (method.path, shape)
        });
        assert_eq!(lines, described.collect::<Vec<_>>());
    }
}
