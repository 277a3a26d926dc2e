//! A small model of Redis: servers with keys, roles, replicas that lag, and copies of what was.

pub(crate) mod commands;
mod ids;
pub(crate) mod keys;
pub(crate) mod lua;
pub(crate) mod reply;

use std::collections::BTreeSet;

use self::keys::Keys;
use crate::clock;

/// What a primary did in one step: what it had then, and what it published.
#[derive(Clone)]
pub(crate) struct Version {
    pub(crate) keys: Keys,
    pub(crate) published: Vec<(Vec<u8>, Vec<u8>)>,
}

/// One server.
pub(crate) struct Server {
    pub(crate) keys: Keys,
    /// Its primary, where it is a replica.
    pub(crate) replica_of: Option<usize>,
    /// Of a primary: its history's name.
    pub(crate) replication_id: String,
    /// What it had after each step, since it began or became a primary.
    pub(crate) versions: Vec<Version>,
    /// Of a replica: which history it follows, and how many of its primary's versions it has.
    pub(crate) applied: (String, usize),
    /// It takes nothing from its primary now.
    pub(crate) lags: bool,
    pub(crate) is_down: bool,
    /// It is there and does nothing, as after SIGSTOP.
    pub(crate) is_stopped: bool,
    /// How far its clock is off.
    pub(crate) clock_ms: i64,
    /// Scripts it was given.
    pub(crate) scripts: BTreeSet<String>,
}

impl Server {
    pub(crate) fn new() -> Self {
        let mut server = Self {
            keys: Keys::default(),
            replica_of: None,
            replication_id: String::new(),
            versions: Vec::new(),
            applied: (String::new(), 0),
            lags: false,
            is_down: false,
            is_stopped: false,
            clock_ms: 0,
            scripts: BTreeSet::new(),
        };
        server.lead();
        server
    }

    /// Becomes a primary with a history of its own.
    pub(crate) fn lead(&mut self) {
        self.replica_of = None;
        self.replication_id = (0..40).map(|_| char::from_digit(fastrand::u32(..16), 16).unwrap_or('0')).collect();
        self.versions = vec![Version { keys: self.keys.clone(), published: Vec::new() }];
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.replica_of.is_none()
    }

    /// Notes what it has now, where that changed.
    pub(crate) fn step(&mut self, published: Vec<(Vec<u8>, Vec<u8>)>) {
        self.versions.push(Version { keys: self.keys.clone(), published });
    }

    /// What it had some steps ago.
    pub(crate) fn copy(&self, back: usize) -> Keys {
        self.versions[self.versions.len().saturating_sub(1 + back)].keys.clone()
    }

    /// Its own clock, µs since 1970.
    pub(crate) fn now_us(&self) -> i64 {
        (clock::BEGINNING_MS + clock::now_ms() + self.clock_ms) * 1000
    }
}
