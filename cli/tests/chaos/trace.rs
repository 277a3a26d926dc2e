//! A run for people to read: everything in the order of time, and what is around a violation.

mod work;

use std::{fmt::Write as _, path::PathBuf, time::Duration};

use crate::{
    check::{Spot, Violation, show},
    history::{At, End, Event, History, Outcome, Positions},
};

/// Events of a stream, or tries of a channel, that are shown before and after a violation.
const AROUND: usize = 8;

/// Writes all of it to a file in the target folder.
pub(crate) fn write(seed: u64, history: &History, violations: &[Violation]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{seed}.trace"));
    let mut lines = lines(history);
    lines.sort_by_key(|(at, _)| *at);
    let mut text = String::new();
    for violation in violations {
        let _ = writeln!(text, "VIOLATION {}", violation.text);
    }
    for (at, line) in lines {
        let _ = writeln!(text, "{} {line}", time(at));
    }
    for (channel, log) in &history.logs {
        let _ = writeln!(text, "at the end {channel}: {:?}", log.head);
        for message in &log.messages {
            let _ = writeln!(text, "    {} {} {}", show(message.position), message.body, message.id);
        }
    }
    for line in history.stories.iter().flat_map(work::ending) {
        let _ = writeln!(text, "{line}");
    }
    std::fs::write(&path, text).expect("the target folder can be written to");
    path
}

/// What is around a violation.
pub(crate) fn around(history: &History, violation: &Violation) -> String {
    let mut lines: Vec<(At, String)> = Vec::new();
    match &violation.spot {
        Spot::Run => {}
        Spot::Work(index, position) => lines.extend(work::around(history, &history.stories[*index], *position)),
        Spot::Stream(index, event) => {
            let stream = &history.streams[*index];
            let begin = event.saturating_sub(AROUND);
            let near = stream.events.iter().enumerate().skip(begin).take(2 * AROUND);
            lines.extend(near.map(|(number, (at, said))| {
                let mark = if number == *event { " <<<" } else { "" };
                (*at, format!("    {}{mark}", say(said)))
            }));
            let end = lines.last().map_or(stream.asked, |(at, _)| *at);
            let from = lines.first().map_or(stream.asked, |(at, _)| *at).saturating_sub(Duration::from_secs(1));
            lines.insert(0, (stream.asked, begins(history, *index)));
            lines.extend(faults(history).filter(|(at, _)| (from..=end).contains(at)));
        }
        Spot::Channel(channel, sequence) => {
            let near = |position: i64| (position - sequence).abs() < 4 || *sequence == 0 && position == 0;
            for attempt in history.attempts.iter().filter(|attempt| attempt.channel == *channel) {
                let position =
                    if let Outcome::Receipt { position, .. } = attempt.outcome { position.sequence } else { 0 };
                if *sequence != 0 && near(position) {
                    lines.push((attempt.began, format!("    {} {:?}", attempt.body, attempt.outcome)));
                }
            }
            lines.extend(faults(history));
        }
    }
    lines.sort_by_key(|(at, _)| *at);
    lines.iter().fold(String::new(), |mut text, (at, line)| {
        let _ = writeln!(text, "{} {line}", time(*at));
        text
    })
}

fn lines(history: &History) -> Vec<(At, String)> {
    let mut lines: Vec<(At, String)> = faults(history).collect();
    for attempt in &history.attempts {
        let outcome = match &attempt.outcome {
            Outcome::Receipt { position, duplicate } => {
                format!("{}{}", show(*position), if *duplicate { " again" } else { "" })
            }
            other => format!("{other:?}"),
        };
        let (began, channel, body) = (time(attempt.began), &attempt.channel, &attempt.body);
        let id = if attempt.id.is_some() { "" } else { ", no id" };
        let line = format!("publisher {}: {channel} {body} (asked {began}{id}): {outcome}", attempt.instance);
        lines.push((attempt.ended, line));
    }
    lines.extend(history.stories.iter().flat_map(work::lines));
    for (index, stream) in history.streams.iter().enumerate() {
        lines.push((stream.asked, begins(history, index)));
        for (at, event) in &stream.events {
            lines.push((*at, format!("stream {index}: {}", say(event))));
        }
        let last = stream.events.last().map_or(stream.asked, |(at, _)| *at);
        let at = if let End::Status { at, .. } = &stream.end { *at } else { last };
        lines.push((at, format!("stream {index} ends: {:?}", stream.end)));
    }
    lines
}

fn faults(history: &History) -> impl Iterator<Item = (At, String)> {
    history.faults.iter().map(|fault| {
        let loses = fault.loses_from.map(|from| format!(", loses what came after {}", time(from))).unwrap_or_default();
        (fault.began, format!("FAULT {} until {}{loses}", fault.what, time(fault.ended)))
    })
}

fn begins(history: &History, index: usize) -> String {
    let stream = &history.streams[index];
    let opened = stream.opened.map(time).unwrap_or_default();
    let ends = if stream.fails_on_gap { ", ends at a gap" } else { "" };
    let start = match &stream.start {
        crate::history::Start::After(positions) => format!("After {}", list(positions)),
        other => format!("{other:?}"),
    };
    let (reader, instance, topic) = (stream.reader, stream.instance, &stream.topic);
    format!("stream {index} of reader {reader} at subscriber {instance}: {topic} {start}{ends}, open at {opened}")
}

fn say(event: &Event) -> String {
    match event {
        Event::Started(positions) => format!("started {}", list(positions)),
        Event::CaughtUp(positions) => format!("caught up {}", list(positions)),
        Event::Heartbeat(positions) => format!("heartbeat {}", list(positions)),
        Event::Message { channel, body, position, .. } => format!("{channel} {} {body}", show(*position)),
        Event::Gap { channel, epoch, first, last, reason, cursor } => {
            let epoch = epoch.map(|epoch| epoch.to_string()).unwrap_or_default();
            format!("GAP {channel} {epoch} {first}-{last} {} continues after {}", reason.as_str_name(), show(*cursor))
        }
        Event::Odd(text) => format!("ODD {text}"),
    }
}

fn list(positions: &Positions) -> String {
    let list: Vec<String> = positions.iter().map(|(channel, at)| format!("{channel}={}", show(*at))).collect();
    format!("[{}]", list.join(" "))
}

fn time(at: At) -> String {
    format!("{:>8.3}", at.as_secs_f64())
}
