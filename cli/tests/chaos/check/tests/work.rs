use std::time::Duration;

use tidings::{message::Position, subscription::Generation};

use super::script::{at, bad, good, head, history, loss, position};
use crate::{
    history::{History, Sample},
    work::story::{Answer, Ask, Copy, Deed, Delivery, Ending, Letter, Lost, Redrive, Session, Story},
};

const FAILS: Deed = Deed::Reject { uncounted: false, dead: false, delay: None };
const UNCOUNTED: Deed = Deed::Reject { uncounted: true, dead: false, delay: None };

/// Messages 1 to 3, and a subscription that got all of them in second 20, and had 1 and 2 acknowledged in second 21.
fn three() -> History {
    let mut history = history(head(&[(1, 1, 0)], 1, 3));
    let session = Session { instance: 3, opened: at(19), is_pull: false, is_begun: true, closed: None, ended: None };
    let story = Story {
        name: "w".to_owned(),
        channel: "c".to_owned(),
        letters: "dead-letter.w".to_owned(),
        attempts: 3,
        sessions: vec![session],
        ending: Some(Ending { began: at(80), ..Ending::default() }),
        ..Story::default()
    };
    history.stories.push(story);
    for sequence in 1..=3 {
        deliver(&mut history, sequence, 1, 20);
    }
    for sequence in 1..=2 {
        ask(&mut history, sequence, 20, Deed::Acknowledge, 21, Answer::Done);
    }
    history
}

fn id(sequence: i64, second: u64) -> String {
    format!("the ack id of {sequence} in second {second}")
}

/// Delivers a message for ten seconds.
fn deliver(history: &mut History, sequence: i64, attempt: u32, second: u64) {
    history.stories[0].deliveries.push(Delivery {
        session: 0,
        ack_id: id(sequence, second),
        generation: Generation::from_u64(1).expect("not 0"),
        position: position(1, sequence),
        body: format!("m{sequence}"),
        key: "the key".to_owned(),
        attempt,
        sent: at(second),
        received: at(second) + Duration::from_millis(1),
        deadline: at(second + 10),
    });
}

/// Asks about the delivery of that second, and has the answer half a second later.
fn ask(history: &mut History, sequence: i64, delivered: u64, deed: Deed, second: u64, answer: Answer) {
    let answered = Some((at(second) + Duration::from_millis(500), answer));
    let ack_id = id(sequence, delivered);
    history.stories[0].asks.push(Ask { ack_id, deed, asked: at(second), answered });
}

fn redrive(history: &mut History, second: u64, count: i64) {
    let (ids, positions) = (vec!["its id".to_owned()], Some(vec![position(1, 3)]));
    let (asked, ended) = (at(second), at(second) + Duration::from_millis(500));
    history.stories[0].redrives.push(Redrive { ids, positions, asked, ended, count: Some(count) });
}

fn copy(history: &mut History, number: i64, dead_ms: i64) {
    history.stories[0].copies.push(Copy {
        at: position(9, number),
        id: format!("copy {number}"),
        body: "m3".to_owned(),
        of: position(1, 3),
        attempts: 1,
        dead_ms,
    });
}

/// Message 3 is dead at the end.
fn dies(history: &mut History) {
    let letter = Letter { id: "its id".to_owned(), position: position(1, 3), body: "m3".to_owned(), dead_ms: 7 };
    let ending = history.stories[0].ending.as_mut().expect("an end");
    (ending.letters, ending.dead, ending.dead_before) = (vec![letter], 1, 1);
}

/// Message 3 is acknowledged as well.
fn all_done() -> History {
    let mut history = three();
    ask(&mut history, 3, 20, Deed::Acknowledge, 22, Answer::Done);
    history
}

