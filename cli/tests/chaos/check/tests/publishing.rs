use super::script::{attempt, bad, finish, good, head, history, loss, position, publish};
use crate::history::{History, Outcome};

fn five() -> History {
    history(head(&[(1, 1, 0)], 1, 5))
}

fn receipt(number: u64, sequence: i64, duplicate: bool) -> Outcome {
    Outcome::Receipt { position: position(number, sequence), duplicate }
}

#[test]
fn a_receipt_without_its_message_is_found() {
    let mut history = five();
    attempt(&mut history, "m6", 20, receipt(1, 6, false));
    bad(&history, "m6 has a receipt for");
    loss(&mut history, 19, 30);
    good(&history);
    let mut late = five();
    attempt(&mut late, "m6", 40, receipt(1, 6, false));
    loss(&mut late, 19, 30);
    bad(&late, "m6 has a receipt for");
    let mut early = five();
    attempt(&mut early, "m6", 10, receipt(1, 6, false));
    loss(&mut early, 19, 30);
    bad(&early, "m6 has a receipt for");
}

#[test]
fn a_receipt_of_what_was_trimmed_is_good() {
    let mut history = five();
    finish(&mut history, head(&[(1, 1, 0)], 3, 5));
    good(&history);
}

#[test]
fn a_position_is_given_once() {
    let mut history = five();
    attempt(&mut history, "other", 20, receipt(1, 3, false));
    bad(&history, "says that other is at");
}

#[test]
fn a_repeat_gets_the_first_receipt() {
    let mut history = five();
    attempt(&mut history, "m3", 20, receipt(1, 3, true));
    good(&history);
    attempt(&mut history, "m3", 21, receipt(1, 3, false));
    bad(&history, "was published at 0001:3 twice");
    let mut history = five();
    attempt(&mut history, "m3", 20, receipt(1, 4, true));
    bad(&history, "got a receipt for");
}

#[test]
fn a_message_is_in_the_log_once() {
    let mut history = five();
    let log = history.logs.get_mut("c").expect("the log");
    log.messages[4].body = "m2".to_owned();
    history.attempts[4].outcome = Outcome::Unknown;
    bad(&history, "m2 is in the log at");
}

#[test]
fn a_log_has_no_holes_and_ends_at_its_head() {
    let mut history = five();
    history.logs.get_mut("c").expect("the log").messages.remove(2);
    bad(&history, "where 3 should be");
    let mut history = five();
    history.logs.get_mut("c").expect("the log").head.last = 6;
    bad(&history, "and its head at 6");
}

#[test]
fn what_was_refused_is_nowhere() {
    let mut history = five();
    history.attempts[2].outcome = Outcome::Refused;
    bad(&history, "m3 was said not to be published");
    attempt(&mut history, "m3", 20, Outcome::Unknown);
    good(&history);
}

#[test]
fn an_answer_that_nothing_explains_is_found() {
    let mut history = five();
    attempt(&mut history, "m6", 20, Outcome::Odd("Internal".to_owned()));
    bad(&history, "m6 was answered with Internal");
}

#[test]
fn messages_with_receipts_come_before_later_ones() {
    let mut history = five();
    history.attempts.swap(1, 3);
    let (early, late) = (history.attempts[1].began, history.attempts[3].began);
    (history.attempts[1].began, history.attempts[1].ended) = (late, late);
    (history.attempts[3].began, history.attempts[3].ended) = (early, early);
    bad(&history, "which had its receipt");
}

#[test]
fn a_batch_lands_together() {
    let mut history = five();
    history.attempts[1].call = 77;
    history.attempts[2].call = 77;
    good(&history);
    history.attempts[4].call = 77;
    bad(&history, "a batch has");
}

#[test]
fn a_publisher_that_begins_an_epoch_notes_what_it_knew() {
    let begun = |previous_end| {
        let mut history = history(head(&[(1, 1, 0), (2, 4, previous_end)], 1, 3));
        let mut head = history.logs["c"].head.clone();
        head.last = 4;
        for sequence in 4..=6 {
            attempt(&mut history, &format!("old{sequence}"), 10, receipt(1, sequence, false));
        }
        publish(&mut history, position(2, 4), 20);
        loss(&mut history, 9, 15);
        finish(&mut history, head);
        history
    };
    good(&begun(6));
    bad(&begun(5), "and noted 5 as the end");
}
