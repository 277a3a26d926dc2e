//! How long settlements wait for the next claim, to go to the broker in the same call.
//!
//! A dispatcher makes one call at a time. Where messages come in quick succession, each would wait behind a call that
//! has nothing but the settlement of the one before it; so that goes with the claim. Where they come seldom, nothing
//! waits for anything.

use std::time::Duration;

use tidings::limits::SETTLE_WAIT;
use tokio::time::Instant;

#[derive(Debug, Default)]
pub(super) struct SettleDelay {
    /// When messages were claimed last.
    claimed: Option<Instant>,
    /// How long that was after the claim before it.
    apart: Option<Duration>,
}

impl SettleDelay {
    /// Messages are claimed.
    pub(super) fn claimed(&mut self, now: Instant) {
        self.apart = self.claimed.map(|before| now.saturating_duration_since(before));
        self.claimed = Some(now);
    }

    /// Until when a settlement waits that came at a time; `None` for one that goes at once.
    pub(super) fn until(&self, came: Instant) -> Option<Instant> {
        self.apart.filter(|apart| *apart <= SETTLE_WAIT)?;
        // Where no claim comes any more, the next settlements do not wait for one.
        Some((self.claimed? + SETTLE_WAIT).min(came + SETTLE_WAIT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settlement_waits_only_where_claims_follow_each_other_and_not_for_long() {
        let (begin, mut delay) = (Instant::now(), SettleDelay::default());
        assert_eq!(delay.until(begin), None);
        delay.claimed(begin);
        assert_eq!(delay.until(begin), None, "one claim is no succession");
        let next = begin + SETTLE_WAIT / 2;
        delay.claimed(next);
        assert_eq!(delay.until(begin + SETTLE_WAIT), Some(next + SETTLE_WAIT));
        assert_eq!(delay.until(begin), Some(begin + SETTLE_WAIT));
        delay.claimed(next + 2 * SETTLE_WAIT);
        assert_eq!(delay.until(next + 2 * SETTLE_WAIT), None);
    }
}
