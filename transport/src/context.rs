//! What an operation is given beside its request, whatever protocol the call came by.

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use http::Extensions;
use tidings::status::{self, Call};
use tidings_auth::{Account, Caller, Expiry, Peer, Recent};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{DrainSignal, backlog::Backlog, bodies::Bodies, deadline::Deadline, unread::Unread, usage::Open};

/// What the calls of a connection share.
#[derive(Debug)]
pub(super) struct Connection {
    drain: DrainSignal,
    peer: Option<SocketAddr>,
    /// What the peer's address has taken.
    address: Option<Arc<Account>>,
    certificate: Peer,
    /// Who made its last call.
    recent: Recent,
    bodies: Bodies,
    unread: Unread,
    backlog: Arc<Backlog>,
}

impl Connection {
    pub(super) fn new(
        drain: DrainSignal,
        peer: Option<SocketAddr>,
        address: Option<Arc<Account>>,
        certificate: Peer,
        backlog: Arc<Backlog>,
    ) -> Arc<Self> {
        let (recent, bodies, unread) = (Recent::default(), Bodies::of(address.clone()), Unread::default());
        Arc::new(Self { drain, peer, address, certificate, recent, bodies, unread, backlog })
    }

    /// What came over it and no call has read.
    pub(super) fn backlog(&self) -> &Arc<Backlog> {
        &self.backlog
    }

    pub(super) fn unread(&self) -> &Unread {
        &self.unread
    }

    /// Who is at its other end, by a certificate.
    pub(super) fn certificate(&self) -> &Peer {
        &self.certificate
    }

    /// Who made its last call.
    pub(super) fn recent(&self) -> &Recent {
        &self.recent
    }

    pub(super) fn bodies(&self) -> &Bodies {
        &self.bodies
    }
}

/// One call: who makes it, until when, and when it must end. The transport makes one for each request before any
/// operation sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CallContext {
    connection: Arc<Connection>,
    caller: Caller,
    call: Call,
    deadline: Option<Instant>,
    /// What it counts for, where the answer holds that by itself.
    open: Option<Arc<Open>>,
}

impl CallContext {
    pub(super) fn new(connection: Arc<Connection>, caller: Caller, call: Call, deadline: Option<Instant>) -> Self {
        Self { connection, caller, call, deadline, open: None }
    }

    /// The same, counted until its answer has ended.
    pub(super) fn counted(self, open: Arc<Open>) -> Self {
        Self { open: Some(open), ..self }
    }

    /// That of a call that came through no connection: it ends with the server alone, and may do everything.
    pub fn detached(call: Call, server: &CancellationToken) -> Self {
        let connection = Connection::new(DrainSignal::new(server), None, None, None, Backlog::of(None));
        Self::new(connection, Caller::unrestricted(), call, None)
    }

    /// That of a request which a generated service was given.
    ///
    /// # Errors
    ///
    /// INTERNAL where the request came past the transport: there is no default for who calls.
    pub fn of(extensions: &Extensions) -> Result<Self, Status> {
        extensions.get().cloned().ok_or_else(|| {
            tracing::error!("a request came without its context");
            status::internal()
        })
    }

    /// When the caller stops waiting, as its headers say.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// When the call must end because its connection does.
    pub fn drain(&self) -> &DrainSignal {
        &self.connection.drain
    }

    /// Where the call comes from; `None` where it came through no connection.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.connection.peer
    }

    /// Who calls.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// What the call is about.
    pub fn call(&self) -> Call {
        self.call
    }

    pub(super) fn bodies(&self) -> &Bodies {
        self.connection.bodies()
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// What the peer's address has taken.
    pub(super) fn address(&self) -> Option<&Arc<Account>> {
        self.connection.address.as_ref()
    }

    /// Ends a call that has one answer.
    pub(super) fn timer(&self) -> Deadline {
        Deadline::new(self.deadline, self.call)
    }

    /// Ends a call that continues: also when its caller is believed no longer.
    pub(super) fn lifetime(&self) -> Deadline {
        let expiry = self.caller.expiry().and_then(|Expiry { at, reason }| {
            let left = at.duration_since(SystemTime::now()).unwrap_or_default();
            Some((Instant::now().checked_add(left)?, reason))
        });
        Deadline::with_expiry(self.deadline, expiry, self.call).holding(self.open.clone())
    }
}
