//! A consumer that pulls, and one that settles what it pulled by calls.

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, sleep_until, timeout};

use super::{
    settling::{self, elsewhere, fate},
    world::World,
};
use crate::work::{CreditLimit, Pull};

/// Pulls until the schedule ends.
pub(super) async fn pull(world: Arc<World>, number: usize) {
    let mut rng = world.fork();
    loop {
        sleep(Duration::from_millis(rng.u64(1..400))).await;
        world.awake().await;
        let replica = world.any(&mut rng);
        let messages = rng.usize(1..30);
        let ack_deadline = if rng.bool() { Some(Duration::from_secs(rng.u64(1..=10))) } else { None };
        let wait = Duration::from_millis(if rng.bool() { 0 } else { rng.u64(1..3_000) });
        let pull = Pull { limit: CreditLimit { messages, bytes: 1 << 20 }, ack_deadline, wait };
        let patience = Duration::from_millis(if rng.u32(..10) == 0 { rng.u64(1..100) } else { 15_000 });
        let pulled = match timeout(patience, replica.desk.pull(&world.name, pull)).await {
            Ok(Ok(pulled)) => pulled.into_response(),
            Ok(Err(_)) => continue,
            Err(_) => {
                // What it was to get may have left already: nobody can know.
                world.truth.fault(replica.number, "a pull was given up");
                continue;
            }
        };
        if pulled.messages.len() > messages || !pulled.lost.is_empty() {
            world
                .truth
                .fail(&format!("{} messages were pulled, at most {messages} were asked for", pulled.messages.len()));
        }
        let by = format!("puller {number} at {}", replica.number);
        let ack_deadline = ack_deadline.unwrap_or(world.plan.ack_deadline);
        for received in pulled.messages {
            let Some((id, taken)) = settling::read(&received, ack_deadline) else {
                world.truth.fail(&format!("{by}: a delivery that is not whole: {received:?}"));
                continue;
            };
            world.truth.delivered(&id, &taken, &by);
            for intent in fate(&world, &mut rng, &received.ack_id, ack_deadline) {
                let (world, mut rng) = (Arc::clone(&world), rng.fork());
                tokio::spawn(async move {
                    sleep_until(intent.at).await;
                    world.awake().await;
                    elsewhere(&world, &mut rng, vec![intent]);
                });
            }
        }
    }
}
