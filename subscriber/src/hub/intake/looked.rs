//! What the log says of claims at or below what was received.

use tidings::{
    broker::{Broker, Error, From, PageLimit, Stored},
    channel::ChannelName,
    envelope::{Claim, EnvelopeRef},
    limits::COMPARED_BYTES,
    message::{Epoch, Position},
};

use super::verdict::{Last, Mark, Verdict};

/// A question to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::hub) struct Question {
    pub(in crate::hub) channel: ChannelName,
    /// The messages that are claimed: those after this sequence, up to the other.
    pub(super) after: i64,
    pub(super) to: i64,
    /// The last message that was received: whether it is still there.
    pub(super) last: Last,
    /// The head itself gives the reason to ask: if the message is not there any more, that is news whatever waits.
    pub(super) by_head: bool,
    /// The head fell back below the last message, and has risen again.
    pub(super) has_fallen: bool,
}

/// The answer.
#[derive(Debug)]
pub(in crate::hub) struct Looked {
    after: i64,
    last: Last,
    by_head: bool,
    messages: Vec<Stored>,
    is_last: bool,
    /// The channel keeps no history: the log says nothing, whatever happened.
    is_unkept: bool,
    /// The first sequence of what was written since the last message was received, where that one is not there any
    /// more.
    rewritten_from: Option<i64>,
}

impl Looked {
    /// Asks the log.
    pub(in crate::hub) async fn ask(broker: &dyn Broker, question: &Question) -> Result<Self, Error> {
        let Question { channel, after, to, last, by_head, has_fallen } = question;
        let limit = PageLimit { messages: usize::try_from(to - after).unwrap_or(1), bytes: COMPARED_BYTES };
        let page = broker.read(channel, From::After(*after), limit).await?;
        let Last { position, mark } = *last;
        let mut there = page.messages.iter().find(|stored| stored.sequence == position.sequence).cloned();
        let mut head = page.head;
        if there.is_none() {
            let limit = PageLimit { messages: 1, bytes: 1 };
            let page = broker.read(channel, From::After(position.sequence - 1), limit).await?;
            there = page.messages.into_iter().next().filter(|stored| stored.sequence == position.sequence);
            head = page.head;
        }
        let is_unkept = head.as_ref().is_some_and(|head| !head.keeps_history);
        let is_changed = match &there {
            Some(stored) => !is(stored, mark),
            None => head.is_some_and(|head| {
                // Where it is not in the log any more, nothing shows that it came back.
                let is_trimmed = *has_fallen && head.first > position.sequence;
                head.epoch() == position.epoch && (head.last < position.sequence || is_trimmed)
            }),
        };
        let rewritten_from = match is_changed {
            false => None,
            // Log time never steps back within a history: what is newer than the last message was not there before it.
            true if mark.time_ms > 0 => Some(broker.sequence_before(channel, mark.time_ms + 1).await? + 1),
            true => Some(position.sequence),
        };
        let (messages, is_last) = (page.messages, page.is_last);
        Ok(Self { after: *after, last: *last, by_head: *by_head, messages, is_last, is_unkept, rewritten_from })
    }

    /// An answer that says nothing, where the log can't be read.
    pub(in crate::hub) fn unreadable(question: &Question) -> Self {
        let Question { after, last, by_head, .. } = question;
        let (messages, is_last, is_unkept) = (Vec::new(), true, false);
        Self { after: *after, last: *last, by_head: *by_head, messages, is_last, is_unkept, rewritten_from: None }
    }

    /// An answer with these messages.
    #[cfg(test)]
    pub(super) fn with(question: &Question, messages: Vec<Stored>, rewritten_from: Option<i64>) -> Self {
        Self { messages, rewritten_from, ..Self::unreadable(question) }
    }

    /// An answer of a channel that keeps no history.
    #[cfg(test)]
    pub(super) fn of_unkept(question: &Question) -> Self {
        Self { is_unkept: true, ..Self::unreadable(question) }
    }

    /// Whether it says something of a sequence.
    pub(super) fn covers(&self, sequence: i64) -> bool {
        let until = self.messages.last().map_or(self.after + 1, |stored| stored.sequence);
        sequence > self.after && (self.is_last || sequence <= until)
    }

    /// Whether the head itself gave the reason to ask.
    pub(super) fn is_by_head(&self) -> bool {
        self.by_head
    }

    /// The same where that is news whatever waits.
    pub(super) fn shows_rewritten_from(&self, last: Last) -> Option<i64> {
        self.rewritten_from(last).filter(|_| self.by_head)
    }

    /// Where the history was rewritten, if the last message that was received is not there any more.
    pub(super) fn rewritten_from(&self, last: Last) -> Option<i64> {
        self.rewritten_from.filter(|_| self.last == last).map(|from| from.min(last.position.sequence))
    }

    /// What a claim comes to that is ahead of the head's end, of where it fell back to, after the last message that
    /// was received.
    pub(super) fn judge_fallen(&self, end: Position, last: Last) -> Verdict {
        match self.rewritten_from(last) {
            _ if self.last != last => Verdict::AskLog,
            _ if self.is_unkept => Verdict::Rewritten { from: end.sequence + 1 },
            Some(from) => Verdict::Rewritten { from },
            None => Verdict::Restored,
        }
    }

    /// What a claim comes to that is at or below the last message that was received; `is_own` says whether it is of
    /// that one's epoch.
    pub(super) fn judge(&self, claim: Claim, payload: &[u8], last: Last, is_own: bool) -> Verdict {
        match self.messages.iter().find(|stored| stored.sequence == claim.sequence) {
            // Without a log only its date can show that it was not there before: a bridge that copies a claim copies
            // that as well.
            None if self.is_unkept && is_own && is_newer(payload, last.mark) => {
                Verdict::Rewritten { from: claim.sequence }
            }
            None => Verdict::Unlogged,
            // Where another epoch is by now, nothing shows what was there.
            Some(stored) if epoch(stored).is_some_and(|there| there != claim.epoch) => Verdict::Unlogged,
            Some(stored) if stored.json != payload => Verdict::Plain,
            Some(_) => match self.rewritten_from(last).filter(|_| is_own) {
                Some(from) => Verdict::Rewritten { from: from.min(claim.sequence) },
                None => Verdict::Copy,
            },
        }
    }
}

/// The epoch that a message of the log says it is of.
fn epoch(stored: &Stored) -> Option<Epoch> {
    let claim = EnvelopeRef::read(&stored.json, 0).claim().filter(|_| stored.adopted.is_none());
    claim.map(|claim| claim.epoch)
}

/// Whether a message was dated later than the one with this mark. Log time never steps back within a history.
fn is_newer(json: &[u8], mark: Mark) -> bool {
    mark.time_ms > 0 && EnvelopeRef::read(json, 0).time_ms() > mark.time_ms
}

/// Whether a message of the log is the one with this mark, as far as that is known.
fn is(stored: &Stored, mark: Mark) -> bool {
    let time_ms = stored.time_ms();
    (mark.bits == 0 || mark.bits == Mark::bits(&stored.json)) && (mark.time_ms == 0 || mark.time_ms == time_ms)
}
