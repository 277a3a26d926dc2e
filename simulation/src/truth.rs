//! What really happened: what was given out, what was acknowledged, and what readers received. The oracle judges it.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock;

/// A numbered message: its position and its text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Numbered {
    pub(crate) channel: String,
    pub(crate) epoch: String,
    pub(crate) sequence: i64,
    pub(crate) text: String,
}

/// An acknowledged message.
#[derive(Debug, Clone)]
pub(crate) struct Acknowledged {
    pub(crate) message: Numbered,
    /// When its publish began.
    pub(crate) begun: u64,
    /// Which run of which publisher has the receipt.
    pub(crate) run: usize,
    pub(crate) is_duplicate: bool,
}

/// Why a reader got a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Trimmed,
    EpochChanged,
    NotRetained,
}

/// What a reader received.
#[derive(Debug, Clone)]
pub(crate) enum Received {
    /// A stream has started, from the beginning or a cursor.
    Started,
    Message(Numbered),
    Gap {
        channel: String,
        epoch: String,
        first: i64,
        last: i64,
        reason: Reason,
    },
    /// It ended, for this reason, which is none of those that pass.
    Refused(String),
}

/// What a lister was answered.
#[derive(Debug, Clone)]
pub(crate) enum Listed {
    /// A page, the first of its list or a later one.
    Page { is_first: bool, messages: Vec<Numbered> },
    /// The list's history is gone, as the service reported.
    Gone,
    /// For this reason, which is none of those that pass.
    Refused(String),
}

/// One reader, over all its streams.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    pub(crate) name: String,
    /// A channel, or a pattern.
    pub(crate) topic: String,
    /// When it first had its start: what is published from then on is owed to it.
    pub(crate) started: Option<u64>,
    pub(crate) received: Vec<(u64, Received)>,
}

impl Reader {
    /// Whether it follows a channel.
    pub(crate) fn follows(&self, channel: &str) -> bool {
        match self.topic.strip_suffix('*') {
            Some(start) => channel.starts_with(start),
            None => self.topic == channel,
        }
    }
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// The order of events.
    now: u64,
    /// The greatest sequence ever given out in an epoch of a channel.
    pub(crate) given: BTreeMap<(String, String), i64>,
    /// Everything ever pushed: when first, and how often.
    pub(crate) pushed: BTreeMap<Numbered, (u64, usize)>,
    pub(crate) acknowledged: Vec<Acknowledged>,
    pub(crate) readers: Vec<Reader>,
    /// What each lister was answered, in order.
    pub(crate) lists: Vec<Vec<Listed>>,
    /// What heads ever listed, as they have it, by channel.
    pub(crate) histories: BTreeSet<(&'static str, String)>,
    /// Runs of publishers that remember what they learned.
    pub(crate) remembering: Vec<usize>,
    pub(crate) runs: usize,
    /// Whether a server's clock was set.
    pub(crate) sets_clocks: bool,
    /// Whether channels keep a history.
    pub(crate) keeps_history: bool,
    /// Whether logs are so short that they are trimmed.
    pub(crate) trims: bool,
    /// Lines for people.
    pub(crate) trace: Vec<String>,
    pub(crate) is_traced: bool,
    /// What was wrong already while it happened.
    pub(crate) wrong: Vec<(String, String)>,
}

impl Truth {
    pub(crate) fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if self.is_traced {
            let line = format!("{:>7} ms  {}", clock::now_ms(), line());
            self.trace.push(line);
        }
    }

    /// The same, at an index among the lines.
    pub(crate) fn note_at(&mut self, at: usize, line: impl FnOnce() -> String) {
        let end = self.trace.len();
        self.note(line);
        let new = self.trace.len() - end;
        self.trace[at..].rotate_right(new);
    }

    /// A server published: where the message is one of ours, its position was given out.
    pub(crate) fn published(&mut self, server: usize, channel: &[u8], payload: &[u8]) {
        let Some(message) = numbered(channel, payload) else { return };
        let given = self.given.entry((message.channel.clone(), message.epoch.clone())).or_default();
        *given = (*given).max(message.sequence);
        self.note(|| format!("S{server} pushes {message}"));
        let now = self.tick();
        self.pushed.entry(message).or_insert((now, 0)).1 += 1;
    }

    pub(crate) fn begin_run(&mut self) -> usize {
        self.runs += 1;
        self.remembering.push(self.runs);
        self.runs
    }
}

impl std::fmt::Display for Numbered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}:{} {}", self.channel, short(&self.epoch), self.sequence, self.text)
    }
}

/// The beginning of an epoch's name, which is enough for people.
pub(crate) fn short(epoch: &str) -> &str {
    epoch.get(..4).unwrap_or(epoch)
}

fn numbered(channel: &[u8], payload: &[u8]) -> Option<Numbered> {
    let (channel, json) = (std::str::from_utf8(channel).ok()?, std::str::from_utf8(payload).ok()?);
    let between = |before: &str, after: &str| {
        let rest = &json[json.find(before)? + before.len()..];
        Some(rest[..rest.find(after)?].to_owned())
    };
    let sequence = between("\"sequence\":", ",").or_else(|| between("\"sequence\":", "}"))?.parse().ok()?;
    Some(Numbered {
        channel: channel.to_owned(),
        epoch: between("\"epoch\":\"", "\"")?,
        sequence,
        text: between("\"message\":\"", "\"")?,
    })
}
