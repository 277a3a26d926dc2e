//! What all calls of a connection share: its end, and the room for their requests.

use std::sync::Arc;

use http::Extensions;

use super::{Ending, bodies::Room};

/// One a connection. Each of its calls has a copy.
#[derive(Debug, Clone)]
pub(super) struct Shared(Arc<(Ending, Room)>);

impl Shared {
    pub(super) fn new(ending: Ending) -> Self {
        Self(Arc::new((ending, Room::new())))
    }

    /// Lets a request know of it.
    pub(super) fn join(&self, request: &mut Extensions) {
        let (ending, room) = &*self.0;
        request.insert(ending.clone());
        request.insert(room.clone());
    }
}
