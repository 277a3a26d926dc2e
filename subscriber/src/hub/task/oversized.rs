//! Pushes that are larger than a message may be, and are passed over.

use std::time::Instant;

use tidings::{
    broker::Topic,
    limits::OVERSIZED_QUIET,
    metrics::{self, Dropped},
};

/// How many there were since it was last said. One line for many: a program that sends one sends more.
#[derive(Debug, Default)]
pub(super) struct Oversized {
    said: Option<Instant>,
    messages: usize,
}

impl Oversized {
    /// One of so many bytes was passed over.
    pub(super) fn count(&mut self, topic: &Topic, bytes: usize) {
        metrics::dropped(Dropped::Oversized, 1);
        self.messages += 1;
        if self.said.is_none_or(|said| said.elapsed() >= OVERSIZED_QUIET) {
            let messages = std::mem::take(&mut self.messages);
            tracing::warn!(?topic, bytes, messages, "skipped what is larger than a message may be");
            self.said = Some(Instant::now());
        }
    }
}
