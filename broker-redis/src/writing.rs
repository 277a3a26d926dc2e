//! What everything that writes on Redis works with.

use std::sync::Arc;

use tidings::broker::Retention;
use tokio_util::sync::CancellationToken;

use super::{connection::Connection, keys::Keys, registry::Registry};

/// Handed to each that writes; cloning is cheap.
#[derive(Clone)]
pub(super) struct Writing {
    pub(super) connection: Arc<Connection>,
    /// Asked before a channel is written to.
    pub(super) registry: Arc<Registry>,
    pub(super) keys: Keys,
    pub(super) retention: Retention,
    /// Cancelled when nothing may wait for Redis any more.
    pub(super) closing: CancellationToken,
}
