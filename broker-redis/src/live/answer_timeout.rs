//! How long something may take on a session. It comes after all messages that Redis had to send before, and it waits
//! while nobody reads the session: neither says anything about Redis. Messages alone do not make a session, though.

use tidings::limits::ANSWER_AFTER_MESSAGES;
use tokio::time::{Duration, Instant};

/// One wait.
#[derive(Debug)]
pub(super) struct Wait {
    since: Instant,
    /// When the last messages came.
    messages: Option<Instant>,
}

impl Wait {
    pub(super) fn begin() -> Self {
        Self { since: Instant::now(), messages: None }
    }

    /// Something came, and nobody read on for a while because of it. Whether there were messages in it matters: answers
    /// are no reason why others are late.
    pub(super) fn excuse(&mut self, while_nobody_read: Duration, had_messages: bool) {
        self.since += while_nobody_read;
        if had_messages {
            self.messages = Some(Instant::now());
        }
    }

    /// Whether it has taken too long.
    pub(super) fn is_over(&self, answer_timeout: Duration) -> bool {
        let waited = self.since.elapsed();
        let is_after_messages = self.messages.is_some_and(|messages| messages.elapsed() <= answer_timeout);
        waited > answer_timeout && (!is_after_messages || waited > answer_timeout * ANSWER_AFTER_MESSAGES)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn answers_excuse_nothing() {
        let mut wait = Wait::begin();
        for _ in 0..5 {
            assert!(!wait.is_over(ANSWER_TIMEOUT));
            advance(SECOND).await;
            wait.excuse(Duration::ZERO, false);
        }
        advance(SECOND).await;
        assert!(wait.is_over(ANSWER_TIMEOUT));
    }

    #[tokio::test(start_paused = true)]
    async fn messages_excuse_for_a_while_and_a_slow_reader_as_long_as_it_is_slow() {
        let mut wait = Wait::begin();
        wait.excuse(ANSWER_TIMEOUT, false);
        advance(ANSWER_TIMEOUT * 2).await;
        assert!(!wait.is_over(ANSWER_TIMEOUT));
        let mut wait = Wait::begin();
        for _ in 0..20 {
            assert!(!wait.is_over(ANSWER_TIMEOUT));
            advance(SECOND).await;
            wait.excuse(Duration::ZERO, true);
        }
        advance(SECOND).await;
        assert!(wait.is_over(ANSWER_TIMEOUT));
    }
}
