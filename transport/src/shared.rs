//! What the calls of a connection share.

use std::sync::Arc;

use http::Extensions;

use super::{DrainSignal, bodies::Bodies};

/// One for each connection.
pub(super) struct Shared {
    drain: DrainSignal,
    pub(super) bodies: Bodies,
}

impl Shared {
    pub(super) fn new(drain: DrainSignal) -> Arc<Self> {
        Arc::new(Self { drain, bodies: Bodies::default() })
    }

    /// Gives a request what whoever serves it needs of this.
    pub(super) fn attach(&self, request: &mut Extensions) {
        request.insert(self.drain.clone());
        request.insert(self.bodies.clone());
    }
}
