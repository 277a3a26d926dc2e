//! The parts of a process, each with its metrics.

use std::sync::LazyLock;

use super::{
    access::ACCESS, clock, connections::OPEN, publishing::PUBLISHING, redis::REDIS, streaming::STREAMING, work::WORK,
};

/// A part of a process, with its metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// It publishes.
    Publisher,
    /// It serves streams.
    Subscriber,
    /// It talks to a Redis.
    Redis,
}

/// Begins to count, once the process has a recorder: the series of its parts exist from now on, at 0.
pub fn begin(parts: &[Part]) {
    clock::start();
    LazyLock::force(&OPEN);
    LazyLock::force(&ACCESS);
    for part in parts {
        match part {
            Part::Publisher => _ = LazyLock::force(&PUBLISHING),
            Part::Subscriber => {
                LazyLock::force(&STREAMING);
                LazyLock::force(&WORK);
            }
            Part::Redis => _ = LazyLock::force(&REDIS),
        }
    }
}
