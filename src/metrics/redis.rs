//! What the Redis broker counts.

use std::{sync::LazyLock, time::Instant};

use ::metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::{REDIS_PRIMARIES, REDIS_RECONNECTS, REDIS_SECONDS, REDIS_UP, SENTINELS_SILENT, clock};

pub(super) struct Redis {
    up: Gauge,
    reconnects: [Counter; 2],
    primaries: Counter,
    sentinels_silent: Gauge,
    seconds: [Histogram; 4],
}

pub(super) static REDIS: LazyLock<Redis> = LazyLock::new(|| Redis {
    up: gauge!(REDIS_UP),
    reconnects: ["command", "live"].map(|connection| counter!(REDIS_RECONNECTS, "connection" => connection)),
    primaries: counter!(REDIS_PRIMARIES),
    sentinels_silent: gauge!(SENTINELS_SILENT),
    seconds: ["publish", "read", "wait", "check"].map(|call| histogram!(REDIS_SECONDS, "call" => call)),
});

/// Whether the command connection can be used.
pub fn redis_up(is_up: bool) {
    REDIS.up.set(f64::from(u8::from(is_up)));
}

/// A connection to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// The one for commands.
    Command = 0,
    /// The one that pushes come through.
    Live = 1,
}

/// A connection that was lost was made again.
pub fn reconnected(connection: Connection) {
    REDIS.reconnects[connection as usize].increment(1);
}

/// Sentinels have named another primary than before.
pub fn primary_replaced() {
    REDIS.primaries.increment(1);
}

/// So many sentinels did not say where the primary is when they were asked last.
pub fn sentinels_silent(count: usize) {
    REDIS.sentinels_silent.set(count as f64);
}

/// What Redis is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// To publish a group of messages.
    Publish = 0,
    /// Heads, a page of a log, the registry.
    Read = 1,
    /// To wait for replicas.
    Wait = 2,
    /// Whether it can be worked with.
    Check = 3,
}

/// Counts how long a call takes, whatever comes of it; not at all where it is given up from outside.
pub async fn timed<F: Future>(call: Call, asked: F) -> F::Output {
    let timing = Timing::begin();
    let answer = asked.await;
    timing.end(call);
    answer
}

/// The same for a call that begins before its answer is waited for.
#[derive(Debug)]
pub struct Timing(Option<Instant>);

impl Timing {
    /// It begins now.
    pub fn begin() -> Self {
        Self(clock::now())
    }

    /// It has ended.
    pub fn end(self, call: Call) {
        if let Some(since) = self.0 {
            REDIS.seconds[call as usize].record(since.elapsed());
        }
    }
}
