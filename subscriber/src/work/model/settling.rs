//! What consumers decide about deliveries, and how they tell it.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use fastrand::Rng;
use tidings::{pb, subscription::AckId};
use tokio::time::{Instant, sleep, timeout};

use super::{
    truth::{Asked, Deed, Taken},
    world::World,
};
use crate::work::{
    Decision, Failure, Settle,
    outcome::{Outcome, Settled},
};

/// Something that is asked some time.
#[derive(Debug, Clone)]
pub(super) struct Intent {
    pub(super) text: String,
    pub(super) at: Instant,
    pub(super) decision: Decision,
    /// By a call at any replica, not on the stream.
    pub(super) is_elsewhere: bool,
}

/// A delivery, read. `None` where it is not whole.
pub(super) fn read(received: &pb::ReceivedMessage, ack_deadline: Duration) -> Option<(AckId, Taken)> {
    let id: AckId = received.ack_id.parse().ok()?;
    let attempt = u32::try_from(received.delivery_attempt).ok()?;
    let until = std::time::SystemTime::try_from(received.ack_deadline_time?).ok()?;
    // The deadline is by the system's clock, which goes on by itself: what is left of it is whole seconds here.
    let left = until.duration_since(std::time::SystemTime::now()).unwrap_or_default();
    let left = Duration::from_secs(left.as_secs_f64().round() as u64);
    (left == ack_deadline && received.message.as_ref()?.sequence == id.sequence)
        .then(|| (id, Taken { block: id.block, attempt, until: Instant::now() + left }))
}

/// What is to become of a delivery.
pub(super) fn fate(world: &World, rng: &mut Rng, text: &str, ack_deadline: Duration) -> Vec<Intent> {
    let now = Instant::now();
    let intent = |decision, wait: Duration, is_elsewhere| Intent {
        text: text.to_owned(),
        at: now + wait,
        decision,
        is_elsewhere,
    };
    let deadline_ms = u64::try_from(ack_deadline.as_millis()).unwrap_or(1_000);
    if world.is_draining() {
        return vec![intent(Decision::Acknowledge, Duration::ZERO, false)];
    }
    let elsewhere = rng.u32(..4) == 0;
    let soon = Duration::from_millis(rng.u64(..300));
    let late = Duration::from_millis(deadline_ms + rng.u64(..4_000));
    let some = Duration::from_millis(rng.u64(..deadline_ms));
    match rng.u32(..100) {
        0..50 => vec![intent(Decision::Acknowledge, soon, elsewhere)],
        50..56 => vec![intent(Decision::Acknowledge, some, elsewhere)],
        56..61 => {
            let again = soon + Duration::from_millis(rng.u64(..200));
            vec![intent(Decision::Acknowledge, soon, elsewhere), intent(Decision::Acknowledge, again, rng.bool())]
        }
        61..66 => vec![intent(Decision::Acknowledge, late, elsewhere)],
        66..80 => {
            let failure = match rng.u32(..10) {
                0 | 1 if !world.plan.has_seeks => {
                    Failure { is_dead: true, reason: "bad".to_owned(), ..Failure::default() }
                }
                2 | 3 => Failure { is_uncounted: true, ..Failure::default() },
                4 | 5 => Failure { delay: Some(Duration::from_millis(rng.u64(..3_000))), ..Failure::default() },
                _ => Failure::default(),
            };
            vec![intent(Decision::Reject(failure), soon, elsewhere)]
        }
        80..90 => {
            let time = Duration::from_secs(rng.u64(1..=6));
            let acknowledged = some + Duration::from_millis(rng.u64(..5_000));
            let extended = intent(Decision::Extend(Some(time)), some, elsewhere);
            let done = intent(Decision::Acknowledge, acknowledged, rng.bool());
            if rng.u32(..3) == 0 { vec![extended] } else { vec![extended, done] }
        }
        90..93 => {
            vec![intent(Decision::Acknowledge, soon, true), intent(Decision::Reject(Failure::default()), soon, false)]
        }
        _ => Vec::new(),
    }
}

/// As the truth takes it, asked now.
pub(super) fn asked(world: &World, intent: &Intent, by: &str) -> Asked {
    let deed = match &intent.decision {
        Decision::Acknowledge => Deed::Acknowledge,
        Decision::Reject(failure) => Deed::Reject { is_uncounted: failure.is_uncounted, is_dead: failure.is_dead },
        Decision::Extend(time) => Deed::Extend(time.unwrap_or(world.plan.ack_deadline)),
    };
    let asked = Asked { text: intent.text.clone(), id: intent.text.parse().ok(), deed, at: Instant::now() };
    world.truth.asked(&asked, by);
    asked
}

/// Settles by calls at any replicas. What must be known is asked until it is.
pub(super) fn elsewhere(world: &Arc<World>, rng: &mut Rng, intents: Vec<Intent>) {
    if intents.is_empty() {
        return;
    }
    let (world, mut rng) = (Arc::clone(world), rng.fork());
    world.asking.fetch_add(1, Relaxed);
    tokio::spawn(async move {
        let mut rest = intents;
        while !rest.is_empty() && world.truth.failure().is_none() {
            rest = call(&world, &mut rng, rest).await;
            rest.retain(|intent| intent.decision == Decision::Acknowledge);
            if !rest.is_empty() {
                sleep(Duration::from_millis(rng.u64(1..400))).await;
            }
        }
        world.asking.fetch_sub(1, Relaxed);
    });
}

/// Settles by one call; answers what is unknown.
async fn call(world: &Arc<World>, rng: &mut Rng, intents: Vec<Intent>) -> Vec<Intent> {
    let replica = world.any(rng);
    let by = format!("a call at {}", replica.number);
    let asked: Vec<_> = intents.iter().map(|intent| asked(world, intent, &by)).collect();
    let settles: Vec<_> =
        intents.iter().map(|intent| Settle::new(intent.text.clone(), intent.decision.clone())).collect();
    let patience = Duration::from_millis(if rng.u32(..20) == 0 { rng.u64(1..50) } else { 12_000 });
    let settled = timeout(patience, replica.desk.settle(&world.name, &settles)).await;
    let outcomes: Vec<_> = match settled {
        Ok(Ok(Settled { settled, .. })) if settled.len() == intents.len() => {
            settled.into_iter().map(|(_, outcome)| outcome).collect()
        }
        Ok(Ok(_)) => {
            world.truth.fail("a settlement is not answered as a whole");
            return Vec::new();
        }
        Ok(Err(_)) | Err(_) => vec![Outcome::Unknown; intents.len()],
    };
    let mut unknown = Vec::new();
    for ((intent, asked), outcome) in intents.into_iter().zip(&asked).zip(outcomes) {
        world.truth.answered(asked, outcome);
        if outcome == Outcome::Unknown {
            unknown.push(intent);
        }
    }
    unknown
}
