use tidings::{message::Position, pb::GapReason};
use tonic::Code;

use super::script::{
    at, attempt, bad, gap, good, head, history, loss, lost, message, position, positions, saying, stream, trimmed,
};
use crate::history::{End, Event, History, Outcome};

/// Messages 4 to 6 are left.
fn three() -> History {
    history(head(&[(1, 1, 0)], 4, 6))
}

/// The first epoch had 4 to 6, and they are gone: the second begins with another 4.
fn forked() -> History {
    let mut history = history(head(&[(1, 1, 0), (2, 4, 6)], 1, 4));
    let outcome = Outcome::Receipt { position: position(1, 6), duplicate: false };
    attempt(&mut history, "old6", 20, outcome);
    loss(&mut history, 19, 30);
    history
}

#[test]
fn what_was_trimmed_is_named() {
    let mut history = three();
    stream(&mut history, position(1, 1), vec![trimmed(1, 2, 3), message(1, 4)]);
    stream(&mut history, Position::START, vec![trimmed(1, 1, 3), message(1, 4)]);
    good(&history);
}

#[test]
fn what_was_not_trimmed_must_not_be_named() {
    let mut history = three();
    stream(&mut history, position(1, 1), vec![trimmed(1, 2, 4), message(1, 5)]);
    bad(&history, "said to be trimmed up to 4, and the log begins at 4");
}

#[test]
fn a_gap_names_exactly_the_range() {
    let mut history = three();
    stream(&mut history, position(1, 1), vec![trimmed(1, 3, 3), message(1, 4)]);
    bad(&history, "trimmed from 3 on, and the stream is at");
    let mut history = three();
    stream(&mut history, position(1, 1), vec![trimmed(1, 2, 2), message(1, 4)]);
    bad(&history, "a silent gap");
    let mut history = three();
    stream(&mut history, position(1, 1), vec![gap(1, 2, 2, GapReason::Trimmed, position(1, 3))]);
    bad(&history, "continues after");
}

#[test]
fn a_reason_must_fit() {
    let mut history = three();
    stream(&mut history, position(1, 1), vec![gap(1, 2, 3, GapReason::NotRetained, position(1, 3))]);
    bad(&history, "it keeps a history");
    let mut history = three();
    stream(&mut history, position(1, 1), vec![lost(1, 2, 3, position(1, 3))]);
    bad(&history, "nothing was lost");
    let mut history = three();
    loss(&mut history, 60, 60);
    stream(&mut history, position(1, 1), vec![lost(1, 2, 3, position(1, 3))]);
    bad(&history, "nothing was lost");
}

#[test]
fn what_was_lost_is_named_and_nothing_else() {
    let mut history = forked();
    stream(&mut history, position(1, 3), vec![lost(1, 4, 6, position(2, 3)), message(2, 4)]).end = End::Open;
    stream(&mut history, position(1, 6), vec![lost(1, 4, 6, position(1, 3)), message(2, 4)]);
    good(&history);
    let wrong = [
        (lost(1, 3, 6, position(2, 3)), "is said to be lost, and is there"),
        (lost(1, 5, 6, position(2, 3)), "nothing is said from 4 on"),
        (lost(1, 4, 7, position(2, 3)), "where nothing ever was"),
        (lost(1, 4, 6, position(2, 4)), "0002:4 is missing"),
    ];
    for (wrong, words) in wrong {
        let mut history = forked();
        stream(&mut history, position(1, 3), vec![wrong]);
        bad(&history, words);
    }
}

#[test]
fn one_loss_is_one_gap() {
    let mut history = forked();
    let twice = vec![lost(1, 4, 6, position(1, 3)), lost(1, 4, 6, position(2, 3))];
    stream(&mut history, position(1, 6), twice);
    bad(&history, "reported up to 6 already");
    let mut history = forked();
    let outcome = Outcome::Receipt { position: position(1, 5), duplicate: false };
    attempt(&mut history, "old5", 20, outcome);
    let parts = vec![lost(1, 4, 5, position(1, 3)), lost(1, 6, 6, position(2, 3)), message(2, 4)];
    stream(&mut history, position(1, 5), parts);
    good(&history);
}

#[test]
fn what_was_said_to_be_lost_must_not_come() {
    let mut history = forked();
    for body in ["old4", "old5"] {
        attempt(&mut history, body, 20, Outcome::Unknown);
    }
    let ring = vec![lost(1, 4, 6, position(1, 3)), saying("old4", position(1, 4))];
    stream(&mut history, position(1, 6), ring);
    bad(&history, "comes, and was said to be lost");
}

