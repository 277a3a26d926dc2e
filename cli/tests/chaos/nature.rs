//! What kind of run a seed makes: drawn once, so that runs differ in more than chance.

use std::{fmt, time::Duration};

/// Of what nature a run is.
#[derive(Debug, Clone)]
pub(crate) struct Nature {
    /// A second Redis that can be promoted.
    pub(crate) replica: bool,
    /// Redis may be flushed, promoted too early, or come back with less than it had.
    pub(crate) losses: bool,
    /// Messages of a channel that are kept.
    pub(crate) keeps: u64,
    /// How long a service waits for Redis.
    pub(crate) timeout: Duration,
    /// The longest pause between two faults.
    pub(crate) pause_ms: u64,
}

impl Nature {
    /// Four seeds in a row differ in whether there is a replica, and whether Redis loses anything.
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        Self {
            replica: seed & 1 == 1,
            losses: seed & 2 == 2,
            keeps: [100_000, 300, 40][rng.usize(..3)],
            timeout: Duration::from_millis([700, 1_500][rng.usize(..2)]),
            pause_ms: [250, 600, 1_200][rng.usize(..3)],
        }
    }

    /// The services' flags for it.
    pub(crate) fn args(&self) -> Vec<String> {
        vec![
            format!("--redis-timeout={}ms", self.timeout.as_millis()),
            format!("--history-max-messages={}", self.keeps),
            "--shutdown-timeout=2s".to_owned(),
        ]
    }
}

impl fmt::Display for Nature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers = if self.replica { "two Redis servers" } else { "one Redis server" };
        let losses = if self.losses { "which loses writes" } else { "which loses nothing" };
        let (keeps, timeout, pause) = (self.keeps, self.timeout.as_millis(), self.pause_ms);
        write!(f, "{servers}, {losses}; {keeps} messages kept, a timeout of {timeout} ms, a fault within {pause} ms")
    }
}
