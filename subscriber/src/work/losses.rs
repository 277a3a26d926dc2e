//! Losses that are still to be told, however long nobody is there to hear of them.

use tidings::{limits::LOSSES, pb::LostMessages};

/// Up to [`LOSSES`] of them; more are told as one that covers several.
#[derive(Debug, Default)]
pub(super) struct Losses(Vec<LostMessages>);

impl Losses {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, losses: impl IntoIterator<Item = LostMessages>) {
        for loss in losses {
            let is_full = self.0.len() >= LOSSES;
            match self.0.last_mut().filter(|_| is_full) {
                Some(last) => cover(last, loss),
                None => self.0.push(loss),
            }
        }
    }

    /// All of them, to be told now.
    pub(super) fn take(&mut self) -> Vec<LostMessages> {
        std::mem::take(&mut self.0)
    }
}

/// Has one cover another one as well: what is not known of one of them is not known of both.
fn cover(loss: &mut LostMessages, other: LostMessages) {
    let is_known = loss.count > 0 && other.count > 0;
    loss.count = if is_known { loss.count.saturating_add(other.count) } else { 0 };
    loss.first_sequence = loss.first_sequence.min(other.first_sequence);
    let has_end = loss.last_sequence > 0 && other.last_sequence > 0;
    loss.last_sequence = if has_end { loss.last_sequence.max(other.last_sequence) } else { 0 };
    if loss.epoch != other.epoch {
        loss.epoch.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(count: i64, first: i64, last: i64, epoch: &str) -> LostMessages {
        LostMessages { count, first_sequence: first, last_sequence: last, epoch: epoch.to_owned() }
    }

    #[test]
    fn no_more_are_kept_than_may_be_and_none_is_forgotten() {
        let mut losses = Losses::default();
        losses.add((0..LOSSES as i64 + 9).map(|n| loss(2, 10 * n + 1, 10 * n + 2, "e")));
        let told = losses.take();
        assert_eq!((told.len(), losses.is_empty()), (LOSSES, true));
        assert_eq!(told.iter().map(|loss| loss.count).sum::<i64>(), 2 * (LOSSES as i64 + 9));
        let first = 10 * (LOSSES as i64 - 1) + 1;
        assert_eq!(told[LOSSES - 1], loss(20, first, 10 * (LOSSES as i64 + 8) + 2, "e"));
    }

    #[test]
    fn what_is_not_known_of_one_is_not_known_of_both() {
        let mut one = loss(3, 5, 7, "a");
        cover(&mut one, loss(0, 2, 0, "b"));
        assert_eq!(one, loss(0, 2, 0, ""));
    }
}
