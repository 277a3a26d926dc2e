//! Makes a schedule that breaks a rule small: takes out what the violation does not need.

use crate::{redis::lua::Engine, run::run, schedule::Schedule};

/// Runs that may be spent on it.
const RUNS: usize = 1_500;

/// The least that still breaks the same rule.
pub(crate) fn shrink(mut schedule: Schedule, rule: &str, mut engine: Engine) -> (Schedule, Engine) {
    let mut runs = 0;
    let mut breaks = |schedule: &Schedule, engine: Engine| {
        runs += 1;
        let (outcome, engine) = run(schedule, engine, false);
        (outcome.violation.is_some_and(|(broken, _)| broken == rule), engine, runs < RUNS)
    };
    let mut size = schedule.steps.len().div_ceil(2);
    loop {
        let (mut at, mut any) = (0, false);
        while at < schedule.steps.len() {
            let mut smaller = schedule.clone();
            smaller.steps.drain(at..(at + size).min(smaller.steps.len()));
            let (still, given_back, may_go_on) = breaks(&smaller, engine);
            engine = given_back;
            if !may_go_on {
                return (schedule, engine);
            }
            match still {
                true => (schedule, any) = (smaller, true),
                false => at += size,
            }
        }
        // Waits, from the longest possible to none.
        if size == 1 {
            for at in 0..schedule.steps.len() {
                for wait in [0, 1, 50] {
                    if schedule.steps[at].1 <= wait {
                        break;
                    }
                    let mut smaller = schedule.clone();
                    smaller.steps[at].1 = wait;
                    let (still, given_back, may_go_on) = breaks(&smaller, engine);
                    engine = given_back;
                    if !may_go_on {
                        return (schedule, engine);
                    }
                    if still {
                        schedule = smaller;
                        any = true;
                        break;
                    }
                }
            }
            if !any {
                return (schedule, engine);
            }
        } else {
            size = size.div_ceil(2);
        }
    }
}
