//! What a feed makes of pushes: which messages are numbered in their channel's history, and which only claim to be.
//!
//! A claim (sequence and epoch in the JSON) that follows the last one is believed. For any other the channel's head is
//! looked up, over the live connection itself, or, where it is at or below what was received, the log ([`claims`]
//! decides); until the answer comes the channel's pushes are held, in order. They are believed or not, never lost for
//! being early: what does not fit into the bound is in the log if it was ours.
//!
//! On captured channels messages of plain programs are for no stream: the feed through which a channel is captured
//! hands them to [`capture`](crate::capture). What comes to the streams is the notice of their adoption, a numbered
//! message like any other.

use std::{collections::HashSet, sync::Arc};

use tidings::{
    broker::{Head, Topic},
    channel::{ChannelName, Names},
    envelope::{Claim, EnvelopeRef},
    message::Epoch,
    metrics::{self, Dropped},
};

use crate::{capture::Capture, feed::Item};

mod capture_forwarder;
mod channels;
mod claims;
mod held;
mod known;
mod looked;
mod outgoing;
mod verdict;
mod waiting;

pub(super) use held::Room;
pub(super) use looked::{Looked, Question};

use channels::{Channels, Stage};
use claims::{Course, Evidence, Shown};
use outgoing::Outgoing;
use verdict::Verdict;
use waiting::{Hash, Push, Queue};

/// What must be asked before a channel's pushes continue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    /// Its head, over the live connection.
    Head(ChannelName),
    /// Its log.
    Log(Question),
}

/// What a head says of what was received.
#[derive(Debug)]
pub(super) enum Missed {
    Nothing,
    /// Something was missed: it is elsewhere.
    Look,
    /// The log must be asked whether the history is still the one that was received.
    Ask(Question),
}

/// Messages of an ended epoch that were received, and that this history does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Late {
    pub(super) channel: ChannelName,
    pub(super) epoch: Epoch,
    /// The first that is not known to be lost.
    pub(super) from: i64,
    pub(super) to: i64,
}

/// One feed's.
pub(super) struct Intake {
    /// The one channel of a channel feed; a pattern's channels are read from each push.
    channel: Option<ChannelName>,
    channels: Channels,
    /// Channels whose head can't be read.
    unreadable: HashSet<ChannelName>,
    /// For the pushes that wait.
    room: Room,
    /// When what is pushed arrived, ms: read once for all that one read of the socket brought.
    arrival_ms: i64,
    outgoing: Outgoing,
}

impl Intake {
    pub(super) fn new(topic: &Topic, names: Arc<Names>, capture: Arc<Capture>, room: Room) -> Self {
        let channel = match topic {
            Topic::Channel(channel) => Some(channel.clone()),
            Topic::Pattern(_) => None,
        };
        Self {
            channel,
            channels: Channels::new(topic.clone(), names, Arc::clone(&capture)),
            unreadable: HashSet::new(),
            room,
            arrival_ms: 0,
            outgoing: Outgoing::new(capture),
        }
    }

    /// What is pushed from here on arrived at this time, in ms since 1970.
    pub(super) fn arrive(&mut self, at_ms: i64) {
        self.arrival_ms = at_ms;
    }

    /// Whether there is something to take.
    pub(super) fn has_news(&self) -> bool {
        self.outgoing.has_news()
    }

    /// Bytes of the chunks that are to be taken.
    pub(super) fn bytes(&self) -> usize {
        self.outgoing.bytes()
    }

    /// Whether nobody follows the feed. Then nothing is encoded.
    pub(super) fn set_silent(&mut self, is_silent: bool) {
        self.outgoing.set_silent(is_silent);
    }

    pub(super) fn is_silent(&self) -> bool {
        self.outgoing.is_silent()
    }

    /// Finds out again which channels are captured.
    pub(super) fn recapture(&mut self) {
        self.channels.recapture();
    }

    /// Reports to the capture how far the numbered messages of its channel went.
    pub(super) fn report_passed(&mut self) {
        self.outgoing.report_passed();
    }

    /// Ends the chunk and hands out all there is for the streams.
    pub(super) fn take(&mut self) -> Vec<Item> {
        self.outgoing.take()
    }

    /// The losses that pushes showed since this was last asked.
    pub(super) fn take_late(&mut self) -> Vec<Late> {
        self.outgoing.take_late()
    }

    /// How many pushes were dropped since this was last asked because Redis has lost them.
    pub(super) fn take_lost(&mut self) -> usize {
        self.outgoing.take_lost()
    }

