//! A subscription that is deleted and created again while a replica knows only the old one.

use std::time::Duration;

use fastrand::Rng;
use tidings::{
    broker::Broker as _,
    message::{Draft, Payload},
};
use tonic::Code;
use uuid::Uuid;

use super::{
    manager::allowed,
    truth::Shared,
    world::{Plan, World},
};
use crate::work::{CreditLimit, Decision, Pull, Settle};

#[tokio::test(start_paused = true)]
async fn calls_go_to_the_one_that_is_there() {
    let mut rng = Rng::with_seed(1);
    let plan = Plan { has_faults: false, has_filter: false, is_ordered: false, ..Plan::random(&mut rng) };
    let world = World::new(plan, Shared::new(false, 10_000, 0), rng.fork()).await;
    let payload = Payload::Text("one".to_owned());
    let draft = Draft { id: Uuid::now_v7(), dedup: None, payload, attributes: Vec::new(), ordering_key: String::new() };
    for receipt in world.broker.publish(&world.place.channel, vec![draft], 0).await.expect("no fault") {
        world.truth.published(receipt.sequence, true, None);
    }
    let replicas = [world.nth(0), world.nth(1)];
    let limit = CreditLimit { messages: 10, bytes: 1 << 20 };
    let pull = Pull { limit, ack_deadline: None, wait: Duration::from_secs(20) };
    let delivered = async |at: usize| {
        let pulled = replicas[at].desk.pull(&world.name, pull).await.expect("no fault").into_response();
        pulled.messages.into_iter().map(|received| received.ack_id).collect::<Vec<_>>()
    };
    let replace = async |at: usize| {
        replicas[at].desk.delete(allowed(&world), "", false).await.expect("no fault");
        tokio::time::sleep(Duration::from_millis(5)).await;
        world.create().await;
    };
    assert_eq!(delivered(0).await.len(), 1);
    replace(1).await;
    let came = delivered(1).await;
    // The first knows only the one that was deleted.
    let settles: Vec<_> = came.into_iter().map(|id| Settle::new(id, Decision::Acknowledge)).collect();
    let settled = replicas[0].desk.settle(&world.name, &settles).await.expect("it is there");
    assert!(settled.error.is_none(), "{settled:?}");
    assert_eq!(world.books().await.state.out, 0, "it is acknowledged");
    // And so does the second, once it was replaced at the first.
    replace(0).await;
    assert_eq!(delivered(1).await.len(), 1);
    replicas[1].desk.delete(allowed(&world), "", false).await.expect("no fault");
    let refused = replicas[0].desk.pull(&world.name, pull).await.expect_err("there is none");
    assert_eq!(refused.code(), Code::NotFound);
}
