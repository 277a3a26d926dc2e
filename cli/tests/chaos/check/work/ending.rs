//! At least once, and nothing goes silently: at the end every message is done, dead, or counted as lost, and nothing
//! else is kept.

use std::collections::{BTreeMap, BTreeSet};

use tidings::message::Position;

use super::{Case, Message, Violation, letters, message::key};
use crate::work::story::{Deed, Ending};

type Messages<'a> = BTreeMap<(i64, String), Message<'a>>;

pub(super) fn check(case: &Case, messages: &Messages, violations: &mut Vec<Violation>) {
    let Some(ending) = &case.story.ending else {
        return violations.push(case.general("has no end".to_owned()));
    };
    let mut say = |text: String| violations.push(case.general(text));
    let (backlog, out, waiting) = (ending.backlog, ending.outstanding, ending.waiting);
    if (backlog, out, waiting) != (0, 0, 0) {
        say(format!("is drained, and has a backlog of {backlog}: {out} out, {waiting} waiting"));
    }
    if ending.dead != ending.letters.len() as i64 {
        say(format!("lists {} dead letters, and counts {}", ending.letters.len(), ending.dead));
    }
    if !ending.kept.is_empty() {
        say(format!("is drained, and Redis keeps {:?}", ending.kept));
    }
    if let Some(text) = drained(case, ending) {
        say(text);
    }
    if let Some(text) = accounts(case, messages, ending) {
        say(text);
    }
    losses(case, messages, violations);
    let dead: BTreeSet<_> = ending.letters.iter().map(|letter| key(letter.position)).collect();
    for message in messages.values() {
        // What was trimmed meanwhile can't be put aside: it is lost.
        let is_gone = case.loses() || case.was_trimmed(message.position, crate::history::At::MAX);
        if letters::is_dead(case, message) && !dead.contains(&key(message.position)) && !is_gone {
            violations.push(case.violation(message.position, "it was put aside, and is not listed".to_owned()));
        }
        if message.acknowledged().is_some() && dead.contains(&key(message.position)) && !case.loses() {
            violations.push(case.violation(message.position, "it is acknowledged, and a dead letter".to_owned()));
        }
    }
    for logged in case.history.logs.get(&case.story.channel).iter().flat_map(|log| &log.messages) {
        let is_done = messages
            .get(&key(logged.position))
            .is_some_and(|message| message.acknowledged().is_some() || message.may_be_acknowledged());
        if !is_done && !dead.contains(&key(logged.position)) {
            let text = format!("{} is in the log, and neither acknowledged nor dead", logged.body);
            violations.push(case.violation(logged.position, text));
        }
    }
}

/// The backlog before the end is what was then done, or was found to be lost, or died as its last lease ended.
fn drained(case: &Case, ending: &Ending) -> Option<String> {
    let asks = case.story.asks.iter().filter(|ask| ask.asked >= ending.began && ask.done().is_some());
    let done: BTreeSet<_> = asks.map(|ask| ask.ack_id.as_str()).collect();
    let of_done = case.story.deliveries.iter().filter(|delivery| done.contains(delivery.ack_id.as_str()));
    let drained: BTreeSet<_> = of_done.map(|delivery| key(delivery.position)).collect();
    let (drained, backlog) = (drained.len() as i64, ending.backlog_before);
    let (dead, lost) = (ending.dead - ending.dead_before, ending.lost - ending.lost_before);
    let most = drained + dead + lost;
    // What was lost with its epoch was in no backlog any more.
    let is_exact = if case.loses() { (drained + dead..=most).contains(&backlog) } else { most == backlog };
    let text =
        || format!("has a backlog of {backlog}, of which {drained} are acknowledged, {dead} dead and {lost} lost");
    (!is_exact).then(text)
}

/// Where Redis loses nothing, all that was ever published is acknowledged, dead or lost, and each only one of these.
fn accounts(case: &Case, messages: &Messages, ending: &Ending) -> Option<String> {
    if case.loses() {
        return None;
    }
    let last = case.history.logs.get(&case.story.channel).map_or(0, |log| log.head.last);
    let acknowledged = messages.values().filter(|message| message.acknowledged().is_some()).count() as i64;
    let perhaps = |message: &&Message| message.acknowledged().is_none() && message.may_be_acknowledged();
    let perhaps = messages.values().filter(perhaps).count() as i64;
    let known = acknowledged + ending.dead + ending.lost;
    (!(known..=known + perhaps).contains(&last)).then(|| {
        let (dead, lost) = (ending.dead, ending.lost);
        format!("of {last} messages {acknowledged} are acknowledged, {perhaps} perhaps, {dead} dead and {lost} lost")
    })
}

/// What is reported as lost was not acknowledged, is not there, and is reported once.
fn losses(case: &Case, messages: &Messages, violations: &mut Vec<Violation>) {
    let loses = case.loses();
    let mut reported: BTreeSet<(i64, String)> = BTreeSet::new();
    let mut count = 0;
    for lost in &case.story.lost {
        count += lost.count;
        let last = if lost.last == 0 { lost.first.sequence } else { lost.last };
        if loses || last - lost.first.sequence > 1_000_000 {
            continue;
        }
        for sequence in lost.first.sequence..=last {
            let position = Position { epoch: lost.first.epoch, sequence };
            let is_it = |key: &&(i64, String)| key.0 == sequence;
            let acknowledged = messages.range((sequence, String::new())..).map(|(key, _)| key).take_while(is_it);
            let mut acknowledged = acknowledged.filter_map(|key| messages.get(key)?.acknowledged());
            let before = |ask: &crate::work::story::Ask| ask.deed == Deed::Acknowledge;
            if acknowledged.any(before) {
                violations.push(case.violation(position, "it is acknowledged, and reported as lost".to_owned()));
            }
            let log = case.history.logs.get(&case.story.channel);
            if log.is_some_and(|log| sequence >= log.head.first) {
                violations.push(case.violation(position, "it is in the log, and was reported as lost".to_owned()));
            }
            if !reported.insert((sequence, String::new())) {
                violations.push(case.violation(position, "it was reported as lost twice".to_owned()));
            }
        }
    }
    let told = case.story.ending.as_ref().map_or(0, |ending| ending.lost);
    if !loses && count > told {
        violations.push(case.general(format!("{count} messages were reported as lost, and {told} are counted")));
    }
}
