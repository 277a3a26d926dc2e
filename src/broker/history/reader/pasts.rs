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
    /// The reader has gone on there since: what was told of the epoch then says nothing of what was written behind that.
    is_resumed: bool,
}

impl Pasts {
    pub(super) fn remember(&mut self, position: Position, origin: Origin, reported: Reported) {
        if self.0.len() >= ABSENCES {
            self.0.remove(0);
        }
        self.0.push(Past { position, origin, reported, is_resumed: false });
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The last epoch that the reader was in and that a head has as well: by its index there, where the reader left it, and what it had
    /// reported then. That past stays remembered: other servers may come back as well.
    pub(super) fn recall(&mut self, head: &Head) -> Option<((usize, i64), &Reported)> {
        self.0.iter_mut().rev().find_map(|past| {
            let common = past.last_common(head)?;
            past.is_resumed = true;
            Some((common, &past.reported))
        })
    }

    /// What the reader had or reported.
    pub(super) fn told(&self) -> Reported {
        let mut told = Reported::default();
        self.0.iter().for_each(|past| past.tell(&mut told));
        told
    }
}

impl Past {
    /// The last epoch that a head has as well, by its index there, and where the reader left it.
    fn last_common(&self, head: &Head) -> Option<(usize, i64)> {
        let own = self.position.epoch?;
        head.index_of(own).map(|index| (index, self.position.sequence)).or_else(|| self.origin.exit(own, head))
    }

    /// Adds what the reader had or reported then. Of the epoch in which it lost the head it reported all that there may have been, however
    /// much that was.
    fn tell(&self, told: &mut Reported) {
        told.add_all(&self.reported);
        if let Some(own) = self.position.epoch.filter(|_| !self.is_resumed) {
            told.add(own, 1, i64::MAX - 1);
            self.origin.stages(own).into_iter().for_each(|(epoch, first, last)| told.add(epoch, first, last));
        }
    }
}
