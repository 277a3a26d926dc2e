//! Claims that are not what comes next.

use tidings::broker::{Loss, Stored};

use super::*;

/// A head with these epochs: name, first, and highest known sequence of the one before.
fn history(epochs: &[(u64, i64, i64)], last: i64) -> Head {
    let start = |&(n, first, previous_end)| EpochStart { epoch: epoch(n), first, previous_end };
    Head { epochs: epochs.iter().map(start).collect(), ..head(1, last) }
}

/// An intake that has received the messages of an epoch up to this one.
fn received_up_to(n: u64, last: i64) -> Intake {
    let mut intake = intake();
    for sequence in 1..=last {
        intake.push(b"c", &numbered(n, sequence));
        intake.learn(&name("c"), Some(&head(n, sequence)));
    }
    assert_eq!(received(&mut intake).1, (1..=last).collect::<Vec<_>>());
    intake
}

fn question(ask: Option<Ask>) -> Question {
    match ask {
        Some(Ask::Log(question)) => question,
        other => panic!("the log is not asked: {other:?}"),
    }
}

fn stored(sequence: i64, json: &Bytes) -> Stored {
    Stored { sequence, json: json.clone(), adopted: None }
}

/// What a feed sends its streams: sequences, and `-from` for a history that was rewritten.
fn sent(intake: &mut Intake) -> Vec<i64> {
    let one = |item| match item {
        Item::Chunk(chunk) => chunk.entries.iter().map(|entry| entry.sequence).collect(),
        Item::Rewritten(rewrite) => vec![-rewrite.from],
        other => panic!("{other:?}"),
    };
    intake.take().into_iter().flat_map(one).collect()
}

#[test]
fn a_push_that_outlived_its_epoch_is_a_lost_write_and_not_delivered_beside_its_repeat() {
    let mut intake = intake();
    // It was acknowledged, and received before the head was known.
    assert_eq!(intake.push(b"c", &numbered(0x9f39, 433)), ask("c"));
    // Redis comes back with an older copy, and the publisher repeats it there.
    intake.outlive();
    assert_eq!(intake.push(b"c", &numbered(0xec6, 91)), None);
    intake.learn(&name("c"), Some(&history(&[(1, 1, 0), (0xec6, 91, 90)], 91)));
    assert_eq!(received(&mut intake).1, [91]);
    assert_eq!((intake.take_lost(), intake.room.bytes()), (1, 0));
}

#[test]
fn a_push_from_another_data_set_is_a_lost_write() {
    let in_data_set = |n, last, name: u64| {
        let data_set = format!("{name:016x}").parse().ok();
        assert!(data_set.is_some());
        Head { data_set, ..head(n, last) }
    };
    let mut intake = intake();
    intake.push(b"c", &numbered(1, 1));
    intake.learn(&name("c"), Some(&in_data_set(1, 1, 7)));
    for (found_in, lost) in [(7, 0), (8, 1)] {
        intake.push(b"c", &numbered(5, 2));
        intake.learn(&name("c"), Some(&in_data_set(1, 1, found_in)));
        assert_eq!(intake.take_lost(), lost);
    }
    assert_eq!(received(&mut intake).1, [1, 0], "the first was a stranger's");
}

#[test]
fn pushes_of_an_ended_epoch_beyond_its_end_are_evidence_of_a_loss() {
    let mut intake = received_up_to(1, 6);
    let mut head = history(&[(1, 1, 0), (2, 7, 6)], 7);
    intake.push(b"c", &numbered(2, 7));
    intake.learn(&name("c"), Some(&head));
    for sequence in 7..=10 {
        assert_eq!(intake.push(b"c", &numbered(1, sequence)), None);
    }
    assert_eq!(received(&mut intake).1, [7], "of the new epoch");
    let late = |from, to| vec![Late { channel: name("c"), epoch: epoch(1), from, to }];
    assert_eq!(intake.take_late(), late(7, 10));
    // What an epoch's start or a record names is no news; what is beyond is.
    for (previous_end, recorded, from) in [(9, None, 10), (6, Some(8), 9), (9, Some(8), 10), (12, None, 13)] {
        head.epochs[1].previous_end = previous_end;
        let loss = |to| Loss { began: epoch(2), epoch: epoch(1), from: 7, to };
        head.losses = recorded.map(loss).into_iter().collect();
        intake.forget();
        intake.push(b"c", &numbered(1, 10));
        intake.learn(&name("c"), Some(&head));
        assert_eq!(intake.take_late(), if from > 10 { Vec::new() } else { late(from, 10) });
    }
    assert!(received(&mut intake).1.is_empty() && intake.room.bytes() == 0);
}

