//! Decisions about deliveries, as changes of the books: one for each block that they touch.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use bytes::Bytes;
use tidings::{
    broker::subscriptions::{BlockChange, Change, Letter, Waiting},
    envelope, pb,
    subscription::{Attempts, Block, BlockId, OrderKey},
};

use super::{clock::ms, outbox::LeaseKey, retry::Next};

/// What is to be done with a message that is out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Deed {
    Acknowledge,
    /// It waits for its next attempt.
    Return(Attempts, std::time::Duration),
    /// It is put aside, with its JSON.
    Bury(Attempts, String, Bytes),
    /// It can't be had any more.
    Lose,
    /// Its lease ends then, by the broker's clock.
    Extend(i64),
}

impl Deed {
    /// What follows an attempt that failed; `json` is the message's, where it can be had.
    pub(super) fn of(next: Next, json: Option<Bytes>) -> Self {
        match (next, json) {
            (Next::Again(attempts, delay), _) => Self::Return(attempts, delay),
            (Next::Dead(attempts, reason), Some(json)) => Self::Bury(attempts, reason, json),
            (Next::Dead(..), None) => Self::Lose,
        }
    }
}

/// A message that is out, in a block as it is on the broker, and what is to be done with it.
#[derive(Debug, Clone)]
pub(super) struct Located<T> {
    pub(super) key: LeaseKey,
    pub(super) block: Arc<Block>,
    /// Whether something may be remembered of it.
    pub(super) is_remembered: bool,
    pub(super) deed: Deed,
    /// Whose decision it is.
    pub(super) by: T,
}

/// A change of one block, and what it is for.
#[derive(Debug)]
pub(super) struct Group<T> {
    pub(super) change: Change,
    pub(super) members: Vec<Located<T>>,
}

impl<T> Group<T> {
    /// The block.
    pub(super) fn id(&self) -> Option<BlockId> {
        self.change.blocks.first().map(|block| block.id)
    }

    /// Takes out how it is after the change.
    pub(super) fn take_block(&mut self) -> Option<Block> {
        self.change.blocks.first_mut()?.to.take()
    }
}

/// Groups decisions by block. What is decided a second time about a message comes back.
///
/// Where messages of an ordering key come one after the other, what is settled opens its key.
pub(super) fn group<T>(located: Vec<Located<T>>, now_ms: i64, is_ordered: bool) -> (Vec<Group<T>>, Vec<T>) {
    let (mut groups, mut repeated) = (BTreeMap::new(), Vec::new());
    for one in located {
        let group = match groups.entry(one.key.block) {
            Entry::Occupied(group) => group.into_mut(),
            Entry::Vacant(entry) => {
                let block = Block::clone(&one.block);
                let whole = BlockChange { id: one.key.block, from: Some(block.clone()), to: Some(block) };
                entry.insert(Group { change: Change { blocks: vec![whole], ..Change::default() }, members: Vec::new() })
            }
        };
        match add(&mut group.change, &one, now_ms, is_ordered) {
            true => group.members.push(one),
            false => repeated.push(one.by),
        }
    }
    let mut groups: Vec<_> = groups.into_values().filter(|group| !group.members.is_empty()).collect();
    for group in &mut groups {
        if let Some(block) = group.change.blocks.first_mut() {
            block.to = block.to.take().filter(|block| !block.is_empty());
        }
    }
    (groups, repeated)
}

