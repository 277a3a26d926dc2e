//! What a feed knows of one channel's history, and what it makes of a claim: pure, with all that it decides by as
//! arguments.
//!
//! What follows the last message is believed at once. For anything else the head is asked first, or, where the claim is
//! at or below what was received, the log: that is a copy of a message, a plain program's message with a copied claim,
//! or the sign that Redis went back and the history was rewritten from there.

use tidings::{
    broker::{
        Head, Loss,
        history::{self, EpochStart},
    },
    envelope::Claim,
    message::{DataSet, Epoch, Position},
};

use super::{
    looked::Looked,
    verdict::{Last, Mark, Verdict},
};
use crate::chunk::Origin;

/// A channel's history as a feed knows it.
#[derive(Debug, Clone, Default)]
pub(super) struct Course {
    epochs: Vec<EpochStart>,
    losses: Vec<Loss>,
    data_set: Option<DataSet>,
    /// After the last numbered message that the feed has seen.
    position: Position,
    mark: Mark,
    /// What was received before the head fell back within its epoch. Where it rises again, the log shows whether that
    /// is back (the connection led to an older copy for a while), or others replace it.
    fallen: Option<Box<Last>>,
}

/// What there is to decide by.
#[derive(Debug, Clone, Copy)]
pub(super) enum Evidence<'a> {
    Nothing,
    /// The head has just been read, after all pushes that wait. Its last sequence, and whether the history that was
    /// known before is gone with its data set or as a whole.
    Head {
        last: i64,
        is_gone: bool,
    },
    /// The log was looked into.
    Log(&'a Looked),
}

impl Course {
    /// What a head says, where nothing was received before.
    pub(super) fn read(head: Option<&Head>) -> Self {
        let Some(head) = head else { return Self::default() };
        Self {
            epochs: head.epochs.clone(),
            losses: head.losses.clone(),
            data_set: head.data_set,
            position: head.end(),
            mark: Mark { time_ms: head.time_ms, bits: 0 },
            fallen: None,
        }
    }

    /// What a head says that was read after pushes which wait, with these claims. What was received before stays, where
    /// it is part of this history; else the course begins before those of the pushes that lead to the head's end.
    pub(super) fn resume(
        before: Option<&Self>,
        head: Option<&Head>,
        claims: impl DoubleEndedIterator<Item = Claim>,
    ) -> Self {
        let mut course = Self::read(head);
        if let Some(before) = before
            && let Some(index) = before.position.epoch.and_then(|epoch| course.index(epoch))
        {
            let (last, end) = (before.last(), course.end_of(index));
            if before.fallen.is_none() && last.position.sequence <= end {
                (course.position, course.mark) = (last.position, last.mark);
                return course;
            }
            if course.is_present(index) {
                if before.position.sequence < end {
                    (course.position, course.mark) = (before.position, before.mark);
                }
                course.fallen = Some(Box::new(last));
                return course;
            }
        }
        for claim in claims.rev() {
            let expected = course.position.sequence;
            if claim.sequence == expected && head.and_then(|head| head.epoch_at(expected)) == Some(claim.epoch) {
                course.position = Position::new(claim.epoch, expected - 1);
                course.mark = Mark::default();
            }
        }
        course
    }

    /// Takes a head that was read after all that was received. Returns what it shows.
    pub(super) fn compare(&mut self, head: Option<&Head>) -> Shown {
        let end = head.map_or(Position::START, Head::end);
        let time_ms = head.map_or(0, |head| head.time_ms);
        if self.position == end {
            let known = self.mark.time_ms;
            return if known != 0 && time_ms != 0 && known != time_ms { Shown::Doubt } else { Shown::Nothing };
        }
        let is_same = self.position.epoch.is_some() && self.position.epoch == end.epoch;
        let (before, last) = (self.position, self.last());
        let has_fallen = self.fallen.is_some();
        let keeps_history = head.is_some_and(|head| head.keeps_history);
        *self = Self::read(head);
        if is_same && end.sequence < before.sequence {
            self.fallen = Some(Box::new(last));
        } else if is_same && has_fallen {
            // Log time never steps back: with the same one it is the same message.
            if end == last.position && time_ms != 0 && time_ms == last.mark.time_ms {
                self.mark = last.mark;
            } else if keeps_history {
                (self.position, self.fallen) = (before, Some(Box::new(last)));
                return Shown::Doubt;
            } else {
                return Shown::Rewritten { from: before.sequence + 1, last };
            }
        }
        Shown::Elsewhere
    }

    /// Whether a claim is the position just after the last message.
    pub(super) fn follows(&self, claim: Claim) -> bool {
        self.position.epoch == Some(claim.epoch)
            && self.position.sequence + 1 == claim.sequence
            && self.fallen.is_none()
    }

    /// The message with this claim was received.
    pub(super) fn pass(&mut self, claim: Claim, mark: Mark) {
        self.position = Position::new(claim.epoch, claim.sequence);
        self.mark = mark;
    }

    /// A message that is believed comes next, whatever was missed before it.
    pub(super) fn expect(&mut self, claim: Claim) {
        self.position = Position::new(claim.epoch, claim.sequence - 1);
        self.fallen = None;
    }

