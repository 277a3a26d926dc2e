//! A claim whose answer is lost.

use std::time::Duration;

use fastrand::Rng;
use tidings::{
    broker::Broker as _,
    message::{Draft, Payload},
};
use uuid::Uuid;

use super::{
    truth::Shared,
    world::{Plan, World},
};
use crate::work::{CreditLimit, Pull};

#[tokio::test(start_paused = true)]
async fn a_claim_without_an_answer_costs_no_attempt_and_no_time() {
    let mut rng = Rng::with_seed(1);
    let plan = Plan {
        attempts: 1,
        ack_deadline: Duration::from_secs(600),
        has_faults: false,
        has_filter: false,
        is_ordered: false,
        max_outstanding: 0,
        ..Plan::random(&mut rng)
    };
    let truth = Shared::new(true, 10_000, 1);
    let world = World::new(plan, truth.clone(), rng.fork()).await;
    let draft = |text: &str| Draft {
        id: Uuid::now_v7(),
        dedup: None,
        payload: Payload::Text(text.to_owned()),
        attributes: Vec::new(),
        ordering_key: String::new(),
    };
    let drafts = ["one", "two", "three"].map(draft).to_vec();
    for receipt in world.broker.publish(&world.place.channel, drafts, 0).await.expect("no fault") {
        truth.published(receipt.sequence, true, None);
    }
    let replica = world.any(&mut rng);
    let limit = CreditLimit { messages: 10, bytes: 1 << 20 };
    let pull = Pull { limit, ack_deadline: None, wait: Duration::from_secs(20) };
    replica.faults.leave_unanswered("apply");
    let refused = replica.desk.pull(&world.name, pull).await;
    assert!(refused.is_err(), "the answer is lost");
    assert_eq!(world.books().await.state.out, 3, "and the messages are out");
    // With one attempt each, they were dead if that counted; and it would be ten minutes until then.
    let pulled = replica.desk.pull(&world.name, pull).await.expect("no fault").into_response();
    assert_eq!(pulled.messages.iter().map(|one| one.delivery_attempt).collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!(world.books().await.dead, 0);
}
