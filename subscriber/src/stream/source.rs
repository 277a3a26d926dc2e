//! Where streams read.

use std::sync::Arc;

use tidings::broker::Shared;
use tokio::sync::Semaphore;

use crate::{hub::Hub, pages::Pages};

/// What all streams share.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) broker: Shared,
    pub(crate) hub: Arc<Hub>,
    pub(crate) pages: Arc<Pages>,
    /// How long a position's log and head outlive its last message, ms.
    pub(crate) lifetime_ms: i64,
    /// How many streams may be opened at once that look at very many channels.
    pub(crate) wide: Arc<Semaphore>,
}
