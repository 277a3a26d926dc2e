//! Histories in a few words. All is about channel `c`; a second is a second, and messages say `m1`, `m2` ….

use std::time::Duration;

use tidings::{
    broker::history::EpochStart,
    message::{Epoch, Position},
    pb::GapReason,
};

use crate::{
    check::check,
    history::{Attempt, End, Event, Fault, Head, History, Log, Logged, Outcome, Positions, Sample, Start, Stream},
};

pub(super) fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn epoch(number: u64) -> Epoch {
    Epoch::from_u64(number << 48).expect("not zero")
}

/// Message `sequence` of an epoch.
pub(super) fn position(number: u64, sequence: i64) -> Position {
    Position::new(epoch(number), sequence)
}

pub(super) fn positions(position: Position) -> Positions {
    Positions::from([("c".to_owned(), position)])
}

/// A head that begins epoch after epoch: number, first sequence, known end of the one before.
pub(super) fn head(epochs: &[(u64, i64, i64)], first: i64, last: i64) -> Head {
    let epochs = epochs
        .iter()
        .map(|(number, first, previous_end)| EpochStart {
            epoch: epoch(*number),
            first: *first,
            previous_end: *previous_end,
        })
        .collect();
    Head { epochs, losses: Vec::new(), first, last }
}

/// A history whose log is this at the end. What it holds was published, each message in a second of its own, with a
/// receipt.
pub(super) fn history(head: Head) -> History {
    let mut history = History { calm: at(100), ..History::default() };
    for sequence in head.first..=head.last {
        let start = head.epochs.iter().rev().find(|start| start.first <= sequence).expect("an epoch");
        publish(&mut history, Position::new(start.epoch, sequence), sequence as u64);
    }
    finish(&mut history, head);
    history
}

/// Replaces the log at the end.
pub(super) fn finish(history: &mut History, head: Head) {
    let messages = (head.first..=head.last).map(|sequence| {
        let start = head.epochs.iter().rev().find(|start| start.first <= sequence).expect("an epoch");
        let body = format!("m{sequence}");
        Logged { position: Position::new(start.epoch, sequence), id: body.clone(), body }
    });
    let messages = messages.collect();
    history.samples.push(Sample { began: at(90), ended: at(90), heads: [("c".to_owned(), head.clone())].into() });
    history.logs.insert("c".to_owned(), Log { head, messages });
}

/// Adds a publish with a receipt.
pub(super) fn publish(history: &mut History, position: Position, second: u64) {
    let body = format!("m{}", position.sequence);
    let outcome = Outcome::Receipt { position, duplicate: false };
    attempt(history, &body, second, outcome);
}

/// Adds a try.
pub(super) fn attempt(history: &mut History, body: &str, second: u64, outcome: Outcome) {
    let call = history.attempts.len();
    history.attempts.push(Attempt {
        channel: "c".to_owned(),
        body: body.to_owned(),
        id: None,
        instance: 1,
        call,
        began: at(second),
        ended: at(second) + Duration::from_millis(500),
        outcome,
    });
}

/// Adds a fault that may lose what was published since.
pub(super) fn loss(history: &mut History, since: u64, second: u64) {
    history.faults.push(Fault {
        what: "a loss".to_owned(),
        began: at(second),
        ended: at(second),
        loses_from: Some(at(since)),
        ..Fault::default()
    });
}

/// Adds a stream after a position, which says this, an event each second from second 50 on.
pub(super) fn stream(history: &mut History, from: Position, events: Vec<Event>) -> &mut Stream {
    let started = Event::Started(positions(from));
    let events = (50..).map(at).zip([started].into_iter().chain(events)).collect();
    history.streams.push(Stream {
        reader: 0,
        instance: 2,
        topic: "c".to_owned(),
        is_pattern: false,
        start: Start::After(positions(from)),
        fails_on_gap: false,
        asked: at(49),
        opened: Some(at(49)),
        events,
        end: End::Closed,
    });
    history.streams.last_mut().expect("just added")
}

/// A message with its own cursor.
pub(super) fn message(number: u64, sequence: i64) -> Event {
    saying(&format!("m{sequence}"), position(number, sequence))
}

pub(super) fn saying(body: &str, position: Position) -> Event {
    let (channel, body) = ("c".to_owned(), body.to_owned());
    Event::Message { channel, id: body.clone(), body, position, cursor: position }
}

pub(super) fn trimmed(number: u64, first: i64, last: i64) -> Event {
    gap(number, first, last, GapReason::Trimmed, position(number, last))
}

pub(super) fn lost(number: u64, first: i64, last: i64, cursor: Position) -> Event {
    gap(number, first, last, GapReason::EpochChanged, cursor)
}

pub(super) fn gap(number: u64, first: i64, last: i64, reason: GapReason, cursor: Position) -> Event {
    Event::Gap { channel: "c".to_owned(), epoch: Some(epoch(number)), first, last, reason, cursor }
}

/// Nothing is wrong with it.
#[track_caller]
pub(super) fn good(history: &History) {
    let violations = check(history);
    assert!(violations.is_empty(), "{violations:?}");
}

/// Something is wrong with it, in these words.
#[track_caller]
pub(super) fn bad(history: &History, words: &str) {
    let violations = check(history);
    assert!(violations.iter().any(|violation| violation.text.contains(words)), "{violations:?}");
}
