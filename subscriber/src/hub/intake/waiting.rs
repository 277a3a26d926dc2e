//! Pushes that wait for their channel's head or log, and how they continue when it has answered.

use std::collections::VecDeque;

use bytes::Bytes;
use tidings::{
    broker::Head,
    channel::ChannelName,
    envelope::{Claim, EnvelopeRef},
    limits::{COMPARED_MESSAGES, MESSAGE_BYTES, UNREADABLE_HELD},
    metrics::{self, Dropped},
};

use super::{
    Ask, Asked, Course, Hash, Intake, Known, Late, Looked, Question, State, Waiting, claims::Evidence, lose,
    verdict::Verdict,
};

impl Intake {
    /// Reads the head that was asked for. Answers whether the feed has news, and what must be asked next.
    pub(in crate::hub) fn learn(&mut self, channel: &ChannelName, head: Option<&Head>) -> (bool, Option<Ask>) {
        self.unreadable.remove(channel);
        let Some(asked) = self.take_asked(channel, false) else { return (false, None) };
        let Asked { held, before, .. } = *asked;
        let had_head = self.channels.recall(channel);
        let is_gone = before.as_ref().map_or(had_head && head.is_none(), |before| before.is_gone(head));
        let claims: Vec<Claim> = held.iter().filter_map(claim).collect();
        let course = Course::resume(before.as_ref(), head, claims.into_iter());
        let evidence = Evidence::Head { last: head.map_or(0, |head| head.last), is_gone };
        let had_news = self.news;
        let is_due = !held.is_empty() || self.loss;
        let ask = self.advance(channel, course, held, evidence);
        (is_due && !had_news, ask)
    }

    /// Reads what the log says. Answers what must be asked next.
    pub(in crate::hub) fn compare(&mut self, channel: &ChannelName, looked: &Looked) -> Option<Ask> {
        let asked = self.take_asked(channel, true)?;
        let Asked { held, before, .. } = *asked;
        let mut course = before.unwrap_or_default();
        // A head that came meanwhile was passed over.
        let mut is_open = held.iter().any(|waiting| waiting.outlived);
        let last = course.last();
        if let Some(from) = looked.shows_rewritten_from(last) {
            course.rewrite(from);
            self.rewrite(channel, from, last);
            is_open = true;
        } else if looked.is_by_head() && course.has_fallen() {
            course.restore();
            is_open = true;
        }
        let ask = self.advance(channel, course, held, Evidence::Log(looked));
        ask.or_else(|| is_open.then(|| Ask::Head(channel.clone())))
    }

    /// A push that is not what comes next: it waits for the head or the log to decide what it is.
    pub(super) fn doubt_push(
        &mut self,
        channel: &ChannelName,
        payload: &[u8],
        arrival_ms: i64,
        notice: Option<Hash>,
    ) -> Option<Ask> {
        let Known { state, .. } = self.channels.get_mut(channel)?;
        let State::Head(course) = state else { return None };
        let course = std::mem::take(course);
        self.held.add(payload);
        let held = VecDeque::from([waiting(payload, arrival_ms, notice)]);
        self.advance(channel, course, held, Evidence::Nothing)
    }

    /// The head is where the pushes led to, and says that another message is there.
    pub(super) fn doubt(&mut self, channel: &ChannelName) -> Option<Question> {
        let Known { state, .. } = self.channels.get_mut(channel)?;
        let State::Head(course) = state else { return None };
        let course = std::mem::take(course);
        let (last, has_fallen) = (course.last(), course.has_fallen());
        let after = last.position.sequence - 1;
        *state = State::Asked(Box::new(Asked { held: VecDeque::new(), before: Some(course), is_log: true }));
        Some(Question { channel: channel.clone(), after, to: after + 1, last, by_head: true, has_fallen })
    }

    fn take_asked(&mut self, channel: &ChannelName, is_log: bool) -> Option<Box<Asked>> {
        let State::Asked(asked) = &mut self.channels.get_mut(channel)?.state else { return None };
        (asked.is_log == is_log).then(|| std::mem::take(asked))
    }