    /// Whether a push was dropped since this was last asked.
    pub(super) fn take_loss(&mut self) -> bool {
        self.outgoing.take_loss()
    }

    /// The channels of which nothing was received since this was last asked.
    pub(super) fn quiet(&mut self) -> impl Iterator<Item = &ChannelName> {
        self.channels.quiet()
    }

    /// Whether the feed has seen a channel's head.
    pub(super) fn knows(&self, channel: &ChannelName) -> bool {
        self.channels.contains(channel)
    }

    /// Whether pushes of a channel wait for its head or log.
    pub(super) fn waits_for(&self, channel: &ChannelName) -> bool {
        self.channels.is_asked(channel)
    }

    /// Whether pushes of a channel are held until it is known what they are.
    pub(super) fn holds(&self, channel: &ChannelName) -> bool {
        self.channels.holds(channel)
    }

    /// Whether the feed has missed something of a channel that belongs to it: the head, which comes after all pushes
    /// before it, is elsewhere than the pushes led to.
    pub(super) fn has_missed(&mut self, channel: &ChannelName, head: Option<&Head>) -> Missed {
        match self.channels.compare(channel, head) {
            Shown::Nothing => Missed::Nothing,
            Shown::Elsewhere => Missed::Look,
            Shown::Rewritten { from, last } => {
                self.outgoing.rewrite(channel, from, last);
                Missed::Look
            }
            Shown::Doubt => {
                let asked = self.channels.get_mut(channel).and_then(|known| known.ask_last(channel, &self.room));
                asked.map_or(Missed::Nothing, Missed::Ask)
            }
        }
    }

    /// The live connection was lost: the head that pushes wait for comes from another one.
    pub(super) fn outlive(&mut self) {
        self.channels.outlive();
    }

    /// Pushes were missed: what was known of the channels may be old. Those that wait for their head keep waiting.
    pub(super) fn forget(&mut self) {
        self.channels.forget();
    }

    /// Takes one push. Answers what must be asked first, if anything must.
    pub(super) fn push(&mut self, name: &[u8], payload: &[u8]) -> Option<Ask> {
        let channel = match &self.channel {
            Some(channel) => channel.clone(),
            None => self.channels.named(name)?,
        };
        self.receive(channel, payload, None)
    }

    /// Takes a notice of a channel that belongs to the feed. Answers the same.
    pub(super) fn notice(&mut self, channel: &ChannelName, hash: &Hash, json: &[u8]) -> Option<Ask> {
        self.receive(channel.clone(), json, Some(hash))
    }

    fn receive(&mut self, channel: ChannelName, payload: &[u8], notice: Option<&Hash>) -> Option<Ask> {
        let push = Push { payload, arrival_ms: self.arrival_ms, notice };
        match self.channels.stage(&channel) {
            Stage::New if !self.channels.add(&channel, &self.room) => {
                self.outgoing.lose(&channel);
                return None;
            }
            Stage::New => {
                self.hold(&channel, push);
                return Some(Ask::Head(channel));
            }
            Stage::Asked => {
                self.hold(&channel, push);
                return None;
            }
            Stage::Read => {}
        }
        let envelope = EnvelopeRef::read(payload, push.arrival_ms);
        if self.accept(&channel, &envelope, push) { None } else { self.doubt(&channel, push) }
    }

    /// Takes a message that comes next; false when it claims another position.
    fn accept(&mut self, channel: &ChannelName, envelope: &EnvelopeRef<'_>, push: Push<'_>) -> bool {
        let Some(known) = self.channels.get_mut(channel) else { return false };
        let Some(numbered) = known.number(envelope, push) else { return false };
        self.outgoing.add(channel, known, numbered, envelope, push);
        true
    }

    /// Reads the head that was asked for. Answers whether the feed has news, and what must be asked next.
    pub(super) fn learn(&mut self, channel: &ChannelName, head: Option<&Head>) -> (bool, Option<Ask>) {
        self.unreadable.remove(channel);
        let answered = self.channels.get_mut(channel).and_then(|known| known.answered(false));
        let Some((held, before)) = answered else { return (false, None) };
        let had_head = self.channels.recall(channel);
        let is_gone = before.as_ref().map_or(had_head && head.is_none(), |before| before.is_gone(head));
        let course = Course::resume(before.as_ref(), head, held.claims());
        let evidence = Evidence::Head { last: head.map_or(0, |head| head.last), is_gone };
        let had_news = self.has_news();
        let is_due = !held.is_empty() || self.outgoing.has_loss();
        let ask = self.advance(channel, course, held, evidence);
        (is_due && !had_news, ask)
    }

