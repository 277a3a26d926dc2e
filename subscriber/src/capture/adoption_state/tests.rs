use std::time::Duration;

use tidings::{
    broker::{adopt::Adoption, history::EpochStart},
    envelope::decode,
    limits::{BACKOFF_MAX, CAPTURE_ASK_PAUSE, CAPTURE_NOTICES, CAPTURE_RANGES, LEASE},
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

/// A state that has seen a head of epoch 1 and holds some messages.
fn state(last: i64, payloads: &[&str], now: Instant) -> AdoptionState {
    let mut state = AdoptionState::default();
    for payload in payloads {
        state.hold(raw(payload), now);
    }
    state.look(Some(&head(&[(1, 1)], last, Position::START)));
    state
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
    let mut state = AdoptionState::default();
    assert_eq!(state.next(now), Step::Rest);
    state.hold(raw("a"), now);
    state.hold(raw("b"), now);
    assert_eq!(state.next(now), Step::Check, "first it must know where the channel is");
    assert_eq!(state.next(now), Step::Rest, "one thing at a time");
    state.look(Some(&head(&[(1, 1)], 4, at(1, 2))));
    state.checked(now);
    assert!(!adoption(state.next(now), &["a", "b"], at(1, 2)));
    state.hold(raw("c"), now);
    state.settle(Adoption::Done { last: at(1, 6), given_up: false }, false, now);
    assert!(state.leads());
    assert_eq!(state.next(now), Step::Wait(now + CAPTURE_NOTICES), "what was adopted is still held");
    state.notice(at(1, 4), at(1, 5), &raw("a").hash, now);
    assert!(matches!(state.next(now), Step::Wait(_)));
    state.notice(at(1, 5), at(1, 6), &raw("b").hash, now);
    adoption(state.next(now), &["c"], at(1, 6));
}

#[test]
fn notices_that_come_before_the_answer_are_its_own() {
    let now = Instant::now();
    let mut state = state(0, &["a"], now);
    adoption(state.next(now), &["a"], Position::START);
    state.notice(at(1, 0), at(1, 1), &raw("a").hash, now);
    state.hold(raw("b"), now);
    state.settle(Adoption::Done { last: at(1, 1), given_up: false }, false, now);
    adoption(state.next(now), &["b"], at(1, 1));
}

#[test]
fn notices_that_do_not_come_are_looked_for_in_the_log() {
    let now = Instant::now();
    let mut state = state(2, &["a"], now);
    adoption(state.next(now), &["a"], Position::START);
    state.settle(Adoption::Done { last: at(1, 3), given_up: false }, false, now);
    let later = now + CAPTURE_NOTICES;
    assert_eq!(state.next(later), Step::Check);
    state.look(Some(&head(&[(1, 1)], 3, at(1, 3))));
    state.checked(later);
    let Step::Read(range) = state.next(later) else { panic!("the log must be read") };
    assert_eq!((range.from, range.to), (at(1, 2), at(1, 3)));
    state.read([(at(1, 3), adopted("a"))].into_iter(), at(1, 3));
    state.read_all();
    assert_eq!(state.next(later), Step::Rest);
    state.hold(raw("b"), later);
    adoption(state.next(later), &["b"], at(1, 3));
}

#[test]
fn a_jump_is_read_before_anything_is_adopted() {
    let now = Instant::now();
    let mut state = state(2, &["a", "b", "c", "a"], now);
    // 3 and 4 were missed; 5 is a publisher's.
    assert!(state.pass(at(1, 4), at(1, 5)));
    state.notice(at(1, 5), at(1, 6), &raw("c").hash, now);
    let Step::Read(range) = state.next(now) else { panic!("the log must be read") };
    assert_eq!((range.from, range.to), (at(1, 2), at(1, 4)));
    state.read([(at(1, 3), adopted("a"))].into_iter(), at(1, 3));
    // The next page fails: it continues where it was.
    assert!(state.fail(now));
    assert!(!state.fail(now), "said once");
    // The notice was another replica's, and so is the lease.
    let later = now + LEASE;
    assert_eq!(state.next(later), Step::Check);
    state.look(Some(&head(&[(1, 1)], 6, at(1, 6))));
    state.checked(later);
    let Step::Read(range) = state.next(later) else { panic!("the log must be read") };
    assert_eq!((range.from, range.to), (at(1, 3), at(1, 4)));
    state.read(std::iter::empty(), at(1, 4));
    state.read_all();
    adoption(state.next(later), &["b", "a"], at(1, 6));
}

#[test]
fn the_last_adopted_is_the_one_of_the_range_unless_more_is_known() {
    let now = Instant::now();
    let mut state = state(2, &["a", "b"], now);
    state.pass(at(1, 4), at(1, 5));
    assert!(matches!(state.next(now), Step::Read(_)));
    state.read([(at(1, 3), adopted("x"))].into_iter(), at(1, 4));
    state.read_all();
    adoption(state.next(now), &["a", "b"], at(1, 3));
}

#[test]
fn what_was_received_before_is_passed_over() {
    let now = Instant::now();
    let mut state = state(5, &["a", "a"], now);
    state.notice(at(1, 4), at(1, 5), &raw("a").hash, now);
    assert!(!state.pass(at(1, 1), at(1, 4)));
    adoption(state.next(now), &["a", "a"], Position::START);
    // A run that begins below and leads beyond.
    assert!(state.pass(at(1, 3), at(1, 7)));
    state.settle(Adoption::Behind, false, now);
    assert_eq!(state.next(now), Step::Check);
}

#[test]
fn a_new_epoch_is_read_from_the_old_position() {
    let now = Instant::now();
    let mut state = state(5, &["a"], now);
    state.pass(at(2, 5), at(2, 6));
    let Step::Read(range) = state.next(now) else { panic!("the log must be read") };
    assert_eq!((range.from, range.to), (at(1, 5), at(2, 5)));
    state.read(std::iter::empty(), at(2, 5));
    state.read_all();
    adoption(state.next(now), &["a"], Position::START);
    // From the beginning, sequence 1 of any epoch follows.
    let mut new = AdoptionState::default();
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
        let mut state = state(5, &["a"], now);
        state.look(head.as_ref());
        adoption(state.next(now), &["a"], last);
    }
}

