//! Which subscriptions on Redis the patterns come through: their *carriers*.
//!
//! Redis compares each message with each pattern that is subscribed to, and sends a copy for each that matches, so that
//! many patterns are a burden on everybody who publishes, and fill the connection's output buffer. A few are subscribed
//! to as they are. More are gathered under literal beginnings, none of which is another's: `orders.*.eu` and
//! `orders.*.us` come through `orders.*`. Then Redis compares a few bytes and sends one copy, and what belongs to which
//! pattern is found here.
//!
//! A pattern may change its carrier. Both are subscribed to for a moment, and the confirmation of the new one says from
//! which message on that one counts: none is missed, and none comes twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use foldhash::HashMap;
use tidings::{
    broker::Topic,
    channel::{Pattern, PatternSet},
    limits::{PATTERN_PREFIXES, PATTERNS_APART},
};

/// The patterns of a live connection, and the subscriptions that carry them.
#[derive(Debug, Default)]
pub(super) struct Carriers {
    patterns: BTreeMap<Pattern, Carried>,
    /// The patterns that come through each carrier now.
    present: HashMap<Bytes, Present>,
    /// It may be that they could come through others.
    is_stale: bool,
}

#[derive(Debug, Default)]
struct Present {
    patterns: PatternSet<Topic>,
    /// It is the pattern itself, and the only one: whatever comes belongs to it.
    only: Option<Arc<[Topic]>>,
}

#[derive(Debug, Default)]
struct Carried {
    /// The confirmed subscription that carries it now.
    present: Option<Bytes>,
    /// The last subscription that was asked for on its behalf.
    wanted: Option<Bytes>,
    /// It is subscribed to as it is: it is captured, or the Redis user may not subscribe to more.
    is_apart: bool,
    /// Whoever asked for it has no answer yet.
    is_asked: bool,
}

/// A confirmed subscription.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Confirmed {
    /// Somebody waits for it: it is no change of carriers alone.
    pub(super) is_asked: bool,
    /// Nothing comes through this one any more.
    pub(super) unused: Option<Bytes>,
}

impl Carriers {
    /// Adds a pattern, or asks for it once more.
    pub(super) fn insert(&mut self, pattern: Pattern) {
        let carried = self.patterns.entry(pattern).or_default();
        (carried.wanted, carried.is_asked) = (None, true);
        self.is_stale = true;
    }

    /// Has a pattern subscribed to as it is.
    pub(super) fn set_apart(&mut self, pattern: &Pattern) {
        if let Some(carried) = self.patterns.get_mut(pattern) {
            carried.is_apart = true;
            self.is_stale = true;
        }
    }

    /// Removes a pattern. Answers through which carriers nothing comes any more.
    pub(super) fn remove(&mut self, pattern: &Pattern) -> Vec<Bytes> {
        let Some(carried) = self.patterns.remove(pattern) else { return Vec::new() };
        self.is_stale = true;
        self.leave(pattern, carried.present.as_ref());
        let mut carriers: Vec<_> = carried.present.into_iter().chain(carried.wanted).collect();
        carriers.dedup();
        carriers.retain(|carrier| self.is_unused(carrier));
        carriers
    }

    /// A new session begins, on which nothing is subscribed to.
    pub(super) fn begin(&mut self) {
        self.present.clear();
        for carried in self.patterns.values_mut() {
            *carried = Carried { is_apart: carried.is_apart, is_asked: true, ..Carried::default() };
        }
        self.is_stale = true;
    }

    /// The subscriptions to make: patterns, and their carriers.
    pub(super) fn take_asked(&mut self) -> Vec<(Pattern, Bytes)> {
        if !std::mem::take(&mut self.is_stale) {
            return Vec::new();
        }
        let together = self.patterns.iter().filter(|(_, carried)| !carried.is_apart);
        let together: Vec<Pattern> = together.map(|(pattern, _)| pattern.clone()).collect();
        let plan = Plan::of(&together);
        let mut asked = Vec::new();
        for (pattern, carried) in &mut self.patterns {
            let planned = if carried.is_apart { own(pattern) } else { plan.carrier(pattern) };
            if carried.wanted.as_ref() != Some(&planned) {
                carried.wanted = Some(planned.clone());
                asked.push((pattern.clone(), planned));
            }
        }
        asked
    }

