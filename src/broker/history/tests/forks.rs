//! Servers that have other histories, or none: failbacks, copies, flushes.

use super::*;

#[test]
fn after_a_failback_the_last_common_epoch_continues() {
    // 200 messages of 1; a replica was promoted and began 2; then the old server came back, and 3 began there.
    let back = head(&[(1, 1, 0), (3, 201, 200)], 1, 203);
    let events = [lost(2, 201, 201, at(1, 200)), Next::Read { to: 203 }];
    assert_eq!(goes_on(&mut resumed(2, 201, 201, Some(1)), &back), events, "as its cursor knows");
    let mut open = Reader::new(at(1, 100));
    let promoted = head(&[(1, 1, 0), (2, 201, 200)], 1, 201);
    assert_eq!(goes_on(&mut open, &promoted), [Next::Read { to: 200 }, Next::Read { to: 201 }]);
    assert_eq!(goes_on(&mut open, &back), events, "as the stream itself has seen");
    // A reader that knows nothing of it can't learn where they fork.
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
    let events = [lost(3, 48, 49, at(1, 47)), Next::Read { to: 50 }, Next::Read { to: 52 }];
    assert_eq!(goes_on(&mut reader, &first), events);
}

#[test]
fn a_fork_is_left_over_several_epochs() {
    let mut reader = Reader::new(Position::START);
    let seen = head(&[(1, 1, 0), (2, 11, 10), (3, 21, 20)], 1, 25);
    goes_on(&mut reader, &seen);
    assert_eq!(reader.lineage(), Lineage::Epoch { first: 21, previous: Some(epoch(2)) });
    let other = head(&[(1, 1, 0), (4, 15, 14)], 1, 16);
    let events = [lost(3, 11, 25, at(1, 10)), Next::Read { to: 14 }, Next::Read { to: 16 }];
    assert_eq!(goes_on(&mut reader, &other), events, "1 went on to 14 without it");
    assert_eq!(reader.lineage(), Lineage::Epoch { first: 15, previous: Some(epoch(1)) });
}

#[test]
fn what_was_reported_of_the_common_epoch_is_not_read_or_reported_again() {
    let mut reader = Reader::new(at(1, 8));
    // 1 had 8, and was cut to 5 where 2 began.
    let cut = head(&[(1, 1, 0), (2, 6, 8)], 1, 7);
    assert_eq!(goes_on(&mut reader, &cut), [lost(1, 6, 8, at(2, 5)), Next::Read { to: 7 }]);
    // A copy with all of 1 comes back, and 3 begins there.
    let whole = head(&[(1, 1, 0), (3, 9, 8)], 1, 9);
    assert_eq!(goes_on(&mut reader, &whole), [lost(2, 6, 7, at(1, 8)), Next::Read { to: 9 }]);
}

#[test]
fn between_two_losses_a_reader_is_at_the_fork() {
    // It had 1 up to 10, of which Redis kept 5; and somebody had receipts of 9. Who leaves in between comes again from
    // where 2 begins.
    let known = with_losses(head(&[(1, 1, 0), (2, 6, 10)], 1, 7), &[(2, 9, 3, 4)]);
    let events = [and_more(lost(1, 6, 10, at(1, 5))), lost(9, 3, 4, at(2, 5)), Next::Read { to: 7 }];
    let mut reader = Reader::new(at(1, 10));
    assert_eq!(goes_on(&mut reader, &known), events);
    assert_eq!(goes_on(&mut Reader::new(at(1, 5)), &known), events, "the same, by the cursor of the first gap");
}

#[test]
fn a_reader_comes_back_after_two_servers_without_the_channel() {
    let mut reader = Reader::new(at(1, 4));
    let none = Absence::default();
    for other in [2, 3] {
        assert!(matches!(reader.next(None, none), Next::Gap(_)));
        goes_on(&mut reader, &head(&[(other, 1, 0)], 1, 3));
        assert_eq!(reader.position(), at(other, 3));
    }
    assert!(matches!(reader.next(None, none), Next::Gap(_)));
    assert_eq!(goes_on(&mut reader, &head(&[(1, 1, 0)], 1, 6)), [Next::Read { to: 6 }], "1 to 4 it had");
}

