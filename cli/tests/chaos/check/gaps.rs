//! A gap names exactly what can't be had, with a reason that fits, and never what could be had.

use tidings::{
    message::{Epoch, Position},
    pb::GapReason,
};

use super::{
    must, show,
    truth::Truth,
    walk::{Line, ReportedLoss, Walk},
};
use crate::{
    board::{CAPTURED, LETTERS},
    history::{At, Event},
};

/// What a gap says.
struct Gap<'a> {
    truth: &'a Truth<'a>,
    channel: &'a str,
    epoch: Option<Epoch>,
    first: i64,
    last: i64,
    cursor: Position,
    said: At,
}

/// Judges a gap and moves the stream past it.
pub(super) fn check(walk: &mut Walk, said: At, event: &Event) -> Result<(), String> {
    let Event::Gap { channel, epoch, first, last, reason, cursor } = event else { return Ok(()) };
    let (truth, epoch, first, last, cursor) = (walk.truth, *epoch, *first, *last, *cursor);
    must!(!walk.stream.fails_on_gap, "a gap on a stream that was to end there");
    let gap = Gap { truth, channel, epoch, first, last, cursor, said };
    let line = walk.lines.entry(channel.clone()).or_default();
    let at = line.at;
    match reason {
        GapReason::Trimmed => {
            if epoch != at.epoch && at.epoch.is_some() {
                let to = Position { epoch, ..at };
                truth.leads_to(channel, line, to).map_err(|text| format!("before a gap, {channel} {text}"))?;
            }
            gap.is_trimmed(line)?;
        }
        GapReason::EpochChanged => {
            gap.is_lost(line)?;
            match epoch {
                Some(epoch) if last > 0 => {
                    line.report(epoch, ReportedLoss { first, last, said });
                    truth.leads_to(channel, line, cursor).map_err(|text| format!("at a gap, {channel} {text}"))?;
                }
                _ => line.forget(epoch),
            }
        }
        _ => return Err(format!("a gap of {channel} because of {reason:?}, and it keeps a history")),
    }
    line.move_to(truth, channel, cursor);
    Ok(())
}

impl Gap<'_> {
    /// Whether it begins just after the stream's position. What was reported to the stream before is passed over
    /// silently, also where a server comes back that has it; and so is all that it had before a copy came back.
    fn follows(&self, line: &Line) -> bool {
        let known = line.at.epoch.map_or(0, |epoch| line.knows(epoch));
        let is_next = self.first > line.at.sequence && self.first <= known.max(line.at.sequence) + 1;
        let had = |epoch| {
            let is_its_first =
                self.truth.began(self.channel, epoch).is_some_and(|began| began.start.first == self.first);
            let before = self.first - 1;
            line.had_before_a_gap(epoch, before) || is_its_first && line.had_some_before_a_gap(before)
        };
        is_next || self.epoch.is_some_and(had)
    }

    fn is_trimmed(&self, line: &Line) -> Result<(), String> {
        let Self { channel, first, last, cursor, .. } = self;
        let at = line.at;
        must!(self.follows(line), "{channel}: trimmed from {first} on, and the stream is at {}", show(at));
        must!(last >= first, "{channel}: trimmed from {first} to {last}");
        must!(cursor.sequence == *last, "{channel}: trimmed up to {last}, and continues after {}", show(*cursor));
        if cursor.epoch != self.epoch
            && let Some(began) = cursor.epoch.and_then(|epoch| self.truth.began(channel, epoch))
        {
            let start = began.start;
            must!(start.first <= last + 1, "{channel}: continues in an epoch that begins at {} only", start.first);
            must!(start.previous_end < start.first, "{channel}: calls trimmed what an epoch lost");
        }
        if let Some(retained) = self.truth.retained_after(channel, self.said) {
            must!(retained > *last, "{channel}: said to be trimmed up to {last}, and the log begins at {retained}");
        }
        Ok(())
    }

    fn is_lost(&self, line: &Line) -> Result<(), String> {
        let Self { channel, first, last, epoch, .. } = self;
        let at = line.at;
        let explained =
            self.truth.loss_before(self.said) || (*last == 0 && self.truth.is_unlisted(channel, self.epoch, self.said));
        must!(explained, "{channel}: a loss from {first} to {last} (0: unknown), and nothing was lost");
        match epoch {
            Some(epoch) if *last > 0 => {
                must!(first <= last, "{channel}: lost from {first} to {last}");
                let reported = line.reported_of(*epoch, *first, *last).map_or(0, |reported| reported.last);
                must!(reported == 0, "{channel}: lost from {first} on, which was reported up to {reported} already");
                // What is found out late of another epoch may begin anywhere: the publisher that knew of what was
                // before it may be gone.
                let known = line.knows(*epoch);
                must!(
                    at.epoch != Some(*epoch) || *first <= known + 1,
                    "{channel}: lost from {first} on, and nothing is said from {} on",
                    known + 1
                );
                let end = Position::new(*epoch, *last);
                // Of what was adopted, or published as a dead letter, and lost at once, only that replica may know.
                let is_own = *channel == CAPTURED || channel.starts_with(LETTERS);
                let is_known = is_own || self.truth.reaches(channel, end);
                must!(is_known, "{channel}: lost up to {}, where nothing ever was", show(end));
            }
            _ => {
                must!(self.follows(line), "{channel}: lost from {first} on, and the stream is at {}", show(at));
            }
        }
        self.is_gone()?;
        self.skips_nothing()
    }

    /// What is named as lost is not there, unless an older snapshot brought it back.
    fn is_gone(&self) -> Result<(), String> {
        if self.truth.may_be_back(self.said, At::MAX) {
            return Ok(());
        }
        let end = if self.last == 0 { self.first + 10_000 } else { self.last };
        let there = (self.first..=end)
            .map(|sequence| Position { epoch: self.epoch, sequence })
            .find(|position| self.truth.is_logged(self.channel, *position));
        must!(
            there.is_none(),
            "{}: {} is said to be lost, and is there",
            self.channel,
            show(there.unwrap_or_default())
        );
        Ok(())
    }

    /// The stream continues where the new history begins, or with what is retained of it.
    fn skips_nothing(&self) -> Result<(), String> {
        let next = self.cursor.sequence + 1;
        must!(
            self.last == 0 || self.epoch != self.cursor.epoch || next <= self.first,
            "{}: lost from {} on, and continues after {}",
            self.channel,
            self.first,
            show(self.cursor)
        );
        if self.last > 0 {
            // The stream's further positions show whether anything is missing there.
            return Ok(());
        }
        let begins = self.cursor.epoch.and_then(|epoch| self.truth.began(self.channel, epoch));
        let begins = begins.map_or(1, |began| began.start.first);
        if let Some(retained) = self.truth.retained_after(self.channel, self.said) {
            must!(
                next <= retained.max(begins),
                "{}: continues after {}, and the log begins at {retained}",
                self.channel,
                show(self.cursor)
            );
        }
        Ok(())
    }
}
