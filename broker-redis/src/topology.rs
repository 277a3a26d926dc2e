//! Where the primary is: at one address for good, or where the sentinels of a service say that it is now. Connections
//! ask here when they are dialled, and end when their primary is replaced; nothing above them knows the difference.
//!
//! This only holds what is known. Who finds it out sets it (`sentinels`).

use std::{fmt, sync::Arc};

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::address::Address;

/// What is known of where the primary is.
#[derive(Clone)]
pub(super) struct Topology {
    known: Arc<watch::Sender<Known>>,
    /// Counts the doubts.
    doubts: Arc<watch::Sender<u64>>,
}

#[derive(Default)]
struct Known {
    primary: Option<Primary>,
    /// Why there is none; empty as long as nobody could know.
    trouble: String,
}

/// A server that is the primary, until another one replaces it.
#[derive(Clone)]
pub(super) struct Primary {
    address: Address,
    replaced: CancellationToken,
}

/// Notices what becomes known of the primary.
pub(super) struct Moves(watch::Receiver<Known>);

impl Topology {
    /// One server, which nothing replaces.
    pub(super) fn fixed(address: Address) -> Self {
        let topology = Self::unknown();
        topology.set(address);
        topology
    }

    /// Nothing is known yet.
    pub(super) fn unknown() -> Self {
        Self { known: Arc::default(), doubts: Arc::default() }
    }

    /// The primary; waits as long as nobody could know it yet. The error says why nobody does.
    pub(super) async fn primary(&self) -> Result<Primary, String> {
        let mut known = self.known.subscribe();
        let found = known.wait_for(|known| known.primary.is_some() || !known.trouble.is_empty()).await;
        let known = found.map_err(|_| "the broker is closed".to_owned())?;
        known.primary.clone().ok_or_else(|| known.trouble.clone())
    }

    /// Where the primary is, as far as that is known.
    pub(super) fn current(&self) -> Option<Address> {
        self.known.borrow().primary.as_ref().map(|primary| primary.address.clone())
    }

    /// Notices all that happens from now on.
    pub(super) fn moves(&self) -> Moves {
        Moves(self.known.subscribe())
    }

    /// The primary is here. Answers whether another one is replaced by it, whose connections end.
    pub(super) fn set(&self, address: Address) -> bool {
        let primary = Primary { address, replaced: CancellationToken::new() };
        let mut before = None;
        self.known.send_if_modified(|known| {
            let is_other = known.primary.as_ref().is_none_or(|known| known.address != primary.address);
            if is_other {
                before = known.primary.replace(primary);
            }
            is_other
        });
        before.inspect(|before| before.replaced.cancel()).is_some()
    }

    /// Nobody knows a primary, for this reason. One that was known goes on being used.
    pub(super) fn set_trouble(&self, trouble: String) {
        self.known.send_if_modified(|known| {
            let is_new = known.primary.is_none() && known.trouble != trouble;
            known.trouble = trouble;
            is_new
        });
    }

    /// What is known may be out of date: whoever finds it out is to look now.
    pub(super) fn doubt(&self) {
        self.doubts.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Changes with each doubt.
    pub(super) fn doubts(&self) -> watch::Receiver<u64> {
        self.doubts.subscribe()
    }
}

impl Primary {
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Ends when another server is the primary; never on a single server.
    pub(super) fn replaced(&self) -> WaitForCancellationFutureOwned {
        self.replaced.clone().cancelled_owned()
    }

    /// Does something, unless the primary is replaced first.
    pub(super) async fn unless_replaced<T>(&self, doing: impl Future<Output = T>) -> Option<T> {
        self.replaced.run_until_cancelled(doing).await
    }
}

impl Moves {
    /// Waits until something else is known than when this was asked last; never ends on a single server.
    pub(super) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl fmt::Debug for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Topology").field(&self.current()).finish()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn at(port: u16) -> Address {
        Address { host: "redis.test".to_owned(), port }
    }

    #[tokio::test]
    async fn a_primary_that_is_replaced_ends_and_the_next_one_does_not() {
        let topology = Topology::unknown();
        assert!(topology.primary().now_or_never().is_none(), "nobody could know");
        topology.set_trouble("no sentinel answers".to_owned());
        assert_eq!(topology.primary().await.err().as_deref(), Some("no sentinel answers"));
        let mut moves = topology.moves();
        assert!(!topology.set(at(1)), "nothing was replaced");
        moves.next().await;
        let first = topology.primary().await.expect("known");
        assert!(!topology.set(at(1)), "the same one");
        assert!(moves.next().now_or_never().is_none() && first.replaced().now_or_never().is_none());
        assert!(topology.set(at(2)));
        first.replaced().await;
        moves.next().await;
        assert_eq!(first.unless_replaced(std::future::pending::<()>()).await, None);
        let second = topology.primary().await.expect("known");
        assert_eq!(second.address(), &at(2));
        // Losing all sentinels takes nothing away.
        topology.set_trouble("no sentinel answers".to_owned());
        assert_eq!(topology.primary().await.expect("still known").address(), &at(2));
        assert!(second.replaced().now_or_never().is_none() && moves.next().now_or_never().is_none());
    }
}
