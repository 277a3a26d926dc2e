//! What Redis holds: consecutive, every message once, and every epoch's end as far as its writer knew it.

use std::collections::HashMap;

use tidings::message::{Epoch, Position};

use super::{Spot, Violation, must, show, truth::Truth};
use crate::history::{History, Log, Outcome};

/// Judges the logs at the end.
pub(super) fn check(history: &History, truth: &Truth, violations: &mut Vec<Violation>) {
    for (channel, log) in &history.logs {
        let wrong = consecutive(log).and_then(|()| once(log)).map_err(|(at, text)| (at, format!("{channel}: {text}")));
        if let Err((at, text)) = wrong {
            violations.push(Violation { text, spot: Spot::Channel(channel.clone(), at) });
        }
    }
    if let Err((channel, at, text)) = ends_are_known(history, truth) {
        violations.push(Violation { text, spot: Spot::Channel(channel, at) });
    }
}

fn consecutive(log: &Log) -> Result<(), (i64, String)> {
    let mut expected = log.head.first;
    for message in &log.messages {
        let position = message.position;
        if position.sequence != expected {
            return Err((expected, format!("the log has {} where {expected} should be", show(position))));
        }
        let epoch = log.head.epochs.iter().rev().find(|start| start.first <= expected).map(|start| start.epoch);
        if epoch.is_some() && epoch != position.epoch {
            return Err((expected, format!("the log has {}, and its head says otherwise", show(position))));
        }
        expected += 1;
    }
    match expected - 1 == log.head.last {
        true => Ok(()),
        false => Err((expected, format!("the log ends at {}, and its head at {}", expected - 1, log.head.last))),
    }
}

fn once(log: &Log) -> Result<(), (i64, String)> {
    let mut ids: HashMap<&str, Position> = HashMap::new();
    let mut bodies: HashMap<&str, Position> = HashMap::new();
    for message in &log.messages {
        let twice = [ids.insert(&message.id, message.position), bodies.insert(&message.body, message.position)];
        if let Some(first) = twice.into_iter().flatten().next() {
            let (first, second) = (show(first), show(message.position));
            return Err((message.position.sequence, format!("{} is in the log at {first} and {second}", message.body)));
        }
    }
    Ok(())
}

/// A publisher that begins an epoch notes how far it knew the one before: what it had a receipt for.
fn ends_are_known(history: &History, truth: &Truth) -> Result<(), (String, i64, String)> {
    let mut last: HashMap<(&str, usize), Position> = HashMap::new();
    let mut attempts: Vec<_> = history.attempts.iter().collect();
    attempts.sort_by_key(|attempt| attempt.ended);
    for attempt in attempts {
        let Outcome::Receipt { position, duplicate: false } = attempt.outcome else { continue };
        let before = last.insert((&attempt.channel, attempt.instance), position);
        let check = |epoch: Epoch| -> Result<(), String> {
            let (Some(before), Some(began)) = (before, truth.began(&attempt.channel, epoch)) else { return Ok(()) };
            let is_first = began.start.first == position.sequence && before.epoch == began.previous;
            let named = before.epoch.map_or(0, |lost| truth.named(&attempt.channel, epoch, lost));
            must!(
                !is_first || began.previous.is_none() || began.start.previous_end.max(named) >= before.sequence,
                "{}: began an epoch with {}, knew of {}, and noted {} as the end",
                attempt.channel,
                show(position),
                show(before),
                began.start.previous_end
            );
            Ok(())
        };
        if let Some(epoch) = position.epoch {
            check(epoch).map_err(|text| (attempt.channel.clone(), position.sequence, text))?;
        }
    }
    Ok(())
}