    /// Redis has confirmed a carrier for a pattern, which comes through it from here on.
    pub(super) fn confirm(&mut self, topic: &Topic, pattern: &Pattern, carrier: &Bytes) -> Confirmed {
        let Some(carried) = self.patterns.get_mut(pattern) else {
            let unused = self.is_unused(carrier).then(|| carrier.clone());
            return Confirmed { is_asked: false, unused };
        };
        let before = carried.present.replace(carrier.clone());
        // An earlier answer, where it was asked for again, is not yet the one that is waited for.
        let is_last = carried.wanted.as_ref() == Some(carrier);
        let is_asked = is_last && std::mem::take(&mut carried.is_asked);
        self.leave(pattern, before.as_ref());
        let present = self.present.entry(carrier.clone()).or_default();
        present.patterns.insert(pattern.clone(), topic.clone());
        present.find_only(carrier);
        let unused = before.filter(|before| before != carrier && self.is_unused(before));
        Confirmed { is_asked, unused }
    }

    /// Whether a pattern can still be subscribed to as it is, where its carrier was refused.
    pub(super) fn was_refused(&mut self, pattern: &Pattern, carrier: &Bytes) -> bool {
        let can_be = *carrier != own(pattern) && self.patterns.contains_key(pattern);
        if can_be {
            self.set_apart(pattern);
        }
        can_be
    }

    /// The topics to which a message belongs that came through a carrier.
    pub(super) fn topics(&mut self, carrier: &[u8], channel: &[u8]) -> Option<Arc<[Topic]>> {
        let present = self.present.get_mut(carrier)?;
        Some(match (&present.only, std::str::from_utf8(channel)) {
            (Some(only), _) => Arc::clone(only),
            (None, Ok(name)) => present.patterns.matching(name),
            // It is no channel of ours, which is counted by whichever pattern it comes through.
            (None, Err(_)) => present.patterns.iter().take(1).map(|(_, topic)| topic.clone()).collect(),
        })
    }

    fn leave(&mut self, pattern: &Pattern, carrier: Option<&Bytes>) {
        if let Some(carrier) = carrier
            && let Some(present) = self.present.get_mut(carrier)
        {
            present.patterns.remove(pattern);
            match present.patterns.is_empty() {
                true => drop(self.present.remove(carrier)),
                false => present.find_only(carrier),
            }
        }
    }

    fn is_unused(&self, carrier: &Bytes) -> bool {
        let uses =
            |carried: &Carried| [&carried.present, &carried.wanted].into_iter().flatten().any(|one| one == carrier);
        !self.patterns.values().any(uses)
    }
}

impl Present {
    fn find_only(&mut self, carrier: &[u8]) {
        let mut patterns = self.patterns.iter();
        let first = patterns.next().filter(|(pattern, _)| pattern.as_str().as_bytes() == carrier);
        self.only = match (first, patterns.next()) {
            (Some((_, topic)), None) => Some([topic.clone()].into()),
            _ => None,
        };
    }
}

/// The pattern as its own carrier.
fn own(pattern: &Pattern) -> Bytes {
    Bytes::copy_from_slice(pattern.as_str().as_bytes())
}

/// How to carry patterns.
enum Plan<'a> {
    /// As they are, but for those that one of these covers.
    Apart(BTreeSet<&'a Pattern>),
    /// Under these literal beginnings.
    Prefixes(BTreeSet<&'a str>),
}

impl<'a> Plan<'a> {
    fn of(patterns: &'a [Pattern]) -> Self {
        if patterns.len() <= PATTERNS_APART {
            return Self::Apart(patterns.iter().filter(|pattern| pattern.is_prefix()).collect());
        }
        let mut longest = usize::MAX;
        loop {
            let prefixes = shortest(patterns.iter().map(|pattern| cut(pattern.literal_prefix(), longest)));
            if prefixes.len() <= PATTERN_PREFIXES {
                return Self::Prefixes(prefixes);
            }
            // At 0 there is one.
            longest = prefixes.iter().map(|prefix| prefix.len()).max().unwrap_or(0) / 2;
        }
    }

    fn carrier(&self, pattern: &Pattern) -> Bytes {
        match self {
            Self::Apart(broad) => {
                let covering =
                    broad.iter().filter(|broad| pattern.literal_prefix().starts_with(broad.literal_prefix()));
                own(covering.min_by_key(|broad| broad.literal_prefix().len()).copied().unwrap_or(pattern))
            }
            Self::Prefixes(prefixes) => {
                // The last prefix that does not sort after it: no prefix is the beginning of another.
                let prefix = prefixes.range(..=pattern.literal_prefix()).next_back().copied().unwrap_or_default();
                Bytes::from(format!("{prefix}*"))
            }
        }
    }
}

/// Those of which none else is the beginning.
fn shortest<'a>(prefixes: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let sorted: BTreeSet<&str> = prefixes.collect();
    let mut short: BTreeSet<&str> = BTreeSet::new();
    for prefix in sorted {
        if !short.last().is_some_and(|last| prefix.starts_with(last)) {
            short.insert(prefix);
        }
    }
    short
}

/// The beginning of a text, of so many bytes or a few less: whole characters.
fn cut(text: &str, longest: usize) -> &str {
    let end = (0..=longest.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests;
