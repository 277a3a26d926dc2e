//! The random fault run: services, Redis and the links between them are troubled without mercy while clients publish
//! and read, and a checker holds everything that they received against the promises.
//!
//! `make chaos SEED=… SECONDS=…` runs a seed of one's own; a plain `cargo test` a few short ones. With
//! `CHAOS_LOG=debug` the services log.

#![allow(clippy::print_stderr, reason = "a run says which seed it has, and what it found")]

mod board;
mod check;
mod faults;
mod history;
mod nature;
mod publish;
mod reader;
mod run;
mod sample;
mod service;
mod trace;
mod wire;
mod work;
mod world;

use std::{env, time::Duration};

/// What runs when nobody asks for more: one of each nature that matters most.
const SEEDS: [u64; 3] = [1, 4, 11];
const SECONDS: u64 = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_faults_break_no_promise() {
    let number = |name: &str| env::var(name).ok().filter(|text| !text.is_empty()).map(|text| text.parse::<u64>());
    let asked = number("CHAOS_SEED").map(|seed| seed.expect("CHAOS_SEED is a number"));
    let seconds = number("CHAOS_SECONDS").map_or(SECONDS, |seconds| seconds.expect("CHAOS_SECONDS is a number"));
    if let Ok(filter) = env::var("CHAOS_LOG") {
        tidings_runtime::telemetry::init(&filter, tidings_runtime::telemetry::Format::Human).expect("a filter");
    }
    let mut broken = 0;
    for seed in asked.map_or(SEEDS.to_vec(), |seed| vec![seed]) {
        eprintln!("seed {seed} for {seconds} s: {}", nature::Nature::of(seed));
        let history = run::run(seed, Duration::from_secs(seconds)).await;
        let violations = check::check(&history);
        let path = trace::write(seed, &history, &violations);
        eprintln!("seed {seed}: {}; all of it is in {}", history.summary(), path.display());
        for violation in violations.iter().take(5) {
            eprintln!("seed {seed}: VIOLATION {}\n{}", violation.text, trace::around(&history, violation));
        }
        broken += violations.len();
    }
    assert_eq!(broken, 0, "promises were broken: see above");
}
