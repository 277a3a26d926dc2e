//! Holds a history against the promises of streams, publishes and durable subscriptions. Pure: no clock, no Redis, so
//! that it can be tested on histories written by hand.
//!
//! A rule answers what is wrong in words. Nothing here is lenient because a run is wild: what a fault excuses is said
//! by the fault itself (what it may lose, whose streams it ends), and the rest is a violation.

mod ends;
mod gaps;
mod logs;
mod publishing;
mod starts;
#[cfg(test)]
mod tests;
mod truth;
mod walk;
mod work;

use tidings::message::Position;

use crate::history::History;

/// A broken promise.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) text: String,
    pub(crate) spot: Spot,
}

/// Where in the history a promise was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Spot {
    /// A stream and one of its events.
    Stream(usize, usize),
    /// A channel's message.
    Channel(String, i64),
    /// A message of a durable subscription.
    Work(usize, Position),
    /// The run as a whole.
    Run,
}

/// All that is broken; at most one violation a stream, since what follows the first says little.
pub(crate) fn check(history: &History) -> Vec<Violation> {
    let mut violations: Vec<Violation> =
        history.troubles.iter().map(|text| Violation { text: text.clone(), spot: Spot::Run }).collect();
    let truth = truth::Truth::new(history, &mut violations);
    logs::check(history, &truth, &mut violations);
    publishing::check(history, &truth, &mut violations);
    for index in 0..history.streams.len() {
        violations.extend(walk::walk(history, &truth, index));
    }
    work::check(history, &truth, &mut violations);
    violations
}

/// A position in a few letters.
pub(crate) fn show(position: Position) -> String {
    match position.epoch {
        Some(epoch) => format!("{}:{}", &epoch.to_string()[..4], position.sequence),
        None => format!("-:{}", position.sequence),
    }
}

/// A rule that is broken, as an error.
macro_rules! must {
    ($holds:expr, $($text:tt)+) => {
        if !$holds {
            return Err(format!($($text)+));
        }
    };
}
pub(crate) use must;
