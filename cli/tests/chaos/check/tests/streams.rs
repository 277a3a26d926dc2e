use tidings::{broker::Loss, message::Position};
use tonic::Code;

use super::script::{
    at, attempt, bad, epoch, good, head, history, loss, lost, message, position, positions, saying, stream,
};
use crate::history::{End, Event, History, Outcome, Sample, Start};

/// Messages 1 to 5 of one epoch.
fn five() -> History {
    history(head(&[(1, 1, 0)], 1, 5))
}

#[test]
fn a_stream_that_delivers_all_in_order_is_good() {
    let mut history = five();
    let events = vec![message(1, 1), message(1, 2), Event::CaughtUp(positions(position(1, 2))), message(1, 3)];
    stream(&mut history, Position::START, events);
    stream(&mut history, position(1, 3), vec![message(1, 4), message(1, 5)]).end = End::Open;
    good(&history);
}

#[test]
fn a_jump_a_step_back_and_a_repeat_are_found() {
    let mut history = five();
    stream(&mut history, Position::START, vec![message(1, 1), message(1, 3)]);
    bad(&history, "a silent gap");
    let mut history = five();
    stream(&mut history, position(1, 2), vec![message(1, 3), message(1, 2)]);
    bad(&history, "a step back");
    let mut history = five();
    stream(&mut history, position(1, 2), vec![message(1, 3), saying("m3", position(1, 4))]);
    bad(&history, "comes twice");
    let mut history = five();
    stream(&mut history, Position::START, vec![message(1, 2)]);
    bad(&history, "a silent gap");
}

#[test]
fn a_message_that_is_not_the_logs_is_found() {
    let mut history = five();
    stream(&mut history, position(1, 2), vec![saying("m4", position(1, 3))]);
    bad(&history, "says that m4 is at");
    let mut history = five();
    stream(&mut history, position(1, 5), vec![saying("nobody's", position(1, 6))]);
    bad(&history, "nobody published");
}

#[test]
fn a_new_epoch_that_lost_nothing_needs_no_word() {
    let epochs = [(1, 1, 0), (2, 4, 3)];
    let mut history = history(head(&epochs, 1, 5));
    stream(&mut history, position(1, 2), vec![message(1, 3), message(2, 4), message(2, 5)]).end = End::Open;
    good(&history);
    stream(&mut history, position(1, 2), vec![message(2, 3)]);
    bad(&history, "without naming the loss up to 0001:3");
}

#[test]
fn a_new_epoch_that_lost_something_needs_one() {
    // 4 to 6 of the first epoch were lost.
    let mut history = history(head(&[(1, 1, 0), (2, 4, 6)], 1, 5));
    for sequence in 4..=6 {
        let outcome = Outcome::Receipt { position: position(1, sequence), duplicate: false };
        attempt(&mut history, &format!("old{sequence}"), 20, outcome);
    }
    loss(&mut history, 19, 30);
    let reported = vec![message(1, 3), lost(1, 4, 6, position(2, 3)), message(2, 4), message(2, 5)];
    stream(&mut history, position(1, 2), reported).end = End::Open;
    let beyond = vec![saying("old5", position(1, 5)), lost(1, 4, 6, position(2, 3)), message(2, 4)];
    stream(&mut history, position(1, 4), beyond);
    good(&history);
    stream(&mut history, position(1, 2), vec![message(1, 3), message(2, 4)]);
    bad(&history, "without naming the loss up to 0001:6");
}

#[test]
fn an_epoch_that_was_replaced_had_no_message() {
    let mut history = history(head(&[(1, 1, 0), (3, 4, 3)], 1, 5));
    stream(&mut history, position(2, 3), vec![message(3, 4)]);
    good(&history);
    // Somebody has a message of it, which was reported to nobody: both sides forked before that.
    attempt(&mut history, "other", 20, Outcome::Receipt { position: position(2, 3), duplicate: false });
    loss(&mut history, 19, 30);
    bad(&history, "nothing is said of it");
}

#[test]
fn a_fork_is_left_where_both_sides_part() {
    // Redis went back to 1:2, and 3 began where 2 had begun at 4.
    let mut history = history(head(&[(1, 1, 0), (3, 3, 2)], 1, 5));
    let gone = head(&[(1, 1, 0), (2, 4, 3)], 1, 4);
    history.samples.insert(0, Sample { began: at(10), ended: at(10), heads: [("c".to_owned(), gone)].into() });
    attempt(&mut history, "gone", 20, Outcome::Receipt { position: position(2, 4), duplicate: false });
    loss(&mut history, 19, 30);
    let reported = vec![lost(2, 3, 4, position(1, 2)), message(3, 3), message(3, 4)];
    stream(&mut history, position(2, 4), reported);
    good(&history);
    stream(&mut history, position(2, 4), vec![lost(2, 5, 5, position(3, 4)), message(3, 5)]);
    bad(&history, "lost up to 0002:5, where nothing ever was");
    history.streams.pop();
    stream(&mut history, position(2, 3), vec![lost(2, 4, 4, position(3, 3)), message(3, 4)]);
    bad(&history, "0003:3 is missing");
}

