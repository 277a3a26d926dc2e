//! Receipts: each has its message, positions are given once, repeats get the first receipt, and errors say what is
//! true.

use std::collections::HashMap;

use tidings::message::Position;

use super::{Spot, Violation, must, show, truth::Truth};
use crate::board::LETTERS;
use crate::history::{At, Attempt, History, Outcome};

/// All tries to publish one message.
struct Publish<'a> {
    tries: Vec<&'a Attempt>,
}

/// Judges what publishers answered.
pub(super) fn check(history: &History, truth: &Truth, violations: &mut Vec<Violation>) {
    let mut publishes: HashMap<(&str, &str), Publish> = HashMap::new();
    for attempt in &history.attempts {
        let key = (attempt.channel.as_str(), attempt.body.as_str());
        publishes.entry(key).or_insert_with(|| Publish { tries: Vec::new() }).tries.push(attempt);
    }
    let mut broken = Vec::new();
    for publish in publishes.values() {
        if let Err(text) = publish.check(history, truth) {
            broken.push((publish.tries[0], text));
        }
    }
    broken.extend(batches(history));
    broken.extend(order(&publishes));
    violations.extend(strangers(truth, &publishes));
    broken.sort_by_key(|(attempt, _)| attempt.began);
    violations.extend(broken.into_iter().map(|(attempt, text)| {
        let sequence = receipt(attempt).map_or(0, |(position, _)| position.sequence);
        Violation { text, spot: Spot::Channel(attempt.channel.clone(), sequence) }
    }));
}

fn receipt(attempt: &Attempt) -> Option<(Position, bool)> {
    match attempt.outcome {
        Outcome::Receipt { position, duplicate } => Some((position, duplicate)),
        _ => None,
    }
}

impl Publish<'_> {
    fn check(&self, history: &History, truth: &Truth) -> Result<(), String> {
        let mut first: Option<(&Attempt, Position)> = None;
        let mut originals = Vec::new();
        for attempt in &self.tries {
            let body = &attempt.body;
            if let Outcome::Odd(answer) = &attempt.outcome {
                return Err(format!("{body} was answered with {answer}"));
            }
            let Some((position, duplicate)) = receipt(attempt) else { continue };
            self.has_its_message(history, truth, attempt, position)?;
            if !duplicate {
                must!(!originals.contains(&position), "{body} was published at {} twice", show(position));
                originals.push(position);
            }
            if let Some((before, at)) = first {
                must!(
                    at == position || truth.was_lost(before.began, attempt.ended),
                    "{body} got a receipt for {} and one for {}",
                    show(at),
                    show(position)
                );
            }
            first = Some((attempt, position));
        }
        let refused = self.tries.iter().all(|attempt| attempt.outcome == Outcome::Refused);
        let (channel, body) = (&self.tries[0].channel, &self.tries[0].body);
        must!(!refused || !truth.was_seen(channel, body), "{body} was said not to be published, and is on {channel}");
        Ok(())
    }

    /// The message is in the log, or was trimmed, or was lost by a fault that may lose it.
    fn has_its_message(
        &self,
        history: &History,
        truth: &Truth,
        to: &Attempt,
        position: Position,
    ) -> Result<(), String> {
        if truth.is_logged(&to.channel, position) || truth.was_lost(self.tries[0].began, to.ended) {
            return Ok(());
        }
        let log = history.logs.get(&to.channel);
        let trimmed = log.is_some_and(|log| position.sequence < log.head.first);
        must!(trimmed, "{} has a receipt for {}, and the log lacks it", to.body, show(position));
        Ok(())
    }
}

/// The messages of a batch land together.
fn batches(history: &History) -> Vec<(&Attempt, String)> {
    let mut broken = Vec::new();
    let mut before: HashMap<usize, Position> = HashMap::new();
    for attempt in &history.attempts {
        let Some((position, false)) = receipt(attempt) else { continue };
        let last = before.insert(attempt.call, position);
        if let Some(last) = last.filter(|last| (last.epoch, last.sequence + 1) != (position.epoch, position.sequence)) {
            broken.push((attempt, format!("a batch has {} after {}", show(position), show(last))));
        }
    }
    broken
}

/// What was answered before another was asked for comes before it.
fn order<'a>(publishes: &HashMap<(&str, &str), Publish<'a>>) -> Vec<(&'a Attempt, String)> {
    /// Tries of one epoch: its position, when it was first asked for, and the answer.
    type Placed<'a> = Vec<(i64, At, &'a Attempt)>;
    let mut epochs: HashMap<(&str, Position), Placed> = HashMap::new();
    for publish in publishes.values() {
        let began = publish.tries[0].began;
        for attempt in &publish.tries {
            if let Some((position, false)) = receipt(attempt) {
                let epoch = Position { sequence: 0, ..position };
                epochs.entry((&attempt.channel, epoch)).or_default().push((position.sequence, began, attempt));
            }
        }
    }
    let mut broken = Vec::new();
    for placed in epochs.values_mut() {
        placed.sort_by_key(|(sequence, ..)| *sequence);
        // Seen from the end: the earliest answer of all that come later.
        let mut earliest: Option<&Attempt> = None;
        for (_, began, attempt) in placed.iter().rev() {
            if let Some(later) = earliest.filter(|later| later.ended < *began) {
                broken.push((*attempt, format!("{} is before {}, which had its receipt", attempt.body, later.body)));
            }
            if earliest.is_none_or(|earliest| attempt.ended < earliest.ended) {
                earliest = Some(attempt);
            }
        }
    }
    broken
}

/// Nothing is delivered that nobody published.
fn strangers(truth: &Truth, publishes: &HashMap<(&str, &str), Publish>) -> Option<Violation> {
    // Dead letters are published by services, and judged with their subscriptions.
    let (channel, body) = truth.all_seen().find(|seen| {
        let is_copy = seen.0.starts_with(LETTERS);
        !is_copy && !publishes.contains_key(seen) && !truth.is_plain(seen.0, seen.1)
    })?;
    Some(Violation { text: format!("{channel} has {body}, which nobody published there"), spot: Spot::Run })
}
