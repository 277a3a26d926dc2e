//! The policy in force: callers look at it while it is replaced.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::Policy;

/// The policy in force, which others look at while it is replaced.
#[derive(Debug, Clone)]
pub(crate) struct Current(Arc<State>);

#[derive(Debug)]
struct State {
    in_force: ArcSwap<Numbered>,
    changes: watch::Sender<u64>,
}

/// A policy, and how many there were before it.
#[derive(Debug)]
pub(crate) struct Numbered {
    pub(crate) policy: Policy,
    pub(crate) generation: u64,
}

impl Current {
    pub(crate) fn new(policy: Policy) -> Self {
        let in_force = ArcSwap::from_pointee(Numbered { policy, generation: 0 });
        Self(Arc::new(State { in_force, changes: watch::Sender::new(0) }))
    }

    pub(crate) fn load(&self) -> arc_swap::Guard<Arc<Numbered>> {
        self.0.in_force.load()
    }

    pub(crate) fn replace(&self, policy: Policy) {
        let generation = self.load().generation + 1;
        self.0.in_force.store(Arc::new(Numbered { policy, generation }));
        self.0.changes.send_replace(generation);
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }
}
