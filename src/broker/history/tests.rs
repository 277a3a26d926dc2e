use super::*;

mod forks;
mod losses;

fn epoch(n: u64) -> Epoch {
    Epoch::from_u64(n).expect("not zero")
}

fn at(n: u64, sequence: i64) -> Position {
    Position::new(epoch(n), sequence)
}

/// Epochs as (name, first, previous end).
fn head(epochs: &[(u64, i64, i64)], first: i64, last: i64) -> Head {
    let epochs =
        epochs.iter().map(|&(n, first, previous_end)| EpochStart { epoch: epoch(n), first, previous_end }).collect();
    Head {
        epochs,
        last,
        first,
        time_ms: 0,
        keeps_history: true,
        losses: Vec::new(),
        data_set: None,
        adopted: Position::START,
    }
}

fn gap(n: u64, first_missing: i64, last_missing: i64, reason: GapReason, resume: Position) -> Next {
    Next::Gap(Gap { epoch: Some(epoch(n)), first_missing, last_missing, reason, resume, more: false })
}

/// All that a reader gets until it has read everything; reading moves it.
fn story(position: Position, head: &Head) -> Vec<Next> {
    let mut reader = Reader::new(position);
    let mut story = Vec::new();
    loop {
        let next = reader.next(Some(head), Absence::default());
        match next {
            Next::End | Next::Unlisted => return story,
            Next::Read { to } => reader.advance(to),
            Next::Gap(_) => {}
        }
        story.push(next);
        assert!(story.len() < 100, "no progress: {story:?}");
    }
}

fn data_set(n: u64) -> Option<DataSet> {
    DataSet::from_u64(n)
}

/// A reader that resumes in an epoch that comes from there.
fn resumed(n: u64, sequence: i64, first: i64, previous: Option<u64>) -> Reader {
    let lineage = Lineage::Epoch { first, previous: previous.map(epoch) };
    Reader::resume(Mark { position: at(n, sequence), lineage })
}

/// All that a reader gets until it has read everything.
fn goes_on(reader: &mut Reader, head: &Head) -> Vec<Next> {
    let mut events = Vec::new();
    loop {
        let next = reader.next(Some(head), Absence::default());
        match next {
            Next::End => return events,
            Next::Read { to } => reader.advance(to),
            Next::Gap(_) => {}
            Next::Unlisted => panic!("{events:?}"),
        }
        events.push(next);
        assert!(events.len() < 100, "no progress: {events:?}");
    }
}

fn lost(n: u64, first_missing: i64, last_missing: i64, resume: Position) -> Next {
    gap(n, first_missing, last_missing, GapReason::EpochChanged, resume)
}

/// The same where another loss at this position is reported next.
fn and_more(lost: Next) -> Next {
    let Next::Gap(gap) = lost else { panic!("no gap: {lost:?}") };
    Next::Gap(Gap { more: true, ..gap })
}

fn with_losses(mut head: Head, losses: &[(u64, u64, i64, i64)]) -> Head {
    let loss = |&(began, of, from, to): &(u64, u64, i64, i64)| Loss { began: epoch(began), epoch: epoch(of), from, to };
    head.losses = losses.iter().map(loss).collect();
    head
}

#[test]
fn one_epoch_is_read_to_its_end() {
    let head = head(&[(1, 1, 0)], 1, 9);
    assert_eq!(story(Position::START, &head), [Next::Read { to: 9 }]);
    assert_eq!(story(at(1, 4), &head), [Next::Read { to: 9 }]);
    assert_eq!(story(at(1, 9), &head), []);
}

#[test]
fn trimmed_messages_are_named() {
    let head = head(&[(1, 1, 0)], 6, 9);
    let trimmed = gap(1, 3, 5, GapReason::Trimmed, at(1, 5));
    assert_eq!(story(at(1, 2), &head), [trimmed, Next::Read { to: 9 }]);
    assert_eq!(story(at(1, 5), &head), [Next::Read { to: 9 }]);
    assert_eq!(story(Position::START, &head)[0], gap(1, 1, 5, GapReason::Trimmed, at(1, 5)));
}

