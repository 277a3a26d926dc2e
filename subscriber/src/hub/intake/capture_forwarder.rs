//! What the capture is told of what a feed hears.
//!
//! Numbered messages are many and follow each other, so that it is told of a whole stretch at once: before anything
//! else that it is told, and before the feed hands its chunk out.

use std::sync::Arc;

use tidings::{broker::adopt::Raw, channel::ChannelName, envelope::Envelope, message::Position};

use super::known::{Captured, Hash};
use crate::{capture::Capture, frames::Place};

pub(super) struct CaptureForwarder {
    capture: Arc<Capture>,
    /// Numbered messages that it has not been told of: those of a channel behind a position, up to another.
    passed: Option<(ChannelName, Position, Position)>,
}

impl CaptureForwarder {
    pub(super) fn new(capture: Arc<Capture>) -> Self {
        Self { capture, passed: None }
    }

    /// A numbered message was heard.
    pub(super) fn pass(&mut self, channel: &ChannelName, place: Place) {
        if let Some((of, _, last)) = &mut self.passed
            && *last == place.before
            && of == channel
        {
            *last = place.position;
            return;
        }
        self.flush();
        self.passed = Some((channel.clone(), place.before, place.position));
    }

    /// Tells how far the numbered messages went.
    pub(super) fn flush(&mut self) {
        if let Some((channel, before, last)) = self.passed.take() {
            self.capture.pass(&channel, before, last);
        }
    }

    /// A message was adopted.
    pub(super) fn notice(&mut self, channel: &ChannelName, place: Place, hash: &Hash) {
        self.flush();
        self.capture.notice(channel, place.before, place.position, hash);
    }

    /// Of what was heard beyond a position nothing is left: other messages are in its place.
    pub(super) fn rewrite(&mut self, channel: &ChannelName, to: Position) {
        self.flush();
        self.capture.rewrite(channel, to);
    }

    /// A plain program published. False when what it published is too large to be adopted, by anyone.
    pub(super) fn plain(
        &mut self,
        channel: &ChannelName,
        captured: Captured,
        payload: &[u8],
        envelope: &Envelope,
    ) -> bool {
        if captured == Captured::Elsewhere {
            return Raw::fits(payload, envelope);
        }
        let Some(raw) = Raw::new(payload, envelope) else { return false };
        self.flush();
        self.capture.hold(channel, raw);
        true
    }

    /// What was last told of a channel was heard before the live connection was lost.
    pub(super) fn before_break(&self, channel: &ChannelName) {
        self.capture.held_before_break(channel);
    }
}