/// Adds a decision to its block's change; false where the message is out no longer after the change.
fn add<T>(change: &mut Change, one: &Located<T>, now_ms: i64, is_ordered: bool) -> bool {
    let LeaseKey { block: id, sequence } = one.key;
    let Some(block) = change.blocks.first_mut().and_then(|block| block.to.as_mut()) else { return false };
    if let Deed::Extend(deadline_ms) = one.deed {
        if !block.has(sequence) {
            return false;
        }
        if id.own == sequence {
            block.deadline_ms = deadline_ms;
        } else {
            block.remove(sequence);
            let own = Block::new(deadline_ms, &[sequence]);
            change.blocks.push(BlockChange { id: id.of_one(sequence), from: None, to: own });
        }
        return true;
    }
    if !block.remove(sequence) {
        return false;
    }
    match &one.deed {
        Deed::Acknowledge | Deed::Extend(_) => {}
        Deed::Return(attempts, delay) => {
            let due_ms = now_ms.saturating_add(ms(*delay));
            change.wait.push(Waiting { sequence, due_ms, attempts: *attempts });
            return true;
        }
        Deed::Bury(attempts, reason, json) => match letter(sequence, *attempts, reason, json, is_ordered) {
            Some(letter) => change.dead.push(letter),
            None => change.lost += 1,
        },
        Deed::Lose => change.lost += 1,
    }
    if one.is_remembered {
        change.forget.push(sequence);
    }
    if is_ordered {
        change.open.push(sequence);
    }
    true
}

/// The loss of a message, of which only the sequence is known.
pub(super) fn lost_one(sequence: i64) -> pb::LostMessages {
    pb::LostMessages { count: 1, first_sequence: sequence, last_sequence: sequence, epoch: String::new() }
}

/// A dead letter; `None` where the JSON is not a numbered message's.
pub(super) fn letter(
    sequence: i64,
    attempts: Attempts,
    reason: &str,
    json: &Bytes,
    is_ordered: bool,
) -> Option<Letter> {
    let decoded = envelope::decode(json, 0);
    let key = if is_ordered { OrderKey::of(&decoded.ordering_key) } else { None };
    Some(Letter { epoch: decoded.claim?.epoch, sequence, attempts, reason: reason.to_owned(), key, json: json.clone() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidings::subscription::Token;

    use super::*;

    fn id() -> BlockId {
        BlockId { token: Token::from_u64(1).expect("a token"), number: 1, own: 0 }
    }

    fn located(id: BlockId, block: &Block, sequence: i64, deed: Deed) -> Located<i64> {
        let key = LeaseKey { block: id, sequence };
        Located { key, block: Arc::new(block.clone()), is_remembered: true, deed, by: sequence }
    }

    #[test]
    fn a_blocks_decisions_are_one_change() {
        let block = Block::new(9_000, &[1, 2, 3, 4, 5]).expect("a block");
        let attempts = Attempts { count: 1, first_ms: 5, redrives: 0 };
        let decisions = vec![
            located(id(), &block, 1, Deed::Acknowledge),
            located(id(), &block, 2, Deed::Return(attempts, Duration::from_secs(3))),
            located(id(), &block, 3, Deed::Extend(20_000)),
            located(id(), &block, 1, Deed::Acknowledge),
            located(id(), &block, 4, Deed::Lose),
            located(id(), &block, 9, Deed::Acknowledge),
        ];
        let (mut groups, repeated) = group(decisions, 1_000, true);
        assert_eq!(repeated, [1, 9]);
        let [group] = &mut groups[..] else { panic!("one block") };
        let change = &group.change;
        assert_eq!(change.blocks[0].from, Some(block));
        assert_eq!(change.blocks[1].id, id().of_one(3));
        assert_eq!(change.blocks[1].to, Block::new(20_000, &[3]));
        assert_eq!(change.wait, [Waiting { sequence: 2, due_ms: 4_000, attempts }]);
        assert_eq!((change.forget.as_slice(), change.lost), (&[1, 4][..], 1));
        assert_eq!(change.open, [1, 4], "what waits or is out keeps its key closed");
        assert_eq!(change.added(), -3);
        assert_eq!(group.take_block().expect("a rest").sequences().collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn a_block_goes_with_its_last_message_and_one_of_its_own_is_moved() {
        let block = Block::new(9_000, &[7]).expect("a block");
        let (mut groups, _) = group(vec![located(id(), &block, 7, Deed::Acknowledge)], 0, false);
        assert_eq!(groups[0].take_block(), None);
        let (mut groups, _) = group(vec![located(id().of_one(7), &block, 7, Deed::Extend(12_000))], 0, false);
        assert_eq!(groups[0].change.blocks.len(), 1);
        assert_eq!(groups[0].take_block(), Block::new(12_000, &[7]));
    }
}
