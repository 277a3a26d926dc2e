//! How a call learns that its connection is about to end, by its age or because the server stops. Every call has
//! one in its context; long calls end themselves when it begins, and say why.

use std::sync::Arc;

use tidings::status::{self, Call};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;

/// The end of a connection, shared by all its calls. Each has a copy, and to copy a token takes a lock.
#[derive(Debug, Clone)]
pub struct DrainSignal(Arc<Tokens>);

#[derive(Debug)]
struct Tokens {
    connection: CancellationToken,
    server: CancellationToken,
}

impl DrainSignal {
    /// That of one connection more. It begins at the latest when `server` is cancelled.
    pub(super) fn new(server: &CancellationToken) -> Self {
        Self(Arc::new(Tokens { connection: server.child_token(), server: server.clone() }))
    }

    /// Begins the end of this connection.
    pub(super) fn begin(&self) {
        self.0.connection.cancel();
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.0.connection.is_cancelled()
    }

    /// Waits until it begins.
    pub fn begun(&self) -> WaitForCancellationFutureOwned {
        self.0.connection.clone().cancelled_owned()
    }

    /// What a call says that ends for this reason.
    pub fn status(&self, call: Call) -> Status {
        if self.0.server.is_cancelled() { status::draining(call) } else { status::connection_aged(call) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_ends_by_itself_or_with_the_server_and_says_which() {
        let server = CancellationToken::new();
        let (one, other) = (DrainSignal::new(&server), DrainSignal::new(&server));
        one.begin();
        assert!(one.has_begun() && !other.has_begun() && !server.is_cancelled());
        assert!(one.status(Call::Read).message().contains("age"), "{:?}", one.status(Call::Read));
        server.cancel();
        assert!(other.has_begun());
        assert!(other.status(Call::Read).message().contains("the server is stopping"));
    }
}
