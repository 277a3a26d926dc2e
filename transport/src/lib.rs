//! Serving gRPC and Connect, the same for both services: a listener and a token go in, and [`serve`] returns when the
//! token was cancelled and all calls are over.
//!
//! ```text
//! let services = Services::new(broker.state())
//!     .with(pb::publisher_service_server::PublisherServiceServer::new(publisher))
//!     .with_methods(methods);
//! tidings_transport::serve(listener, services, options, shutdown).await?;
//! ```
//!
//! What every server has without asking: health (`grpc.health.v1`, overall and per service, NOT_SERVING while the
//! broker is down or the server drains), reflection v1 and v1alpha, gRPC-Web and Connect with CORS, deadlines,
//! the limits of [`limits`](tidings::limits), an answer to panics, and one to calls for a service that is elsewhere.
//!
//! The accept loop is our own, since tonic's hides the size of HTTP/2's send buffers and waits for open streams for
//! ever. When the token is cancelled: health says NOT_SERVING, nothing new is accepted, HTTP/2 connections get GOAWAY,
//! open calls may finish. Long calls end by themselves: they see their connection's [`DrainSignal`], which begins then,
//! or when the connection is too old. What is left after `shutdown_timeout` is cut. This module knows no message and no
//! broker but its state.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::OptionFuture;
use tidings::broker;
use tidings_auth::Authenticator;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;
use tonic::{body::Body, server::NamedService, service::Routes};
use tower_service::Service;

use dispatch::Dispatch;
use front::Front;
use gate::Gate;
use methods::Methods;

mod accept;
pub mod admin;
mod backlog;
mod bodies;
mod connect;
mod context;
pub mod cors;
mod deadline;
pub mod descriptors;
mod dispatch;
mod drain_signal;
pub mod encoding;
mod front;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod gate;
mod generated;
mod grpc;
mod health;
mod json;
mod key_client;
mod methods;
pub mod operation;
mod parts;
mod prefix;
mod protocol;
mod proxied;
mod readiness;
mod reflection;
mod tls;
mod unread;
mod usage;

pub use context::CallContext;
pub use cors::Origins;
pub use drain_signal::DrainSignal;
pub use key_client::{KeyClient, KeyClientError, KeyUrl};
pub use methods::{Method, Permission, Shape};
pub use proxied::{InvalidNetwork, Network};
pub use readiness::Readiness;
pub use tidings_auth::{Account, Accounts, Caller, Held, HeldPattern, Quotas, Rated};
pub use tls::{Tls, TlsError, TlsFiles};

/// How to serve. The flags' defaults are the runtime's.
#[derive(Debug, Clone)]
pub struct Options {
    /// How often a connection is pinged.
    pub keepalive_interval: Duration,
    /// How long it may take to answer a ping before it is cut.
    pub keepalive_timeout: Duration,
    /// How old a connection may get, give or take a tenth; `None` for as old as it likes.
    pub max_connection_age: Option<Duration>,
    /// How long the calls of a connection that is too old may continue.
    pub max_connection_age_grace: Duration,
    /// How long open calls may take to finish once the server stops.
    pub shutdown_timeout: Duration,
    /// Which browser pages may call.
    pub origins: Origins,
    /// Whether calls may take the fast paths, past the generated services. The only visible difference is the time that
    /// it takes.
    pub fast_path: bool,
    /// TLS on the port; `None` where it is spoken to in plain text.
    pub tls: Option<Arc<Tls>>,
    /// Who may call; `None` where nobody has to sign in.
    pub auth: Option<Auth>,
    /// What addresses and subjects have taken; of all servers of a process.
    pub accounts: Arc<Accounts>,
    /// Whose connections begin with a PROXY header, which says where their client is.
    pub trusted_proxies: Vec<Network>,
    /// Where the other service listens, as far as that is known; otherwise its default is named.
    pub elsewhere: Option<SocketAddr>,
}

/// Who may call.
#[derive(Debug, Clone)]
pub struct Auth {
    /// Makes callers of tokens.
    pub authenticator: Arc<Authenticator>,
    /// Whether health and reflection need a token as well.
    pub closed: bool,
}

/// What a server serves.
pub struct Services {
    routes: Routes,
    names: Vec<&'static str>,
    methods: Vec<Method>,
    state: watch::Receiver<broker::State>,
}

impl Services {
    /// No service yet, and the broker's state, which health follows.
    pub fn new(state: watch::Receiver<broker::State>) -> Self {
        Self { routes: Routes::default(), names: Vec::new(), methods: Vec::new(), state }
    }

    /// Adds a service: a generated server, or any tower service that has a name and answers with a
    /// [`Body`]. A generated server decodes 4 MiB unless it is set otherwise: set
    /// `max_decoding_message_size(`[`DECODE_BYTES`](tidings::limits::DECODE_BYTES)`)` on it.
    #[must_use]
    pub fn with<S>(mut self, service: S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
        S: NamedService + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        self.names.push(S::NAME);
        self.routes = self.routes.add_service(service);
        self
    }

    /// Lets methods of the services be called: one for each RPC.
    #[must_use]
    pub fn with_methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods.extend(methods);
        self
    }

    fn dispatch(self, options: &Options, shutdown: &CancellationToken) -> Dispatch {
        let Self { routes, names, methods, state } = self;
        let health = health::service(&names, Readiness::new(state, options.auth.as_ref()), shutdown.clone());
        let routes = reflection::add(routes.add_service(health), &names).prepare();
        let methods = Methods::new(methods, names, options.elsewhere);
        let methods = if options.fast_path { methods } else { methods.without_fast_paths() };
        Dispatch::new(Gate::new(methods, options.auth.clone()), routes)
    }
}

/// Why serving ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The listener is broken; a lack of memory or file descriptors is waited out instead.
    #[error("no more connections can be accepted")]
    Accept(#[from] io::Error),
}

/// Serves until the token is cancelled, and then until all calls are over, at most `shutdown_timeout`.
pub async fn serve(
    listener: TcpListener,
    services: Services,
    options: Options,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let dispatch = services.dispatch(&options, &shutdown);
    let keeping = options.auth.as_ref().map(|auth| Arc::clone(&auth.authenticator).keep_current(shutdown.clone()));
    let renewing = options.tls.clone().map(|tls| tls.keep_current(shutdown.clone()));
    let serving = accept::run(listener, Front::new(dispatch, options.origins.clone()), options, shutdown);
    let (served, ..) = tokio::join!(serving, OptionFuture::from(keeping), OptionFuture::from(renewing));
    served
}
