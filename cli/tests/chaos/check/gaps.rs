//! A gap names exactly what can't be had, with a reason that fits, and never what could be had.

use tidings::{
    message::{Epoch, Position},
    pb::GapReason,
};

use super::{
    must, show,
    truth::Truth,
    walk::{Told, Walk},
};
use crate::history::{At, Event};

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

/// Judges a gap and moves the stream behind it.
pub(super) fn check(walk: &mut Walk, said: At, event: &Event) -> Result<(), String> {
    let Event::Gap { channel, epoch, first, last, reason, cursor } = event else { return Ok(()) };
    let (truth, epoch, first, last, cursor) = (walk.truth, *epoch, *first, *last, *cursor);
    must!(!walk.stream.fails_on_gap, "a gap on a stream that was to end there");
    let gap = Gap { truth, channel, epoch, first, last, cursor, said };
    let line = walk.lines.entry(channel.clone()).or_default();
    let at = line.at;
    let found_out = epoch.filter(|lost| Some(*lost) != at.epoch && reason == &GapReason::EpochChanged);
    // Where a channel begins, nobody may have seen the head that named it.
    let found_out = found_out.and_then(|lost| {
        let unseen = (at == Position::START && last > 0).then_some(first);
        truth.found_out_late(channel, lost, last).or(unseen)
    });
    let goes_back = truth.steps_back(channel, at, Position { epoch, ..at });
    if epoch != at.epoch && at.epoch.is_some() && found_out.is_none() && !goes_back {
        truth.crosses(channel, line, epoch).map_err(|text| format!("before a gap, {channel} {text}"))?;
    }
    match reason {
        GapReason::Trimmed => gap.is_trimmed(at)?,
        GapReason::EpochChanged => {
            let told = epoch.and_then(|epoch| line.told.get(&epoch)).map_or(0, |told| told.last);
            match found_out {
                Some(from) => gap.was_found_out(from, told)?,
                None => gap.is_lost(at, told)?,
            }
            if last == 0 {
                // The stream begins again with what is retained, and knows nothing of what it heard before.
                line.delivered.clear();
                line.told.clear();
            } else if let Some(epoch) = epoch {
                line.told.insert(epoch, Told { first, last, said });
            }
            let steps_back = truth.steps_back(channel, at, cursor);
            if found_out.is_some() && cursor.epoch != at.epoch && at.epoch.is_some() && !steps_back {
                truth.crosses(channel, line, cursor.epoch).map_err(|text| format!("at a gap, {channel} {text}"))?;
            }
        }
        _ => return Err(format!("a gap of {channel} because of {reason:?}, and it keeps a history")),
    }
    line.stand(truth, channel, cursor);
    Ok(())
}

impl Gap<'_> {
    fn is_trimmed(&self, at: Position) -> Result<(), String> {
        let Self { channel, first, last, cursor, .. } = self;
        must!(*first == at.sequence + 1, "{channel}: trimmed from {first} on, and the stream stands at {}", show(at));
        must!(last >= first, "{channel}: trimmed from {first} to {last}");
        must!(cursor.sequence == *last, "{channel}: trimmed up to {last}, and goes on behind {}", show(*cursor));
        if cursor.epoch != self.epoch
            && let Some(began) = cursor.epoch.and_then(|epoch| self.truth.began(channel, epoch))
        {
            let start = began.start;
            must!(start.first <= last + 1, "{channel}: goes on in an epoch that begins at {} only", start.first);
            must!(start.previous_end < start.first, "{channel}: calls trimmed what an epoch lost");
        }
        if let Some(retained) = self.truth.retained_after(channel, self.said) {
            must!(retained > *last, "{channel}: said to be trimmed up to {last}, and the log begins at {retained}");
        }
        Ok(())
    }

    fn is_lost(&self, at: Position, told: i64) -> Result<(), String> {
        let Self { channel, first, last, .. } = self;
        let explained =
            self.truth.loss_before(self.said) || (*last == 0 && self.truth.is_unlisted(channel, self.epoch, self.said));
        must!(explained, "{channel}: a loss from {first} to {last} (0: unknown), and nothing was lost");
        if *last == 0 {
            must!(*first == at.sequence + 1, "{channel}: lost from {first} on, and the stream stands at {}", show(at));
        } else {
            must!(first <= last, "{channel}: lost from {first} to {last}");
            must!(*first > told, "{channel}: lost from {first} on, which was told up to {told} already");
            let known = at.sequence.max(told);
            must!(*first <= known + 1, "{channel}: lost from {first} on, and nothing is said from {} on", known + 1);
            let end = Position { epoch: self.epoch, sequence: *last };
            must!(self.truth.reaches(channel, end), "{channel}: lost up to {}, where nothing ever was", show(end));
        }
        self.is_gone()?;
        self.skips_nothing()
    }

    /// A loss of any epoch, which the start of the one that follows names.
    fn was_found_out(&self, from: i64, told: i64) -> Result<(), String> {
        let Self { channel, first, last, .. } = self;
        must!(self.truth.loss_before(self.said), "{channel}: a loss from {first} to {last}, and nothing was lost");
        must!(
            *first == from.max(told + 1),
            "{channel}: lost from {first} on, which was found out from {from} on, and told up to {told}"
        );
        self.is_gone()
    }

    /// What is named as lost is not there, unless an older snapshot brought it back.
    fn is_gone(&self) -> Result<(), String> {
        if self.truth.may_be_back(self.said, At::MAX) {
            return Ok(());
        }
        let end = if self.last == 0 { self.first + 10_000 } else { self.last };
        let there = (self.first..=end)
            .map(|sequence| Position { epoch: self.epoch, sequence })
            .find(|place| self.truth.is_logged(self.channel, *place));
        must!(
            there.is_none(),
            "{}: {} is said to be lost, and is there",
            self.channel,
            show(there.unwrap_or_default())
        );
        Ok(())
    }

    /// The stream goes on where the new history begins, or with what is retained of it.
    fn skips_nothing(&self) -> Result<(), String> {
        let next = self.cursor.sequence + 1;
        must!(
            self.last == 0 || next <= self.first,
            "{}: lost from {} on, and goes on behind {}",
            self.channel,
            self.first,
            show(self.cursor)
        );
        if self.cursor.epoch == self.epoch && self.last > 0 {
            // It falls back within the history whose messages it had.
            return Ok(());
        }
        let begins = self.cursor.epoch.and_then(|epoch| self.truth.began(self.channel, epoch));
        let begins = begins.map_or(1, |began| began.start.first);
        if let Some(retained) = self.truth.retained_after(self.channel, self.said) {
            must!(
                next <= retained.max(begins),
                "{}: goes on behind {}, and the log begins at {retained}",
                self.channel,
                show(self.cursor)
            );
        }
        Ok(())
    }
}
