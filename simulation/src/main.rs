//! Runs seeded schedules of Tidings' own code over a model of Redis, and judges each.
//!
//! `tidings-simulation [--seed N] [--runs N] [--without KIND,…] [--only KIND,…] [--trace]`: a seed is a schedule's
//! name, and the runs take the seeds that follow it. What one run does depends on its seed alone. `--twice` runs each
//! twice and compares; `--without-mend seen` runs the scripts without their comparison of receipts, and has to find
//! what that loses.

mod clock;
mod faults;
mod generate;
mod lister;
mod oracle;
mod reader;
mod redis;
mod run;
mod schedule;
mod shrink;
mod stage;
mod stories;
mod truth;
mod world;

use std::{
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use crate::{
    generate::{KINDS, Kinds},
    redis::lua::Engine,
    run::run,
    schedule::Schedule,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Settings {
    seed: u64,
    runs: u64,
    kinds: Kinds,
    traces: bool,
    /// How many violations are printed before it ends.
    most: usize,
    /// Whether each schedule is run twice and compared.
    twice: bool,
    threads: usize,
    /// How many calls must at least have been sent while another one of the channel was under way.
    second_calls: u64,
    /// Whether the written schedules are run instead.
    tells_stories: bool,
}

fn main() -> ExitCode {
    let settings = match settings() {
        Ok(settings) => settings,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    if settings.tells_stories {
        return stories(&settings);
    }
    // What the model lacks is no answer of Redis's: tasks of the code under test would take it for one.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{panic}");
        std::process::exit(3);
    }));
    let begun = Instant::now();
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let (found, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..settings.threads {
            scope.spawn(|| {
                let mut engine = Engine::new().expect("Lua");
                while !stop.load(Ordering::Relaxed) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= settings.runs {
                        return;
                    }
                    let schedule = generate::schedule(settings.seed + at, &settings.kinds);
                    let (outcome, given_back) = run(&schedule, engine, settings.traces);
                    engine = given_back;
                    if settings.twice {
                        let (again, given_back) = run(&schedule, engine, settings.traces);
                        engine = given_back;
                        assert_eq!(outcome.digest, again.digest, "seed {} is not the same again", schedule.setup.seed);
                    }
                    if outcome.violation.is_some() && found.fetch_add(1, Ordering::Relaxed) + 1 >= settings.most {
                        stop.store(true, Ordering::Relaxed);
                    }
                    done.lock().expect("whole").push((at, outcome));
                }
            });
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    let mut done = done.into_inner().expect("whole");
    eprintln!("{seconds:.1} s, {:.0} schedules a second", done.len() as f64 / seconds);
    // Seeds are taken in order, and what was taken was run: what is printed goes up to the last violation that is asked
    // for, whichever thread was first.
    done.sort_by_key(|(at, _)| *at);
    let broken = done.iter().enumerate().filter(|(_, (_, outcome))| outcome.violation.is_some());
    if let Some((last, _)) = broken.take(settings.most.max(1)).last().filter(|_| stop.into_inner()) {
        done.truncate(last + 1);
    }
    let (mut digest, mut messages, mut found, runs) = (0_u64, 0, Vec::new(), done.len());
    for (at, outcome) in done {
        outcome.trace.iter().for_each(|line| println!("{line}"));
        digest = digest.wrapping_add(outcome.digest.rotate_left((at % 64) as u32));
        messages += outcome.messages;
        found.extend(outcome.violation.map(|(rule, how)| (settings.seed + at, rule, how)));
    }
    println!(
        "{runs} schedules from seed {}, {messages} acknowledged messages, digest {digest:016x}: {} violations",
        settings.seed,
        found.len()
    );
    let second_calls = tidings_redis::simulation::second_calls();
    eprintln!("{second_calls} calls were sent after one that had no answer yet");
    if second_calls < settings.second_calls {
        eprintln!("that is less than {}", settings.second_calls);
        return ExitCode::from(3);
    }
    let mut engine = Some(Engine::new().expect("Lua"));
    let mut printed: Vec<String> = Vec::new();
    for (seed, rule, how) in &found {
        println!("\nseed {seed}: {rule}: {how}");
        if printed.contains(rule) {
            continue;
        }
        printed.push(rule.clone());
        let schedule = generate::schedule(*seed, &settings.kinds);
        let (small, given_back) = shrink::shrink(schedule, rule, engine.take().expect("it was given back"));
        let (outcome, given_back) = run(&small, given_back, true);
        engine = Some(given_back);
        show(&small, &outcome);
    }
    if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the schedules that are written, and says of each what came of it.
fn stories(settings: &Settings) -> ExitCode {
    let (mut engine, mut good) = (Engine::new().expect("Lua"), true);
    for (name, schedule) in stories::all() {
        let (outcome, given_back) = run(&schedule, engine, true);
        engine = given_back;
        good &= outcome.violation.is_none();
        println!("{name}: {}", if outcome.violation.is_none() { "well" } else { "BROKEN" });
        if settings.traces || outcome.violation.is_some() {
            show(&schedule, &outcome);
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn show(schedule: &Schedule, outcome: &run::Outcome) {
    println!("{:?}", schedule.setup);
    println!("the least of it ({} steps), and what came of it:", schedule.steps.len());
    outcome.trace.iter().for_each(|line| println!("  {line}"));
    if let Some((rule, how)) = &outcome.violation {
        println!("  => {rule}: {how}");
    }
}

fn settings() -> Result<Settings, String> {
    let mut settings = Settings {
        seed: 1,
        runs: 1_000,
        kinds: Kinds::all(),
        traces: false,
        most: 1,
        twice: false,
        second_calls: 0,
        tells_stories: false,
        threads: std::thread::available_parallelism().map_or(1, Into::into),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("{text} is no number"));
        match word.as_str() {
            "--seed" => settings.seed = number(value()?)?,
            "--runs" => settings.runs = number(value()?)?,
            "--most" => settings.most = number(value()?)? as usize,
            "--threads" => settings.threads = number(value()?)? as usize,
            "--trace" => settings.traces = true,
            "--stories" => settings.tells_stories = true,
            "--second-calls" => settings.second_calls = number(value()?)?,
            "--without-mend" => match value()?.as_str() {
                "seen" => redis::lua::forget_receipts(),
                other => return Err(format!("{other} is no mend; there is seen")),
            },
            "--twice" => settings.twice = true,
            "--without" | "--only" => {
                let on = word == "--only";
                if on {
                    settings.kinds = Kinds::none();
                }
                for kind in value()?.split(',').filter(|kind| !kind.is_empty()) {
                    if !settings.kinds.set(kind, on) {
                        return Err(format!("{kind} is no kind of fault; there are {}", KINDS.join(", ")));
                    }
                }
            }
            _ => return Err(format!("{word} is not known")),
        }
    }
    Ok(settings)
}