#[test]
fn what_was_received_on_a_link_that_broke_and_is_beyond_the_head_is_evidence_as_well() {
    let mut intake = received_up_to(1, 6);
    intake.push(b"c", &numbered(1, 9));
    intake.outlive();
    intake.learn(&name("c"), Some(&head(1, 6)));
    assert_eq!(intake.take_late(), [Late { channel: name("c"), epoch: epoch(1), from: 7, to: 9 }]);
    assert!(received(&mut intake).1.is_empty());
}

#[test]
fn a_claim_that_the_head_does_not_confirm_is_a_plain_message() {
    let mut intake = received_up_to(1, 2);
    assert_eq!(intake.push(b"c", &numbered(1, 1_000)), ask("c"));
    intake.learn(&name("c"), Some(&head(1, 2)));
    assert_eq!(intake.push(b"c", &numbered(1, 3)), None, "what comes next is not in doubt");
    assert_eq!(received(&mut intake).1, [0, 3]);
}

#[test]
fn a_copied_claim_is_a_plain_message_and_a_copy_is_none() {
    let mut intake = received_up_to(1, 3);
    let (original, edited) = (numbered(1, 2), numbered(1, 2));
    let asked = question(intake.push(b"c", &edited));
    assert_eq!((asked.after, asked.to), (1, 2));
    // Others wait after it, and are judged by the same answer.
    for push in [&original, &edited, &numbered(1, 4)] {
        assert_eq!(intake.push(b"c", push), None);
    }
    assert_eq!(intake.compare(&name("c"), &Looked::with(&asked, vec![stored(2, &original)], None)), None);
    assert_eq!(sent(&mut intake), [0, 0, 4]);
    assert_eq!(intake.room.bytes(), 0);
    // What the log does not have any more can't be identified, nor where another epoch has replaced it.
    let asked = question(intake.push(b"c", &edited));
    let looked = Looked::with(&asked, vec![stored(2, &numbered(2, 2))], None);
    assert_eq!((intake.compare(&name("c"), &looked), sent(&mut intake)), (None, vec![]));
    let asked = question(intake.push(b"c", &edited));
    assert_eq!(intake.compare(&name("c"), &Looked::unreadable(&asked)), None);
    assert!(sent(&mut intake).is_empty() && intake.room.bytes() == 0);
}

#[test]
fn messages_that_replace_delivered_ones_rewrite_the_history() {
    let mut intake = received_up_to(1, 8);
    let new: Vec<_> = (6..=10).map(|sequence| numbered(1, sequence)).collect();
    let asked = question(intake.push(b"c", &new[0]));
    for push in &new[1..] {
        assert_eq!(intake.push(b"c", push), None);
    }
    let log: Vec<_> = (6..).zip(&new).map(|(sequence, json)| stored(sequence, json)).collect();
    assert_eq!(intake.compare(&name("c"), &Looked::with(&asked, log, Some(6))), None);
    assert_eq!(sent(&mut intake), [-6, 6, 7, 8, 9, 10]);
}

