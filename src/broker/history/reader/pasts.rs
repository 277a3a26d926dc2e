//! What a reader was before it met servers that did not have the channel: another may have it.

use super::{super::Head, origin::Origin, reported::Reported};
use crate::{limits::ABSENCES, message::Position};

/// A reader's pasts, the latest last; at most [`ABSENCES`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Pasts(Vec<Past>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Past {
    position: Position,
    origin: Origin,
    reported: Reported,
    /// Up to where it had or had reported all of its epoch: what it lost sight of was reported, however much that was,
    /// and what expired was not. 0 where the reader has continued there since, for that says nothing of what was
    /// written after that.
    reported_to: i64,
}

impl Pasts {
    /// `is_reported`: the reader reports all that follows its position as lost.
    pub(super) fn remember(&mut self, position: Position, origin: Origin, reported: Reported, is_reported: bool) {
        if self.0.len() >= ABSENCES {
            self.0.remove(0);
        }
        let reported_to = if is_reported { i64::MAX - 1 } else { position.sequence };
        self.0.push(Past { position, origin, reported, reported_to });
    }

    /// The last epoch that the reader was in and that a head has as well: by its index there, where the reader left it,
    /// and what it had reported then. That past stays remembered: other servers may come back as well.
    pub(super) fn recall(&mut self, head: &Head) -> Option<((usize, i64), &Reported)> {
        self.0.iter_mut().rev().find_map(|past| {
            let common = past.last_common(head)?;
            past.reported_to = 0;
            Some((common, &past.reported))
        })
    }

    /// What the reader had or reported.
    pub(super) fn all_reported(&self) -> Reported {
        let mut reported = Reported::default();
        self.0.iter().for_each(|past| past.add_to(&mut reported));
        reported
    }
}

impl Past {
    /// The last epoch that a head has as well, by its index there, and where the reader left it.
    fn last_common(&self, head: &Head) -> Option<(usize, i64)> {
        let own = self.position.epoch?;
        head.index_of(own).map(|index| (index, self.position.sequence)).or_else(|| self.origin.exit(own, head))
    }

    /// Adds what the reader had or reported then.
    fn add_to(&self, reported: &mut Reported) {
        reported.add_all(&self.reported);
        if let Some(own) = self.position.epoch.filter(|_| self.reported_to > 0) {
            reported.add(own, 1, self.reported_to);
            self.origin.stages(own).into_iter().for_each(|(epoch, first, last)| reported.add(epoch, first, last));
        }
    }
}