    /// The present epoch of the position was rewritten from this sequence on.
    pub(super) fn rewrite(&mut self, from: i64) {
        self.position.sequence = from - 1;
        self.mark = Mark::default();
        self.fallen = None;
    }

    /// What the head had lost is back.
    pub(super) fn restore(&mut self) {
        let last = self.last();
        (self.position, self.mark, self.fallen) = (last.position, last.mark, None);
    }

    /// After the last numbered message that the feed has seen.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    pub(super) fn has_fallen(&self) -> bool {
        self.fallen.is_some()
    }

    /// The last message that was received, also where the head has fallen back below it.
    pub(super) fn last(&self) -> Last {
        match &self.fallen {
            Some(last) => **last,
            None => Last { position: self.position, mark: self.mark },
        }
    }

    /// Whether a head shows that what was known before it is gone: it was found in another data set, or there is none,
    /// where there was one.
    pub(super) fn is_gone(&self, head: Option<&Head>) -> bool {
        let Some(head) = head else { return self.position != Position::START };
        self.data_set.is_some() && head.data_set.is_some() && self.data_set != head.data_set
    }

    /// What a claim comes to. `outlived`: the live connection was lost since the message was received.
    pub(super) fn judge(&self, claim: Claim, payload: &[u8], outlived: bool, evidence: Evidence<'_>) -> Verdict {
        let is_gone = outlived || matches!(evidence, Evidence::Head { is_gone: true, .. });
        let Some(index) = self.index(claim.epoch) else {
            return match (evidence, self.lost_of(claim.epoch)) {
                (Evidence::Head { .. }, Some(to)) if claim.sequence > to => Verdict::Late { from: to + 1 },
                (Evidence::Head { .. }, Some(_)) => Verdict::Lost,
                (Evidence::Head { .. }, None) if is_gone => Verdict::Lost,
                (Evidence::Head { .. }, None) => Verdict::Foreign,
                _ => Verdict::AskHead,
            };
        };
        let is_present = self.is_present(index);
        if !is_present && claim.sequence > self.end_of(index) {
            return Verdict::Late { from: self.known_end(index) + 1 };
        }
        if let Evidence::Head { last, .. } = evidence
            && is_present
            && claim.sequence > last
        {
            return if is_gone { Verdict::Late { from: last + 1 } } else { Verdict::Plain };
        }
        let own = self.position.epoch.and_then(|epoch| self.index(epoch));
        let is_ahead = match own {
            Some(own) if own == index => claim.sequence > self.position.sequence,
            Some(own) => own < index,
            None => true,
        };
        let has_fallen = self.fallen.is_some() && own == Some(index);
        match evidence {
            _ if self.follows(claim) => Verdict::Believed,
            Evidence::Log(looked) if is_ahead && has_fallen => looked.judge_fallen(self.position, self.last()),
            Evidence::Head { .. } if is_ahead && has_fallen => Verdict::AskLog,
            Evidence::Head { .. } if is_ahead => Verdict::Believed,
            _ if is_ahead && !is_present => Verdict::Believed,
            _ if is_ahead => Verdict::AskHead,
            Evidence::Log(looked) if looked.covers(claim.sequence) => {
                looked.judge(claim, payload, self.last(), own == Some(index))
            }
            _ => Verdict::AskLog,
        }
    }

    /// Where a position lies.
    pub(super) fn origin(&self, position: Position) -> Origin {
        let Some(epoch) = position.epoch else { return Origin::default() };
        let is_first = self.epochs.first().is_some_and(|first| first.epoch == epoch);
        let after_loss = is_first && self.losses.iter().any(|loss| loss.began == epoch);
        Origin { lineage: history::lineage(&self.epochs, epoch), after_loss }
    }

    fn index(&self, epoch: Epoch) -> Option<usize> {
        self.epochs.iter().position(|start| start.epoch == epoch)
    }

    fn is_present(&self, index: usize) -> bool {
        index + 1 == self.epochs.len()
    }

    /// The last sequence that this history has of an epoch.
    fn end_of(&self, index: usize) -> i64 {
        match self.epochs.get(index + 1) {
            Some(next) => next.first - 1,
            None => self.position.sequence,
        }
    }

    /// Up to where an ended epoch is known to have gone.
    fn known_end(&self, index: usize) -> i64 {
        let previous_end = self.epochs.get(index + 1).map_or(0, |next| next.previous_end);
        let lost = self.lost_of(self.epochs[index].epoch).unwrap_or(0);
        lost.max(previous_end).max(self.end_of(index))
    }

    /// Up to where messages of an epoch are recorded as lost, if any are.
    fn lost_of(&self, epoch: Epoch) -> Option<i64> {
        self.losses.iter().filter(|loss| loss.epoch == epoch).map(|loss| loss.to).max()
    }
}

/// What a head shows that was read after all that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hub) enum Shown {
    /// Nothing: it is where that led to.
    Nothing,
    /// It is elsewhere.
    Elsewhere,
    /// It is where that led to, with another message: the log must be asked.
    Doubt,
    /// The epoch was rewritten from here on; what was last received of it before.
    Rewritten { from: i64, last: Last },
}
