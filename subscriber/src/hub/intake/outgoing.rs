//! What a feed hands out of what it receives: chunks for its streams, and what the hub and the capture must know.

use std::sync::Arc;

use tidings::{
    channel::ChannelName,
    envelope::{Claim, EnvelopeRef},
    message::Position,
    metrics::{self, Dropped},
};

use super::{
    Late,
    capture_forwarder::CaptureForwarder,
    known::{Captured, Known},
    verdict::{Last, Verdict},
    waiting::Push,
};
use crate::{
    capture::Capture,
    chunk::{Builder, Numbered},
    feed::{Item, Rewrite},
};

pub(super) struct Outgoing {
    capture_forwarder: CaptureForwarder,
    builder: Builder,
    /// What precedes the chunk that is being built.
    items: Vec<Item>,
    has_news: bool,
    /// Nobody follows the feed: it only keeps account.
    is_silent: bool,
    /// Losses that pushes showed.
    late: Vec<Late>,
    /// How many pushes were dropped that Redis has lost.
    lost: usize,
    /// A push was dropped.
    has_loss: bool,
}

impl Outgoing {
    pub(super) fn new(capture: Arc<Capture>) -> Self {
        Self {
            capture_forwarder: CaptureForwarder::new(capture),
            builder: Builder::default(),
            items: Vec::new(),
            has_news: false,
            is_silent: false,
            late: Vec::new(),
            lost: 0,
            has_loss: false,
        }
    }

    pub(super) fn has_news(&self) -> bool {
        self.has_news
    }

    /// Bytes of the chunks that are to be taken.
    pub(super) fn bytes(&self) -> usize {
        self.builder.bytes()
    }

    /// Whether nobody follows the feed. Then nothing is encoded.
    pub(super) fn set_silent(&mut self, is_silent: bool) {
        self.is_silent = is_silent;
    }

    pub(super) fn is_silent(&self) -> bool {
        self.is_silent
    }

    /// Reports to the capture how far the numbered messages of its channel went.
    pub(super) fn report_passed(&mut self) {
        self.capture_forwarder.flush();
    }

    /// Ends the chunk and hands out all there is for the streams.
    pub(super) fn take(&mut self) -> Vec<Item> {
        self.report_passed();
        self.has_news = false;
        self.seal();
        std::mem::take(&mut self.items)
    }

    fn seal(&mut self) {
        self.items.extend(self.builder.finish().into_iter().map(Item::Chunk));
    }

    pub(super) fn take_late(&mut self) -> Vec<Late> {
        std::mem::take(&mut self.late)
    }

    pub(super) fn take_lost(&mut self) -> usize {
        std::mem::take(&mut self.lost)
    }

    pub(super) fn has_loss(&self) -> bool {
        self.has_loss
    }

    pub(super) fn take_loss(&mut self) -> bool {
        std::mem::take(&mut self.has_loss)
    }

    /// Puts a message into the chunk, or where it belongs on a captured channel.
    pub(super) fn add(
        &mut self,
        channel: &ChannelName,
        known: &Known,
        numbered: Numbered,
        envelope: &EnvelopeRef<'_>,
        push: Push<'_>,
    ) {
        match (known.captured(), push.notice) {
            // A stranger published this as a notice.
            (_, Some(_)) if numbered.sequence == 0 => return,
            (captured @ (Captured::Here | Captured::Elsewhere), None) if numbered.sequence == 0 => {
                let is_here = captured == Captured::Here;
                if self.capture_forwarder.plain(channel, is_here, push.payload, &envelope.envelope()) {
                    return;
                }
            }
            (Captured::Here, Some(adopted)) => self.capture_forwarder.notice(channel, numbered, adopted),
            (Captured::Here, None) => self.capture_forwarder.pass(channel, numbered),
            (Captured::No | Captured::Elsewhere, _) => {}
        }
        tracing::debug!(channel = channel.as_str(), id = %envelope.envelope().id, sequence = numbered.sequence, "received");
        self.has_news = true;
        if !self.is_silent {
            let origin = || known.origin(numbered.position);
            self.builder.push(channel, known.hash(), numbered, &envelope.parts(), origin);
        }
    }

    /// The epoch of a channel was rewritten from a sequence on: streams that have what was there go back.
    pub(super) fn rewrite(&mut self, channel: &ChannelName, from: i64, last: Last) {
        let Some(epoch) = last.position.epoch else { return };
        tracing::warn!(
            channel = channel.as_str(),
            %epoch,
            from,
            to = last.position.sequence,
            "Redis went back within an epoch, and other messages have replaced those that were delivered; streams are notified"
        );
        self.capture_forwarder.rewrite(channel, Position::new(epoch, from - 1));
        if !self.is_silent {
            self.seal();
            let (to, time_ms) = (last.position.sequence, last.mark.time_ms);
            self.items.push(Item::Rewritten(Arc::new(Rewrite { channel: channel.clone(), epoch, from, to, time_ms })));
        }
        self.has_news = true;
    }

    /// What was added last of a channel was received before the live connection was lost.
    pub(super) fn before_break(&mut self, channel: &ChannelName) {
        self.capture_forwarder.before_break(channel);
    }

    /// A push is not delivered, for what its claim came to.
    pub(super) fn pass_over(&mut self, channel: &ChannelName, claim: Claim, verdict: Verdict) {
        tracing::debug!(channel = channel.as_str(), ?claim, ?verdict, "a push is not delivered");
        match verdict {
            Verdict::Lost => {
                metrics::dropped(Dropped::Lost, 1);
                self.lost += 1;
            }
            Verdict::Late { from } => {
                metrics::dropped(Dropped::Late, 1);
                let Claim { epoch, sequence: to } = claim;
                if from > to {
                    return;
                }
                match self.late.last_mut() {
                    Some(late) if late.channel == *channel && late.epoch == epoch => late.to = late.to.max(to),
                    _ => self.late.push(Late { channel: channel.clone(), epoch, from, to }),
                }
            }
            Verdict::Unlogged => metrics::dropped(Dropped::Unlogged, 1),
            _ => {}
        }
    }

    /// A push was dropped before its channel's head was known.
    pub(super) fn lose(&mut self, channel: &ChannelName) {
        metrics::dropped(Dropped::Held, 1);
        // One line for many: they go one by one.
        if !std::mem::replace(&mut self.has_loss, true) {
            tracing::warn!(
                channel = channel.as_str(),
                "too much waits for the channel's head; dropped the oldest push"
            );
        }
    }
}
