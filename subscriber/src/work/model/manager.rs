//! Those who publish, change settings, move the subscription, put dead letters back, and break replicas.

use std::{sync::Arc, time::Duration};

use tidings::{
    access::{Allowed, Manage, Rights},
    broker::{Broker as _, subscriptions::LetterId},
    message::{Draft, Mark, Payload, Position},
    pb,
    subscription::SubscriptionName,
};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::{faults::Gate, world::World};
use crate::work::{Query, StartAt, Which};

/// Publishes all messages of the schedule, some at a time.
pub(super) async fn publish(world: Arc<World>) {
    let mut rng = world.fork();
    let mut left = world.plan.messages;
    while left > 0 {
        sleep(Duration::from_millis(rng.u64(1..200))).await;
        world.awake().await;
        if world.is_draining() {
            return;
        }
        let count = rng.usize(1..=20).min(left);
        left -= count;
        let mut matching = Vec::with_capacity(count);
        let drafts = (0..count).map(|index| {
            let key = if rng.bool() { "a" } else { "b" };
            let ordering_key = world.plan.key(left + index);
            matching.push((!world.plan.has_filter || key == "a", ordering_key.clone()));
            let bytes = if rng.u32(..20) == 0 { rng.usize(1_000..4_000) } else { rng.usize(1..100) };
            Draft {
                id: Uuid::now_v7(),
                dedup: None,
                payload: Payload::Text("x".repeat(bytes)),
                attributes: vec![("k".to_owned(), key.to_owned())],
                ordering_key,
            }
        });
        let receipts = world.broker.publish(&world.place.channel, drafts.collect(), 0).await.expect("no fault");
        for (receipt, (matches, key)) in receipts.iter().zip(matching) {
            world.truth.published(receipt.sequence, matches, Some(key.as_str()).filter(|key| !key.is_empty()));
        }
    }
}

pub(super) fn allowed(world: &World) -> Allowed<Manage, SubscriptionName> {
    Rights::all().manage(world.name.clone()).expect("a right")
}

/// Changes settings; answers whether that is sure.
pub(super) async fn update(world: &World, given: &pb::Subscription, field: &str) -> bool {
    let replica = world.any(&mut world.fork());
    let call = replica.desk.update(allowed(world), given, Some(vec![field.to_owned()]));
    matches!(timeout(Duration::from_secs(12), call).await, Ok(Ok(_)))
}

pub(super) async fn pause(world: &World, is_paused: bool) -> bool {
    world.truth.note(&format!("paused: {is_paused}"));
    world.truth.set_paused(is_paused, false);
    let is_sure = update(world, &pb::Subscription { paused: is_paused, ..Default::default() }, "paused").await;
    if is_sure {
        world.truth.set_paused(is_paused, true);
    }
    is_sure
}

/// Manages until the schedule drains.
pub(super) async fn manage(world: Arc<World>) {
    let mut rng = world.fork();
    loop {
        sleep(Duration::from_millis(rng.u64(200..3_000))).await;
        world.awake().await;
        if world.is_draining() {
            return;
        }
        match rng.u32(..10) {
            0 => {
                pause(&world, true).await;
                sleep(Duration::from_millis(rng.u64(100..8_000))).await;
                while !pause(&world, false).await {}
            }
            1 | 2 if world.plan.attempts > 0 => {
                let attempts = rng.i32(1..=8);
                world.truth.note(&format!("max_delivery_attempts: {attempts}"));
                world.truth.set_attempts(attempts.unsigned_abs(), false);
                let given = pb::Subscription { max_delivery_attempts: Some(attempts), ..Default::default() };
                if update(&world, &given, "max_delivery_attempts").await {
                    world.truth.set_attempts(attempts.unsigned_abs(), true);
                }
            }
            3..6 if world.plan.has_seeks => seek(&world, &mut rng).await,
            3..6 => redrive(&world, &mut rng).await,
            _ => {
                let replica = world.any(&mut rng);
                let _state = timeout(Duration::from_secs(12), replica.desk.get(&world.name)).await;
            }
        }
    }
}

async fn seek(world: &World, rng: &mut fastrand::Rng) {
    let replica = world.any(rng);
    let books = world.books().await;
    let to = match rng.u32(..3) {
        0 => StartAt::Earliest,
        1 => StartAt::Latest,
        _ => {
            let sequence = rng.i64(0..=books.state.end.sequence);
            let epoch = books.state.end.epoch.filter(|_| sequence > 0);
            StartAt::After(Mark::from(Position { epoch, sequence }))
        }
    };
    let _sought = timeout(Duration::from_secs(12), replica.desk.seek(allowed(world), &to)).await;
}

/// Puts dead letters back, twice.
async fn redrive(world: &World, rng: &mut fastrand::Rng) {
    let replica = world.any(rng);
    let query = Query { page_size: rng.usize(1..50), page_token: "" };
    let listed = timeout(Duration::from_secs(12), replica.desk.dead_letters(allowed(world), &query)).await;
    let Ok(Ok(listed)) = listed else { return };
    let ids: Vec<_> = listed.dead_letters.into_iter().map(|letter| letter.dead_letter_id).collect();
    let per_second = if rng.bool() { 0 } else { rng.u32(5..100) };
    let is_all = rng.bool();
    let which = || if is_all { Which::All } else { Which::These(ids.clone()) };
    let before: u64 = world.truth.deliveries().1;
    for round in 0..2 {
        let call = replica.desk.redrive(allowed(world), which(), per_second);
        let redriven = timeout(Duration::from_secs(12), call).await;
        world.truth.note(&format!("redrive {round}, all: {is_all}, {} ids: {redriven:?}", ids.len()));
        match redriven {
            Ok(Ok(count)) if round == 1 && !is_all && count > 0 => {
                // Where the first was not carried out, the second does it all.
                let most = ids.len() as u64;
                let after = world.truth.deliveries().1;
                if after - before > most {
                    world.truth.fail(&format!("{most} dead letters were put back more than once: {count}"));
                }
            }
            Ok(Err(status)) if !world.plan.has_faults => world.truth.fail(&format!("no fault, and {status:?}")),
            _ => {}
        }
    }
}

/// The letters that there are.
pub(super) async fn letters(world: &World) -> Vec<LetterId> {
    let letters = world.store.dead_letters(&world.place, None, usize::MAX, usize::MAX).await.expect("no fault");
    letters.into_iter().map(|(id, _)| id).collect()
}

/// Stops, kills and ends replicas while there are faults.
pub(super) async fn break_replicas(world: Arc<World>) {
    let mut rng = world.fork();
    loop {
        sleep(Duration::from_millis(rng.u64(300..5_000))).await;
        if !world.has_faults_now() {
            continue;
        }
        match rng.u32(..5) {
            0 => world.replace(&mut rng, true),
            1 => world.replace(&mut rng, false),
            _ => {
                let replica = world.any(&mut rng);
                let until = Instant::now() + Duration::from_millis(rng.u64(100..10_000));
                replica.faults.turn(Gate::Stopped);
                while Instant::now() < until && world.has_faults_now() {
                    sleep(Duration::from_millis(50)).await;
                }
                replica.faults.turn(Gate::Open);
            }
        }
    }
}
