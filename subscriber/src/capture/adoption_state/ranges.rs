//! Numbered messages that a replica did not receive, and has to read from the log.

use std::collections::VecDeque;

use tidings::{limits::CAPTURE_RANGES, message::Position};

/// Those after `from`, up to `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::capture) struct Range {
    pub(in crate::capture) from: Position,
    pub(in crate::capture) to: Position,
    /// What was adopted after it is known already.
    outdated: bool,
}

/// In the order in which they were missed, a bounded number.
#[derive(Debug, Default)]
pub(super) struct Ranges(VecDeque<Range>);

impl Ranges {
    /// One more. Where there are too many, the last one grows, and what it leaves out is read in vain.
    pub(super) fn add(&mut self, from: Position, to: Position) {
        if self.0.len() >= CAPTURE_RANGES
            && let Some(last) = self.0.back_mut()
        {
            *last = Range { to, outdated: false, ..*last };
            return;
        }
        self.0.push_back(Range { from, to, outdated: false });
    }

    pub(super) fn first(&self) -> Option<Range> {
        self.0.front().copied()
    }

    /// Reading the first continues at a position. Answers whether what it has of adoptions is news; `None` where there
    /// is no range.
    pub(super) fn continue_at(&mut self, on: Position) -> Option<bool> {
        let range = self.0.front_mut()?;
        range.from = on;
        Some(!range.outdated)
    }

    /// The first was read to its end.
    pub(super) fn finish(&mut self) {
        self.0.pop_front();
    }

    /// The last adopted message is known, and was adopted after all of these.
    pub(super) fn outdate(&mut self) {
        for range in &mut self.0 {
            range.outdated = true;
        }
    }

    /// Drops all. Answers whether what was adopted last is unknown by that.
    pub(super) fn clear(&mut self) -> bool {
        self.0.drain(..).any(|range| !range.outdated)
    }

    #[cfg(test)]
    pub(super) fn last(&self) -> (usize, Option<Range>) {
        (self.0.len(), self.0.back().copied())
    }
}