#[test]
fn what_was_reported_before_a_flush_is_not_read_on_a_server_that_has_it() {
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
fn what_is_lost_of_an_epoch_to_which_a_reader_came_back_is_reported() {
    let mut reader = Reader::new(at(1, 3));
    assert_eq!(reader.next(None, Absence::default()), lost(1, 4, 0, Position::START));
    assert_eq!(goes_on(&mut reader, &head(&[(2, 1, 0)], 1, 1)), [Next::Read { to: 1 }]);
    assert_eq!(goes_on(&mut reader, &head(&[(1, 1, 0)], 1, 2)), [lost(2, 1, 1, at(1, 2))]);
    let named = with_losses(head(&[(1, 1, 0), (3, 3, 2), (4, 4, 3)], 1, 4), &[(3, 2, 1, 1), (4, 1, 2, 3)]);
    let events = [Next::Read { to: 3 }, lost(1, 2, 2, at(4, 3)), Next::Read { to: 4 }];
    assert_eq!(goes_on(&mut reader, &named), events);
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
    assert_eq!(reader.position(), at(2, 9));
    // A copy of it that goes less far, and ends before its second epoch.
    for copy in [head(&[(1, 1, 0)], 1, 2), head(&[(1, 1, 0), (3, 3, 9)], 1, 4)] {
        let mut reader = away.clone();
        let mut read = Vec::new();
        loop {
            match reader.next(Some(&copy), Absence::default()) {
                Next::Read { to } => {
                    read.push((reader.position().sequence + 1, to));
                    reader.advance(to);
                }
                Next::End => break,
                Next::Gap(gap) => assert_eq!(gap.reason, GapReason::EpochChanged),
                Next::Unlisted => panic!("it has an epoch in common"),
            }
        }
        assert_eq!(read, if copy.last == 2 { vec![] } else { vec![(3, 4)] }, "what was read is not read again");
    }
    // Another history in between: what it had is lost, and what was before continues.
    let mut reader = away;
    let other = head(&[(7, 1, 0)], 1, 2);
    assert_eq!(reader.next(Some(&other), Absence::default()), Next::Read { to: 2 });
    reader.resume_at(at(7, 2));
    assert_eq!(reader.next(Some(&other), Absence::default()), Next::End);
    assert_eq!(reader.next(Some(&more), Absence::default()), gap(7, 1, 2, GapReason::EpochChanged, at(2, 9)));
    assert_eq!(reader.next(Some(&more), Absence::default()), Next::Read { to: 11 });
}

#[test]
fn what_was_reported_is_not_read_where_a_server_has_it_after_all() {
    let (newer, older) = (head(&[(1, 1, 0)], 1, 5), head(&[(1, 1, 0)], 1, 2));
    let mut reader = Reader::new(at(1, 4));
    assert_eq!(reader.next(Some(&older), Absence::default()), gap(1, 3, 4, GapReason::EpochChanged, at(1, 2)));
    assert_eq!(reader.next(Some(&newer), Absence::default()), Next::Read { to: 5 });
    assert_eq!(reader.position(), at(1, 4));
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
    assert_eq!(reader.position().epoch, Some(epoch(2)));
}

#[test]
fn a_history_that_comes_back_after_another_one_is_not_read_again() {
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
    assert_eq!(reader.position().epoch, Some(epoch(3)));
    let copy = head(&[(1, 1, 0)], 1, 4);
    assert_eq!(goes_on(&mut reader, &copy), [lost(2, 4, 7, at(1, 3)), Next::Read { to: 4 }]);
}

#[test]
fn what_expired_on_one_server_is_not_read_again_on_another_whose_clock_is_late() {
    let mut reader = Reader::new(at(1, 4));
    assert_eq!(reader.next(None, Absence { expired: true, data_set: None }), Next::End);
    assert_eq!(goes_on(&mut reader, &head(&[(1, 1, 0)], 1, 6)), [Next::Read { to: 6 }]);
    assert_eq!(reader.position(), at(1, 6));
    let mut reader = Reader::new(at(1, 4));
    assert_eq!(reader.next(None, Absence { expired: true, data_set: None }), Next::End);
    assert_eq!(goes_on(&mut reader, &head(&[(1, 1, 0)], 1, 4)), [], "all of it was read");
    // Others wrote on there, and that server is gone.
    let mut reader = Reader::new(at(1, 4));
    assert_eq!(reader.next(None, Absence { expired: true, data_set: None }), Next::End);
    let named = with_losses(head(&[(2, 1, 0)], 1, 1), &[(2, 1, 1, 6)]);
    assert_eq!(goes_on(&mut reader, &named), [lost(1, 5, 6, at(2, 0)), Next::Read { to: 1 }]);
}
