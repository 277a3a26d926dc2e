//! Runs one schedule: starts the programs' own code over the model, makes the steps, mends all faults, and lets things
//! come to rest.

use tokio::runtime::RngSeed;

use crate::{
    clock,
    lister::LISTERS,
    oracle,
    redis::lua::Engine,
    schedule::{Schedule, Step},
    stage::Stage,
    truth::Reader,
    world::{self, World, pass},
};

/// What was found.
pub(crate) struct Outcome {
    /// The rule that was broken, and how.
    pub(crate) violation: Option<(String, String)>,
    pub(crate) trace: Vec<String>,
    pub(crate) digest: u64,
    pub(crate) messages: usize,
}

/// Runs a schedule on a thread of its own, where time and chance are the schedule's. The engine comes back.
pub(crate) fn run(schedule: &Schedule, engine: Engine, is_traced: bool) -> (Outcome, Engine) {
    std::thread::scope(|scope| {
        scope.spawn(|| run_here(schedule, engine, is_traced)).join().unwrap_or_else(|panic| {
            eprintln!("seed {}: the run itself failed", schedule.setup.seed);
            std::panic::resume_unwind(panic)
        })
    })
}

fn run_here(schedule: &Schedule, engine: Engine, is_traced: bool) -> (Outcome, Engine) {
    let setup = &schedule.setup;
    clock::begin(setup.seed);
    let mut world = World::new(setup.servers, engine);
    world.truth.is_traced = is_traced;
    world.truth.sets_clocks = schedule.steps.iter().any(|(step, _)| matches!(step, Step::Clock { .. }));
    world.truth.keeps_history = setup.max_messages > 0;
    world.truth.trims = setup.max_messages < 100;
    world.truth.lists = vec![Vec::new(); LISTERS];
    for client in 0..setup.clients() {
        world.routes.insert(setup.client(client), 0);
    }
    for (index, reader) in setup.readers.iter().enumerate() {
        let (name, topic) = (format!("R{index}"), reader.topic.to_owned());
        world.truth.readers.push(Reader { name, topic, started: None, received: Vec::new() });
    }
    world::begin(world);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .rng_seed(RngSeed::from_bytes(&setup.seed.to_le_bytes()))
        .build()
        .expect("a runtime");
    runtime.block_on(play(schedule));
    drop(runtime);
    let mut world = world::end();
    let violation = oracle::judge(&mut world.truth);
    let World { truth, engine, .. } = world;
    let (digest, messages) = (oracle::digest(&truth), truth.acknowledged.len());
    (Outcome { violation, trace: truth.trace, digest, messages }, engine)
}

async fn play(schedule: &Schedule) {
    let mut stage = Stage::new(&schedule.setup);
    pass(100).await;
    for (step, wait_ms) in &schedule.steps {
        // No copy comes back within the millisecond in which something was written.
        if step.may_lose() {
            pass(2).await;
        }
        // Its line comes before its effects.
        let at = world::with(|world| world.truth.trace.len());
        if stage.make(*step).await {
            world::with(|world| world.truth.note_at(at, || step.describe(&schedule.setup)));
        }
        match wait_ms {
            0 => tokio::task::yield_now().await,
            ms => pass(*ms).await,
        }
    }
    stage.mend().await;
}
