//! The table of what can be called: one line for each RPC. A method without a line can't be called, whatever services
//! there are.

use std::net::SocketAddr;

use tidings::{
    limits::{DECODE_BYTES, OPEN_BODY_BYTES},
    status::{self, Call},
};
use tonic::Status;

use super::operation::{Bidirectional, ServerStreaming, Unary, any::AnyOperation};

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
    /// To be signed in; a subscription whose messages are taken or settled needs the right to consume on its name.
    Consume,
    /// To be signed in; a subscription that is created, changed, moved, deleted or redriven, or whose dead letters are
    /// listed, needs the right to manage on its name.
    Manage,
    /// Nothing, unless the server is set otherwise: health and reflection, which say nothing of channels.
    Open,
}

impl Permission {
    pub(super) fn call(self) -> Call {
        match self {
            Self::Publish => Call::Publish,
            Self::Subscribe | Self::Open => Call::Read,
            Self::Consume | Self::Manage => Call::Consume,
        }
    }
}

/// An RPC.
pub struct Method {
    path: &'static str,
    permission: Permission,
    operation: Operation,
    has_fast_path: bool,
    answer_bytes: usize,
}

/// What answers a method.
enum Operation {
    /// An operation of ours.
    Ours(AnyOperation),
    /// A service that was generated elsewhere: health and reflection are tonic's.
    Foreign(Shape),
}

impl Method {
    /// A method of this operation. Its path is such as `/tidings.v1.PublisherService/Publish`.
    pub fn unary(path: &'static str, permission: Permission, operation: impl Unary) -> Self {
        Self::of(path, permission, Operation::Ours(AnyOperation::unary(operation)))
    }

    /// The same for one that answers with a stream.
    pub fn server_streaming(path: &'static str, permission: Permission, operation: impl ServerStreaming) -> Self {
        Self::of(path, permission, Operation::Ours(AnyOperation::server_streaming(operation)))
    }

    /// The same for one with a stream each way.
    pub fn bidirectional(path: &'static str, permission: Permission, operation: impl Bidirectional) -> Self {
        Self::of(path, permission, Operation::Ours(AnyOperation::bidirectional(operation)))
    }

    /// A method of a service that has no operations of ours.
    pub const fn foreign(path: &'static str, shape: Shape, permission: Permission) -> Self {
        Self::of(path, permission, Operation::Foreign(shape))
    }

    const fn of(path: &'static str, permission: Permission, operation: Operation) -> Self {
        Self { path, permission, operation, has_fast_path: false, answer_bytes: 0 }
    }

    /// Lets gRPC call the operation past the router and the generated service.
    #[must_use]
    pub fn with_fast_path(mut self) -> Self {
        self.has_fast_path = true;
        self
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
        match &self.operation {
            Operation::Ours(AnyOperation::Unary(_)) => Shape::Unary,
            Operation::Ours(AnyOperation::ServerStreaming(_)) => Shape::ServerStreaming,
            Operation::Ours(AnyOperation::Bidirectional(_)) => Shape::Bidirectional,
            Operation::Foreign(shape) => *shape,
        }
    }

    /// What its callers need.
    pub fn permission(&self) -> Permission {
        self.permission
    }

    pub(super) fn call(&self) -> Call {
        self.permission.call()
    }

    /// How long a message of a request may be.
    pub(super) fn request_bytes(&self) -> usize {
        match self.permission {
            Permission::Open => OPEN_BODY_BYTES,
            Permission::Publish | Permission::Subscribe | Permission::Consume | Permission::Manage => DECODE_BYTES,
        }
    }

    /// How long a large answer may be; 0 where answers are small, or many.
    pub(super) fn answer_bytes(&self) -> usize {
        self.answer_bytes
    }

    /// Its operation, where it is one of ours: what a protocol calls.
    pub(super) fn operation(&self) -> Option<&AnyOperation> {
        match &self.operation {
            Operation::Ours(operation) => Some(operation),
            Operation::Foreign(_) => None,
        }
    }

    /// Its operation, where gRPC calls it past the generated service.
    pub(super) fn fast_path(&self) -> Option<&AnyOperation> {
        self.operation().filter(|_| self.has_fast_path)
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
        self.methods.iter_mut().for_each(|method| method.has_fast_path = false);
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
    Method::foreign("/grpc.health.v1.Health/Check", Shape::Unary, Permission::Open),
    Method::foreign("/grpc.health.v1.Health/Watch", Shape::ServerStreaming, Permission::Open),
    Method::foreign(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        Shape::Bidirectional,
        Permission::Open,
    ),
    Method::foreign(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        Shape::Bidirectional,
        Permission::Open,
    ),
];

/// All services, with what people start to have them.
const SERVICES: [(&str, &str); 3] = [
    ("tidings.v1.PublisherService", "tidings-publisher (port 3000 by default)"),
    ("tidings.v1.SubscriberService", "tidings-subscriber (port 3001 by default)"),
    ("tidings.v1.SubscriptionService", "tidings-subscriber (port 3001 by default)"),
];

#[cfg(test)]
mod tests {
    use tidings_testing::contract;

    use super::*;

    #[test]
    fn a_permission_decides_what_a_failure_says_and_how_much_may_be_sent() {
        for (permission, call, bytes) in [
            (Permission::Publish, Call::Publish, DECODE_BYTES),
            (Permission::Subscribe, Call::Read, DECODE_BYTES),
            (Permission::Consume, Call::Consume, DECODE_BYTES),
            (Permission::Manage, Call::Consume, DECODE_BYTES),
            (Permission::Open, Call::Read, OPEN_BODY_BYTES),
        ] {
            let method = Method::foreign("/a.B/C", Shape::Unary, permission);
            assert_eq!((method.call(), method.request_bytes()), (call, bytes), "{permission:?}");
        }
    }

    #[test]
    fn every_method_of_every_server_has_its_line() {
        let lines: Vec<_> = OF_EVERY_SERVER.iter().map(|method| (method.path.to_owned(), method.shape())).collect();
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