#[test]
fn what_is_neither_done_nor_dead_nor_lost_is_found() {
    good(&all_done());
    let history = three();
    bad(&history, "m3 is in the log, and neither acknowledged nor dead");
    bad(&history, "of 3 messages 2 are acknowledged, 0 perhaps, 0 dead and 0 lost");
    let mut history = all_done();
    history.stories[0].ending.as_mut().expect("an end").lost = 1;
    bad(&history, "0 dead and 1 lost");
    let mut history = all_done();
    history.stories[0].ending.as_mut().expect("an end").backlog_before = 1;
    bad(&history, "has a backlog of 1, of which 0 are acknowledged");
    let mut history = all_done();
    history.stories[0].ending.as_mut().expect("an end").kept = vec![("sub-tries".to_owned(), 1)];
    bad(&history, "Redis keeps");
    let mut history = all_done();
    let first = position(1, 3);
    history.stories[0].lost.push(Lost { at: at(30), count: 1, first, last: 3 });
    bad(&history, "it is acknowledged, and reported as lost");
    bad(&history, "it is in the log, and was reported as lost");
}

#[test]
fn a_message_that_comes_after_it_was_acknowledged_is_found() {
    let mut history = all_done();
    deliver(&mut history, 1, 2, 40);
    bad(&history, "is acknowledged at 21.500, and delivered at");
    // What was written then is forgotten.
    loss(&mut history, 20, 35);
    good(&history);
    let mut history = all_done();
    deliver(&mut history, 1, 2, 40);
    loss(&mut history, 23, 35);
    bad(&history, "is acknowledged at 21.500, and delivered at");
}

#[test]
fn two_leases_at_once_are_found() {
    let mut history = three();
    deliver(&mut history, 3, 2, 29);
    ask(&mut history, 3, 29, Deed::Acknowledge, 31, Answer::Done);
    bad(&history, "is leased until 30.000");
    // Whoever asked for the end has it no longer.
    ask(&mut history, 3, 20, FAILS, 28, Answer::Unknown);
    good(&history);
    let mut history = three();
    ask(&mut history, 3, 20, Deed::Extend(Duration::from_secs(10)), 25, Answer::Done);
    deliver(&mut history, 3, 2, 31);
    ask(&mut history, 3, 31, Deed::Acknowledge, 32, Answer::Done);
    bad(&history, "is leased until 35.000");
    let mut history = three();
    history.stories[0].sessions[0].closed = Some(at(28));
    deliver(&mut history, 3, 2, 29);
    ask(&mut history, 3, 29, Deed::Acknowledge, 31, Answer::Done);
    good(&history);
}

#[test]
fn answers_that_are_not_true_are_found() {
    let mut history = all_done();
    ask(&mut history, 3, 20, Deed::Acknowledge, 24, Answer::Stale);
    bad(&history, "is acknowledged at 22.500, and stale at 24.500");
    // The log does not have it any more.
    let mut head = head(&[(1, 1, 0)], 1, 3);
    head.first = 4;
    let heads = [("c".to_owned(), head)].into();
    history.samples.insert(0, Sample { began: at(23), ended: at(23), heads });
    good(&history);
    let mut history = all_done();
    history.stories[0].asks.pop();
    ask(&mut history, 3, 20, Deed::Acknowledge, 22, Answer::Stale);
    bad(&history, "Acknowledge at 22.500 is stale, and the lease ends at 30.000");
}

#[test]
fn attempts_that_are_not_exact_are_found() {
    for (deed, attempt, words) in [
        (FAILS, 2, ""),
        (FAILS, 1, "as attempt 1, and that should be 2 to 2"),
        (FAILS, 3, "as attempt 3, and that should be 2 to 2"),
        (FAILS, 4, "is delivered as attempt 4"),
        (UNCOUNTED, 1, ""),
        (UNCOUNTED, 2, "as attempt 2, and that should be 1 to 1"),
    ] {
        let mut history = three();
        history.stories[0].deliveries[2].session = 0;
        ask(&mut history, 3, 20, deed, 21, Answer::Done);
        deliver(&mut history, 3, attempt, 22);
        ask(&mut history, 3, 22, Deed::Acknowledge, 23, Answer::Done);
        // A stream that is over by then hides nothing.
        history.stories[0].sessions[0].is_pull = true;
        if words.is_empty() { good(&history) } else { bad(&history, words) }
    }
}

