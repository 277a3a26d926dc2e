//! The captured topics of a hub: listened to always, with the notices of what was adopted on their channels.

use std::time::Instant;

use tidings::{
    broker::{LiveCommand, Topic, adopt::Raw},
    channel::ChannelName,
    metrics,
};

use super::Task;
use crate::hub::intake::Ask;

impl Task {
    /// Asks for the captured topics that do not come yet, or whose notices do not.
    pub(super) fn pin(&mut self) {
        let missing: Vec<Topic> = self.capture.closed().cloned().collect();
        for topic in missing {
            let followed = self.add(&topic);
            if !followed.pinned {
                followed.pinned = true;
                followed.intake.set_silent(followed.feed.followers() == 0);
            }
            self.outbox.push_back(LiveCommand::Capture(topic));
        }
    }

    /// Asks again for topics that were refused, less and less often: rights may have been mended since.
    pub(super) fn capture_again(&mut self, now: Instant) {
        let (at, backoff) = &mut self.recaptures;
        if self.uncaptured.is_empty() {
            *at = now;
            backoff.reset();
        } else if now >= *at {
            *at = now + backoff.pause();
            self.pin();
        }
        metrics::uncaptured(self.uncaptured.len());
    }

    /// From here on a topic's notices come, so that nobody needs its plain messages.
    pub(super) fn captured(&mut self, topic: &Topic) {
        self.uncaptured.remove(topic);
        if self.capture.open(topic) {
            tracing::info!(?topic, "what plain programs publish is captured");
            self.recapture();
        }
    }

    /// A topic's notices do not come: its plain messages are delivered as they are, and kept nowhere.
    pub(super) fn not_captured(&mut self, topic: &Topic, reason: &str) {
        let is_captured = self.capture.topics().any(|captured| captured == topic);
        // It is asked for again.
        if is_captured && self.uncaptured.insert(topic.clone()) {
            tracing::error!(
                ?topic,
                reason,
                "what plain programs publish is not captured; the Redis user needs the channels that ACL LOG names"
            );
        }
        if self.capture.close(topic) {
            self.recapture();
        }
    }

    fn recapture(&mut self) {
        for followed in self.topics.values_mut() {
            followed.intake.recapture();
        }
    }

    /// Gives a notice to every feed to which its channel belongs. Where several captured topics bring it, one counts.
    pub(super) fn notice(
        &mut self,
        topic: &Topic,
        channel: &ChannelName,
        hash: &[u8; Raw::HASH_BYTES],
        json: &[u8],
        touched: &mut Vec<Topic>,
    ) {
        if self.capture.source(channel) != Some(topic) {
            return;
        }
        let mut unknown = false;
        for topic in self.covering(channel) {
            let Some(followed) = self.topics.get_mut(&topic) else { continue };
            if !followed.intake.has_news() {
                touched.push(topic.clone());
            }
            followed.intake.arrive(chrono::Utc::now().timestamp_millis());
            match followed.intake.notice(channel, hash, json) {
                None => {}
                // One answer is for all feeds.
                Some(Ask::Head(_)) => unknown = true,
                Some(ask) => self.ask(&topic, ask),
            }
        }
        if unknown {
            self.check(channel.clone(), None);
        }
    }
}
