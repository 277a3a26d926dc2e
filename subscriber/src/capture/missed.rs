//! Reading from the log what was missed of its adopted messages.

use tidings::{
    broker::{
        Absence, Head, Page,
        adopt::Adopted,
        history::{Next, Reader},
    },
    message::{Epoch, Position},
};

use super::adoption_state::Range;

/// A walk through a missed range, page by page.
#[derive(Debug)]
pub(super) struct Walk {
    reader: Reader,
    to: Position,
}

/// What one page contained.
#[derive(Debug, Default, PartialEq)]
pub(super) struct PageOutcome {
    pub(super) adopted: Vec<(Position, Adopted)>,
    /// The range has no more.
    pub(super) is_over: bool,
}

impl Walk {
    pub(super) fn new(range: &Range) -> Self {
        Self { reader: Reader::new(range.from), to: range.to }
    }

    /// The walk's position: the next page begins after its sequence.
    pub(super) fn position(&self) -> Position {
        self.reader.position()
    }

    /// Continues with a page that was read from the walk's position. Gaps are no concern here: of what the log lacks,
    /// what was received is adopted again.
    pub(super) fn take(&mut self, page: &Page) -> PageOutcome {
        let mut outcome = PageOutcome::default();
        let start = self.reader.position().sequence;
        let head = page.head.as_ref();
        while !self.is_beyond(head) {
            match (self.reader.next(head, Absence::default()), head) {
                (Next::End, _) | (Next::Unlisted, None) => break,
                (Next::Gap(_), _) => {}
                (Next::Unlisted, Some(head)) => {
                    self.reader.settle(head, false);
                }
                // It has stepped over the end of an epoch.
                (Next::Read { .. }, _) if self.is_beyond(head) => break,
                (Next::Read { to }, _) => {
                    // A new epoch may begin below the old position, and this page above it.
                    if self.reader.position().sequence < start || !self.take_epoch(page, to, &mut outcome) {
                        return outcome;
                    }
                }
            }
        }
        outcome.is_over = true;
        outcome
    }

    /// Takes what a page has of the walk's epoch, which ends at `limit`. False when another page has more of it.
    fn take_epoch(&mut self, page: &Page, limit: i64, outcome: &mut PageOutcome) -> bool {
        let at = self.reader.position();
        let limit = if at.epoch == self.to.epoch { limit.min(self.to.sequence) } else { limit };
        let unread = page.messages.partition_point(|stored| stored.sequence <= at.sequence);
        let own = page.messages[unread..].iter().take_while(|stored| stored.sequence <= limit);
        for stored in own {
            self.reader.advance(stored.sequence);
            outcome.adopted.extend(stored.adopted.map(|adopted| (self.reader.position(), adopted)));
        }
        let has_all = page.is_last || page.messages.last().is_some_and(|last| last.sequence >= limit);
        if has_all {
            self.reader.advance(self.reader.position().sequence.max(limit));
        }
        has_all
    }

    /// Whether the walk has left its range: it is at its end, or in a later epoch.
    fn is_beyond(&self, head: Option<&Head>) -> bool {
        let at = self.reader.position();
        if at.epoch == self.to.epoch {
            return at.sequence >= self.to.sequence;
        }
        let index_of = |epoch: Option<Epoch>| {
            head.and_then(|head| head.epochs.iter().position(|start| Some(start.epoch) == epoch))
        };
        matches!((index_of(at.epoch), index_of(self.to.epoch)), (Some(at), Some(to)) if at > to)
    }
}

#[cfg(test)]
mod tests;
