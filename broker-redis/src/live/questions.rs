//! A session's commands that have no answer yet. Answers come in the order of the commands, between pushes.

use std::collections::VecDeque;

use bytes::Bytes;
use tidings::{
    broker::Topic,
    channel::{ChannelName, Pattern},
};
use tokio::time::Duration;

use super::answer_timeout::Wait;

/// A command that waits for its answer.
pub(super) enum Question {
    Subscribe(Topic),
    /// For a pattern, its new carrier.
    Carrier(Pattern, Bytes),
    /// Comes before the topic's own.
    Notices(Topic),
    Check(ChannelName),
    /// The same, once more.
    CheckAgain(ChannelName),
    /// For the server to know a script.
    Load,
    Recent(usize),
    /// Our own subscription to the channel of probes.
    Probe,
    Ping,
    /// Its answer does not matter.
    Other,
}

pub(super) struct Questions {
    unanswered: VecDeque<Question>,
    /// That of the oldest of them.
    wait: Wait,
}

impl Questions {
    pub(super) fn new() -> Self {
        Self { unanswered: VecDeque::new(), wait: Wait::begin() }
    }

    pub(super) fn ask(&mut self, question: Question) {
        if self.unanswered.is_empty() {
            self.wait = Wait::begin();
        }
        self.unanswered.push_back(question);
    }

    /// The question that the next answer belongs to.
    pub(super) fn answered(&mut self) -> Option<Question> {
        self.wait = Wait::begin();
        self.unanswered.pop_front()
    }

    /// See [`Wait::excuse`].
    pub(super) fn excuse(&mut self, while_nobody_read: Duration, had_messages: bool) {
        self.wait.excuse(while_nobody_read, had_messages);
    }

    /// Whether an answer has been missing for too long: what we send does not arrive, whatever comes from there.
    pub(super) fn are_ignored(&self, answer_timeout: Duration) -> bool {
        !self.unanswered.is_empty() && self.wait.is_over(answer_timeout)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
    const HALF: Duration = Duration::from_millis(500);

    #[tokio::test(start_paused = true)]
    async fn an_answer_may_be_late_after_messages_but_not_for_ever() {
        let mut questions = Questions::new();
        advance(10 * ANSWER_TIMEOUT).await;
        assert!(!questions.are_ignored(ANSWER_TIMEOUT), "nothing was asked");
        questions.ask(Question::Ping);
        questions.ask(Question::Ping);
        advance(HALF).await;
        assert!(questions.answered().is_some());
        advance(HALF + HALF).await;
        assert!(!questions.are_ignored(ANSWER_TIMEOUT), "the second may take as long from here");
        advance(HALF).await;
        assert!(questions.are_ignored(ANSWER_TIMEOUT));
        questions.excuse(ANSWER_TIMEOUT, false);
        assert!(!questions.are_ignored(ANSWER_TIMEOUT));
        for _ in 0..8 {
            assert!(!questions.are_ignored(ANSWER_TIMEOUT), "they come after the messages");
            questions.excuse(Duration::ZERO, true);
            advance(HALF).await;
        }
        assert!(questions.are_ignored(ANSWER_TIMEOUT), "messages alone do not make a session");
        assert!(questions.answered().is_some());
        advance(10 * ANSWER_TIMEOUT).await;
        assert!(!questions.are_ignored(ANSWER_TIMEOUT));
    }
}