#[test]
fn while_a_head_is_awaited_as_well() {
    let mut intake = received_up_to(1, 8);
    assert_eq!(intake.push(b"c", &numbered(5, 1)), ask("c"), "a stranger");
    let new: Vec<_> = (6..=8).map(|sequence| numbered(1, sequence)).collect();
    for push in &new {
        assert_eq!(intake.push(b"c", push), None);
    }
    let (_, asked) = intake.learn(&name("c"), Some(&head(1, 8)));
    let log: Vec<_> = (6..).zip(&new).map(|(sequence, json)| stored(sequence, json)).collect();
    assert_eq!(intake.compare(&name("c"), &Looked::with(&question(asked), log, Some(6))), None);
    assert_eq!(sent(&mut intake), [0, -6, 6, 7, 8]);
}

#[test]
fn a_head_that_fell_back_and_rose_again_rewrites_the_history() {
    let mut intake = received_up_to(1, 8);
    assert!(matches!(intake.has_missed(&name("c"), Some(&head(1, 5))), Missed::Look));
    assert!(matches!(intake.has_missed(&name("c"), Some(&head(1, 5))), Missed::Nothing));
    // By a push, also where one is missing.
    assert_eq!(intake.push(b"c", &numbered(1, 10)), ask("c"));
    let (_, asked) = intake.learn(&name("c"), Some(&head(1, 10)));
    let looked = Looked::with(&question(asked), Vec::new(), Some(6));
    assert_eq!(intake.compare(&name("c"), &looked), ask("c"));
    intake.learn(&name("c"), Some(&head(1, 10)));
    assert_eq!(sent(&mut intake), [-6, 10]);
    // By the head alone.
    assert!(matches!(intake.has_missed(&name("c"), Some(&head(1, 7))), Missed::Look));
    let Missed::Ask(asked) = intake.has_missed(&name("c"), Some(&head(1, 9))) else { panic!("the log is not asked") };
    assert_eq!(intake.compare(&name("c"), &Looked::with(&asked, Vec::new(), Some(8))), ask("c"));
    assert_eq!(sent(&mut intake), [-8]);
    // Without a log nothing shows that it came back.
    let unkept = |last| Head { keeps_history: false, ..head(1, last) };
    let mut intake = received_up_to(1, 8);
    assert!(matches!(intake.has_missed(&name("c"), Some(&unkept(5))), Missed::Look));
    assert!(matches!(intake.has_missed(&name("c"), Some(&unkept(9))), Missed::Look));
    assert_eq!(sent(&mut intake), [-6]);
}

/// The connection led to an older copy for a while.
#[test]
fn a_head_that_fell_back_and_came_back_rewrites_nothing() {
    let mut intake = received_up_to(1, 8);
    let fall = |intake: &mut Intake, to| {
        assert!(matches!(intake.has_missed(&name("c"), Some(&head(1, to))), Missed::Look));
    };
    fall(&mut intake, 5);
    let same = Head { time_ms: 1_000, ..head(1, 8) };
    assert!(matches!(intake.has_missed(&name("c"), Some(&same)), Missed::Look));
    assert_eq!(intake.push(b"c", &numbered(1, 9)), None, "it follows");
    assert_eq!(sent(&mut intake), [9]);
    // With more than was received, by a push.
    fall(&mut intake, 5);
    assert_eq!(intake.push(b"c", &numbered(1, 11)), ask("c"));
    let (_, asked) = intake.learn(&name("c"), Some(&head(1, 11)));
    assert_eq!(intake.compare(&name("c"), &Looked::with(&question(asked), Vec::new(), None)), ask("c"));
    intake.learn(&name("c"), Some(&head(1, 11)));
    assert_eq!(sent(&mut intake), [11]);
    // By the head alone.
    fall(&mut intake, 5);
    let Missed::Ask(asked) = intake.has_missed(&name("c"), Some(&head(1, 13))) else { panic!("the log is not asked") };
    assert_eq!(intake.push(b"c", &numbered(1, 14)), None);
    assert_eq!(intake.compare(&name("c"), &Looked::with(&asked, Vec::new(), None)), ask("c"));
    intake.learn(&name("c"), Some(&head(1, 14)));
    assert_eq!((sent(&mut intake), intake.room.bytes()), (vec![14], 0));
}