    /// Reads what the log says. Answers what must be asked next.
    pub(super) fn compare(&mut self, channel: &ChannelName, looked: &Looked) -> Option<Ask> {
        let (held, before) = self.channels.get_mut(channel)?.answered(true)?;
        let mut course = before.unwrap_or_default();
        // A head that came meanwhile was passed over.
        let mut is_open = held.has_outlived();
        let last = course.last();
        if let Some(from) = looked.shows_rewritten_from(last) {
            course.rewrite(from);
            self.outgoing.rewrite(channel, from, last);
            is_open = true;
        } else if looked.is_by_head() && course.has_fallen() {
            course.restore();
            is_open = true;
        }
        let ask = self.advance(channel, course, held, Evidence::Log(looked));
        ask.or_else(|| is_open.then(|| Ask::Head(channel.clone())))
    }

    /// A push that is not what comes next: it waits for the head or the log to decide what it is.
    fn doubt(&mut self, channel: &ChannelName, push: Push<'_>) -> Option<Ask> {
        let course = std::mem::take(self.channels.get_mut(channel)?.course()?);
        let mut held = Queue::new(&self.room);
        held.push(push);
        self.advance(channel, course, held, Evidence::Nothing)
    }

    /// Continues with pushes that waited, until one needs something else first.
    fn advance(
        &mut self,
        channel: &ChannelName,
        course: Course,
        mut held: Queue,
        evidence: Evidence<'_>,
    ) -> Option<Ask> {
        self.channels.get_mut(channel)?.resume(course);
        while let Some(waiting) = held.pop() {
            let push = waiting.push();
            let mut envelope = EnvelopeRef::read(push.payload, push.arrival_ms);
            if let Some(claim) = envelope.claim() {
                let known = self.channels.get_mut(channel)?;
                let course = known.course()?;
                let last = course.last();
                match course.judge(claim, push.payload, waiting.is_outlived(), evidence) {
                    Verdict::Believed => course.expect(claim),
                    Verdict::Plain => envelope.disbelieve(),
                    Verdict::Foreign => {
                        foreign(channel, claim);
                        envelope.disbelieve();
                    }
                    Verdict::Rewritten { from } => {
                        course.rewrite(from);
                        self.outgoing.rewrite(channel, from, last);
                        held.put_back(waiting);
                        continue;
                    }
                    Verdict::Restored => {
                        course.restore();
                        held.put_back(waiting);
                        continue;
                    }
                    Verdict::AskHead => {
                        held.put_back(waiting);
                        return known.ask_head(held).map(|()| Ask::Head(channel.clone()));
                    }
                    Verdict::AskLog => {
                        held.put_back(waiting);
                        return known.ask_log(channel, held).map(Ask::Log);
                    }
                    dropped => {
                        self.outgoing.pass_over(channel, claim, dropped);
                        continue;
                    }
                }
            }
            self.accept(channel, &envelope, push);
            if waiting.is_outlived() {
                self.outgoing.before_break(channel);
            }
        }
        None
    }

    fn hold(&mut self, channel: &ChannelName, push: Push<'_>) {
        let Some(held) = self.channels.get_mut(channel).and_then(|known| known.held()) else { return };
        held.push(push);
        while held.pop_excess().is_some() {
            self.outgoing.lose(channel);
        }
        if self.unreadable.contains(channel) {
            self.shed(channel);
        }
    }

    /// A channel's head can't be read, and who knows until when: what waits for it must not take the room of others.
    pub(super) fn wait_long(&mut self, channel: &ChannelName) {
        if self.channels.is_asked(channel) && self.unreadable.insert(channel.clone()) {
            self.shed(channel);
        }
    }

    /// Drops the oldest of what waits for a channel that can't be read, beyond its part. Streams look into the log when
    /// it can be, so that only what plain programs published is lost.
    fn shed(&mut self, channel: &ChannelName) {
        let Some(held) = self.channels.get_mut(channel).and_then(|known| known.held()) else { return };
        metrics::dropped(Dropped::Held, held.shed());
    }
}

/// Says once that somebody publishes who numbers messages elsewhere.
fn foreign(channel: &ChannelName, claim: Claim) {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        tracing::warn!(
            channel = channel.as_str(),
            epoch = %claim.epoch,
            "messages claim an epoch that their channel never had, and count as a plain program's: perhaps another deployment publishes \
             on this Redis, where neither --key-prefix nor the database keeps channels apart"
        );
    });
}

#[cfg(test)]
mod tests;
