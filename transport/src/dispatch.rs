//! The way from a request to an operation. Past the [`Gate`] a call of gRPC takes the fast path to its operation, or
//! goes to the generated service, which calls the same one; other protocols call the operation by themselves.
//!
//! What holds for every call holds here: its deadline, INTERNAL for a panic, requests that are not compressed, and
//! bodies that are looked after ([`bodies`](super::bodies)).

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Request;
use http_body::Body as HttpBody;
use tidings::status;
use tidings_auth::{Authentication, Caller};
use tonic::{Status, body::Body, codegen::StdError, service::Routes};
use tower::util::ServiceExt as _;
use tower_service::Service;

pub(super) use self::call::Call;
use self::{
    call::{OfOne, State},
    faulty::Faulty,
    lasting::Lasting,
};
use super::{
    CallContext,
    bodies::{Meter, Metered, Takes},
    connect,
    context::Connection,
    deadline::Deadline,
    gate::{self, Gate},
    generated, grpc,
    methods::{Method, Shape},
    operation::any::AnyOperation,
    protocol::Protocol,
    unread::{self, Cut},
    usage::Open,
};

mod call;
mod faulty;
mod lasting;
mod message;
mod refused;

/// Answers calls of every protocol. As a tower service, inside those of browsers, it finds the [`Connection`] among the
/// request's extensions, and the [`Protocol`] where that is not gRPC.
#[derive(Clone)]
pub(super) struct Dispatch {
    gate: Gate,
    routes: Routes,
}

impl Dispatch {
    /// Lets the methods behind the gate be called. `routes` has the generated services of all of them.
    pub(super) fn new(gate: Gate, routes: Routes) -> Self {
        Self { gate, routes }
    }

    /// Begins a call that came over this connection, in this protocol.
    pub(super) fn call<B>(&self, request: Request<B>, connection: &Arc<Connection>, protocol: Protocol) -> Call<B>
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<StdError>,
    {
        match self.gate.caller(request.uri().path(), request.headers(), connection) {
            (found, Authentication::Done(Ok(caller))) => self.begin(request, connection, protocol, caller, found),
            (_, Authentication::Done(Err(status))) => Call::refused(protocol, status, request.into_body()),
            (found, Authentication::Waiting(caller)) => {
                let call = gate::permission(&found).call();
                let (this, connection) = (self.clone(), Arc::clone(connection));
                let at = protocol.deadline(request.headers());
                let answer = async move {
                    let call = match caller.await {
                        Ok(caller) => {
                            let found = this.gate.method(request.uri().path());
                            this.begin(request, &connection, protocol, caller, found)
                        }
                        Err(status) => Call::refused(protocol, status, request.into_body()),
                    };
                    Ok(call.await.unwrap_or_else(|never| match never {}))
                };
                Call::new(protocol, State::Answering(Box::pin(answer)), Deadline::new(at, call), None)
            }
        }
    }

    /// Begins a call of this caller.
    fn begin<B>(
        &self,
        request: Request<B>,
        connection: &Arc<Connection>,
        protocol: Protocol,
        caller: Caller,
        found: Result<&Method, Status>,
    ) -> Call<B>
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<StdError>,
    {
        let method = match found {
            Ok(method) => method,
            Err(status) => return Call::refused(protocol, status, request.into_body()),
        };
        if let Err(status) = protocol.check(request.headers(), method) {
            return Call::refused(protocol, status, request.into_body());
        }
        let admitted = Gate::admit(method, caller, connection, protocol.deadline(request.headers()));
        let (context, open) = match admitted {
            Ok(admitted) => admitted,
            Err(status) => return Call::refused(protocol, status, request.into_body()),
        };
        let timer = context.timer();
        let (state, open) = match protocol {
            Protocol::Grpc => self.grpc(request, context, open, method),
            Protocol::Connect(form) => {
                let operation = method.operation().cloned();
                let operation = operation.unwrap_or_else(|| generated::operation(&self.routes, method));
                match connect::Call::new(form, context, method, operation) {
                    Ok(call) => (State::Answering(Box::pin(call.answer(request.into_body()))), open),
                    Err(status) => return Call::refused(protocol, status, request.into_body()),
                }
            }
        };
        Call::new(protocol, state, timer, open)
    }

    /// Begins a call of gRPC. What it counts for comes back where its answer does not hold that by itself.
    fn grpc<B>(
        &self,
        request: Request<B>,
        context: CallContext,
        open: Option<Box<Open>>,
        method: &Method,
    ) -> (State<B>, Option<Box<Open>>)
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<StdError>,
    {
        // On a fast path the answer holds the count by itself: around each of a stream's chunks another body would cost
        // as much again.
        let (context, open) = match open {
            Some(open) if method.fast_path().is_some() && !open.is_paced() => (context.counted(open.into()), None),
            open => (context, open),
        };
        let state = match method.fast_path() {
            Some(AnyOperation::Unary(operation)) => {
                State::read(request.into_body(), context, OfOne::Unary(Arc::clone(operation)))
            }
            Some(AnyOperation::ServerStreaming(operation)) => {
                State::read(request.into_body(), context, OfOne::ServerStreaming(Arc::clone(operation)))
            }
            Some(AnyOperation::Bidirectional(operation)) => {
                let body = Metered::new(
                    request.into_body(),
                    Meter::new(context.bodies().clone(), Takes::Many, method.request_bytes()),
                );
                let operation = Arc::clone(operation);
                State::Answering(Box::pin(async move {
                    let lifetime = context.lifetime();
                    let answers = operation.open(context, grpc::requests(Body::new(body)));
                    Ok(grpc::streamed(answers, lifetime))
                }))
            }
            None => self.route(request, context, method),
        };
        (state, open)
    }

    /// Hands a request to its generated service.
    fn route<B>(&self, request: Request<B>, context: CallContext, method: &Method) -> State<B>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError>,
    {
        let is_stream = method.shape() == Shape::Bidirectional;
        let takes = if is_stream { Takes::Many } else { Takes::One };
        let (mut head, body) = request.into_parts();
        let body = Metered::new(body, Meter::new(context.bodies().clone(), takes, method.request_bytes()));
        let fault = body.fault();
        let large = (method.answer_bytes() > 0).then(|| (Arc::clone(context.connection()), method.answer_bytes()));
        let address = context.address().cloned();
        let lifetime = context.lifetime();
        head.extensions.insert(context);
        let answer = self.routes.clone().oneshot(Request::from_parts(head, Body::new(body)));
        State::Answering(Box::pin(async move {
            if let Some((connection, bytes)) = large {
                let share = unread::share(address, bytes).await?;
                let response = call::in_our_words(answer.await.unwrap_or_else(|never| match never {}));
                return Ok(response.map(|body| connection.unread().watched(body, share, Cut::Trailers)));
            }
            let response = answer.await.unwrap_or_else(|never| match never {});
            Ok(match is_stream {
                false => call::in_our_words(response),
                true => response.map(|body| Body::new(Faulty::new(Lasting::new(body, lifetime), fault))),
            })
        }))
    }
}

impl<B> Service<Request<B>> for Dispatch
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<StdError>,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Call<B>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Call<B> {
        let protocol = request.extensions().get().copied().unwrap_or(Protocol::Grpc);
        let Some(connection) = request.extensions().get().map(Arc::clone) else {
            tracing::error!("a request came without its connection");
            return Call::refused(protocol, status::internal(), request.into_body());
        };
        Self::call(self, request, &connection, protocol)
    }
}
