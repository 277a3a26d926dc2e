//! Which primary the sentinels name together.

use std::collections::{BTreeMap, BTreeSet};

use super::answer::Answer;
use crate::address::Address;

/// The primary in the newest configuration that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Elected {
    pub(super) address: Address,
    pub(super) epoch: u64,
}

/// The primary of the highest epoch. Sentinels that are stale have a lower one, and however many they are they are
/// outvoted. `None` where all answers are older than what was seen before, or where there are none.
///
/// Within an epoch all sentinels should name one address. Where they do not (while they are set up, or one was
/// configured by hand) most of them decide, then what was chosen before, then the order of addresses, so that all
/// processes choose alike.
pub(super) fn elect<'a>(
    answers: impl Iterator<Item = &'a Answer> + Clone,
    current: Option<&Elected>,
) -> Option<Elected> {
    let epoch = answers.clone().map(|answer| answer.epoch).max()?;
    if current.is_some_and(|current| epoch < current.epoch) {
        return None;
    }
    // One sentinel under two addresses has one vote.
    let mut ids = BTreeSet::new();
    let mut votes: BTreeMap<&Address, usize> = BTreeMap::new();
    for answer in answers.filter(|answer| answer.epoch == epoch) {
        if answer.id.is_empty() || ids.insert(&answer.id) {
            *votes.entry(&answer.address).or_default() += 1;
        }
    }
    let is_current = |address: &Address| current.is_some_and(|current| current.address == *address);
    let first = |address| std::cmp::Reverse(address);
    let (address, _) =
        votes.into_iter().max_by_key(|(address, votes)| (*votes, is_current(address), first(*address)))?;
    Some(Elected { address: address.clone(), epoch })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> Address {
        Address { host: "10.0.0.1".to_owned(), port }
    }

    /// Who says it, in which epoch, and the primary's port.
    fn say(id: &str, epoch: u64, port: u16) -> Answer {
        Answer { id: id.to_owned(), epoch, address: at(port), others: Vec::new() }
    }

    fn port(answers: &[Answer], current: Option<(u16, u64)>) -> Option<u16> {
        let current = current.map(|(port, epoch)| Elected { address: at(port), epoch });
        elect(answers.iter(), current.as_ref()).map(|elected| elected.address.port)
    }

    #[test]
    fn the_highest_epoch_wins_however_many_are_stale() {
        let answers = [say("a", 3, 1), say("b", 4, 2), say("c", 3, 1)];
        assert_eq!(port(&answers, None), Some(2));
        assert_eq!(port(&answers, Some((1, 3))), Some(2));
        let elected = elect(answers.iter(), None).expect("elected");
        assert_eq!(elected, Elected { address: at(2), epoch: 4 });
    }

    #[test]
    fn an_older_epoch_than_was_seen_never_wins() {
        assert_eq!(port(&[say("a", 3, 1), say("b", 3, 1)], Some((2, 4))), None);
        assert_eq!(port(&[say("a", 3, 1), say("b", 4, 2)], Some((2, 4))), Some(2));
        assert_eq!(port(&[], Some((2, 4))), None);
        assert_eq!(port(&[], None), None);
    }

    #[test]
    fn within_an_epoch_most_decide_then_what_was_chosen_before() {
        let (one, other) = (say("a", 0, 1), say("b", 0, 2));
        assert_eq!(port(&[one.clone(), other.clone(), say("c", 0, 2)], Some((1, 0))), Some(2));
        assert_eq!(port(&[one.clone(), other.clone()], Some((2, 0))), Some(2));
        assert_eq!(port(&[one.clone(), other.clone()], Some((1, 0))), Some(1));
        assert_eq!(port(&[other.clone(), one.clone()], None), Some(1), "the order does not matter");
        // Asked twice, under two names.
        assert_eq!(port(&[one.clone(), other.clone(), other.clone()], None), Some(1));
        // Those that do not say who they are count one each.
        assert_eq!(port(&[one, say("", 0, 2), say("", 0, 2)], None), Some(2));
    }
}
