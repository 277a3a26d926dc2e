//! Losses that an epoch's start names, and those that are reported in several parts.

use super::*;

#[test]
fn losses_within_and_beyond_an_epoch_are_one() {
    // 1 was rewritten from 4 up to 6, and had gone to 9 before.
    let known = with_losses(head(&[(1, 1, 0), (2, 7, 9)], 1, 8), &[(2, 1, 4, 6)]);
    let events = [lost(1, 4, 9, at(2, 6)), Next::Read { to: 8 }];
    assert_eq!(goes_on(&mut Reader::new(at(1, 6)), &known), events);
    // What was reported of it elsewhere is not reported again, and hides nothing else.
    let mut reader = Reader::new(at(1, 9));
    assert_eq!(goes_on(&mut reader, &head(&[(1, 1, 0)], 1, 6)), [lost(1, 7, 9, at(1, 6))]);
    assert_eq!(goes_on(&mut reader, &known), [lost(1, 4, 6, at(2, 6)), Next::Read { to: 8 }]);
}

#[test]
fn losses_that_were_found_out_late_are_reported_at_the_crossing() {
    // 2 began cleanly. When 3 began, somebody had receipts of 1 for 7 to 10, and of 9 for 3 to 4.
    let known = with_losses(head(&[(1, 1, 0), (2, 7, 6), (3, 9, 8)], 1, 9), &[(3, 1, 7, 10), (3, 9, 3, 4)]);
    let mut reader = Reader::new(at(1, 5));
    let events = [
        Next::Read { to: 6 },
        Next::Read { to: 8 },
        // A client that leaves here gets both again.
        and_more(lost(1, 7, 10, at(2, 8))),
        lost(9, 3, 4, at(3, 8)),
        Next::Read { to: 9 },
    ];
    assert_eq!(goes_on(&mut reader, &known), events);
    assert_eq!(goes_on(&mut Reader::new(at(2, 8)), &known), events[2..]);
    assert_eq!(goes_on(&mut Reader::new(at(3, 8)), &known), events[4..], "who has crossed was told");
    // A trimmed stretch ends where something else was lost.
    let trimmed = Head { first: 9, ..known };
    let expected_trimmed = [&[gap(1, 6, 8, GapReason::Trimmed, at(2, 8))][..], &events[2..]].concat();
    assert_eq!(goes_on(&mut Reader::new(at(1, 5)), &trimmed), expected_trimmed);
}

#[test]
fn a_loss_is_reported_once_though_several_starts_name_it() {
    let twice = with_losses(head(&[(1, 1, 0), (2, 6, 8), (3, 8, 7)], 1, 9), &[(3, 1, 6, 8), (3, 1, 7, 9)]);
    let events = [lost(1, 6, 8, at(2, 5)), Next::Read { to: 7 }, lost(1, 9, 9, at(3, 7)), Next::Read { to: 9 }];
    assert_eq!(goes_on(&mut Reader::new(at(1, 5)), &twice), events);
}

#[test]
fn a_flush_that_was_reported_is_not_reported_again_when_receipts_name_it() {
    let mut reader = Reader::new(at(3, 5));
    assert_eq!(reader.next(None, Absence::default()), lost(3, 6, 0, Position::START));
    let known = with_losses(head(&[(7, 1, 0)], 1, 1), &[(7, 3, 1, 9)]);
    assert_eq!(goes_on(&mut reader, &known), [Next::Read { to: 1 }]);
}

/// Receipts of earlier epochs are reported on the next server, where the epoch that names them begins after its first
/// messages.
#[test]
fn what_was_had_before_a_flush_is_not_reported_when_receipts_name_it() {
    let before = with_losses(head(&[(2, 1, 0), (3, 2, 1)], 1, 9), &[(3, 1, 1, 4)]);
    let after = head(&[(5, 1, 0)], 1, 1);
    let named =
        with_losses(head(&[(5, 1, 0), (6, 2, 1)], 1, 2), &[(6, 1, 1, 4), (6, 2, 1, 1), (6, 3, 2, 9), (6, 4, 1, 1)]);
    let mut reader = Reader::new(at(2, 1));
    assert_eq!(goes_on(&mut reader, &before), [lost(1, 1, 4, at(3, 1)), Next::Read { to: 9 }]);
    let mut resumed = Reader::resume(Mark { position: at(3, 9), lineage: reader.lineage() });
    for reader in [&mut reader, &mut resumed] {
        assert_eq!(reader.next(None, Absence::default()), lost(3, 10, 0, Position::START));
        assert_eq!(goes_on(reader, &after), [Next::Read { to: 1 }]);
    }
    // Only what it has never seen.
    assert_eq!(goes_on(&mut reader, &named), [lost(4, 1, 1, at(6, 1)), Next::Read { to: 2 }]);
    // By its cursor a reader knows one epoch before its own.
    let events = [and_more(lost(1, 1, 4, at(5, 1))), lost(4, 1, 1, at(6, 1)), Next::Read { to: 2 }];
    assert_eq!(goes_on(&mut resumed, &named), events);
}

