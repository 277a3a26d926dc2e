//! Durable subscriptions against what the contract says of them, in random schedules.
//!
//! Some replicas serve one subscription of one embedded broker, whose clock is the paused clock of the runtime, so that
//! minutes pass in a moment. Between each replica and the broker calls are slow or fail, and replicas stop, die and are
//! replaced. Consumers at any of them take, settle, forget, stall and go. What they see is held against a
//! [model](truth) that knows nothing of how it is done. A failure names its seed: `WORK_SEED` runs that one alone,
//! `WORK_SCHEDULES` runs so many random ones after the fixed.

#![expect(clippy::print_stderr, reason = "a run says what it did, and which seeds it had")]

use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use fastrand::Rng;
use tokio::time::sleep;

use self::{
    truth::Shared,
    world::{Plan, World},
};

mod checks;
mod consumer;
mod faults;
mod manager;
mod puller;
mod replaced;
mod settling;
mod store;
mod truth;
mod unanswered;
mod unused;
mod world;

/// Longer than any schedule takes that does not spin, on a machine that has much else to do.
const STUCK: Duration = Duration::from_secs(60);
/// Those that are run where nobody says which: each has found something once.
const FIXED: [u64; 5] = [1, 6, 32, 58, 63];

#[test]
fn random_schedules_keep_what_the_contract_says() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let begun = Instant::now();
    let (mut schedules, mut deliveries) = (0, 0);
    if let Some(seed) = number("WORK_SEED") {
        (schedules, deliveries) = (1, run(seed));
    } else {
        let random = std::iter::repeat_with(|| fastrand::u64(..1 << 32));
        let more = usize::try_from(number("WORK_SCHEDULES").unwrap_or(0)).unwrap_or(usize::MAX);
        for seed in FIXED.into_iter().chain(random.take(more)) {
            deliveries += run(seed);
            schedules += 1;
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!("{schedules} schedules, {deliveries} deliveries, {:.0} a second", deliveries as f64 / seconds);
}

/// Runs a schedule; answers its deliveries.
fn run(seed: u64) -> u64 {
    let (sender, result) = mpsc::channel();
    let mut rng = Rng::with_seed(seed);
    let plan = Plan::random(&mut rng);
    let most_out = if plan.max_outstanding > 0 { plan.max_outstanding.unsigned_abs() } else { 10_000 };
    let (shown, begun) = (plan.clone(), Instant::now());
    // A thread of its own, since one that spins never comes back.
    std::thread::spawn(move || {
        fastrand::seed(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let runtime = runtime.expect("a runtime");
        let truth = runtime.block_on(async {
            let truth = Shared::new(plan.has_faults, u64::from(most_out), plan.attempts.unsigned_abs());
            let _alive = sender.send(truth.clone());
            schedule(plan, truth.clone(), rng).await;
            truth
        });
        drop(runtime);
        let _alive = sender.send(truth);
    });
    let truth = result.recv().expect("it begins");
    let end = result.recv_timeout(STUCK);
    let failure = truth.failure().or_else(|| end.err().map(|error| format!("{error}: it is stuck\n{}", truth.trace())));
    if let Some(failure) = failure {
        panic!("WORK_SEED={seed}, {shown:?}\n{failure}\nWORK_SEED={seed}");
    }
    let (deliveries, redrives) = truth.deliveries();
    if ["WORK_SEED", "WORK_SHOW"].iter().any(|name| std::env::var(name).is_ok()) {
        eprintln!("seed {seed}: {deliveries} deliveries, {redrives} put back, {:?}, {shown:?}", begun.elapsed());
    }
    deliveries
}

async fn schedule(plan: Plan, truth: Shared, mut rng: Rng) {
    let forked = rng.fork();
    let world = World::new(plan.clone(), truth.clone(), forked).await;
    tokio::spawn(manager::publish(Arc::clone(&world)));
    tokio::spawn(manager::manage(Arc::clone(&world)));
    tokio::spawn(manager::break_replicas(Arc::clone(&world)));
    for number in 0..plan.streams {
        tokio::spawn(consumer::consume(Arc::clone(&world), number));
    }
    for number in 0..plan.pullers {
        tokio::spawn(puller::pull(Arc::clone(&world), number));
    }
    for _ in 0..plan.rounds {
        world.set_faults(plan.has_faults);
        pass(&truth, Duration::from_millis(rng.u64(3_000..15_000))).await;
        world.set_faults(false);
        // What was broken is found and given back: leases last ten seconds at most, and a moment to be sent.
        pass(&truth, Duration::from_secs(18)).await;
        if truth.failure().is_none() {
            checks::quiet(&world).await;
        }
    }
    if truth.failure().is_none() {
        checks::drain(&world).await;
    }
}

/// Lets time pass, as long as nothing fails.
async fn pass(truth: &Shared, time: Duration) {
    let until = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < until && truth.failure().is_none() {
        sleep(Duration::from_millis(50)).await;
    }
}