#[test]
fn a_dead_letter_is_published_and_put_back_once() {
    let dead = |second, attempt| {
        let mut history = three();
        let last = history.stories[0].deliveries.last_mut().expect("one");
        (last.attempt, last.sent) = (attempt, at(second));
        last.ack_id = id(3, second);
        ask(&mut history, 3, second, FAILS, second + 1, Answer::Done);
        dies(&mut history);
        history
    };
    let mut history = dead(20, 3);
    bad(&history, "was not published");
    copy(&mut history, 1, 7);
    good(&history);
    copy(&mut history, 2, 7);
    bad(&history, "it died once, and has copies at 0009:1 and at 0009:2");
    history.stories[0].copies[1].dead_ms = 8;
    bad(&history, "has 2 copies");
    redrive(&mut history, 30, 1);
    good(&history);
    redrive(&mut history, 31, 1);
    bad(&history, "were put back twice");
    let mut history = dead(20, 3);
    copy(&mut history, 1, 7);
    deliver(&mut history, 3, 1, 30);
    bad(&history, "is put aside at 21.500, and delivered at");
    redrive(&mut history, 25, 1);
    good(&history);
    let mut history = dead(20, 3);
    let ending = history.stories[0].ending.as_mut().expect("an end");
    (ending.letters, ending.dead, ending.dead_before) = (Vec::new(), 0, 0);
    bad(&history, "it was put aside, and is not listed");
    let mut history = dead(20, 3);
    copy(&mut history, 1, 7);
    let again = Copy { at: Position { sequence: 2, ..position(9, 2) }, ..history.stories[0].copies[0].clone() };
    history.stories[0].copies.push(again);
    bad(&history, "a dead letter is published at");
}

#[test]
fn a_subscription_that_goes_and_a_stream_that_ends_need_a_reason() {
    let mut history = all_done();
    history.stories[0].sessions[0].ended = Some((at(40), "SUBSCRIPTION_NOT_FOUND".to_owned()));
    bad(&history, "with SUBSCRIPTION_NOT_FOUND, for no reason");
    history.stories[0].missing.push(at(40));
    bad(&history, "is said not to be there");
    loss(&mut history, 0, 39);
    good(&history);
    let mut history = all_done();
    history.stories[0].sessions[0].is_begun = false;
    history.stories[0].sessions[0].ended = Some((at(20), "BROKER_UNAVAILABLE".to_owned()));
    good(&history);
}

#[test]
fn two_of_a_key_and_a_wrong_order_are_found() {
    // The third comes while the first two are settled; of one that is not in order nothing is said.
    let mut history = all_done();
    good(&history);
    let deliveries = &mut history.stories[0].deliveries;
    for (delivery, second) in deliveries.iter_mut().zip([20, 24, 28]) {
        (delivery.sent, delivery.received) = (at(second), at(second) + Duration::from_millis(1));
        delivery.ack_id = id(delivery.position.sequence, second);
    }
    let settled = |seconds: [u64; 3]| {
        let mut history = history.clone();
        history.stories[0].asks.clear();
        for (index, second) in seconds.into_iter().enumerate() {
            let sequence = index as i64 + 1;
            ask(&mut history, sequence, 20 + 4 * index as u64, Deed::Acknowledge, second, Answer::Done);
        }
        history.stories[0].is_ordered = true;
        history
    };
    good(&settled([22, 26, 29]));
    let early = settled([22, 29, 29]);
    bad(&early, "comes at 28.000, and message 2 of \"the key\", which came at 24.000, is under way");
    let mut forgotten = early.clone();
    loss(&mut forgotten, 20, 27);
    good(&forgotten);
    let mut others = early.clone();
    others.stories[0].deliveries[2].key = "another".to_owned();
    good(&others);
    others.stories[0].deliveries[2].key = String::new();
    good(&others);
    // A rejection opens no key.
    let mut rejected = early;
    rejected.stories[0].asks[1].asked = at(29);
    ask(&mut rejected, 2, 24, FAILS, 26, Answer::Stale);
    bad(&rejected, "is under way");
    let mut turned = settled([22, 26, 29]);
    turned.stories[0].deliveries[1].position = position(1, 3);
    turned.stories[0].deliveries[2].position = position(1, 2);
    let bodies = ["m3", "m2"].map(str::to_owned);
    for (delivery, body) in turned.stories[0].deliveries[1..].iter_mut().zip(bodies) {
        delivery.body = body;
    }
    bad(&turned, "comes at 28.000 after message 3 of \"the key\"");
}
