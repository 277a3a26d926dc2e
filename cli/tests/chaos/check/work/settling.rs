//! An acknowledgement counts: what is done is not delivered again, asked again it is done again, and nothing is stale
//! whose lease is certain.

use std::time::Duration;

use super::{Case, Message, must};
use crate::work::story::{Deed, Delivery};

/// Clocks of a replica and the books, and an answer's way.
const SLACK: Duration = Duration::from_millis(20);

pub(super) fn check(case: &Case, message: &Message) -> Result<(), String> {
    counts(case, message)?;
    for delivery in &message.deliveries {
        repeats(case, message, delivery)?;
        is_not_stale(case, message, delivery)?;
        stays_dead(case, message, delivery)?;
    }
    Ok(())
}

fn counts(case: &Case, message: &Message) -> Result<(), String> {
    let Some((ask, done)) = message.acknowledged().and_then(|ask| Some((ask, ask.done()?))) else { return Ok(()) };
    let after = message.deliveries.iter().find(|delivery| delivery.sent > done + SLACK);
    must!(
        after.is_none_or(|after| case.forgets(ask.asked, done, after.received)),
        "is acknowledged at {:.3}, and delivered at {:?}",
        done.as_secs_f64(),
        after.map(|after| after.sent)
    );
    Ok(())
}

/// A repeated acknowledgement is answered as the first was, as long as the log has the message.
fn repeats(case: &Case, message: &Message, delivery: &Delivery) -> Result<(), String> {
    let asks = || message.of(delivery).iter().filter(|ask| ask.deed == Deed::Acknowledge);
    for ask in asks() {
        let Some(done) = ask.done() else { continue };
        for again in asks().filter(|again| again.asked > done) {
            let Some(stale) = again.stale() else { continue };
            must!(
                case.was_trimmed(message.position, stale) || case.forgets(ask.asked, done, stale),
                "is acknowledged at {:.3}, and stale at {:.3}",
                done.as_secs_f64(),
                stale.as_secs_f64()
            );
        }
    }
    Ok(())
}

/// The first decision about a delivery whose lease is certain is carried out.
fn is_not_stale(case: &Case, message: &Message, delivery: &Delivery) -> Result<(), String> {
    let asks = message.of(delivery);
    for ask in asks {
        let Some(stale) = ask.stale() else { continue };
        let others = asks.iter().filter(|other| !std::ptr::eq(**other, *ask) && other.asked <= stale);
        let session = &case.story.sessions[delivery.session];
        let is_held = session.holds_until(&case.history.faults) > stale;
        let is_leased = stale + SLACK < delivery.deadline && is_held && others.count() == 0;
        must!(
            !is_leased || case.forgets(delivery.sent.saturating_sub(Duration::from_secs(5)), stale, stale),
            "{:?} at {:.3} is stale, and the lease ends at {:.3}",
            ask.deed,
            stale.as_secs_f64(),
            delivery.deadline.as_secs_f64()
        );
    }
    Ok(())
}

/// What was put aside comes again only if it is put back.
fn stays_dead(case: &Case, message: &Message, delivery: &Delivery) -> Result<(), String> {
    for ask in message.of(delivery) {
        let Deed::Reject { uncounted, dead, .. } = ask.deed else { continue };
        let Some(done) = ask.done().filter(|_| dead || !uncounted && delivery.attempt >= case.story.attempts) else {
            continue;
        };
        let after = message.deliveries.iter().find(|after| after.sent > done + SLACK);
        must!(
            after.is_none_or(|after| {
                message.may_be_redriven(ask.asked, after.sent) || case.forgets(ask.asked, done, after.received)
            }),
            "is put aside at {:.3}, and delivered at {:?}",
            done.as_secs_f64(),
            after.map(|after| after.sent)
        );
    }
    Ok(())
}
