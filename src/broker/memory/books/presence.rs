//! Who has streams open on a subscription, as each process has said.

use std::collections::HashMap;

use crate::{limits::CONSUMERS_KEPT, subscription::Token};

#[derive(Debug, Default)]
pub(super) struct Presence {
    /// How many each has, and when it said so.
    said: HashMap<Token, (u64, i64)>,
}

impl Presence {
    /// A process has so many from now on.
    pub(super) fn say(&mut self, token: Token, streams: u64, now_ms: i64) {
        self.said.retain(|_, (_, said_ms)| counts(*said_ms, now_ms));
        if streams > 0 {
            self.said.insert(token, (streams, now_ms));
        } else {
            self.said.remove(&token);
        }
    }

    /// Those of all together.
    pub(super) fn streams(&self, now_ms: i64) -> u64 {
        self.said.values().filter(|(_, said_ms)| counts(*said_ms, now_ms)).map(|(streams, _)| streams).sum()
    }
}

/// Also where the clock went back meanwhile.
fn counts(said_ms: i64, now_ms: i64) -> bool {
    u128::from(now_ms.abs_diff(said_ms)) < CONSUMERS_KEPT.as_millis()
}
