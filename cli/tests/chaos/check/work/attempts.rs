//! Attempts: 1 for the first, one more for each delivery that counted, as far as that can be known from outside.
//!
//! A delivery that nobody saw counts as well: its stream ended before it was read, or the lease was written and its
//! replica never learned of it. The second takes as long as a lease that nobody gives back.

use std::time::Duration;

use super::{Case, Message, must};
use crate::{
    history::At,
    work::story::{Deed, Delivery},
};

/// The shortest lease that nobody knows of: it was not sent for so long, then it had its time, and then some grace.
const FORGOTTEN: Duration = Duration::from_secs(4);

pub(super) fn check(case: &Case, message: &Message) -> Result<(), String> {
    let mut before: Option<&Delivery> = None;
    for delivery in &message.deliveries {
        follows(case, message, before, delivery)?;
        before = Some(delivery);
    }
    Ok(())
}

fn follows(case: &Case, message: &Message, before: Option<&Delivery>, delivery: &Delivery) -> Result<(), String> {
    let attempt = delivery.attempt;
    must!(attempt >= 1 && attempt <= case.story.attempts, "is delivered as attempt {attempt}");
    let since = before.map(|before| before.sent);
    let back = message
        .redrives
        .iter()
        .filter(|redrive| redrive.asked <= delivery.sent && since.is_none_or(|since| redrive.ended >= since));
    let redriven = back.map(|redrive| redrive.asked).min();
    let (mut least, mut most, mut from) =
        (1, 1, redriven.or(case.published.get(delivery.body.as_str()).copied()).unwrap_or_default());
    if let Some(before) = before {
        let leased = before.sent.saturating_sub(Duration::from_secs(5));
        // By other books than before nothing can be said.
        if before.generation != delivery.generation || case.forgets(leased, delivery.sent, delivery.received) {
            return Ok(());
        }
        let uncounted = |ask: &&&crate::work::story::Ask| matches!(ask.deed, Deed::Reject { uncounted: true, .. });
        let is_uncounted = message.of(before).iter().find(uncounted);
        let after = before.attempt + u32::from(is_uncounted.is_none_or(|ask| ask.done().is_none()));
        (most, from) = (after.max(most), before.sent.min(if redriven.is_some() { from } else { before.sent }));
        if redriven.is_none() {
            least = before.attempt + u32::from(is_uncounted.is_none());
        }
    } else if case.loses() || case.published.get(delivery.body.as_str()).copied().is_none() {
        return Ok(());
    }
    let most = most + hidden(case, from, delivery.sent);
    must!(
        (least..=most).contains(&attempt),
        "is delivered at {:.3} as attempt {attempt}, and that should be {least} to {most}",
        delivery.sent.as_secs_f64()
    );
    Ok(())
}

/// How many deliveries nobody saw within this time, at most.
fn hidden(case: &Case, from: At, until: At) -> u32 {
    let ended = case.story.sessions.iter().filter(|session| {
        !session.is_pull && session.over().is_some_and(|over| over >= from) && session.opened <= until
    });
    let forgotten = (until.saturating_sub(from)).as_secs() / FORGOTTEN.as_secs();
    // A stream that is not read for long may be sent a message twice.
    ended.count() as u32 * 2 + forgotten as u32
}
