//! A subscription that nobody uses any more.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use tidings::{broker::subscriptions::Look, pb};
use tokio::time::sleep;
use tonic::Code;

use super::{
    manager::update,
    truth::Shared,
    world::{Plan, World},
};
use crate::work::{CreditLimit, Pull, expire};

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test(start_paused = true)]
async fn one_that_nobody_uses_is_deleted_and_one_that_is_used_stays() {
    let mut rng = Rng::with_seed(1);
    let plan = Plan { has_faults: false, ..Plan::random(&mut rng) };
    let truth = Shared::new(false, 10_000, 0);
    let world = World::new(plan, truth, rng.fork()).await;
    let given = pb::Subscription { expire_after: prost_types::Duration::try_from(2 * HOUR).ok(), ..Default::default() };
    assert!(update(&world, &given, "expire_after").await, "it is set");
    let desk = Arc::clone(&world.any(&mut rng).desk);
    tokio::spawn(expire(Arc::clone(&desk)));
    let limit = CreditLimit { messages: 1, bytes: 1 };
    let pull = Pull { limit, ack_deadline: None, wait: Duration::ZERO };
    let is_there = async || world.store.look(&world.place, Look::default()).await.expect("no fault").is_some();
    for _ in 0..4 {
        sleep(HOUR * 3 / 2).await;
        assert!(is_there().await, "somebody has pulled");
        desk.pull(&world.name, pull).await.expect("it is there");
    }
    sleep(HOUR * 3).await;
    assert!(!is_there().await, "nobody has for two hours");
    assert_eq!(world.store.channel_of(&world.name).await, Ok(None), "its name is free");
    let refused = desk.pull(&world.name, pull).await.expect_err("it is gone");
    assert_eq!(refused.code(), Code::NotFound);
}
