//! Order by key: a message comes only when the one of its key that came before is settled, dead or lost, and in the
//! order of the log; what is put back comes last.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{Case, Message, Violation, message::key, must};
use crate::work::story::{Deed, Delivery};

/// Times are told in milliseconds, and read one after the other.
const SLACK: Duration = Duration::from_millis(20);
/// How long a message may be leased before it is sent.
const UNSENT: Duration = Duration::from_secs(5);

type Messages<'a> = BTreeMap<(i64, String), Message<'a>>;

pub(super) fn check(case: &Case, messages: &Messages, violations: &mut Vec<Violation>) {
    let mut sent: Vec<&Delivery> = case.story.deliveries.iter().filter(|delivery| !delivery.key.is_empty()).collect();
    sent.sort_by_key(|delivery| delivery.sent);
    let mut last: HashMap<&str, &Delivery> = HashMap::new();
    for delivery in sent {
        if let Some(before) = last.insert(&delivery.key, delivery)
            && let Err(text) = follows(case, messages, before, delivery)
        {
            violations.push(case.violation(delivery.position, text));
        }
    }
}

/// Whether one may come after another of its key.
fn follows(case: &Case, messages: &Messages, before: &Delivery, delivery: &Delivery) -> Result<(), String> {
    let of = |delivery: &Delivery| messages.get(&key(delivery.position));
    let (Some(first), Some(message)) = (of(before), of(delivery)) else { return Ok(()) };
    let is_other_life = before.generation != delivery.generation || before.position.epoch != delivery.position.epoch;
    let leased = before.sent.saturating_sub(UNSENT);
    if before.position == delivery.position || is_other_life || case.forgets(leased, delivery.sent, delivery.received) {
        return Ok(());
    }
    must!(
        may_be_over(case, first, delivery),
        "comes at {:.3}, and message {} of {:?}, which came at {:.3}, is under way",
        delivery.sent.as_secs_f64(),
        before.position.sequence,
        before.key,
        before.sent.as_secs_f64()
    );
    let is_put_back = message.may_be_redriven(crate::history::At::ZERO, delivery.received);
    must!(
        delivery.position.sequence > before.position.sequence || is_put_back,
        "comes at {:.3} after message {} of {:?}",
        delivery.sent.as_secs_f64(),
        before.position.sequence,
        before.key
    );
    Ok(())
}

/// Whether a message may be settled, dead or lost by the time when another is sent.
fn may_be_over(case: &Case, first: &Message, other: &Delivery) -> bool {
    let mut asks = first.asks.values().flatten().filter(|ask| ask.asked <= other.sent + SLACK);
    let is_settled = asks.any(|ask| match ask.deed {
        Deed::Acknowledge => true,
        Deed::Reject { dead, .. } => dead,
        Deed::Extend(_) => false,
    });
    is_settled || died(case, first, other) || case.was_trimmed(first.position, other.received)
}

/// Whether a message may have died by its attempts, by the time when another is sent.
fn died(case: &Case, message: &Message, other: &Delivery) -> bool {
    let is_last = |delivery: &Delivery| delivery.attempt >= case.story.attempts && delivery.sent <= other.sent;
    if message.deliveries.iter().any(|delivery| is_last(delivery)) {
        return true;
    }
    let mut letters = case.story.ending.iter().flat_map(|ending| &ending.letters);
    letters.any(|letter| letter.position == message.position)
        || case.story.copies.iter().any(|copy| copy.of == message.position)
}
