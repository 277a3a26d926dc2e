//! Where an epoch comes from, as far as a reader knows.

use std::sync::Arc;

use super::super::Head;
use crate::message::{Epoch, Lineage};

/// Where an epoch comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Origin {
    /// The epoch that this is about.
    of: Option<Epoch>,
    lineage: Lineage,
    /// The epochs before it and where each began, with itself as the last; nothing where it is the first, or unknown.
    ancestors: Option<Arc<[(Epoch, i64)]>>,
}

impl Origin {
    /// That of an epoch, as a cursor or a push says it.
    pub(super) fn said(of: Option<Epoch>, lineage: Lineage) -> Self {
        Self { of, lineage, ancestors: None }
    }

    /// That of an epoch of a head's, by its index there.
    pub(super) fn listed(head: &Head, index: usize) -> Self {
        let own = head.epochs[index].epoch;
        let before = head.epochs[..=index].iter().map(|start| (start.epoch, start.first));
        Self { of: Some(own), lineage: head.lineage(own), ancestors: (index > 0).then(|| before.collect()) }
    }

    /// What is known of an epoch.
    pub(super) fn lineage(&self, own: Option<Epoch>) -> Lineage {
        if self.of == own { self.lineage } else { Lineage::Unknown }
    }

    /// Whether there is an epoch before it of which more could be known.
    pub(super) fn lacks_ancestors(&self) -> bool {
        matches!(self.lineage, Lineage::Epoch { previous: Some(_), .. }) && self.ancestors.is_none()
    }

    /// The last epoch before this one that a head has as well, by its index there, and where this history left it.
    pub(super) fn exit(&self, own: Epoch, head: &Head) -> Option<(usize, i64)> {
        let left = self.stages(own);
        left.iter().rev().find_map(|(epoch, _, last)| Some((head.index_of(*epoch)?, *last)))
    }

    /// The epochs that led to this one, the oldest first: where each began, as far as that is known, and where it was
    /// left. Nothing where none is known.
    pub(super) fn stages(&self, own: Epoch) -> Vec<(Epoch, i64, i64)> {
        let starts = match (&self.ancestors, self.lineage) {
            _ if self.of != Some(own) => return Vec::new(),
            (Some(ancestors), _) => ancestors.to_vec(),
            (None, Lineage::Epoch { first, previous: Some(previous) }) => vec![(previous, 1), (own, first)],
            _ => return Vec::new(),
        };
        starts.windows(2).map(|two| (two[0].0, two[0].1, two[1].1 - 1)).collect()
    }
}