#[test]
fn losses_before_a_channels_first_message_are_reported_to_readers_that_wait_for_it() {
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
    let events = [lost(3, 1, 2, at(7, 0)), Next::Read { to: 1 }];
    assert_eq!(goes_on(&mut start.clone(), &known), events);
    assert_eq!(goes_on(&mut Reader::default(), &known), events, "whatever the data set was");
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

/// Clients that end at a gap and resume after it, each time at the cursor that they got, reach the end as well.
#[test]
fn a_reader_that_resumes_after_each_gap_reaches_the_end() {
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
            let mut events = Vec::new();
            let mut more = false;
            loop {
                let next = reader.next(Some(&head), Absence::default());
                assert!(!more || matches!(next, Next::Gap(_)), "another loss was promised, and {next:?} comes");
                match next {
                    Next::End => break,
                    Next::Read { to } => reader.advance(to),
                    Next::Unlisted => {
                        let gap = reader.settle(&head, false).expect("a gap");
                        reader = Reader::resume(Mark { position: gap.resume, lineage: reader.lineage() });
                    }
                    Next::Gap(gap) => {
                        assert_eq!(reader.position(), gap.resume);
                        assert!(!events.contains(&gap), "{gap:?} again, of {head:?}");
                        events.push(gap);
                        // One that is followed by another is reported together with it.
                        more = gap.more;
                        if !more {
                            reader = Reader::resume(reader.mark());
                        }
                    }
                }
            }
            assert_eq!(reader.position(), head.end());
        }
    }
}

#[test]
fn a_reader_that_got_a_loss_takes_no_copy_of_it() {
    let mut reader = Reader::new(at(1, 8));
    assert_eq!(goes_on(&mut reader, &head(&[(1, 1, 0)], 1, 5)), [lost(1, 6, 8, at(1, 5))]);
    assert!(reader.awaits_epoch());
    let begun = head(&[(1, 1, 0), (2, 6, 8)], 1, 6);
    assert_eq!(goes_on(&mut reader, &begun), [Next::Read { to: 6 }]);
    assert!(!reader.awaits_epoch());
}

#[test]
fn a_rewritten_stretch_is_lost_from_where_the_reader_had_it() {
    let mut reader = Reader::new(at(1, 8));
    assert_eq!(reader.rewrite(epoch(2), 3), None);
    assert_eq!(reader.rewrite(epoch(1), 9), None);
    let gap = reader.rewrite(epoch(1), 6).expect("it had 6 to 8");
    assert_eq!((gap.first_missing, gap.last_missing, gap.resume, reader.position()), (6, 8, at(1, 5), at(1, 5)));
    assert!(!reader.awaits_epoch(), "what is there now is to be read");
}

#[test]
fn what_follows_in_a_later_epoch_was_not_rewritten() {
    let known = head(&[(1, 1, 0), (2, 6, 12)], 1, 7);
    assert!(known.has_in(epoch(1), 5) && known.has_in(epoch(2), 6));
    assert!(!known.has_in(epoch(1), 6), "a stream that has reported 6 to 8 of 1 keeps that");
    assert!(!known.has_in(epoch(2), 8));
}

/// What is older than the list is named where the list begins: to readers that come from before it.
#[test]
fn losses_of_epochs_that_fell_off_the_list_are_named_where_it_begins() {
    let known = with_losses(head(&[(5, 20, 19), (6, 30, 29)], 1, 40), &[(5, 1, 9, 10), (5, 4, 20, 21)]);
    // The log has 6 to 8 of 1, then 2, and at last 4 up to 19.
    let mut reader = Reader::new(at(1, 5));
    assert_eq!(reader.next(Some(&known), Absence::default()), Next::Unlisted);
    assert_eq!(reader.settle(&known, true), None);
    assert_eq!(reader.next(Some(&known), Absence::default()), Next::Read { to: 19 });
    reader.follow(at(4, 19), Lineage::Unknown);
    let mut events = Vec::new();
    while reader.position().epoch == Some(epoch(4)) {
        assert_eq!(reader.next(Some(&known), Absence::default()), Next::Unlisted);
        assert_eq!(reader.settle(&known, true), None);
        events.push(reader.next(Some(&known), Absence::default()));
    }
    assert_eq!(events, [and_more(lost(1, 9, 10, at(4, 19))), lost(4, 20, 21, at(5, 19))]);
    assert_eq!(goes_on(&mut reader, &known), [Next::Read { to: 29 }, Next::Read { to: 40 }]);
}

#[test]
fn what_a_head_names_no_more_is_a_loss_without_an_end() {
    let known = with_losses(head(&[(1, 1, 0), (2, 7, 6)], 1, 8), &[(2, 1, 7, MAX_SEQUENCE)]);
    let events = [lost(1, 7, 0, at(2, 6)), Next::Read { to: 8 }];
    assert_eq!(goes_on(&mut Reader::new(at(1, 6)), &known), events);
    // Also where it is one with what the start names.
    let known = with_losses(head(&[(1, 1, 0), (2, 7, 9)], 1, 8), &[(2, 1, 8, MAX_SEQUENCE)]);
    assert_eq!(goes_on(&mut Reader::new(at(1, 6)), &known), events);
}

/// Of epochs that are not listed, and whose messages are gone, nobody knows what was lost where they began.
#[test]
fn what_was_trimmed_of_epochs_older_than_the_list_has_no_known_end() {
    for (first, resume) in [(10, at(5, 9)), (20, at(5, 19)), (25, at(5, 24)), (35, at(6, 34))] {
        let known = head(&[(5, 20, 21), (6, 30, 29)], first, 40);
        // A reader of all that comes, and one that has read nothing yet of what is older than the list.
        for before in [Position::START, at(5, 3)] {
            let Next::Gap(gap) = Reader::new(before).next(Some(&known), Absence::default()) else {
                panic!("{before:?}")
            };
            let expected = Gap::lost(before.epoch, before.sequence + 1, 0, resume);
            assert_eq!(gap, expected, "the log begins at {first}");
        }
    }
}
