//! What a head says of messages that are not there: what it names as lost where an epoch began, and what was trimmed.

use super::{
    super::{EpochStart, Gap, GapReason, Head, Loss},
    reports::Lost,
};
use crate::message::{Epoch, Position};

/// Whether anything is lost where an epoch began.
fn has_losses(head: &Head, began: &EpochStart) -> bool {
    began.previous_end >= began.first || named(head, began.epoch).next().is_some()
}

/// What was found out when it began.
pub(super) fn found_out(head: &Head, began: Epoch) -> impl Iterator<Item = Lost> {
    named(head, began).map(lost)
}

/// The same after the epoch `own`, of which a reader has had messages up to a sequence: first what that one had beyond
/// its end, which may be empty, then what was found out.
pub(super) fn after(head: &Head, own: Epoch, had: i64, began: &EpochStart) -> impl Iterator<Item = Lost> {
    let (mut from, mut to) = (began.first, had.max(began.previous_end));
    // Of the old one there may be two, one within and one beyond its end, which are one.
    let mut later: Vec<_> = named(head, began.epoch).collect();
    later.retain(|loss| {
        let is_one = loss.epoch == own && from <= to && loss.from <= to + 1 && from <= loss.to + 1;
        if is_one {
            (from, to) = (from.min(loss.from), to.max(loss.to));
        }
        !is_one
    });
    std::iter::once((own, from, to)).chain(later.into_iter().map(lost))
}

fn named(head: &Head, began: Epoch) -> impl Iterator<Item = &Loss> {
    head.losses.iter().filter(move |loss| loss.began == began)
}

fn lost(loss: &Loss) -> Lost {
    (loss.epoch, loss.from, loss.to)
}

/// The end of what was trimmed of an epoch, by its index, that ends at `limit`; and the index of the epoch there: also
/// beyond the epoch's end, as long as nothing was lost where the next began, for one loss is one gap.
pub(super) fn trimmed_to(head: &Head, mut index: usize, mut limit: i64) -> (usize, i64) {
    while head.first - 1 > limit
        && let Some(next) = head.epochs.get(index + 1)
        && !has_losses(head, next)
    {
        index += 1;
        limit = head.last_of(index);
    }
    (index, limit.min(head.first - 1))
}

/// What was trimmed after a sequence, up to where the reader continues.
pub(super) fn trimmed(head: &Head, epoch: Epoch, from: i64, resume: Position) -> Gap {
    Gap {
        epoch: Some(epoch),
        first_missing: from + 1,
        last_missing: resume.sequence,
        reason: if head.keeps_history { GapReason::Trimmed } else { GapReason::NotRetained },
        resume,
        more: false,
    }
}