#[test]
fn a_push_whose_channel_is_flushed_before_it_is_known_is_a_lost_write() {
    for mut intake in [intake(), pattern(Room::default())] {
        flushed_before_it_is_known(&mut intake, false);
    }
    flushed_before_it_is_known(&mut pattern(Room::default()), true);
}

fn flushed_before_it_is_known(intake: &mut Intake, after_reconnection: bool) {
    // Of a channel that never was, it is a stranger's.
    intake.push(b"c", &numbered(9, 4));
    intake.learn(&name("c"), None);
    assert_eq!((sent(intake), intake.take_lost()), (vec![0], 0));
    intake.push(b"c", &numbered(1, 1));
    intake.learn(&name("c"), Some(&head(1, 1)));
    assert_eq!(sent(intake), [1]);
    if after_reconnection {
        intake.forget();
    }
    // An epoch begins, and head and log go before the head can be read.
    assert_eq!(intake.push(b"c", &numbered(2, 2)), ask("c"));
    intake.learn(&name("c"), None);
    assert_eq!((sent(intake), intake.take_lost(), intake.room.bytes()), (vec![], 1, 0));
    // From then on the channel is as new.
    intake.push(b"c", &numbered(9, 4));
    intake.learn(&name("c"), None);
    assert_eq!((sent(intake), intake.take_lost()), (vec![0], 0));
}

#[test]
fn a_push_of_an_epoch_that_is_recorded_as_lost_is_lost_as_well() {
    let mut head = history(&[(2, 1, 0)], 4);
    head.losses = vec![Loss { began: epoch(2), epoch: epoch(1), from: 1, to: 2 }];
    let mut intake = intake();
    for sequence in 1..=3 {
        intake.push(b"c", &numbered(1, sequence));
    }
    intake.learn(&name("c"), Some(&head));
    assert_eq!((sent(&mut intake), intake.take_lost()), (vec![], 2));
    assert_eq!(intake.take_late(), [Late { channel: name("c"), epoch: epoch(1), from: 3, to: 3 }]);
}

#[test]
fn a_head_with_another_message_as_its_last_is_checked() {
    let mut intake = received_up_to(1, 8);
    let newer = Head { time_ms: 5_000, ..head(1, 8) };
    let Missed::Ask(asked) = intake.has_missed(&name("c"), Some(&newer)) else { panic!("the log is not asked") };
    assert_eq!(intake.push(b"c", &numbered(1, 9)), None);
    let looked = Looked::with(&asked, vec![stored(8, &numbered(1, 8))], Some(6));
    assert_eq!(intake.compare(&name("c"), &looked), ask("c"));
    intake.learn(&name("c"), Some(&Head { time_ms: 5_000, ..head(1, 9) }));
    assert_eq!(sent(&mut intake), [-6, 9]);
    let same = Head { time_ms: 1_000, ..head(1, 9) };
    assert!(matches!(intake.has_missed(&name("c"), Some(&same)), Missed::Nothing));
}

#[test]
fn a_push_that_fits_no_position_on_a_new_channel_is_compared_too() {
    let mut intake = intake();
    let (edited, next) = (numbered(1, 3), numbered(1, 9));
    intake.push(b"c", &edited);
    intake.push(b"c", &next);
    let (_, asked) = intake.learn(&name("c"), Some(&head(1, 9)));
    let looked = Looked::with(&question(asked), vec![stored(3, &numbered(1, 3))], None);
    assert_eq!(intake.compare(&name("c"), &looked), None);
    assert_eq!(sent(&mut intake), [0, 9]);
}

#[test]
fn without_history_the_date_distinguishes_a_rewritten_message_from_a_copy() {
    for (time_ms, expected) in [(1_000, vec![]), (2_000, vec![-2, 2])] {
        let mut intake = received_up_to(1, 3);
        let asked = question(intake.push(b"c", &dated(1, 2, time_ms)));
        assert_eq!(intake.compare(&name("c"), &Looked::of_unkept(&asked)), None);
        assert_eq!(sent(&mut intake), expected, "{time_ms}");
    }
}
