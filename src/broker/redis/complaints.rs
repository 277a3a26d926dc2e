//! What Redis refuses, said in the log: once when it begins, and again only after it has been quiet for a while. A
//! refusal comes with every call, and a line a call would hide all others.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use redis::RedisError;
use tokio::time::Instant;

use super::error;
use crate::broker::Error;

/// A refusal that has not been met for so long is new.
const QUIET: Duration = Duration::from_secs(60);
/// The connection's keeper finds these out and tells them by itself: they are of the server, not of a call.
const OF_THE_SERVER: [&str; 6] = ["READONLY", "LOADING", "MASTERDOWN", "NOAUTH", "WRONGPASS", "MOVED"];

/// When each refusal was last met. There are as many as there are codes with a text of ours.
#[derive(Default)]
pub(super) struct Complaints(Mutex<HashMap<&'static str, Instant>>);

impl Complaints {
    /// A call failed with this, which means `told`.
    pub(super) fn hear(&self, error: &RedisError, told: &Error) {
        let Some(code) = error::code(error).and_then(|code| error::known(&code)) else { return };
        if !OF_THE_SERVER.contains(&code) && self.is_new(code) {
            tracing::warn!(reason = %told, answer = %error, "Redis refuses calls");
        }
    }

    fn is_new(&self, code: &'static str) -> bool {
        let mut met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        met.insert(code, now).is_none_or(|last| now - last > QUIET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_goes_on_is_told_once() {
        let complaints = Complaints::default();
        assert!(complaints.is_new("OOM") && complaints.is_new("NOPERM"));
        for _ in 0..10 {
            tokio::time::sleep(QUIET / 2).await;
            assert!(!complaints.is_new("OOM"));
        }
        tokio::time::sleep(QUIET * 2).await;
        assert!(complaints.is_new("OOM"));
    }
}
