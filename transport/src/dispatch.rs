//! The entry point: every request of every protocol passes here, and nothing reaches an operation past it. A request's
//! path is looked up in the table of [`Methods`], its headers become a [`CallContext`], and it takes the method's fast
//! path or goes to the generated service.
//!
//! Who calls is asked here, once, before anything else is said: even whether there is such a method is said only to
//! callers that may know.
//!
//! What holds for every call holds here: its `grpc-timeout`, INTERNAL for a panic, requests that are not compressed,
//! and bodies that are looked after ([`bodies`](super::bodies)).

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, header};
use http_body::Body as HttpBody;
use tidings::status;
use tidings_auth::{Authentication, Caller};
use tokio::time::Instant;
use tonic::{Status, body::Body, codegen::StdError, service::Routes};
use tower::util::ServiceExt as _;
use tower_service::Service;

pub(super) use self::call::Call;
use self::{call::State, faulty::Faulty, lasting::Lasting};
use super::{
    Auth, CallContext, Permission,
    bodies::{Meter, Metered, Takes},
    context::Connection,
    deadline::{self, Deadline},
    grpc,
    methods::{FastPath, Method, Methods, Shape},
    unread,
};

mod call;
mod faulty;
mod lasting;
mod message;

/// The service behind all protocols. As a tower service, inside gRPC-Web's, it finds the [`Connection`] among the
/// request's extensions.
#[derive(Clone)]
pub(super) struct Dispatch {
    methods: Arc<Methods>,
    routes: Routes,
    auth: Option<Auth>,
    /// The caller that is not asked to sign in: one for all calls, since most services ask nobody.
    unasked: Caller,
}

impl Dispatch {
    /// Lets the methods of the table be called. `routes` has the generated services of all of them.
    pub(super) fn new(methods: Methods, routes: Routes, auth: Option<Auth>) -> Self {
        let unasked = if auth.is_some() { Caller::nobody() } else { Caller::unrestricted() };
        Self { methods: Arc::new(methods), routes, auth, unasked }
    }

    /// Who calls.
    fn caller(&self, headers: &HeaderMap, permission: Permission, connection: &Connection) -> Authentication {
        match &self.auth {
            Some(auth) if permission != Permission::Open || auth.closed => {
                let values = headers.get_all(header::AUTHORIZATION).iter();
                auth.authenticator.authenticate(
                    values.map(HeaderValue::as_bytes),
                    connection.certificate(),
                    connection.recent(),
                )
            }
            _ => Authentication::Done(Ok(self.unasked.clone())),
        }
    }

    /// Begins a call of this connection.
    pub(super) fn call<B>(&self, request: Request<B>, connection: &Arc<Connection>) -> Call<B>
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<StdError>,
    {
        let found = self.methods.find(request.uri().path());
        // What there is not is looked up by those who may call something.
        let permission = found.as_ref().map_or(Permission::Subscribe, |method| method.permission());
        match self.caller(request.headers(), permission, connection) {
            Authentication::Done(Ok(caller)) => self.begin(request, connection, caller, found),
            Authentication::Done(Err(status)) => Call::refused(status),
            Authentication::Waiting(caller) => {
                let (this, connection) = (self.clone(), Arc::clone(connection));
                let at = deadline_of(request.headers());
                let answer = async move {
                    let caller = caller.await?;
                    let found = this.methods.find(request.uri().path());
                    Ok(this.begin(request, &connection, caller, found).await.unwrap_or_else(|never| match never {}))
                };
                Call::new(State::Answering(Box::pin(answer)), Deadline::new(at, permission.call()), None)
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
            Err(status) => return Call::refused(status),
        };
        if !grpc::is_plain(request.headers()) {
            return Call::refused(status::compressed());
        }
        let deadline = deadline_of(request.headers());
        let context = CallContext::new(Arc::clone(connection), caller, method.call(), deadline);
        let open = match context.begin(method.shape()) {
            Ok(open) => open,
            Err(status) => return Call::refused(status),
        };
        let timer = context.timer();
        // On a fast path the answer holds the count by itself: around each of a stream's chunks another body would cost
        // as much again.
        let (context, open) = match open {
            Some(open) if method.fast_path().is_some() && !open.is_paced() => (context.counted(open.into()), None),
            open => (context, open),
        };
        let state = match method.fast_path() {
            Some(FastPath::OfOne(operation)) => State::read(request.into_body(), context, Arc::clone(operation)),
            Some(FastPath::OfMany(operation)) => {
                let body = Metered::new(request.into_body(), Meter::new(context.bodies().clone(), Takes::Many));
                let operation = Arc::clone(operation);
                State::Answering(Box::pin(async move { Ok(operation.answer(context, Body::new(body))) }))
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
        let body = Metered::new(body, Meter::new(context.bodies().clone(), takes));
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
            return Call::refused(status::internal());
        };
        Self::call(self, request, &connection)
    }
}