#[test]
fn an_empty_log_is_a_gap_up_to_the_last() {
    let mut head = head(&[(1, 1, 0)], 10, 9);
    assert_eq!(story(at(1, 2), &head), [gap(1, 3, 9, GapReason::Trimmed, at(1, 9))]);
    head.keeps_history = false;
    assert_eq!(story(at(1, 2), &head), [gap(1, 3, 9, GapReason::NotRetained, at(1, 9))]);
}

#[test]
fn a_failover_that_lost_nothing_shows_no_gap() {
    let head = head(&[(1, 1, 0), (2, 6, 5)], 1, 9);
    assert_eq!(story(at(1, 3), &head), [Next::Read { to: 5 }, Next::Read { to: 9 }]);
    assert_eq!(story(at(1, 5), &head), [Next::Read { to: 9 }]);
}

#[test]
fn a_failover_that_lost_writes_names_them() {
    // Epoch 1 had 8 messages; the replica that was promoted had 5.
    let head = head(&[(1, 1, 0), (2, 6, 8)], 1, 9);
    let lost = |to| gap(1, 6, to, GapReason::EpochChanged, at(2, 5));
    assert_eq!(story(at(1, 3), &head), [Next::Read { to: 5 }, lost(8), Next::Read { to: 9 }]);
    assert_eq!(story(at(1, 7), &head), [lost(8), Next::Read { to: 9 }]);
    assert_eq!(story(at(1, 20), &head)[0], lost(20), "the reader knows of more than the head");
    assert_eq!(story(at(2, 5), &head), [Next::Read { to: 9 }]);
}

#[test]
fn one_loss_is_one_gap_over_a_clean_epoch_change() {
    let clean = head(&[(1, 1, 0), (2, 6, 5)], 8, 9);
    assert_eq!(story(at(1, 2), &clean), [gap(1, 3, 7, GapReason::Trimmed, at(2, 7)), Next::Read { to: 9 }]);
    let torn = head(&[(1, 1, 0), (2, 6, 6)], 8, 9);
    assert_eq!(
        story(at(1, 2), &torn),
        [
            gap(1, 3, 5, GapReason::Trimmed, at(1, 5)),
            gap(1, 6, 6, GapReason::EpochChanged, at(2, 5)),
            gap(2, 6, 7, GapReason::Trimmed, at(2, 7)),
            Next::Read { to: 9 }
        ]
    );
}

#[test]
fn a_rollback_is_reported_once() {
    let mut reader = Reader::new(at(1, 8));
    let rolled_back = head(&[(1, 1, 0)], 1, 5);
    assert_eq!(reader.next(Some(&rolled_back), Absence::default()), gap(1, 6, 8, GapReason::EpochChanged, at(1, 5)));
    assert_eq!(reader.next(Some(&rolled_back), Absence::default()), Next::End);
    assert!(reader.awaits_epoch());
    let same = head(&[(1, 1, 0), (2, 6, 8)], 1, 6);
    let mut informed = reader.clone();
    assert_eq!(informed.next(Some(&same), Absence::default()), Next::Read { to: 6 });
    assert!(!informed.awaits_epoch());
    let more = head(&[(1, 1, 0), (2, 6, 10)], 1, 6);
    assert_eq!(reader.next(Some(&more), Absence::default()), gap(1, 9, 10, GapReason::EpochChanged, at(2, 5)));
}

#[test]
fn flushed_and_expired_are_distinguished() {
    let mut reader = Reader::new(at(1, 8));
    assert_eq!(
        reader.next(None, Absence::default()),
        Next::Gap(Gap {
            epoch: Some(epoch(1)),
            first_missing: 9,
            last_missing: 0,
            reason: GapReason::EpochChanged,
            resume: Position::START,
            more: false,
        })
    );
    assert_eq!(reader.next(None, Absence::default()), Next::End);
    assert_eq!(reader.next(Some(&head(&[(7, 1, 0)], 1, 1)), Absence::default()), Next::Read { to: 1 });
    assert_eq!(Reader::new(at(1, 8)).next(None, Absence { expired: true, data_set: None }), Next::End);
}

#[test]
fn a_log_without_a_head_waits() {
    let mut reader = Reader::new(at(1, 8));
    assert_eq!(reader.next(Some(&head(&[], 1, 9)), Absence::default()), Next::End);
    assert_eq!(reader.position(), at(1, 8));
}

