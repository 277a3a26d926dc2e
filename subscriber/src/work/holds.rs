//! How many bytes of the logs durable subscriptions may hold: so many of each log, and so many of all, which the
//! channels with subscriptions share equally.
//!
//! A share is known beforehand: what one channel does not need is not lent to another, which would have to lose it
//! again.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::Notify;

/// How many bytes of logs subscriptions may hold beyond the history's own limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldLimits {
    /// Of one channel's log.
    pub channel: u64,
    /// Of all together.
    pub total: u64,
}

pub(crate) struct Holds {
    limits: HoldLimits,
    /// Channels that have subscriptions.
    channels: AtomicU64,
    /// There may be one more.
    grown: Notify,
}

impl Holds {
    pub(crate) fn new(limits: HoldLimits) -> Self {
        Self { limits, channels: AtomicU64::new(0), grown: Notify::new() }
    }

    /// How many bytes of one log may be held now.
    pub(super) fn bytes(&self) -> u64 {
        let HoldLimits { channel, total } = self.limits;
        channel.min(total / self.channels.load(Relaxed).max(1))
    }

    /// There are so many channels that have subscriptions.
    pub(super) fn note(&self, channels: usize) {
        self.channels.store(u64::try_from(channels).unwrap_or(u64::MAX), Relaxed);
    }

    /// A subscription was created: perhaps the first of its channel.
    pub(super) fn grow(&self) {
        self.grown.notify_one();
    }

    /// Ready when one was created since this was polled last.
    pub(super) async fn grown(&self) {
        self.grown.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_is_shared_and_a_channel_has_no_more_than_its_own_limit() {
        let holds = Holds::new(HoldLimits { channel: 100, total: 1_000 });
        assert_eq!(holds.bytes(), 100);
        for (channels, bytes) in [(1, 100), (10, 100), (20, 50), (2_000, 0), (0, 100)] {
            holds.note(channels);
            assert_eq!(holds.bytes(), bytes, "{channels}");
        }
        assert_eq!(Holds::new(HoldLimits { channel: 100, total: 7 }).bytes(), 7);
    }
}