    /// Continues with pushes that waited, until one needs something else first.
    fn advance(
        &mut self,
        channel: &ChannelName,
        course: Course,
        mut held: VecDeque<Waiting>,
        evidence: Evidence<'_>,
    ) -> Option<Ask> {
        self.channels.get_mut(channel)?.state = State::Head(course);
        while let Some(waiting) = held.pop_front() {
            let mut envelope = EnvelopeRef::read(&waiting.payload, waiting.arrival_ms);
            if let Some(claim) = envelope.claim() {
                let State::Head(course) = &mut self.channels.get_mut(channel)?.state else { return None };
                let last = course.last();
                match course.judge(claim, &waiting.payload, waiting.outlived, evidence) {
                    Verdict::Believed => course.expect(claim),
                    Verdict::Plain => envelope.disbelieve(),
                    Verdict::Foreign => {
                        foreign(channel, claim);
                        envelope.disbelieve();
                    }
                    Verdict::Rewritten { from } => {
                        course.rewrite(from);
                        self.rewrite(channel, from, last);
                        held.push_front(waiting);
                        continue;
                    }
                    Verdict::Restored => {
                        course.restore();
                        held.push_front(waiting);
                        continue;
                    }
                    verdict @ (Verdict::AskHead | Verdict::AskLog) => {
                        held.push_front(waiting);
                        return self.ask(channel, held, verdict == Verdict::AskLog);
                    }
                    dropped => {
                        self.drop_push(channel, claim, dropped);
                        self.held.remove(&waiting.payload);
                        continue;
                    }
                }
            }
            self.held.remove(&waiting.payload);
            self.accept(channel, &envelope, &waiting.payload, waiting.arrival_ms, waiting.notice);
            if waiting.outlived {
                self.capture_forwarder.before_break(channel);
            }
        }
        None
    }

    /// Lets pushes wait for the head, or for the log.
    fn ask(&mut self, channel: &ChannelName, held: VecDeque<Waiting>, is_log: bool) -> Option<Ask> {
        let state = &mut self.channels.get_mut(channel)?.state;
        let State::Head(course) = state else { return None };
        let course = std::mem::take(course);
        let question = question(channel, &held, &course);
        *state = State::Asked(Box::new(Asked { held, before: Some(course), is_log }));
        Some(if is_log { Ask::Log(question) } else { Ask::Head(channel.clone()) })
    }

    fn drop_push(&mut self, channel: &ChannelName, claim: Claim, verdict: Verdict) {
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

    pub(super) fn hold(&mut self, channel: &ChannelName, payload: &[u8], arrival_ms: i64, notice: Option<Hash>) {
        let Some(Known { state: State::Asked(asked), .. }) = self.channels.get_mut(channel) else { return };
        self.held.add(payload);
        asked.held.push_back(waiting(payload, arrival_ms, notice));
        while self.held.is_too_much()
            && let Some(oldest) = asked.held.pop_front()
        {
            self.held.remove(&oldest.payload);
            lose(channel, &mut self.loss);
        }
        if !self.unreadable.is_empty() {
            self.shed(channel);
        }
    }

    /// A channel's head can't be read, and who knows until when: what waits for it must not take the room of others.
    pub(in crate::hub) fn wait_long(&mut self, channel: &ChannelName) {
        if self.channels.is_asked(channel) && self.unreadable.insert(channel.clone()) {
            self.shed(channel);
        }
    }

    /// Drops the oldest of what waits for a channel that can't be read, beyond its part. Streams look into the log when
    /// it can be, so that only what plain programs published is lost.
    fn shed(&mut self, channel: &ChannelName) {
        if !self.unreadable.contains(channel) {
            return;
        }
        let Some(Known { state: State::Asked(asked), .. }) = self.channels.get_mut(channel) else { return };
        // Of small ones some hundreds, of the largest one.
        let (mut bytes, mut kept) = (0, 0);
        for waiting in asked.held.iter().rev().take(UNREADABLE_HELD) {
            bytes += waiting.payload.len();
            if kept > 0 && bytes > MESSAGE_BYTES {
                break;
            }
            kept += 1;
        }
        let excess = asked.held.len() - kept;
        for oldest in asked.held.drain(..excess) {
            self.held.remove(&oldest.payload);
            metrics::dropped(Dropped::Held, 1);
        }
    }
}

fn waiting(payload: &[u8], arrival_ms: i64, notice: Option<Hash>) -> Waiting {
    // A copy: the push itself keeps all alive that one read of the socket brought.
    Waiting { payload: Bytes::copy_from_slice(payload), arrival_ms, notice, outlived: false }
}

fn claim(waiting: &Waiting) -> Option<Claim> {
    EnvelopeRef::read(&waiting.payload, waiting.arrival_ms).claim()
}

/// What the log is asked: about the first push that waits, and those after it whose claims are near.
fn question(channel: &ChannelName, held: &VecDeque<Waiting>, course: &Course) -> Question {
    let (last, has_fallen) = (course.last(), course.has_fallen());
    let claims: Vec<i64> = held.iter().filter_map(claim).map(|claim| claim.sequence).collect();
    let after = claims.first().map_or(last.position.sequence, |first| *first) - 1;
    let most = after + COMPARED_MESSAGES as i64;
    let to = claims.into_iter().filter(|sequence| (after..=most).contains(sequence)).max().unwrap_or(most);
    Question { channel: channel.clone(), after, to, last, by_head: false, has_fallen }
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
