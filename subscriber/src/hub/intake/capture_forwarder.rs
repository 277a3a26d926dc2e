//! What the capture learns of what a feed receives.
//!
//! Numbered messages are many and follow each other, so that a whole stretch is reported at once: before anything
//! else is reported, and before the feed hands its chunk out.

use std::sync::Arc;

use tidings::{broker::adopt::Raw, channel::ChannelName, envelope::Envelope, message::Position};

use super::waiting::Hash;
use crate::{capture::Capture, chunk::Numbered};

pub(super) struct CaptureForwarder {
    capture: Arc<Capture>,
    /// Numbered messages that were not reported yet: those of a channel after a position, up to another.
    passed: Option<(ChannelName, Position, Position)>,
}

impl CaptureForwarder {
    pub(super) fn new(capture: Arc<Capture>) -> Self {
        Self { capture, passed: None }
    }

    /// A numbered message was received.
    pub(super) fn pass(&mut self, channel: &ChannelName, numbered: Numbered) {
        if let Some((of, _, last)) = &mut self.passed
            && *last == numbered.before
            && of == channel
        {
            *last = numbered.position;
            return;
        }
        self.flush();
        self.passed = Some((channel.clone(), numbered.before, numbered.position));
    }

    /// Reports how far the numbered messages went.
    pub(super) fn flush(&mut self) {
        if let Some((channel, before, last)) = self.passed.take() {
            self.capture.pass(&channel, before, last);
        }
    }

    /// A message was adopted.
    pub(super) fn notice(&mut self, channel: &ChannelName, numbered: Numbered, hash: &Hash) {
        self.flush();
        self.capture.notice(channel, numbered.before, numbered.position, hash);
    }

    /// Of what was received beyond a position nothing is left: other messages have replaced it.
    pub(super) fn rewrite(&mut self, channel: &ChannelName, to: Position) {
        self.flush();
        self.capture.rewrite(channel, to);
    }

    /// A plain program published on a channel that is captured through this feed, or not `is_here`, but through
    /// another one. False when what it published is too large to be adopted, by anyone.
    pub(super) fn plain(&mut self, channel: &ChannelName, is_here: bool, payload: &[u8], envelope: &Envelope) -> bool {
        if !is_here {
            return Raw::fits(payload, envelope);
        }
        let Some(raw) = Raw::new(payload, envelope) else { return false };
        self.flush();
        self.capture.hold(channel, raw);
        true
    }

    /// What was last reported of a channel was received before the live connection was lost.
    pub(super) fn before_break(&self, channel: &ChannelName) {
        self.capture.held_before_break(channel);
    }
}