#[test]
fn a_flush_is_named_from_the_streams_position() {
    let flushed = || {
        let mut history = history(head(&[(2, 1, 0)], 1, 2));
        history.attempts.iter_mut().for_each(|attempt| attempt.began = at(40));
        history.attempts.iter_mut().for_each(|attempt| attempt.ended = at(41));
        let outcome = Outcome::Receipt { position: position(1, 9), duplicate: false };
        attempt(&mut history, "old9", 20, outcome);
        loss(&mut history, 0, 30);
        history
    };
    let mut history = flushed();
    stream(&mut history, position(1, 7), vec![lost(1, 8, 0, Position::START), message(2, 1), message(2, 2)]);
    stream(&mut history, position(1, 7), vec![lost(1, 8, 0, position(2, 0)), message(2, 1)]);
    good(&history);
    // A copy comes back, silently, and is lost as well.
    let mut history = flushed();
    let again = |epoch, first| vec![lost(1, 8, 0, Position::START), lost(epoch, first, 0, Position::START)];
    stream(&mut history, position(1, 7), again(1, 8));
    good(&history);
    for (epoch, first) in [(1, 9), (9, 8)] {
        let mut history = flushed();
        stream(&mut history, position(1, 7), again(epoch, first));
        bad(&history, &format!("lost from {first} on, and the stream is at"));
    }
    // What was reported before is passed over, and no more.
    let mut history = flushed();
    stream(&mut history, position(1, 7), vec![lost(1, 8, 8, position(1, 7)), lost(1, 9, 0, Position::START)]);
    good(&history);
    let mut history = flushed();
    stream(&mut history, position(1, 7), vec![lost(1, 8, 8, position(1, 7)), lost(1, 10, 0, Position::START)]);
    bad(&history, "lost from 10 on, and the stream is at");
    let mut history = flushed();
    stream(&mut history, position(1, 7), vec![lost(1, 9, 0, Position::START), message(2, 1)]);
    bad(&history, "lost from 9 on, and the stream is at");
    let mut history = flushed();
    stream(&mut history, position(1, 7), vec![lost(1, 8, 0, position(2, 1)), message(2, 2)]);
    bad(&history, "and the log begins at 1");
}

#[test]
fn a_stream_that_fails_at_a_gap_reports_none() {
    let ended = |reason: &str, sequence| End::Status {
        at: at(60),
        code: Code::OutOfRange,
        reason: reason.to_owned(),
        cursor: Some(("c".to_owned(), position(1, sequence))),
    };
    let mut history = three();
    let failing = stream(&mut history, position(1, 1), vec![]);
    (failing.fails_on_gap, failing.end) = (true, ended("TRIMMED", 3));
    good(&history);
    history.streams[0].end = ended("EPOCH_CHANGED", 3);
    bad(&history, "it lost none");
    history.streams[0].end = ended("TRIMMED", 3);
    history.streams[0].events.push((at(51), Event::CaughtUp(positions(position(1, 1)))));
    history.streams[0].events.push((at(52), trimmed(1, 2, 3)));
    bad(&history, "was to end there");
    let mut history = three();
    let failing = stream(&mut history, position(1, 3), vec![]);
    (failing.fails_on_gap, failing.end) = (true, ended("TRIMMED", 4));
    bad(&history, "its log begins at");
}

/// A copy of what was reported as lost comes back: it is passed over, and what was trimmed after it is named from
/// there.
#[test]
fn what_was_reported_before_is_passed_over_up_to_what_was_trimmed() {
    let mut history = history(head(&[(1, 1, 0)], 6, 8));
    loss(&mut history, 19, 30);
    let reported = lost(1, 2, 4, position(1, 1));
    stream(&mut history, position(1, 1), vec![reported, trimmed(1, 5, 5), message(1, 6), message(1, 7), message(1, 8)]);
    good(&history);
    let reported = lost(1, 2, 3, position(1, 1));
    stream(&mut history, position(1, 1), vec![reported, trimmed(1, 5, 5), message(1, 6), message(1, 7), message(1, 8)]);
    bad(&history, "trimmed from 5 on, and the stream is at");
}

/// After a flush a copy comes back that begins a later epoch where the stream had all of the one before.
#[test]
fn what_the_stream_had_of_the_epoch_before_is_not_named_again() {
    let told = |had: i64| {
        let mut history = history(head(&[(1, 1, 0), (2, 4, 3)], 6, 8));
        for sequence in 2..=had {
            attempt(&mut history, &format!("m{sequence}"), 20, Outcome::Unknown);
        }
        loss(&mut history, 0, 30);
        let flushed = lost(1, had + 1, 0, Position::START);
        let before = (2..=had).map(|sequence| message(1, sequence));
        let after = [trimmed(2, 4, 5), message(2, 6), message(2, 7), message(2, 8)];
        stream(&mut history, position(1, 1), before.chain([flushed]).chain(after).collect());
        history
    };
    good(&told(3));
    bad(&told(2), "trimmed from 4 on, and the stream is at");
}
