//! What both services count of their clients.

use std::sync::LazyLock;

use ::metrics::{Gauge, gauge};

use super::CONNECTIONS;

pub(super) static OPEN: LazyLock<Gauge> = LazyLock::new(|| gauge!(CONNECTIONS));

/// A client's connection, counted for as long as it lives.
#[derive(Debug)]
pub struct Client(());

impl Client {
    /// One that has just been accepted.
    pub fn connected() -> Self {
        OPEN.increment(1);
        Self(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        OPEN.decrement(1);
    }
}