#[test]
fn an_epoch_older_than_the_list_asks_the_log() {
    let head = head(&[(5, 20, 19), (6, 30, 29)], 10, 40);
    let mut reader = Reader::new(at(1, 15));
    assert_eq!(reader.next(Some(&head), Absence::default()), Next::Unlisted);
    let mut whole = reader.clone();
    assert_eq!(whole.settle(&head, true), None);
    assert_eq!(whole.next(Some(&head), Absence::default()), Next::Read { to: 19 });
    assert_eq!(whole.mark(), at(1, 15).into(), "the reader has come nowhere else yet");
    assert_eq!(
        whole.next(Some(&head), Absence::default()),
        Next::Unlisted,
        "and a later head may be of another history"
    );
    // What it read says its epoch, and leads to the oldest of the list.
    whole.follow(at(4, 19), Lineage::Unknown);
    assert_eq!(whole.next(Some(&head), Absence::default()), Next::Unlisted);
    assert_eq!(whole.settle(&head, true), None);
    assert_eq!(whole.next(Some(&head), Absence::default()), Next::Read { to: 29 });
    assert_eq!(whole.mark(), head.mark(at(5, 19)));
    let gap = reader.settle(&head, false).expect("a gap");
    assert_eq!((gap.first_missing, gap.last_missing, gap.resume.sequence), (16, 0, 9));
    assert_eq!(reader.next(Some(&head), Absence::default()), Next::Read { to: 19 });
}

/// What was lost where the oldest listed epoch began is reported to those as well whose own fell off the list, and
/// where it was lost: after what the log has before.
#[test]
fn losses_at_the_oldest_listed_epoch_are_reported_to_readers_from_before_it() {
    let known = with_losses(head(&[(5, 20, 21), (6, 30, 29)], 10, 40), &[(5, 9, 1, 4), (5, 8, 2, 2)]);
    let losses = |own, sequence| {
        let here = at(own, sequence);
        [and_more(lost(own, 20, 21, here)), and_more(lost(9, 1, 4, here)), lost(8, 2, 2, at(5, sequence))]
    };
    let settled = |reader: &mut Reader| {
        let mut events = Vec::new();
        while reader.clone().next(Some(&known), Absence::default()) == Next::Unlisted {
            let mut whole = reader.clone();
            assert_eq!(whole.settle(&known, true), None);
            match whole.next(Some(&known), Absence::default()) {
                gap @ Next::Gap(Gap { reason: GapReason::EpochChanged, last_missing: 1.., .. }) => events.push(gap),
                _ => break,
            }
            *reader = whole;
        }
        events
    };
    for before in [at(1, 15), at(1, 0), at(5, 15), Position::START] {
        let mut reader = Reader::new(before);
        assert_eq!(settled(&mut reader), []);
        if before.sequence < 9 {
            let mut trimmed = reader.clone();
            trimmed.settle(&known, true);
            let Next::Gap(gap) = trimmed.next(Some(&known), Absence::default()) else { panic!("{reader:?}") };
            // Of epochs that are not listed, nor what was lost where they began.
            assert_eq!((gap.reason, gap.first_missing, gap.last_missing), (GapReason::EpochChanged, 1, 0));
            assert_eq!((gap.epoch, gap.resume), (before.epoch, at(5, 9)));
            reader = trimmed;
        } else {
            reader.settle(&known, true);
        }
        assert_eq!(reader.next(Some(&known), Absence::default()), Next::Read { to: 19 });
        // Its messages say their epochs. A client that leaves before the losses are reported gets them by its cursor.
        for sequence in [17, 19] {
            reader.follow(at(4, sequence), Lineage::Unknown);
            let mut resumed = Reader::resume(reader.mark());
            if sequence < 19 {
                assert_eq!(settled(&mut resumed), []);
                resumed.settle(&known, true);
                assert_eq!(resumed.next(Some(&known), Absence::default()), Next::Read { to: 19 });
                resumed.follow(at(4, 19), Lineage::Unknown);
            }
            assert_eq!(settled(&mut resumed), losses(4, 19));
            assert_eq!(resumed.next(Some(&known), Absence::default()), Next::Read { to: 29 });
        }
    }
    // Readers that were there before do not get it again.
    let mut inside = Reader::new(at(5, 25));
    assert_eq!(inside.next(Some(&known), Absence::default()), Next::Read { to: 29 });
}

