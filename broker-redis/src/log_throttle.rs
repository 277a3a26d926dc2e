//! Problems with Redis in the log: each is logged once when it begins, and again only after Redis has worked, or the
//! problem was quiet for a while. A refusal comes with every call, and a reason with every attempt: a line each would
//! hide all others.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

use redis::RedisError;
use tidings::{
    broker::Error,
    limits::{LOG_CHANNELS, LOG_QUIET, LOG_REASONS},
};
use tokio::time::Instant;

use super::error;

/// The connection's keeper finds and reports these itself: they are of the server, not of a call.
const OF_THE_SERVER: [&str; 7] = ["READONLY", "LOADING", "BUSY", "MASTERDOWN", "NOAUTH", "WRONGPASS", "MOVED"];

#[derive(Default)]
pub(super) struct LogThrottle {
    /// When each refusal was last met: its code, of which there are as many as have a text of ours, and the channel
    /// where it is of one.
    met: Mutex<HashMap<(&'static str, String), Instant>>,
    /// Why Redis could not be used since it last could.
    reasons: Mutex<HashSet<String>>,
    /// The eviction policy that was warned of.
    policy: Mutex<Option<String>>,
    /// The deduplication window of another publisher that was warned of, ms.
    window_ms: Mutex<Option<u64>>,
}

impl LogThrottle {
    /// A call failed with this, which means `meaning`.
    pub(super) fn note(&self, error: &RedisError, meaning: &Error) {
        let Some(said) = error::first(error) else { return };
        let Some(code) = error::known(&said.code).filter(|code| !OF_THE_SERVER.contains(code)) else { return };
        match said.channel() {
            Some(channel) if self.is_new(code, channel) => {
                tracing::warn!(channel, reason = %meaning, answer = %said, "publishes on a channel are refused");
            }
            None if self.is_new(code, "") => tracing::warn!(reason = %meaning, answer = %said, "Redis refuses calls"),
            _ => {}
        }
    }

    fn is_new(&self, code: &'static str, channel: &str) -> bool {
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        met.retain(|_, last| now - *last <= LOG_QUIET);
        let key = (code, channel.to_owned());
        // Of very many channels some are named.
        let is_full = met.len() >= LOG_CHANNELS && !met.contains_key(&key);
        !is_full && met.insert(key, now).is_none()
    }

    /// Redis can't be used; answers whether that is to be said. Reasons may alternate while it is away.
    pub(super) fn is_new_reason(&self, reason: &str) -> bool {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        if reasons.len() >= LOG_REASONS {
            reasons.clear();
        }
        reasons.insert(reason.to_owned())
    }

    /// Redis can be used.
    pub(super) fn is_well(&self) {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Another publisher's deduplication window is in force; answers whether that is to be said.
    pub(super) fn is_new_window(&self, window_ms: u64) -> bool {
        let mut known = self.window_ms.lock().unwrap_or_else(PoisonError::into_inner);
        known.replace(window_ms) != Some(window_ms)
    }

    /// Redis has this eviction policy; answers whether that is to be said. Each new connection asks.
    pub(super) fn is_new_policy(&self, policy: &str) -> bool {
        let mut known = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        known.replace(policy.to_owned()).is_none_or(|known| known != policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_continues_is_reported_once() {
        let log_throttle = LogThrottle::default();
        assert!(log_throttle.is_new("OOM", "") && log_throttle.is_new("NOPERM", ""));
        for _ in 0..10 {
            tokio::time::sleep(LOG_QUIET / 2).await;
            assert!(!log_throttle.is_new("OOM", ""));
        }
        tokio::time::sleep(LOG_QUIET * 2).await;
        assert!(log_throttle.is_new("OOM", ""));
    }

    #[tokio::test(start_paused = true)]
    async fn each_channel_that_is_refused_is_reported_as_long_as_there_are_not_too_many() {
        let log_throttle = LogThrottle::default();
        let is_new = |n: usize| log_throttle.is_new("TIDINGS_CHANNEL", &format!("c{n}"));
        assert_eq!([1, 1, 2, 1, 2].map(is_new), [true, false, true, false, false]);
        assert_eq!((0..10 * LOG_CHANNELS).filter(|n| is_new(*n)).count(), LOG_CHANNELS - 2);
        tokio::time::sleep(LOG_QUIET * 2).await;
        assert!(is_new(10 * LOG_CHANNELS));
    }

    #[test]
    fn reasons_that_alternate_are_reported_once_each_until_all_is_well() {
        let log_throttle = LogThrottle::default();
        let is_new = |reason| log_throttle.is_new_reason(reason);
        assert_eq!(["a", "b", "a", "b", "a"].map(is_new), [true, true, false, false, false]);
        log_throttle.is_well();
        assert_eq!(["a", "b", "a"].map(is_new), [true, true, false]);
        for n in 0..10 * LOG_REASONS {
            assert!(log_throttle.is_new_reason(&format!("reason {n}")), "and nothing grows without end");
            assert!(log_throttle.reasons.lock().expect("no panic").len() <= LOG_REASONS);
        }
        let is_new = |policy| log_throttle.is_new_policy(policy);
        assert_eq!(["lru", "lru", "noeviction", "lru"].map(is_new), [true, false, true, true]);
    }
}
