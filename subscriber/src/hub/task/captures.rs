//! Which of the topics that are to be captured really are: their notices come, or are asked for again.

use std::{collections::HashSet, sync::Arc, time::Instant};

use tidings::{
    backoff::Backoff,
    broker::Topic,
    channel::ChannelName,
    limits::{CAPTURE_RETRY_MAX, CAPTURE_RETRY_MIN},
    metrics,
};

use crate::capture::Capture;

/// The captured topics of a hub.
pub(super) struct Captures {
    capture: Arc<Capture>,
    /// Those of which it was said that they can't be captured.
    uncaptured: HashSet<Topic>,
    /// When those are asked for again, and how often they were.
    retry_at: Instant,
    backoff: Backoff,
}

impl Captures {
    pub(super) fn new(capture: Arc<Capture>) -> Self {
        let backoff = Backoff::new(CAPTURE_RETRY_MIN, CAPTURE_RETRY_MAX);
        Self { capture, uncaptured: HashSet::new(), retry_at: Instant::now(), backoff }
    }

    /// The topics that do not come yet, or whose notices do not.
    pub(super) fn missing(&self) -> Vec<Topic> {
        self.capture.closed().cloned().collect()
    }

    /// The same where some were refused and their time has come, which it does less and less often: rights may have
    /// been mended since.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Topic> {
        metrics::uncaptured(self.uncaptured.len());
        if self.uncaptured.is_empty() {
            self.retry_at = now;
            self.backoff.reset();
        } else if now >= self.retry_at {
            self.retry_at = now + self.backoff.pause();
            return self.missing();
        }
        Vec::new()
    }

    /// From here on a topic's notices come, so that nobody needs its plain messages. Answers whether that is news.
    pub(super) fn open(&mut self, topic: &Topic) -> bool {
        self.uncaptured.remove(topic);
        let is_news = self.capture.open(topic);
        if is_news {
            tracing::info!(?topic, "what plain programs publish is captured");
        }
        is_news
    }

    /// A topic's notices do not come: its plain messages are delivered as they are, and kept nowhere. Answers whether
    /// that is news.
    pub(super) fn close(&mut self, topic: &Topic, reason: &str) -> bool {
        let is_captured = self.capture.topics().any(|captured| captured == topic);
        // It is asked for again.
        if is_captured && self.uncaptured.insert(topic.clone()) {
            tracing::error!(
                ?topic,
                reason,
                "what plain programs publish is not captured; the Redis user needs the channels that ACL LOG names"
            );
        }
        self.capture.close(topic)
    }

    /// Whether a channel is captured through this topic. Where several bring it, one counts.
    pub(super) fn is_source(&self, topic: &Topic, channel: &ChannelName) -> bool {
        self.capture.source(channel) == Some(topic)
    }
}