#[test]
fn a_missing_head_is_no_expiry_in_another_data_set() {
    // By the clock it is as old as can be: that of a server whose clock is weeks late says nothing.
    let absence = |now| Absence { expired: true, data_set: data_set(now) };
    let mut reader = Reader::new(at(1, 8)).in_data_set(data_set(1));
    assert_eq!(reader.clone().next(None, absence(1)), Next::End, "it expired");
    assert_eq!(reader.clone().next(None, absence(0)), Next::End, "as far as anyone knows");
    let flushed = Gap {
        epoch: Some(epoch(1)),
        first_missing: 9,
        last_missing: 0,
        reason: GapReason::EpochChanged,
        resume: Position::START,
        more: false,
    };
    assert_eq!(reader.next(None, absence(2)), Next::Gap(flushed));
    assert_eq!(reader.mark().lineage, Lineage::DataSet(DataSet::from_u64(2).expect("not 0")));
    // What comes then begins the present data set's history, and is no second loss.
    let new = Head { data_set: data_set(2), ..head(&[(7, 1, 0)], 1, 1) };
    assert_eq!(goes_on(&mut reader, &new), [Next::Read { to: 1 }]);
    assert_eq!(reader.data_set(), data_set(2));
}

#[test]
fn what_was_reported_before_a_flush_hides_no_loss_after_it() {
    let mut reader = Reader::new(at(1, 8)).in_data_set(data_set(1));
    let fell = Head { data_set: data_set(1), ..head(&[(1, 1, 0)], 1, 6) };
    assert_eq!(goes_on(&mut reader, &fell), [lost(1, 7, 8, at(1, 6))]);
    assert_eq!(reader.next(None, Absence { expired: false, data_set: data_set(1) }), lost(1, 7, 0, Position::START));
    // Somebody may have published in the first data set before the second one took its place.
    let new = Head { data_set: data_set(2), ..head(&[(7, 1, 0)], 1, 1) };
    let unseen = Gap::lost(None, 1, 0, Position::START);
    assert_eq!(goes_on(&mut reader, &new), [Next::Gap(unseen), Next::Read { to: 1 }]);
}

#[test]
fn a_reader_knows_its_position() {
    let two = Head { data_set: data_set(1), ..head(&[(1, 1, 0), (2, 6, 5)], 1, 9) };
    let mut reader = Reader::default().in_data_set(data_set(1));
    assert_eq!(reader.lineage(), Lineage::DataSet(DataSet::from_u64(1).expect("not 0")));
    assert_eq!(reader.next(Some(&two), Absence::default()), Next::Read { to: 5 });
    assert_eq!(reader.lineage(), Lineage::Epoch { first: 1, previous: None });
    // A push that follows says it as well.
    let mut live = Reader::default();
    live.follow(at(1, 1), two.lineage(epoch(1)));
    assert_eq!(live.mark(), two.mark(at(1, 1)));
    live.follow(at(1, 2), Lineage::Unknown);
    assert_eq!(live.lineage(), Lineage::Epoch { first: 1, previous: None }, "what is known stays known");
    reader.advance(5);
    assert_eq!(reader.next(Some(&two), Absence::default()), Next::Read { to: 9 });
    assert_eq!(reader.mark(), two.mark(at(2, 5)));
    // Also after each gap, where its cursor is made.
    let torn = head(&[(1, 1, 0), (2, 6, 8)], 1, 9);
    let mut reader = Reader::new(at(1, 5));
    assert_eq!(reader.next(Some(&torn), Absence::default()), lost(1, 6, 8, at(2, 5)));
    assert_eq!(reader.mark(), torn.mark(at(2, 5)));
    // An old cursor's reader learns it with the head, and one whose predecessor the list has forgotten keeps it.
    let cut = head(&[(2, 6, 5), (3, 20, 19)], 1, 25);
    let mut kept = resumed(2, 7, 6, Some(1));
    assert_eq!(kept.next(Some(&cut), Absence::default()), Next::Read { to: 19 });
    assert_eq!(kept.lineage(), Lineage::Epoch { first: 6, previous: Some(epoch(1)) });
    assert_eq!(cut.lineage(epoch(9)), Lineage::Unknown);
}
