//! The fast path of methods that have one message each way: past the router, the generated server and its codec, which take
//! most of the time of a call that does little.
//!
//! Only what is ordinary goes this way: plain gRPC, one whole message, not compressed, that the method can decode. For
//! whatever else a client may send, the request is put together again and takes the fallback, which answers as ever. So
//! this way has no answers of its own but a method's: nothing is published before it is known which way a request goes. What
//! holds for every call holds here as well: its `grpc-timeout`, INTERNAL for a panic, and that its body has a share of the connection's
//! ([`bodies`](super::bodies)) unless it comes at once or is small.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Method, Request};
use hyper::body::Incoming;
use tonic::{Status, service::Routes};

pub(super) use self::call::Call;
use super::{deadline_and_panic::DeadlineAndPanicLayer, shared::Shared};

mod body;
mod call;
mod message;

/// A method with one message each way.
pub trait FastPath: Send + Sync + 'static {
    /// Begins the answer to a message: it is to be a whole gRPC frame, flag and length included. `None` where the bytes are no
    /// message that the method takes; then nothing has been done.
    fn answer(&self, message: Bytes) -> Option<BoxFuture<'static, Result<Bytes, Status>>>;
}

/// The methods that have a fast path, and the fallback beside it.
#[derive(Clone)]
pub(super) struct Methods(Arc<Table>);

struct Table {
    methods: Vec<(&'static str, Box<dyn FastPath>)>,
    plain: DeadlineAndPanicLayer<Routes>,
}

impl Methods {
    pub(super) fn new(methods: Vec<(&'static str, Box<dyn FastPath>)>, plain: DeadlineAndPanicLayer<Routes>) -> Self {
        Self(Arc::new(Table { methods, plain }))
    }

    /// The method of a gRPC request, where its headers leave the fast path open.
    pub(super) fn find<B>(&self, request: &Request<B>) -> Option<usize> {
        let path = request.uri().path();
        let method = self.0.methods.iter().position(|(of, _)| *of == path)?;
        is_ordinary(request).then_some(method)
    }

    /// The call of a method that was found.
    pub(super) fn call(&self, method: usize, request: Request<Incoming>, connection: &Arc<Shared>) -> Call {
        Call::new(Arc::clone(&self.0), method, request, Arc::clone(connection))
    }
}

/// Whether nothing in the headers asks for more than this way can do.
fn is_ordinary<B>(request: &Request<B>) -> bool {
    let encoding = request.headers().get("grpc-encoding").map(HeaderValue::as_bytes);
    request.method() == Method::POST && encoding.is_none_or(|encoding| encoding == b"identity")
}