#[test]
fn a_replica_that_is_behind_looks_again_and_does_not_spin() {
    let now = Instant::now();
    let mut state = state(2, &["a"], now);
    for round in 0..5 {
        let mut time = now;
        if let Step::Wait(until) = state.next(time) {
            assert!(round > 1 && until <= now + BACKOFF_MAX);
            time = until;
            assert!(matches!(state.next(time), Step::Check));
            state.look(Some(&head(&[(1, 1)], 2, at(1, 1))));
            state.checked(time);
            assert!(matches!(state.next(time), Step::Adopt { .. }));
        } else if round == 1 {
            state.look(Some(&head(&[(1, 1)], 2, at(1, 1))));
            state.checked(time);
            assert!(matches!(state.next(time), Step::Adopt { .. }));
        }
        state.settle(Adoption::Behind, false, now);
    }
    assert!(matches!(state.next(now), Step::Wait(_)));
}

#[test]
fn anothers_lease_is_waited_for_and_asked_for_once() {
    let now = Instant::now();
    let mut state = state(2, &["a"], now);
    assert!(!adoption(state.next(now), &["a"], Position::START));
    state.settle(Adoption::Other { for_ms: 2_000 }, false, now);
    assert_eq!(state.next(now), Step::Wait(now + ms(2_000)));
    // Its holder continues with what others received, and with it the lease.
    state.notice(at(1, 2), at(1, 3), &raw("x").hash, now + ms(1_900));
    assert_eq!(state.next(now + ms(2_000)), Step::Wait(now + LEASE), "it asks when it has waited that long");
    let asking = now + LEASE;
    assert!(adoption(state.next(asking), &["a"], at(1, 3)));
    state.settle(Adoption::Other { for_ms: 1_900 }, true, asking);
    let pause = asking + CAPTURE_ASK_PAUSE;
    assert_eq!(state.next(asking), Step::Wait(pause));
    assert_eq!(state.next(pause), Step::Wait(asking + ms(1_900)), "once is enough");
    // The holder adopts, and gives it up.
    state.notice(at(1, 3), at(1, 4), &raw("y").hash, pause);
    assert!(adoption(state.next(pause), &["a"], at(1, 4)));
    state.settle(Adoption::Done { last: at(1, 5), given_up: false }, true, pause);
    assert!(state.leads());
    state.notice(at(1, 4), at(1, 5), &raw("a").hash, pause);
    assert!(state.leads() && state.is_idle());
}

#[test]
fn a_replica_that_gave_the_lease_up_waits_for_its_new_holder() {
    let now = Instant::now();
    let mut state = state(0, &["a"], now);
    adoption(state.next(now), &["a"], Position::START);
    state.settle(Adoption::Done { last: at(1, 1), given_up: true }, false, now);
    assert!(!state.leads());
    state.notice(at(1, 0), at(1, 1), &raw("a").hash, now);
    state.hold(raw("b"), now);
    assert_eq!(state.next(now), Step::Wait(now + LEASE));
    // It is dead: nobody adopts, and the lease ends.
    adoption(state.next(now + LEASE), &["b"], at(1, 1));
}

#[test]
fn without_history_a_jump_is_passed() {
    let now = Instant::now();
    let mut state = AdoptionState::default();
    state.hold(raw("a"), now);
    state.look(Some(&Head { keeps_history: false, first: 3, ..head(&[(1, 1)], 2, Position::START) }));
    state.pass(at(1, 5), at(1, 6));
    assert_eq!(state.next(now), Step::Check);
    state.look(Some(&Head { keeps_history: false, first: 7, ..head(&[(1, 1)], 6, at(1, 4)) }));
    state.checked(now);
    adoption(state.next(now), &["a"], at(1, 4));
}

#[test]
fn ranges_are_bounded() {
    let now = Instant::now();
    let mut state = state(0, &["a"], now);
    for i in 1..100 {
        state.pass(at(1, 10 * i), at(1, 10 * i + 1));
    }
    let (ranges, last) = state.missed.last();
    assert_eq!((ranges, last.map(|range| range.to)), (CAPTURE_RANGES, Some(at(1, 990))));
    // When nothing is held there is nothing to find.
    state.drop_oldest();
    assert_eq!(state.next(now), Step::Rest);
    assert!(state.missed.first().is_none() && state.unsure);
}

/// Before the first head there is no position from which the log could be read: the other replica's notices may be lost
/// as well.
#[test]
fn what_was_received_before_the_first_head_is_looked_for_in_the_whole_log_after_a_break() {
    let now = Instant::now();
    let mut state = AdoptionState::default();
    state.break_off();
    state.hold(raw("a"), now);
    assert_eq!(state.next(now), Step::Check);
    state.break_off();
    state.look(Some(&head(&[(1, 1)], 7, at(1, 7))));
    state.checked(now);
    let Step::Read(range) = state.next(now) else { panic!("the log must be read") };
    assert_eq!((range.from, range.to), (Position::START, at(1, 7)));
    state.read([(at(1, 7), adopted("a"))].into_iter(), at(1, 7));
    state.read_all();
    assert_eq!(state.next(now), Step::Rest);
}