#[test]
fn a_loss_that_was_found_out_late_needs_a_word() {
    let mut head = head(&[(1, 1, 0), (2, 4, 3)], 1, 5);
    head.losses = vec![Loss { began: epoch(2), epoch: epoch(1), from: 4, to: 6 }];
    let mut history = history(head);
    for sequence in 4..=6 {
        let outcome = Outcome::Receipt { position: position(1, sequence), duplicate: false };
        attempt(&mut history, &format!("old{sequence}"), 20, outcome);
    }
    loss(&mut history, 19, 30);
    stream(&mut history, position(1, 2), vec![message(1, 3), lost(1, 4, 6, position(2, 3)), message(2, 4)]);
    good(&history);
    stream(&mut history, position(1, 2), vec![message(1, 3), message(2, 4)]);
    bad(&history, "without naming the loss up to 0001:6");
}

#[test]
fn what_was_reported_without_an_end_is_not_reported_when_its_end_is_named() {
    let mut head = head(&[(3, 1, 0), (4, 2, 1)], 1, 2);
    head.losses = vec![Loss { began: epoch(4), epoch: epoch(1), from: 1, to: 6 }];
    let mut history = history(head);
    for sequence in 1..=6 {
        let outcome = Outcome::Receipt { position: position(1, sequence), duplicate: false };
        attempt(&mut history, &format!("old{sequence}"), 20, outcome);
    }
    loss(&mut history, 19, 30);
    let flushed = |number| vec![lost(number, 3, 0, Position::START), message(3, 1), message(4, 2)];
    stream(&mut history, position(1, 2), flushed(1));
    good(&history);
    stream(&mut history, position(2, 2), flushed(2));
    bad(&history, "without naming the loss up to 0001:6");
}

#[test]
fn what_was_lost_may_come_again() {
    let mut history = history(head(&[(1, 1, 0), (2, 4, 5)], 1, 5));
    let outcome = Outcome::Receipt { position: position(1, 5), duplicate: false };
    attempt(&mut history, "m4", 20, outcome);
    loss(&mut history, 19, 30);
    let again = vec![saying("m4", position(1, 5)), lost(1, 4, 5, position(2, 3)), message(2, 4)];
    stream(&mut history, position(1, 4), again);
    // The try above contradicts the order of receipts only because it is given in seconds.
    good(&history);
    let kept = vec![message(1, 3), lost(1, 4, 5, position(2, 3)), saying("m3", position(2, 4))];
    stream(&mut history, position(1, 2), kept);
    bad(&history, "comes twice");
}

#[test]
fn cursors_name_the_streams_position() {
    let mut history = five();
    stream(&mut history, position(1, 2), vec![message(1, 3), Event::Heartbeat(positions(position(1, 4)))]);
    bad(&history, "a cursor says");
    let mut history = five();
    stream(&mut history, position(1, 2), vec![message(1, 3), Event::CaughtUp(positions(position(1, 2)))]);
    bad(&history, "a cursor says");
    let mut history = five();
    let events = vec![message(1, 3), Event::Heartbeat(crate::history::Positions::new())];
    stream(&mut history, position(1, 2), events);
    bad(&history, "a cursor lacks c");
    let mut history = five();
    let ahead = Event::Message {
        channel: "c".to_owned(),
        id: "m3".to_owned(),
        body: "m3".to_owned(),
        position: position(1, 3),
        cursor: position(1, 4),
    };
    stream(&mut history, position(1, 2), vec![ahead]);
    bad(&history, "the cursor of");
}

#[test]
fn a_stream_begins_where_it_was_asked_to() {
    let mut history = five();
    stream(&mut history, position(1, 3), vec![]).start = Start::After(positions(position(1, 2)));
    bad(&history, "asked to resume after");
    let mut history = five();
    stream(&mut history, position(1, 1), vec![]).start = Start::Earliest;
    bad(&history, "whose log begins at 1");
    let mut history = five();
    stream(&mut history, position(1, 3), vec![]).start = Start::Last(3);
    bad(&history, "whose log begins at 1");
    let mut history = five();
    stream(&mut history, position(1, 4), vec![]).start = Start::Now;
    bad(&history, "had its receipt when the stream was asked for");
    let mut history = history_with_a_late_message();
    stream(&mut history, position(1, 6), vec![]).start = Start::Now;
    bad(&history, "published after the headers");
    let mut history = history_with_a_late_message();
    stream(&mut history, position(1, 5), vec![message(1, 6)]).start = Start::Now;
    stream(&mut history, position(1, 3), vec![message(1, 4)]).start = Start::Last(3);
    stream(&mut history, position(1, 0), vec![message(1, 1)]).start = Start::Earliest;
    good(&history);
}

