//! Settlements and the claim that takes the credit which they free, as one change of the books: all of it is carried
//! out or none, so that no more is out than there is credit, and one call does for both.

use tidings::broker::subscriptions::Change;

use super::{super::settle::Group, want::Want};

/// How many blocks of a claim's change are those of each group.
pub(super) struct Joint(Vec<usize>);

impl Joint {
    /// Whether all that settlements change is blocks, so that they can go with a claim.
    pub(super) fn is_possible(groups: &[Group<Want>]) -> bool {
        let is_plain = |group: &Group<Want>| {
            let Change { claim, take, wait, forget, dead, lost, not_before_ms, open, .. } = &group.change;
            let has_none =
                take.is_empty() && wait.is_empty() && forget.is_empty() && dead.is_empty() && open.is_empty();
            claim.is_none() && has_none && *lost == 0 && *not_before_ms == 0
        };
        !groups.is_empty() && groups.iter().all(is_plain)
    }

    /// Takes the blocks of settlements into a claim.
    pub(super) fn of(groups: &mut [Group<Want>], claim: &mut Change) -> Self {
        let counts = groups.iter().map(|group| group.change.blocks.len()).collect();
        let settled = groups.iter_mut().flat_map(|group| group.change.blocks.drain(..));
        claim.blocks = settled.chain(std::mem::take(&mut claim.blocks)).collect();
        Self(counts)
    }

    /// Gives them back, so that both are as they were.
    pub(super) fn part(self, groups: &mut [Group<Want>], claim: &mut Change) {
        let mut blocks = std::mem::take(&mut claim.blocks).into_iter();
        for (group, count) in groups.iter_mut().zip(self.0) {
            group.change.blocks = blocks.by_ref().take(count).collect();
        }
        claim.blocks = blocks.collect();
    }
}

#[cfg(test)]
mod tests {
    use tidings::{
        broker::subscriptions::BlockChange,
        subscription::{Block, BlockId, Token},
    };

    use super::*;

    fn blocks(numbers: std::ops::Range<u64>) -> Change {
        let token = Token::from_u64(1).expect("a token");
        let block =
            |number| BlockChange { id: BlockId { token, number, own: 0 }, from: Block::new(0, &[1, 2]), to: None };
        Change { blocks: numbers.map(block).collect(), ..Change::default() }
    }

    fn group(change: Change) -> Group<Want> {
        Group { change, members: Vec::new() }
    }

    #[test]
    fn both_are_one_change_and_then_as_they_were() {
        let mut groups = [group(blocks(1..3)), group(blocks(3..4))];
        for claimed in [blocks(4..5), blocks(4..4)] {
            let mut claim = claimed.clone();
            let joint = Joint::of(&mut groups, &mut claim);
            assert_eq!(claim.blocks, [blocks(1..4).blocks, claimed.blocks.clone()].concat());
            joint.part(&mut groups, &mut claim);
            assert_eq!((&groups[0].change, &groups[1].change, &claim), (&blocks(1..3), &blocks(3..4), &claimed));
        }
    }

    #[test]
    fn what_says_more_than_blocks_stays_by_itself() {
        assert!(Joint::is_possible(&[group(blocks(1..3))]) && !Joint::is_possible(&[]));
        let forgets = Change { forget: vec![1], ..blocks(3..4) };
        assert!(!Joint::is_possible(&[group(blocks(1..3)), group(forgets)]));
        assert!(!Joint::is_possible(&[group(Change { open: vec![1], ..blocks(1..2) })]));
        assert!(!Joint::is_possible(&[group(Change { lost: 1, ..blocks(1..2) })]));
    }
}
