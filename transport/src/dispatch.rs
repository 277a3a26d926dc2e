//! gRPC's way from a request to an operation: past the [`Gate`], its method takes the fast path to the operation, or
//! goes to the generated service, which calls the same one.
//!
//! What holds for every call holds here: its `grpc-timeout`, INTERNAL for a panic, requests that are not compressed,
//! and bodies that are looked after ([`bodies`](super::bodies)).

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::Body as HttpBody;
use tidings::status;
use tidings_auth::{Authentication, Caller};
use tokio::time::Instant;
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
    context::Connection,
    deadline::{self, Deadline},
    gate::{self, Gate},
    grpc,
    methods::{Method, Shape},
    operation::any::AnyOperation,
    unread,
};

mod call;
mod faulty;
mod lasting;
mod message;
mod refused;

/// gRPC, and what speaks gRPC within another protocol. As a tower service, inside gRPC-Web's, it finds the
/// [`Connection`] among the request's extensions.
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

    /// Begins a call of this connection.
    pub(super) fn call<B>(&self, request: Request<B>, connection: &Arc<Connection>) -> Call<B>
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<StdError>,
    {
        match self.gate.caller(request.uri().path(), request.headers(), connection) {
            (found, Authentication::Done(Ok(caller))) => self.begin(request, connection, caller, found),
            (_, Authentication::Done(Err(status))) => Call::refused(status, request.into_body()),
            (found, Authentication::Waiting(caller)) => {
                let call = gate::permission(&found).call();
                let (this, connection) = (self.clone(), Arc::clone(connection));
                let at = deadline_of(request.headers());
                let answer = async move {
                    let call = match caller.await {
                        Ok(caller) => {
                            let found = this.gate.method(request.uri().path());
                            this.begin(request, &connection, caller, found)
                        }
                        Err(status) => Call::refused(status, request.into_body()),
                    };
                    Ok(call.await.unwrap_or_else(|never| match never {}))
                };
                Call::new(State::Answering(Box::pin(answer)), Deadline::new(at, call), None)
            }
        }
    }

    /// Begins a call of this caller.
    fn begin<B>(
        &self,
        request: Request<B>,
        connection: &Arc<Connection>,
        caller: Caller,
        found: Result<&Method, Status>,
    ) -> Call<B>
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<StdError>,
    {
        let method = match found {
            Ok(method) => method,
            Err(status) => return Call::refused(status, request.into_body()),
        };
        if !grpc::is_plain(request.headers()) {
            return Call::refused(status::compressed(), request.into_body());
        }
        let admitted = Gate::admit(method, caller, connection, deadline_of(request.headers()));
        let (context, open) = match admitted {
            Ok(admitted) => admitted,
            Err(status) => return Call::refused(status, request.into_body()),
        };
        let timer = context.timer();
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
        Call::new(state, timer, open)
    }

    /// Hands a request to its generated service.
    fn route<B>(&self, request: Request<B>, context: CallContext, method: &Method) -> State<B>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError>,
    {
        let takes = if method.shape() == Shape::Bidirectional { Takes::Many } else { Takes::One };
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
                return Ok(response.map(|body| connection.unread().watched(body, share)));
            }
            let response = answer.await.unwrap_or_else(|never| match never {});
            Ok(match takes {
                Takes::One => call::in_our_words(response),
                Takes::Many => response.map(|body| Body::new(Faulty::new(Lasting::new(body, lifetime), fault))),
            })
        }))
    }
}

/// When a caller stops waiting.
fn deadline_of(headers: &HeaderMap) -> Option<Instant> {
    deadline::of(headers).and_then(|time| Instant::now().checked_add(time))
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
        let Some(connection) = request.extensions().get().map(Arc::clone) else {
            tracing::error!("a request came without its connection");
            return Call::refused(status::internal(), request.into_body());
        };
        Self::call(self, request, &connection)
    }
}