fn history_with_a_late_message() -> History {
    let mut history = history(head(&[(1, 1, 0)], 1, 6));
    history.attempts[5].began = at(60);
    history.attempts[5].ended = at(61);
    history
}

#[test]
fn streams_end_for_a_reason_only() {
    let ended = |code, reason: &str| End::Status { at: at(60), code, reason: reason.to_owned(), cursor: None };
    let mut history = five();
    stream(&mut history, position(1, 5), vec![]).end = ended(Code::Unavailable, "DRAINING");
    bad(&history, "for no reason");
    loss(&mut history, 60, 60);
    history.faults[0].ends_streams_of = Some(2);
    good(&history);
    let refused = stream(&mut history, position(1, 5), vec![]);
    (refused.instance, refused.opened, refused.end) = (3, None, ended(Code::Unavailable, "BROKER_UNAVAILABLE"));
    good(&history);
    history.streams[1].opened = Some(at(50));
    bad(&history, "for no reason");
}

#[test]
fn an_open_stream_must_have_everything_at_the_end() {
    let mut history = five();
    stream(&mut history, position(1, 2), vec![message(1, 3), message(1, 4)]).end = End::Open;
    bad(&history, "at the end, whose last message is 5");
}

#[test]
fn unnumbered_messages_are_plain_programs() {
    let plain = |cursor| Event::Message {
        channel: "c".to_owned(),
        id: "w1".to_owned(),
        body: "w1".to_owned(),
        position: Position::START,
        cursor,
    };
    let published = || {
        let mut history = five();
        history.plain.push(crate::history::Plain { channel: "c".to_owned(), body: "w1".to_owned() });
        history
    };
    let mut history = published();
    stream(&mut history, position(1, 3), vec![plain(position(1, 3)), message(1, 4)]);
    stream(&mut history, position(1, 3), vec![message(1, 4), plain(position(1, 4)), message(1, 5)]);
    good(&history);
    let mut history = published();
    stream(&mut history, position(1, 3), vec![message(1, 4), plain(position(1, 3))]);
    bad(&history, "and the stream is at");
    let mut history = published();
    stream(&mut history, position(1, 3), vec![plain(position(1, 4))]);
    bad(&history, "and the stream is at");
    let mut history = published();
    stream(&mut history, position(1, 3), vec![plain(position(1, 3)), plain(position(1, 3))]);
    bad(&history, "comes twice");
    let mut history = five();
    let (body, unnumbered) = ("m4".to_owned(), Position::START);
    let event = Event::Message {
        channel: "c".to_owned(),
        id: body.clone(),
        body,
        position: unnumbered,
        cursor: position(1, 3),
    };
    stream(&mut history, position(1, 3), vec![event]);
    bad(&history, "is unnumbered, and nothing was lost");
}

/// What is adopted again is so only because the log had forgotten it.
#[test]
fn what_was_adopted_comes_again_only_when_the_log_had_been_trimmed() {
    let adopted_twice = |trimmed: bool| {
        let mut history = five();
        history.plain.push(crate::history::Plain { channel: "c".to_owned(), body: "w1".to_owned() });
        for log in history.logs.values_mut() {
            log.messages.retain(|message| message.position != position(1, 1));
            log.messages.iter_mut().filter(|message| message.position == position(1, 5)).for_each(|message| {
                (message.body, message.id) = ("w1".to_owned(), "w1".to_owned());
            });
            log.head.first = 2;
        }
        history.attempts.retain(|attempt| !["m1", "m5"].contains(&attempt.body.as_str()));
        let first = if trimmed { 2 } else { 1 };
        let heads = [("c".to_owned(), head(&[(1, 1, 0)], first, 4))].into();
        history.samples.insert(0, Sample { began: at(5), ended: at(5), heads });
        let said =
            [saying("w1", position(1, 1)), message(1, 2), message(1, 3), message(1, 4), saying("w1", position(1, 5))];
        stream(&mut history, position(1, 0), said.into());
        history
    };
    good(&adopted_twice(true));
    bad(&adopted_twice(false), "comes twice");
}
