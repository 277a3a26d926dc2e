use tidings::broker::{Stored, adopt::Raw, history::EpochStart};

use super::*;

fn at(epoch: u64, sequence: i64) -> Position {
    Position::new(Epoch::from_u64(epoch).expect("not 0"), sequence)
}

fn hash(sequence: i64) -> [u8; Raw::HASH_BYTES] {
    [sequence as u8; Raw::HASH_BYTES]
}

/// A page: which epochs began where, the log's first and last sequence, and the sequences on the page, of which the odd
/// ones were adopted.
fn page(epochs: &[(u64, i64)], (first, last): (i64, i64), sequences: std::ops::RangeInclusive<i64>) -> Page {
    let start = |(epoch, first): &(u64, i64)| EpochStart {
        epoch: Epoch::from_u64(*epoch).expect("not 0"),
        first: *first,
        previous_end: first - 1,
    };
    let epochs = epochs.iter().map(start).collect();
    let stored = |sequence: i64| {
        let adopted = (sequence % 2 == 1).then(|| Adopted { hash: hash(sequence), time_ms: 0 });
        Stored { sequence, json: bytes::Bytes::new(), adopted }
    };
    let is_last = *sequences.end() == last;
    let head = Head {
        epochs,
        last,
        first,
        time_ms: 0,
        keeps_history: true,
        losses: Vec::new(),
        data_set: None,
        adopted: Position::START,
    };
    Page { head: Some(head), messages: sequences.map(stored).collect(), is_last }
}

fn walk(from: Position, to: Position) -> Walk {
    Walk { reader: Reader::new(from), to }
}

fn adopted(outcome: &PageOutcome) -> Vec<Position> {
    outcome
        .adopted
        .iter()
        .inspect(|(at, adopted)| assert_eq!(adopted.hash, hash(at.sequence)))
        .map(|(at, _)| *at)
        .collect()
}

#[test]
fn a_range_ends_where_it_ends() {
    let mut walk = walk(at(1, 2), at(1, 6));
    let first = walk.take(&page(&[(1, 1)], (1, 9), 3..=4));
    assert_eq!((adopted(&first), first.is_over, walk.position()), (vec![at(1, 3)], false, at(1, 4)));
    let second = walk.take(&page(&[(1, 1)], (1, 9), 5..=9));
    assert_eq!((adopted(&second), second.is_over), (vec![at(1, 5)], true));
}

#[test]
fn it_leads_through_epochs() {
    let mut walk = walk(at(1, 2), at(3, 8));
    let epochs = [(1, 1), (2, 5), (3, 7)];
    let first = walk.take(&page(&epochs, (1, 9), 3..=7));
    assert_eq!((adopted(&first), first.is_over), (vec![at(1, 3), at(2, 5), at(3, 7)], false));
    let second = walk.take(&page(&epochs, (1, 9), 8..=9));
    assert_eq!((adopted(&second), second.is_over), (vec![], true));
}

#[test]
fn a_new_epoch_below_the_old_position_is_read_from_its_beginning() {
    let mut walk = walk(at(1, 7), at(2, 6));
    let epochs = [(1, 1), (2, 4)];
    let first = walk.take(&page(&epochs, (1, 9), 8..=9));
    assert_eq!((adopted(&first), first.is_over, walk.position()), (vec![], false, at(2, 3)));
    let second = walk.take(&page(&epochs, (1, 9), 4..=9));
    assert_eq!((adopted(&second), second.is_over), (vec![at(2, 5)], true));
}

#[test]
fn what_the_log_lacks_is_passed() {
    // Trimmed.
    let mut trimmed = walk(at(1, 2), at(1, 6));
    let outcome = trimmed.take(&page(&[(1, 1)], (5, 9), 5..=9));
    assert_eq!((adopted(&outcome), outcome.is_over), (vec![at(1, 5)], true));
    // All of it trimmed.
    let mut gone = walk(at(1, 2), at(1, 6));
    let outcome = gone.take(&page(&[(1, 1)], (9, 9), 9..=9));
    assert_eq!((adopted(&outcome), outcome.is_over), (vec![], true));
    // Flushed.
    let mut flushed = walk(at(1, 2), at(1, 6));
    assert_eq!(
        flushed.take(&Page { is_last: true, ..Page::default() }),
        PageOutcome { is_over: true, ..PageOutcome::default() }
    );
    // Fallen back.
    let mut fallen = walk(at(1, 2), at(1, 6));
    let outcome = fallen.take(&page(&[(1, 1)], (1, 4), 3..=4));
    assert_eq!((adopted(&outcome), outcome.is_over), (vec![at(1, 3)], true));
    // An epoch that is listed no more.
    let mut unlisted = walk(at(9, 2), at(1, 6));
    let outcome = unlisted.take(&page(&[(1, 1)], (3, 9), 3..=9));
    assert_eq!((adopted(&outcome), outcome.is_over), (vec![at(1, 3), at(1, 5)], true));
}

#[test]
fn it_never_leads_beyond_the_epoch_it_is_to_end_in() {
    let mut walk = walk(at(1, 2), at(2, 50));
    let outcome = walk.take(&page(&[(1, 1), (2, 5), (3, 7)], (1, 9), 3..=9));
    assert_eq!((adopted(&outcome), outcome.is_over), (vec![at(1, 3), at(2, 5)], true));
}
