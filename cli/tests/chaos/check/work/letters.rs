//! Dead letters: each is published once, with an id of its own, and put back once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tidings::message::Position;

use super::{Case, Message, Violation, message::key, show};
use crate::work::story::{Deed, Redrive};

pub(super) fn check(case: &Case, messages: &BTreeMap<(i64, String), Message>, violations: &mut Vec<Violation>) {
    once(case, messages, violations);
    all(case, violations);
    for (index, redrive) in case.story.redrives.iter().enumerate() {
        if let Err(text) = put_back(case, redrive, &case.story.redrives[..index]) {
            violations.push(case.general(text));
        }
    }
}

/// No copy twice, and no more copies of a message than it can have died.
fn once(case: &Case, messages: &BTreeMap<(i64, String), Message>, violations: &mut Vec<Violation>) {
    let mut ids: HashMap<&str, Position> = HashMap::new();
    let mut deaths: HashMap<((i64, String), i64), Position> = HashMap::new();
    let mut copies: BTreeMap<(i64, String), (Position, BTreeSet<&str>)> = BTreeMap::new();
    for copy in &case.story.copies {
        let first = *ids.entry(&copy.id).or_insert(copy.at);
        if first != copy.at && !case.loses() {
            let text = format!("a dead letter is published at {} and at {}", show(first), show(copy.at));
            violations.push(case.violation(copy.of, text));
        }
        let first = *deaths.entry((key(copy.of), copy.dead_ms)).or_insert(copy.at);
        if first != copy.at && !case.loses() {
            let text = format!("it died once, and has copies at {} and at {}", show(first), show(copy.at));
            violations.push(case.violation(copy.of, text));
        }
        copies.entry(key(copy.of)).or_insert((copy.of, BTreeSet::new())).1.insert(&copy.id);
        let said = case.truth.says(&case.story.channel, copy.of);
        if copy.attempts > case.story.attempts || said.is_some_and(|said| said != copy.body) {
            violations.push(case.violation(copy.of, format!("its copy is {copy:?}, and it is {said:?}")));
        }
    }
    if case.loses() {
        return;
    }
    for (key, (of, copies)) in &copies {
        let may_have = |redrive: &&Redrive| redrive.covers(*of) && redrive.count != Some(0);
        let redrives = case.story.redrives.iter().filter(may_have).count();
        if copies.len() > redrives + 1 {
            let text = format!("it was put back {redrives} times at most, and has {} copies", copies.len());
            violations.push(case.violation(*of, text));
        }
        let acknowledged = messages.get(key).is_some_and(|message| message.acknowledged().is_some());
        if acknowledged && redrives == 0 {
            violations.push(case.violation(*of, "it has a copy, was not put back, and is acknowledged".to_owned()));
        }
    }
}

/// Whatever is dead at the end was published, and what was put aside for certain is dead or was put back.
fn all(case: &Case, violations: &mut Vec<Violation>) {
    let Some(ending) = &case.story.ending else { return };
    // Of a log that was trimmed before anybody looked nothing is known.
    let log = case.history.logs.get(&case.story.letters);
    let seen: BTreeSet<i64> = case.story.copies.iter().map(|copy| copy.at.sequence).collect();
    let unseen = log.map_or(0, |log| (1..=log.head.last).filter(|sequence| !seen.contains(sequence)).count());
    if unseen > 0 || case.loses() {
        return;
    }
    for letter in &ending.letters {
        let is_its = |of: Position, dead_ms: i64| of == letter.position && dead_ms == letter.dead_ms;
        if !case.story.copies.iter().any(|copy| is_its(copy.of, copy.dead_ms)) {
            let text = format!("the dead letter {} of {} was not published", letter.id, letter.body);
            violations.push(case.violation(letter.position, text));
        }
    }
}

/// A repeat finds nothing, and no more is put back than was asked for.
fn put_back(case: &Case, redrive: &Redrive, before: &[Redrive]) -> Result<(), String> {
    let (Some(count), Some(positions)) = (redrive.count, &redrive.positions) else { return Ok(()) };
    super::must!(
        count <= positions.len() as i64,
        "{count} of the dead letters {:?} were put back at {:.3}",
        redrive.ids,
        redrive.asked.as_secs_f64()
    );
    let repeated = before.iter().find(|first| first.ids == redrive.ids && first.count.is_some());
    let Some(first) = repeated else { return Ok(()) };
    super::must!(
        count == 0 || case.forgets(first.asked, first.ended, redrive.ended),
        "{count} of the dead letters {:?} were put back twice, at {:.3} and {:.3}",
        redrive.ids,
        first.asked.as_secs_f64(),
        redrive.asked.as_secs_f64()
    );
    Ok(())
}

/// Whether a message was put aside for certain, and not put back since.
pub(super) fn is_dead(case: &Case, message: &Message) -> bool {
    let last = message.deliveries.last();
    last.is_some_and(|last| {
        message.of(last).iter().any(|ask| match ask.deed {
            Deed::Reject { uncounted, dead, .. } => {
                let counts = dead || !uncounted && last.attempt >= case.story.attempts;
                counts && ask.done().is_some() && !message.may_be_redriven(ask.asked, crate::history::At::MAX)
            }
            _ => false,
        })
    })
}
