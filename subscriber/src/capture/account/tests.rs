use std::time::Duration;

use tidings::{
    broker::{adopt::Adoption, history::EpochStart},
    envelope::decode,
    limits::{BACKOFF_MAX, CAPTURE_ASK_PAUSE, CAPTURE_NOTICES},
    message::Epoch,
};

use super::*;

fn at(epoch: u64, sequence: i64) -> Position {
    Position::new(Epoch::from_u64(epoch).expect("not 0"), sequence)
}

fn raw(payload: &str) -> Raw {
    Raw::new(payload.as_bytes(), &decode(payload.as_bytes(), 0)).expect("small enough")
}

fn head(epochs: &[(u64, i64)], last: i64, adopted: Position) -> Head {
    let start = |(epoch, first): &(u64, i64)| EpochStart {
        epoch: Epoch::from_u64(*epoch).expect("not 0"),
        first: *first,
        previous_end: first - 1,
    };
    Head {
        epochs: epochs.iter().map(start).collect(),
        last,
        first: 1,
        time_ms: 0,
        keeps_history: true,
        losses: Vec::new(),
        data_set: None,
        adopted,
    }
}

fn adopted(payload: &str) -> Adopted {
    Adopted { hash: raw(payload).hash, time_ms: 0 }
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// An account that has seen a head of epoch 1 and holds some messages.
fn account(last: i64, payloads: &[&str], now: Instant) -> Account {
    let mut account = Account::default();
    for payload in payloads {
        account.hold(raw(payload), now);
    }
    account.look(Some(&head(&[(1, 1)], last, Position::START)));
    account
}

/// Expects an adoption: the payloads, and what is taken for the last adopted message.
fn adoption(step: Step, payloads: &[&str], last: Position) -> bool {
    let Step::Adopt { messages, adopted, ask, .. } = step else { panic!("it should adopt: {step:?}") };
    assert_eq!(
        messages.iter().map(|raw| raw.hash).collect::<Vec<_>>(),
        payloads.iter().map(|text| raw(text).hash).collect::<Vec<_>>()
    );
    assert_eq!(adopted, last);
    ask
}

#[test]
fn what_is_held_is_adopted_and_taken_out_by_its_notices() {
    let now = Instant::now();
    let mut account = Account::default();
    assert_eq!(account.next(now), Step::Rest);
    account.hold(raw("a"), now);
    account.hold(raw("b"), now);
    assert_eq!(account.next(now), Step::Check, "first it must know where the channel is");
    assert_eq!(account.next(now), Step::Rest, "one thing at a time");
    account.look(Some(&head(&[(1, 1)], 4, at(1, 2))));
    account.checked(now);
    assert!(!adoption(account.next(now), &["a", "b"], at(1, 2)));
    account.hold(raw("c"), now);
    account.settle(Adoption::Done { last: at(1, 6), given_up: false }, false, now);
    assert!(account.leads());
    assert_eq!(account.next(now), Step::Wait(now + CAPTURE_NOTICES), "what was adopted is still held");
    account.notice(at(1, 4), at(1, 5), &raw("a").hash, now);
    assert!(matches!(account.next(now), Step::Wait(_)));
    account.notice(at(1, 5), at(1, 6), &raw("b").hash, now);
    adoption(account.next(now), &["c"], at(1, 6));
}

#[test]
fn notices_that_come_before_the_answer_are_its_own() {
    let now = Instant::now();
    let mut account = account(0, &["a"], now);
    adoption(account.next(now), &["a"], Position::START);
    account.notice(at(1, 0), at(1, 1), &raw("a").hash, now);
    account.hold(raw("b"), now);
    account.settle(Adoption::Done { last: at(1, 1), given_up: false }, false, now);
    adoption(account.next(now), &["b"], at(1, 1));
}

#[test]
fn notices_that_do_not_come_are_looked_for_in_the_log() {
    let now = Instant::now();
    let mut account = account(2, &["a"], now);
    adoption(account.next(now), &["a"], Position::START);
    account.settle(Adoption::Done { last: at(1, 3), given_up: false }, false, now);
    let later = now + CAPTURE_NOTICES;
    assert_eq!(account.next(later), Step::Check);
    account.look(Some(&head(&[(1, 1)], 3, at(1, 3))));
    account.checked(later);
    let Step::Read(range) = account.next(later) else { panic!("the log must be read") };
    assert_eq!((range.from, range.to), (at(1, 2), at(1, 3)));
    account.read([(at(1, 3), adopted("a"))].into_iter(), at(1, 3));
    account.read_all();
    assert_eq!(account.next(later), Step::Rest);
    account.hold(raw("b"), later);
    adoption(account.next(later), &["b"], at(1, 3));
}

#[test]
fn a_jump_is_read_before_anything_is_adopted() {
    let now = Instant::now();
    let mut account = account(2, &["a", "b", "c", "a"], now);
    // 3 and 4 were missed; 5 is a publisher's.
    assert!(account.pass(at(1, 4), at(1, 5)));
    account.notice(at(1, 5), at(1, 6), &raw("c").hash, now);
    let Step::Read(range) = account.next(now) else { panic!("the log must be read") };
    assert_eq!((range.from, range.to), (at(1, 2), at(1, 4)));
    account.read([(at(1, 3), adopted("a"))].into_iter(), at(1, 3));
    // The next page fails: it goes on where it was.
    assert!(account.fail(now));
    assert!(!account.fail(now), "said once");
    // The notice was another replica's, and so is the lease.
    let later = now + LEASE;
    assert_eq!(account.next(later), Step::Check);
    account.look(Some(&head(&[(1, 1)], 6, at(1, 6))));
    account.checked(later);
    let Step::Read(range) = account.next(later) else { panic!("the log must be read") };
    assert_eq!((range.from, range.to), (at(1, 3), at(1, 4)));
    account.read(std::iter::empty(), at(1, 4));
    account.read_all();
    adoption(account.next(later), &["b", "a"], at(1, 6));
}

#[test]
fn what_a_range_tells_is_the_last_adopted_unless_more_is_known() {
    let now = Instant::now();
    let mut account = account(2, &["a", "b"], now);
    account.pass(at(1, 4), at(1, 5));
    assert!(matches!(account.next(now), Step::Read(_)));
    account.read([(at(1, 3), adopted("x"))].into_iter(), at(1, 4));
    account.read_all();
    adoption(account.next(now), &["a", "b"], at(1, 3));
}

#[test]
fn what_was_heard_before_is_passed_over() {
    let now = Instant::now();
    let mut account = account(5, &["a", "a"], now);
    account.notice(at(1, 4), at(1, 5), &raw("a").hash, now);
    assert!(!account.pass(at(1, 1), at(1, 4)));
    adoption(account.next(now), &["a", "a"], Position::START);
    // A run that begins below and leads beyond.
    assert!(account.pass(at(1, 3), at(1, 7)));
    account.settle(Adoption::Behind, false, now);
    assert_eq!(account.next(now), Step::Check);
}

#[test]
fn a_new_epoch_is_read_from_the_old_place() {
    let now = Instant::now();
    let mut account = account(5, &["a"], now);
    account.pass(at(2, 5), at(2, 6));
    let Step::Read(range) = account.next(now) else { panic!("the log must be read") };
    assert_eq!((range.from, range.to), (at(1, 5), at(2, 5)));
    account.read(std::iter::empty(), at(2, 5));
    account.read_all();
    adoption(account.next(now), &["a"], Position::START);
    // From the beginning, sequence 1 of any epoch follows.
    let mut new = Account::default();
    new.hold(raw("a"), now);
    new.look(None);
    new.notice(at(3, 0), at(3, 1), &raw("x").hash, now + LEASE);
    let step = new.next(now + LEASE);
    assert!(adoption(step, &["a"], at(3, 1)), "it waits for longer than a lease, so it asks");
}

#[test]
fn a_head_that_fell_back_or_is_gone_leaves_nothing_to_read() {
    let now = Instant::now();
    for (head, last) in [(Some(head(&[(1, 1)], 3, at(1, 2))), at(1, 2)), (None, Position::START)] {
        let mut account = account(5, &["a"], now);
        account.look(head.as_ref());
        adoption(account.next(now), &["a"], last);
    }
}

#[test]
fn whoever_is_behind_looks_again_and_does_not_spin() {
    let now = Instant::now();
    let mut account = account(2, &["a"], now);
    for round in 0..5 {
        let mut time = now;
        if let Step::Wait(until) = account.next(time) {
            assert!(round > 1 && until <= now + BACKOFF_MAX);
            time = until;
            assert!(matches!(account.next(time), Step::Check));
            account.look(Some(&head(&[(1, 1)], 2, at(1, 1))));
            account.checked(time);
            assert!(matches!(account.next(time), Step::Adopt { .. }));
        } else if round == 1 {
            account.look(Some(&head(&[(1, 1)], 2, at(1, 1))));
            account.checked(time);
            assert!(matches!(account.next(time), Step::Adopt { .. }));
        }
        account.settle(Adoption::Behind, false, now);
    }
    assert!(matches!(account.next(now), Step::Wait(_)));
}

#[test]
fn anothers_lease_is_waited_for_and_asked_for_once() {
    let now = Instant::now();
    let mut account = account(2, &["a"], now);
    assert!(!adoption(account.next(now), &["a"], Position::START));
    account.settle(Adoption::Other { for_ms: 2_000 }, false, now);
    assert_eq!(account.next(now), Step::Wait(now + ms(2_000)));
    // Its holder goes on with what others heard, and with it the lease.
    account.notice(at(1, 2), at(1, 3), &raw("x").hash, now + ms(1_900));
    assert_eq!(account.next(now + ms(2_000)), Step::Wait(now + LEASE), "it asks when it has waited that long");
    let asking = now + LEASE;
    assert!(adoption(account.next(asking), &["a"], at(1, 3)));
    account.settle(Adoption::Other { for_ms: 1_900 }, true, asking);
    let pause = asking + CAPTURE_ASK_PAUSE;
    assert_eq!(account.next(asking), Step::Wait(pause));
    assert_eq!(account.next(pause), Step::Wait(asking + ms(1_900)), "once is enough");
    // The holder adopts, and gives it up.
    account.notice(at(1, 3), at(1, 4), &raw("y").hash, pause);
    assert!(adoption(account.next(pause), &["a"], at(1, 4)));
    account.settle(Adoption::Done { last: at(1, 5), given_up: false }, true, pause);
    assert!(account.leads());
    account.notice(at(1, 4), at(1, 5), &raw("a").hash, pause);
    assert!(account.leads() && account.is_idle());
}

#[test]
fn who_gave_the_lease_up_waits_for_its_new_holder() {
    let now = Instant::now();
    let mut account = account(0, &["a"], now);
    adoption(account.next(now), &["a"], Position::START);
    account.settle(Adoption::Done { last: at(1, 1), given_up: true }, false, now);
    assert!(!account.leads());
    account.notice(at(1, 0), at(1, 1), &raw("a").hash, now);
    account.hold(raw("b"), now);
    assert_eq!(account.next(now), Step::Wait(now + LEASE));
    // It is dead: nobody adopts, and the lease ends.
    adoption(account.next(now + LEASE), &["b"], at(1, 1));
}

#[test]
fn without_history_a_jump_is_passed() {
    let now = Instant::now();
    let mut account = Account::default();
    account.hold(raw("a"), now);
    account.look(Some(&Head { keeps_history: false, first: 3, ..head(&[(1, 1)], 2, Position::START) }));
    account.pass(at(1, 5), at(1, 6));
    assert_eq!(account.next(now), Step::Check);
    account.look(Some(&Head { keeps_history: false, first: 7, ..head(&[(1, 1)], 6, at(1, 4)) }));
    account.checked(now);
    adoption(account.next(now), &["a"], at(1, 4));
}

#[test]
fn ranges_are_bounded() {
    let now = Instant::now();
    let mut account = account(0, &["a"], now);
    for i in 1..100 {
        account.pass(at(1, 10 * i), at(1, 10 * i + 1));
    }
    assert_eq!(account.missed.len(), CAPTURE_RANGES);
    assert_eq!(account.missed.back().expect("there").to, at(1, 990));
    // When nothing is held there is nothing to find.
    account.drop_oldest();
    assert_eq!(account.next(now), Step::Rest);
    assert!(account.missed.is_empty() && account.unsure);
}

/// Before the first head there is no place from which the log could be read: the other replica's notices may be lost as well.
#[test]
fn what_was_heard_before_the_first_head_is_looked_for_in_the_whole_log_after_a_break() {
    let now = Instant::now();
    let mut account = Account::default();
    account.break_off();
    account.hold(raw("a"), now);
    assert_eq!(account.next(now), Step::Check);
    account.break_off();
    account.look(Some(&head(&[(1, 1)], 7, at(1, 7))));
    account.checked(now);
    let Step::Read(range) = account.next(now) else { panic!("the log must be read") };
    assert_eq!((range.from, range.to), (Position::START, at(1, 7)));
    account.read([(at(1, 7), adopted("a"))].into_iter(), at(1, 7));
    account.read_all();
    assert_eq!(account.next(now), Step::Rest);
}
