//! The story of a durable subscription for people to read.

use std::collections::HashMap;

use tidings::message::Position;

use super::{AROUND, time};
use crate::{
    check::show,
    history::{At, History},
    work::story::{Ask, Deed, Delivery, Story},
};

/// All of it.
pub(super) fn lines(story: &Story) -> Vec<(At, String)> {
    let name = &story.name;
    let positions = positions(story);
    let mut lines: Vec<(At, String)> = Vec::new();
    for (index, session) in story.sessions.iter().enumerate() {
        let kind = if session.is_pull { "pull" } else { "consumer" };
        let instance = session.instance;
        lines.push((session.opened, format!("{name}: {kind} {index} at subscriber {instance} begins")));
        if let Some((at, why)) = &session.ended {
            lines.push((*at, format!("{name}: {kind} {index} is ended: {why}")));
        }
        if let Some(at) = session.closed.filter(|_| !session.is_pull) {
            lines.push((at, format!("{name}: {kind} {index} leaves")));
        }
    }
    lines.extend(story.deliveries.iter().map(|delivery| (delivery.received, delivered(story, delivery))));
    lines.extend(story.asks.iter().map(|ask| (ask.asked, asked(story, &positions, ask))));
    for redrive in &story.redrives {
        let (ended, count) = (time(redrive.ended), redrive.count);
        let which = if redrive.ids.is_empty() { "all".to_owned() } else { redrive.ids.join(" ") };
        lines.push((redrive.asked, format!("{name}: put back {which}: {count:?} at {ended}")));
    }
    for lost in &story.lost {
        let text = format!("{name}: LOST {} from {} to {}", lost.count, show(lost.first), lost.last);
        lines.push((lost.at, text));
    }
    lines.extend(story.missing.iter().map(|at| (*at, format!("{name}: is said not to be there"))));
    lines
}

/// What is at the end.
pub(super) fn ending(story: &Story) -> Vec<String> {
    let mut lines = vec![format!(
        "at the end {}: {:?}",
        story.name,
        story.ending.as_ref().map(|ending| {
            (ending.backlog_before, ending.lost_before, ending.backlog, ending.lost, ending.dead, &ending.kept)
        })
    )];
    let letters = story.ending.iter().flat_map(|ending| &ending.letters);
    lines.extend(letters.map(|letter| format!("    dead: {letter:?}")));
    lines.extend(story.copies.iter().map(|copy| {
        let dead = copy.dead_ms;
        format!(
            "    copy {} at {}: {} {}, attempts {}, {dead}",
            copy.id,
            show(copy.at),
            show(copy.of),
            copy.body,
            copy.attempts
        )
    }));
    lines
}

/// Everything about one message, and the faults meanwhile.
pub(super) fn around(history: &History, story: &Story, position: Position) -> Vec<(At, String)> {
    let of: Vec<&Delivery> = story.deliveries.iter().filter(|delivery| delivery.position == position).collect();
    let mut lines: Vec<(At, String)> =
        of.iter().map(|delivery| (delivery.received, delivered(story, delivery))).collect();
    let positions = positions(story);
    let ids: Vec<&str> = of.iter().map(|delivery| delivery.ack_id.as_str()).collect();
    let asks = story.asks.iter().filter(|ask| ids.contains(&ask.ack_id.as_str()));
    lines.extend(asks.map(|ask| (ask.asked, asked(story, &positions, ask))));
    let redrives = story.redrives.iter().filter(|redrive| redrive.covers(position));
    lines.extend(redrives.map(|redrive| (redrive.asked, format!("put back: {:?}", redrive.count))));
    lines.sort_by_key(|(at, _)| *at);
    let ends = lines.first().zip(lines.last()).map(|((from, _), (to, _))| (*from, *to));
    if let Some((from, to)) = ends {
        lines.extend(super::faults(history).filter(|(at, _)| (from..=to).contains(at)).take(10 * AROUND));
    }
    lines
}

/// The messages of deliveries.
fn positions(story: &Story) -> HashMap<&str, Position> {
    story.deliveries.iter().map(|delivery| (delivery.ack_id.as_str(), delivery.position)).collect()
}

fn delivered(story: &Story, delivery: &Delivery) -> String {
    let Delivery { session, position, body, key, attempt, sent, deadline, generation, ack_id, .. } = delivery;
    let (name, sent, deadline) = (&story.name, time(*sent), time(*deadline));
    let (generation, id) = (&generation.to_string()[..4], short(ack_id));
    format!(
        "{name}: {} {body} of {key:?}, attempt {attempt}, to {session}, sent {sent}, until {deadline}, id {id}, life {generation}",
        show(*position)
    )
}

fn asked(story: &Story, positions: &HashMap<&str, Position>, ask: &Ask) -> String {
    let deed = match ask.deed {
        Deed::Acknowledge => "acknowledge".to_owned(),
        Deed::Reject { uncounted, dead, delay } => {
            let kind = if dead { "put aside" } else { "reject" };
            format!(
                "{kind}{}{}",
                if uncounted { " uncounted" } else { "" },
                delay.map(|d| format!(" for {d:?}")).unwrap_or_default()
            )
        }
        Deed::Extend(by) => format!("extend by {by:?}"),
    };
    let answer = ask.answered.map(|(at, answer)| format!("{answer:?} at {}", time(at)));
    let name = &story.name;
    let position = positions.get(ask.ack_id.as_str()).copied().map(show).unwrap_or_default();
    format!("{name}: {position} {deed} {}: {}", short(&ask.ack_id), answer.unwrap_or("no answer".to_owned()))
}

/// Enough of an ack id to know it by: its block and its checksum are at its end.
fn short(ack_id: &str) -> &str {
    &ack_id[ack_id.len().saturating_sub(10)..]
}
