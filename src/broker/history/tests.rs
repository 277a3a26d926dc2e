use super::*;

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

/// All that a reader is told until it has read everything; reading moves it.
fn story(position: Position, head: &Head) -> Vec<Next> {
    let mut reader = Reader::new(position);
    let mut story = Vec::new();
    loop {
        let next = reader.next(Some(head), Absence::default());
        match next {
            Next::End | Next::Unlisted => return story,
            Next::Read { to } => reader.position.sequence = to,
            Next::Gap(_) => {}
        }
        story.push(next);
        assert!(story.len() < 100, "no progress: {story:?}");
    }
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
fn a_rollback_is_told_once() {
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
fn flushed_and_expired_are_told_apart() {
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
    assert_eq!(reader.position, at(1, 8));
}

#[test]
fn an_epoch_older_than_the_list_asks_the_log() {
    let head = head(&[(5, 20, 19), (6, 30, 29)], 10, 40);
    let mut reader = Reader::new(at(1, 15));
    assert_eq!(reader.next(Some(&head), Absence::default()), Next::Unlisted);
    let mut whole = reader.clone();
    assert_eq!(whole.settle(&head, true), None);
    assert_eq!(whole.next(Some(&head), Absence::default()), Next::Read { to: 29 });
    let gap = reader.settle(&head, false).expect("a gap");
    assert_eq!((gap.first_missing, gap.last_missing, gap.resume.sequence), (16, 0, 9));
    assert_eq!(reader.next(Some(&head), Absence::default()), Next::Read { to: 29 });
}

fn data_set(n: u64) -> Option<DataSet> {
    DataSet::from_u64(n)
}

/// A reader that resumes in an epoch that comes from there.
fn resumed(n: u64, sequence: i64, first: i64, previous: Option<u64>) -> Reader {
    let lineage = Lineage::Epoch { first, previous: previous.map(epoch) };
    Reader::resume(Mark { position: at(n, sequence), lineage })
}

/// All that a reader is told until it has read everything.
fn goes_on(reader: &mut Reader, head: &Head) -> Vec<Next> {
    let mut told = Vec::new();
    loop {
        let next = reader.next(Some(head), Absence::default());
        match next {
            Next::End => return told,
            Next::Read { to } => reader.position.sequence = to,
            Next::Gap(_) => {}
            Next::Unlisted => panic!("{told:?}"),
        }
        told.push(next);
        assert!(told.len() < 100, "no progress: {told:?}");
    }
}

fn lost(n: u64, first_missing: i64, last_missing: i64, resume: Position) -> Next {
    gap(n, first_missing, last_missing, GapReason::EpochChanged, resume)
}

/// The same where another loss at this place is told next.
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
fn after_a_failback_the_last_common_epoch_goes_on() {
    // 200 messages of 1; a replica was promoted and began 2; then the old server came back, and 3 began there.
    let back = head(&[(1, 1, 0), (3, 201, 200)], 1, 203);
    let told = [lost(2, 201, 201, at(1, 200)), Next::Read { to: 203 }];
    assert_eq!(goes_on(&mut resumed(2, 201, 201, Some(1)), &back), told, "as its cursor knows");
    let mut open = Reader::new(at(1, 100));
    let promoted = head(&[(1, 1, 0), (2, 201, 200)], 1, 201);
    assert_eq!(goes_on(&mut open, &promoted), [Next::Read { to: 200 }, Next::Read { to: 201 }]);
    assert_eq!(goes_on(&mut open, &back), told, "as the stream itself has seen");
    // Whoever knows nothing of it can't be told where they part.
    assert_eq!(Reader::new(at(2, 201)).next(Some(&back), Absence::default()), Next::Unlisted);
}

#[test]
fn a_fork_is_left_where_both_sides_part() {
    // The reader saw 1 up to 50 and then 2; the copy that came back has 1 up to 47, and then 3.
    let mut reader = resumed(2, 51, 51, Some(1));
    let other = head(&[(1, 1, 0), (3, 48, 47)], 1, 52);
    assert_eq!(goes_on(&mut reader, &other), [lost(2, 48, 51, at(1, 47)), Next::Read { to: 52 }]);
    // The other way round: what 1 had beyond was never seen.
    let mut reader = resumed(3, 49, 48, Some(1));
    let first = head(&[(1, 1, 0), (2, 51, 50)], 1, 52);
    let told = [lost(3, 48, 49, at(1, 47)), Next::Read { to: 50 }, Next::Read { to: 52 }];
    assert_eq!(goes_on(&mut reader, &first), told);
}

#[test]
fn a_fork_is_left_over_several_epochs() {
    let mut reader = Reader::new(Position::START);
    let seen = head(&[(1, 1, 0), (2, 11, 10), (3, 21, 20)], 1, 25);
    goes_on(&mut reader, &seen);
    assert_eq!(reader.lineage(), Lineage::Epoch { first: 21, previous: Some(epoch(2)) });
    let other = head(&[(1, 1, 0), (4, 15, 14)], 1, 16);
    let told = [lost(3, 11, 25, at(1, 10)), Next::Read { to: 14 }, Next::Read { to: 16 }];
    assert_eq!(goes_on(&mut reader, &other), told, "1 went on to 14 without it");
    assert_eq!(reader.lineage(), Lineage::Epoch { first: 15, previous: Some(epoch(1)) });
}

#[test]
fn what_was_told_of_the_common_epoch_is_not_read_or_told_again() {
    let mut reader = Reader::new(at(1, 8));
    // 1 had 8, and was cut to 5 where 2 began.
    let cut = head(&[(1, 1, 0), (2, 6, 8)], 1, 7);
    assert_eq!(goes_on(&mut reader, &cut), [lost(1, 6, 8, at(2, 5)), Next::Read { to: 7 }]);
    // A copy with all of 1 comes back, and 3 begins there.
    let whole = head(&[(1, 1, 0), (3, 9, 8)], 1, 9);
    assert_eq!(goes_on(&mut reader, &whole), [lost(2, 6, 7, at(1, 8)), Next::Read { to: 9 }]);
}

#[test]
fn between_two_losses_a_reader_stands_at_the_fork() {
    // It had 1 up to 10, of which Redis kept 5; and somebody had receipts of 9. Who leaves in between comes again from where 2 begins.
    let known = with_losses(head(&[(1, 1, 0), (2, 6, 10)], 1, 7), &[(2, 9, 3, 4)]);
    let told = [and_more(lost(1, 6, 10, at(1, 5))), lost(9, 3, 4, at(2, 5)), Next::Read { to: 7 }];
    let mut reader = Reader::new(at(1, 10));
    assert_eq!(goes_on(&mut reader, &known), told);
    assert_eq!(goes_on(&mut Reader::new(at(1, 5)), &known), told, "the same, by the cursor of the first gap");
}

#[test]
fn losses_within_and_beyond_an_epoch_are_one() {
    // 1 was written anew from 4 on up to 6, and had gone to 9 before.
    let known = with_losses(head(&[(1, 1, 0), (2, 7, 9)], 1, 8), &[(2, 1, 4, 6)]);
    let told = [lost(1, 4, 9, at(2, 6)), Next::Read { to: 8 }];
    assert_eq!(goes_on(&mut Reader::new(at(1, 6)), &known), told);
    // What was told of it elsewhere is not told again, and hides nothing else.
    let mut reader = Reader::new(at(1, 9));
    assert_eq!(goes_on(&mut reader, &head(&[(1, 1, 0)], 1, 6)), [lost(1, 7, 9, at(1, 6))]);
    assert_eq!(goes_on(&mut reader, &known), [lost(1, 4, 6, at(2, 6)), Next::Read { to: 8 }]);
}

#[test]
fn what_was_told_before_a_flush_is_not_read_on_a_server_that_has_it() {
    let mut reader = Reader::new(at(1, 3));
    // Another server lacks the last one, and is flushed.
    assert_eq!(goes_on(&mut reader, &head(&[(1, 1, 0), (2, 3, 3)], 1, 2)), [lost(1, 3, 3, at(2, 2))]);
    assert_eq!(reader.next(None, Absence::default()), lost(2, 3, 0, Position::START));
    assert_eq!(goes_on(&mut reader, &head(&[(3, 1, 0)], 1, 4)), [Next::Read { to: 4 }]);
    let back = head(&[(1, 1, 0), (4, 4, 3)], 1, 4);
    assert_eq!(goes_on(&mut reader, &back), [lost(3, 1, 4, at(1, 3)), Next::Read { to: 4 }]);
}

/// Others were written there since.
#[test]
fn what_is_lost_of_an_epoch_to_which_a_reader_came_back_is_told() {
    let mut reader = Reader::new(at(1, 3));
    assert_eq!(reader.next(None, Absence::default()), lost(1, 4, 0, Position::START));
    assert_eq!(goes_on(&mut reader, &head(&[(2, 1, 0)], 1, 1)), [Next::Read { to: 1 }]);
    assert_eq!(goes_on(&mut reader, &head(&[(1, 1, 0)], 1, 2)), [lost(2, 1, 1, at(1, 2))]);
    let named = with_losses(head(&[(1, 1, 0), (3, 3, 2), (4, 4, 3)], 1, 4), &[(3, 2, 1, 1), (4, 1, 2, 3)]);
    let told = [Next::Read { to: 3 }, lost(1, 2, 2, at(4, 3)), Next::Read { to: 4 }];
    assert_eq!(goes_on(&mut reader, &named), told);
}

#[test]
fn a_reader_comes_back_behind_two_servers_without_the_channel() {
    let mut reader = Reader::new(at(1, 4));
    let none = Absence::default();
    for other in [2, 3] {
        assert!(matches!(reader.next(None, none), Next::Gap(_)));
        goes_on(&mut reader, &head(&[(other, 1, 0)], 1, 3));
        assert_eq!(reader.position, at(other, 3));
    }
    assert!(matches!(reader.next(None, none), Next::Gap(_)));
    assert_eq!(goes_on(&mut reader, &head(&[(1, 1, 0)], 1, 6)), [Next::Read { to: 6 }], "1 to 4 it had");
}

#[test]
fn losses_that_were_found_out_late_are_told_at_the_crossing() {
    // 2 began cleanly. When 3 began, somebody had receipts of 1 for 7 to 10, and of 9 for 3 to 4.
    let known = with_losses(head(&[(1, 1, 0), (2, 7, 6), (3, 9, 8)], 1, 9), &[(3, 1, 7, 10), (3, 9, 3, 4)]);
    let mut reader = Reader::new(at(1, 5));
    let told = [
        Next::Read { to: 6 },
        Next::Read { to: 8 },
        // A client that leaves here is told of both again.
        and_more(lost(1, 7, 10, at(2, 8))),
        lost(9, 3, 4, at(3, 8)),
        Next::Read { to: 9 },
    ];
    assert_eq!(goes_on(&mut reader, &known), told);
    assert_eq!(goes_on(&mut Reader::new(at(2, 8)), &known), told[2..]);
    assert_eq!(goes_on(&mut Reader::new(at(3, 8)), &known), told[4..], "who has crossed was told");
    // A trimmed stretch ends where something else was lost.
    let trimmed = Head { first: 9, ..known };
    let told_trimmed = [&[gap(1, 6, 8, GapReason::Trimmed, at(2, 8))][..], &told[2..]].concat();
    assert_eq!(goes_on(&mut Reader::new(at(1, 5)), &trimmed), told_trimmed);
}

#[test]
fn a_loss_is_told_once_though_several_starts_name_it() {
    let twice = with_losses(head(&[(1, 1, 0), (2, 6, 8), (3, 8, 7)], 1, 9), &[(3, 1, 6, 8), (3, 1, 7, 9)]);
    let told = [lost(1, 6, 8, at(2, 5)), Next::Read { to: 7 }, lost(1, 9, 9, at(3, 7)), Next::Read { to: 9 }];
    assert_eq!(goes_on(&mut Reader::new(at(1, 5)), &twice), told);
}

#[test]
fn a_flush_that_was_told_is_not_told_again_when_receipts_name_it() {
    let mut reader = Reader::new(at(3, 5));
    assert_eq!(reader.next(None, Absence::default()), lost(3, 6, 0, Position::START));
    let known = with_losses(head(&[(7, 1, 0)], 1, 1), &[(7, 3, 1, 9)]);
    assert_eq!(goes_on(&mut reader, &known), [Next::Read { to: 1 }]);
}

/// Receipts of earlier epochs are reported on the next server, where the epoch that names them begins behind its first messages.
#[test]
fn what_was_had_before_a_flush_is_not_told_when_receipts_name_it() {
    let before = with_losses(head(&[(2, 1, 0), (3, 2, 1)], 1, 9), &[(3, 1, 1, 4)]);
    let after = head(&[(5, 1, 0)], 1, 1);
    let named = with_losses(head(&[(5, 1, 0), (6, 2, 1)], 1, 2), &[(6, 1, 1, 4), (6, 2, 1, 1), (6, 3, 2, 9), (6, 4, 1, 1)]);
    let mut reader = Reader::new(at(2, 1));
    assert_eq!(goes_on(&mut reader, &before), [lost(1, 1, 4, at(3, 1)), Next::Read { to: 9 }]);
    let mut resumed = Reader::resume(Mark { position: at(3, 9), lineage: reader.lineage() });
    for reader in [&mut reader, &mut resumed] {
        assert_eq!(reader.next(None, Absence::default()), lost(3, 10, 0, Position::START));
        assert_eq!(goes_on(reader, &after), [Next::Read { to: 1 }]);
    }
    // Only what it never heard of.
    assert_eq!(goes_on(&mut reader, &named), [lost(4, 1, 1, at(6, 1)), Next::Read { to: 2 }]);
    // By its cursor a reader knows one epoch before its own.
    let told = [and_more(lost(1, 1, 4, at(5, 1))), lost(4, 1, 1, at(6, 1)), Next::Read { to: 2 }];
    assert_eq!(goes_on(&mut resumed, &named), told);
}

#[test]
fn what_was_lost_before_a_channels_first_message_is_told_to_whoever_waits_for_it() {
    let start = Reader::default().in_data_set(data_set(1));
    let plain = Head { data_set: data_set(2), ..head(&[(7, 1, 0)], 1, 1) };
    let flushed = Gap {
        epoch: None,
        first_missing: 1,
        last_missing: 0,
        reason: GapReason::EpochChanged,
        resume: Position::START,
        more: false,
    };
    assert_eq!(goes_on(&mut start.clone(), &plain), [Next::Gap(flushed), Next::Read { to: 1 }]);
    // Where receipts say what it was, that is all.
    let known = with_losses(plain.clone(), &[(7, 3, 1, 2)]);
    let told = [lost(3, 1, 2, at(7, 0)), Next::Read { to: 1 }];
    assert_eq!(goes_on(&mut start.clone(), &known), told);
    assert_eq!(goes_on(&mut Reader::default(), &known), told, "whatever the data set was");
    // In the same data set nothing was lost, nor where nobody knows.
    for known in [data_set(2), None] {
        assert_eq!(goes_on(&mut Reader::default().in_data_set(known), &plain), [Next::Read { to: 1 }]);
    }
    // A channel that is still not there keeps the reader waiting in the data set that it knew.
    let mut waiting = start;
    assert!(waiting.doubts_first(data_set(2)) && !waiting.doubts_first(data_set(1)) && !waiting.doubts_first(None));
    let absence = Absence { expired: false, data_set: data_set(2) };
    assert_eq!(waiting.next(None, absence), Next::End);
    assert!(waiting.doubts_first(data_set(2)));
    assert_eq!(waiting.lineage(), Lineage::DataSet(DataSet::from_u64(1).expect("not 0")));
    assert_eq!(goes_on(&mut waiting, &plain), [Next::Gap(flushed), Next::Read { to: 1 }]);
    assert!(!waiting.doubts_first(data_set(3)), "it has seen the first");
}

/// Clients that end at a gap and come again behind it, told each time where that is, come to the end as well.
#[test]
fn whoever_resumes_behind_each_gap_comes_to_the_end() {
    let start = Reader::default().in_data_set(data_set(1));
    let ended =
        with_losses(head(&[(1, 1, 0), (2, 7, 8), (3, 9, 8)], 5, 9), &[(2, 4, 7, 9), (3, 1, 7, 10), (3, 9, 3, 4)]);
    let first = with_losses(head(&[(7, 1, 0)], 1, 1), &[(7, 3, 1, 2), (7, 4, 1, 2), (7, 4, 1, 1)]);
    // What the start names beside is part of what it names anyway.
    let within = with_losses(head(&[(1, 1, 0), (2, 7, 12)], 5, 9), &[(2, 1, 7, 10)]);
    for mut head in [ended, first, within] {
        head.data_set = data_set(2);
        for mut reader in
            [start.clone(), Reader::default(), Reader::new(at(1, 3)), Reader::new(at(1, 8)), Reader::new(at(9, 4))]
        {
            let mut told = Vec::new();
            let mut more = false;
            loop {
                let next = reader.next(Some(&head), Absence::default());
                assert!(!more || matches!(next, Next::Gap(_)), "another loss was promised, and {next:?} comes");
                match next {
                    Next::End => break,
                    Next::Read { to } => reader.position.sequence = to,
                    Next::Unlisted => {
                        let gap = reader.settle(&head, false).expect("a gap");
                        reader = Reader::resume(Mark { position: gap.resume, lineage: reader.lineage() });
                    }
                    Next::Gap(gap) => {
                        assert_eq!(reader.position, gap.resume);
                        assert!(!told.contains(&gap), "{gap:?} again, of {head:?}");
                        told.push(gap);
                        // One that is followed by another is told together with it.
                        more = gap.more;
                        if !more {
                            reader = Reader::resume(reader.mark());
                        }
                    }
                }
            }
            assert_eq!(reader.position, head.end());
        }
    }
}

#[test]
fn a_missing_head_is_no_expiry_in_another_data_set() {
    // By the clock it is as old as can be: that of a server which is weeks behind says nothing.
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
fn a_reader_that_was_told_of_a_loss_takes_no_copy_of_it() {
    let mut reader = Reader::new(at(1, 8));
    assert_eq!(goes_on(&mut reader, &head(&[(1, 1, 0)], 1, 5)), [lost(1, 6, 8, at(1, 5))]);
    assert!(reader.awaits_epoch());
    let begun = head(&[(1, 1, 0), (2, 6, 8)], 1, 6);
    assert_eq!(goes_on(&mut reader, &begun), [Next::Read { to: 6 }]);
    assert!(!reader.awaits_epoch());
}

#[test]
fn a_reader_knows_where_it_stands() {
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
    reader.position.sequence = 5;
    assert_eq!(reader.next(Some(&two), Absence::default()), Next::Read { to: 9 });
    assert_eq!(reader.mark(), two.mark(at(2, 5)));
    // Also behind each gap, where its cursor is made.
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

#[test]
fn a_rewritten_stretch_is_lost_from_where_the_reader_had_it() {
    let mut reader = Reader::new(at(1, 8));
    assert_eq!(reader.rewrite(epoch(2), 3), None);
    assert_eq!(reader.rewrite(epoch(1), 9), None);
    let gap = reader.rewrite(epoch(1), 6).expect("it had 6 to 8");
    assert_eq!((gap.first_missing, gap.last_missing, gap.resume, reader.position), (6, 8, at(1, 5), at(1, 5)));
    assert!(!reader.awaits_epoch(), "what stands there now is to be read");
}

#[test]
fn a_server_without_the_channel_makes_a_reader_forget_nothing() {
    let old = head(&[(1, 1, 0), (2, 4, 3)], 1, 9);
    let mut reader = Reader::new(at(2, 9));
    assert_eq!(reader.next(Some(&old), Absence::default()), Next::End);
    let unknown = gap(2, 10, 0, GapReason::EpochChanged, Position::START);
    assert_eq!(reader.next(None, Absence::default()), unknown);
    let away = reader.clone();
    // The same history again, with more.
    let more = head(&[(1, 1, 0), (2, 4, 3)], 1, 11);
    assert_eq!(reader.next(Some(&more), Absence::default()), Next::Read { to: 11 });
    assert_eq!(reader.position, at(2, 9));
    // A copy of it that goes less far, and ends before its second epoch.
    for copy in [head(&[(1, 1, 0)], 1, 2), head(&[(1, 1, 0), (3, 3, 9)], 1, 4)] {
        let mut reader = away.clone();
        let mut read = Vec::new();
        loop {
            match reader.next(Some(&copy), Absence::default()) {
                Next::Read { to } => {
                    read.push((reader.position.sequence + 1, to));
                    reader.position.sequence = to;
                }
                Next::End => break,
                Next::Gap(gap) => assert_eq!(gap.reason, GapReason::EpochChanged),
                Next::Unlisted => panic!("it has an epoch in common"),
            }
        }
        assert_eq!(read, if copy.last == 2 { vec![] } else { vec![(3, 4)] }, "what was read is not read again");
    }
    // Another history in between: what it had is lost, and what was before goes on.
    let mut reader = away;
    let other = head(&[(7, 1, 0)], 1, 2);
    assert_eq!(reader.next(Some(&other), Absence::default()), Next::Read { to: 2 });
    reader.position = at(7, 2);
    assert_eq!(reader.next(Some(&other), Absence::default()), Next::End);
    assert_eq!(reader.next(Some(&more), Absence::default()), gap(7, 1, 2, GapReason::EpochChanged, at(2, 9)));
    assert_eq!(reader.next(Some(&more), Absence::default()), Next::Read { to: 11 });
}

#[test]
fn what_was_reported_is_not_read_where_a_server_has_it_after_all() {
    let (ahead, behind) = (head(&[(1, 1, 0)], 1, 5), head(&[(1, 1, 0)], 1, 2));
    let mut reader = Reader::new(at(1, 4));
    assert_eq!(reader.next(Some(&behind), Absence::default()), gap(1, 3, 4, GapReason::EpochChanged, at(1, 2)));
    assert_eq!(reader.next(Some(&ahead), Absence::default()), Next::Read { to: 5 });
    assert_eq!(reader.position, at(1, 4));
}

#[test]
fn what_was_read_before_a_fork_is_not_read_again_by_way_of_a_copy_that_ends_before_it() {
    let whole = head(&[(1, 1, 0), (2, 3, 2)], 1, 3);
    let mut reader = Reader::new(at(1, 2));
    assert_eq!(goes_on(&mut reader, &whole), [Next::Read { to: 3 }]);
    let copy = head(&[(1, 1, 0)], 1, 1);
    assert_eq!(goes_on(&mut reader, &copy), [lost(2, 2, 3, at(1, 1))]);
    let longer = head(&[(1, 1, 0), (2, 3, 2)], 1, 5);
    assert_eq!(goes_on(&mut reader, &longer), [Next::Read { to: 5 }]);
    assert_eq!(reader.position.epoch, Some(epoch(2)));
}

#[test]
fn a_history_that_comes_back_behind_another_one_is_not_read_again() {
    let own = head(&[(1, 1, 0)], 1, 9);
    let mut reader = Reader::new(at(1, 9));
    assert_eq!(goes_on(&mut reader, &own), []);
    let other = head(&[(5, 1, 0)], 1, 1);
    assert_eq!(reader.next(Some(&other), Absence::default()), Next::Unlisted);
    assert!(reader.settle(&other, false).is_some_and(|gap| gap.last_missing == 0));
    assert_eq!(goes_on(&mut reader, &other), [Next::Read { to: 1 }]);
    let copy = head(&[(1, 1, 0), (6, 5, 4)], 1, 6);
    assert_eq!(goes_on(&mut reader, &copy), [lost(5, 1, 1, at(1, 4)), Next::Read { to: 6 }]);
}

#[test]
fn an_epoch_without_a_message_has_lost_none() {
    let mut reader = Reader::new(at(1, 3));
    let with_empty = head(&[(1, 1, 0), (2, 4, 3), (3, 8, 7)], 1, 7);
    assert_eq!(goes_on(&mut reader, &with_empty), [Next::Read { to: 7 }]);
    assert_eq!(reader.position.epoch, Some(epoch(3)));
    let copy = head(&[(1, 1, 0)], 1, 4);
    assert_eq!(goes_on(&mut reader, &copy), [lost(2, 4, 7, at(1, 3)), Next::Read { to: 4 }]);
}
