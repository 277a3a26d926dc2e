//! One stream, event by event: no message twice, no step back, no jump without a gap, no cursor ahead of what was
//! delivered.

use std::collections::{BTreeMap, HashMap, HashSet};

use tidings::message::{Epoch, Position};

use super::{Spot, Violation, ends, gaps, must, show, starts, truth::Truth};
use crate::board::CAPTURED;
use crate::history::{At, Event, History, Places, Stream};

/// Where a stream stands in a channel.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) at: Position,
    /// What of an epoch was told to be lost: no two of them overlap.
    told: HashMap<Epoch, Vec<Told>>,
    /// What was delivered, and where it stood.
    pub(super) delivered: HashMap<String, Position>,
    /// How far it was in each epoch: what it had of one is lost without a word to it.
    had: HashMap<Epoch, i64>,
    /// Up to where losses were named where it has been: it was told of them then.
    settled: HashMap<Epoch, i64>,
    /// Of which it was told that all is lost, however much that was, and in which it has not been since.
    gone: HashSet<Epoch>,
    /// Where it began in an epoch of which nobody saw where it comes from: what it has had of others up to there is not
    /// known.
    begins: i64,
    /// The same of where it began before all was lost that followed.
    had_before: i64,
}

/// A loss that was told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) said: At,
}

impl Line {
    /// Moves it there, which lies behind the epochs before.
    pub(super) fn stand(&mut self, truth: &Truth, channel: &str, at: Position) {
        let is_new = at.epoch != self.at.epoch;
        if self.had.is_empty() && at.epoch.is_some_and(|epoch| truth.began(channel, epoch).is_none()) {
            self.begins = at.sequence;
        }
        self.at = at;
        let mut place = at;
        while let Some(epoch) = place.epoch {
            self.gone.remove(&epoch);
            let had = self.had.entry(epoch).or_default();
            *had = place.sequence.max(*had);
            match truth.began(channel, epoch).filter(|_| is_new) {
                Some(began) => {
                    for (lost, to) in truth.named_by(channel, epoch) {
                        let settled = self.settled.entry(lost).or_default();
                        *settled = to.max(*settled);
                    }
                    place = Position { epoch: began.previous, sequence: began.start.first - 1 };
                }
                None => break,
            }
        }
    }

    /// Up to where it had messages of an epoch, or was told that they are lost.
    pub(super) fn knows(&self, epoch: Epoch) -> i64 {
        if self.gone.contains(&epoch) {
            return i64::MAX - 1;
        }
        let settled = self.settled.get(&epoch).copied().unwrap_or_default();
        self.told(epoch).max(settled).max(self.had.get(&epoch).copied().unwrap_or(self.begins.max(self.had_before)))
    }

    /// Whether it may have come by the start of an epoch at this sequence before it began here: what was named there it
    /// was told then.
    pub(super) fn may_come_from(&self, first: i64) -> bool {
        first <= self.begins
    }

    /// The furthest that it has ever been, in any history.
    pub(super) fn furthest(&self) -> i64 {
        self.settled.values().copied().max().unwrap_or_default().max(self.at.sequence)
    }

    /// Whether it has stood in an epoch, or behind it.
    pub(super) fn has_been_in(&self, epoch: Epoch) -> bool {
        self.had.contains_key(&epoch)
    }

    /// Whether it is where the stream was in that epoch before a gap of unknown length: a copy came back, and what was
    /// had of it is not told again.
    fn comes_back(&self, truth: &Truth, channel: &str, to: Position) -> bool {
        !self.settled.is_empty() && truth.leads_to(channel, self, to).is_ok()
    }

    /// It was told that all is lost that follows in an epoch, and begins again with what is retained. What it heard
    /// before may come again, and need not.
    pub(super) fn forget(&mut self, lost: Option<Epoch>) {
        self.gone.extend(lost);
        self.delivered.clear();
        let told = std::mem::take(&mut self.told).into_iter();
        let told = told.map(|(epoch, told)| (epoch, told.iter().map(|told| told.last).max().unwrap_or_default()));
        for (epoch, known) in told.chain(self.had.drain()) {
            let settled = self.settled.entry(epoch).or_default();
            *settled = known.max(*settled);
        }
        self.had_before = self.had_before.max(std::mem::take(&mut self.begins));
    }

    /// Up to where a loss of an epoch was told; 0 where none was.
    pub(super) fn told(&self, epoch: Epoch) -> i64 {
        self.told.get(&epoch).into_iter().flatten().map(|told| told.last).max().unwrap_or_default()
    }

    /// What was told of an epoch that overlaps with this.
    pub(super) fn told_of(&self, epoch: Epoch, first: i64, last: i64) -> Option<Told> {
        let told = self.told.get(&epoch).into_iter().flatten();
        told.copied().find(|told| told.first <= last && first <= told.last)
    }

    /// A loss was told.
    pub(super) fn tell(&mut self, epoch: Epoch, told: Told) {
        self.told.entry(epoch).or_default().push(told);
    }
}

/// Where a stream stands.
pub(super) struct Walk<'a> {
    pub(super) history: &'a History,
    pub(super) truth: &'a Truth<'a>,
    pub(super) stream: &'a Stream,
    pub(super) lines: BTreeMap<String, Line>,
    started: bool,
    caught_up: bool,
}

/// Follows a stream to its first violation.
pub(super) fn walk<'a>(history: &'a History, truth: &'a Truth<'a>, index: usize) -> Option<Violation> {
    let stream = &history.streams[index];
    let mut walk = Walk { history, truth, stream, lines: BTreeMap::new(), started: false, caught_up: false };
    for (number, (at, event)) in stream.events.iter().enumerate() {
        if let Err(text) = walk.event(*at, event) {
            return Some(Violation { text, spot: Spot::Stream(index, number) });
        }
    }
    let ended = ends::check(&walk);
    ended.err().map(|text| Violation { text, spot: Spot::Stream(index, stream.events.len()) })
}

impl Walk<'_> {
    fn event(&mut self, at: At, event: &Event) -> Result<(), String> {
        must!(self.started != matches!(event, Event::Started(_)), "started does not come first, and once");
        match event {
            Event::Started(places) => {
                self.started = true;
                for (channel, place) in places {
                    self.lines.entry(channel.clone()).or_default().stand(self.truth, channel, *place);
                }
                starts::check(self, places)
            }
            Event::CaughtUp(places) => {
                must!(!std::mem::replace(&mut self.caught_up, true), "caught_up comes twice");
                self.level(places)
            }
            Event::Heartbeat(places) => self.level(places),
            Event::Message { channel, body, place, cursor, .. } => self.message(at, channel, body, *place, *cursor),
            Event::Gap { channel, .. } => {
                must!(self.stream.covers(channel), "a gap of {channel} on a stream of {}", self.stream.topic);
                gaps::check(self, at, event)
            }
            Event::Odd(text) => Err(text.clone()),
        }
    }

    fn message(&mut self, at: At, channel: &str, body: &str, place: Position, cursor: Position) -> Result<(), String> {
        must!(self.stream.covers(channel), "a message of {channel} on a stream of {}", self.stream.topic);
        let line = self.lines.entry(channel.to_owned()).or_default();
        if place.sequence == 0 {
            must!(channel != CAPTURED, "{body} has no place, on a captured channel");
            must!(
                self.truth.is_plain(channel, body) || self.truth.loss_before(at),
                "{body} of {channel} has no place, and nothing was lost"
            );
            // An epoch that begins with what was lost has no message yet: a stream that was told goes over into it
            // without a word.
            let goes_over =
                || cursor.sequence == line.at.sequence && self.truth.leads_to(channel, line, cursor).is_ok();
            must!(
                cursor == line.at || line.at == Position::START || goes_over(),
                "the cursor of {body} says {}, and the stream stands at {}",
                show(cursor),
                show(line.at)
            );
        } else {
            must!(cursor == place, "the cursor of {} says {}", show(place), show(cursor));
            follows(self.truth, channel, line, place)?;
            let told = place.epoch.and_then(|epoch| line.told_of(epoch, place.sequence, place.sequence));
            must!(
                told.is_none_or(|told| self.truth.was_restored(told.said, at)),
                "{} of {channel} comes, and was said to be lost",
                show(place)
            );
        }
        if let Some(first) = line.delivered.insert(body.to_owned(), place) {
            // One without a place was lost before its epoch could be looked up.
            let lost = match first.sequence {
                0 => self.truth.loss_before(at) && !self.truth.is_plain(channel, body),
                _ => {
                    let adopted_again = self.truth.is_plain(channel, body)
                        && place.sequence > 0
                        && self.truth.was_trimmed_between(channel, first, place);
                    adopted_again || (!line.told.is_empty() && !self.truth.is_logged(channel, first))
                }
            };
            must!(lost, "{body} comes twice, at {} and at {}", show(first), show(place));
        }
        if place.sequence > 0 {
            line.stand(self.truth, channel, place);
        }
        Ok(())
    }

    /// A cursor says where the stream stands: not ahead of what was delivered, and not behind it.
    fn level(&self, places: &Places) -> Result<(), String> {
        for (channel, place) in places {
            let none = Line::default();
            let line = self.lines.get(channel).unwrap_or(&none);
            let at = line.at;
            must!(
                place.sequence == at.sequence || line.comes_back(self.truth, channel, *place),
                "a cursor says {} of {channel}, and the stream stands at {}",
                show(*place),
                show(at)
            );
            if place.epoch != at.epoch && at.epoch.is_some() {
                self.truth.leads_to(channel, line, *place)?;
            }
        }
        let lacks = self.lines.iter().find(|(name, line)| line.at.sequence > 0 && !places.contains_key(*name));
        must!(lacks.is_none(), "a cursor lacks {}", lacks.map_or("", |(name, _)| name));
        Ok(())
    }
}

/// Whether a message is the one that comes next.
fn follows(truth: &Truth, channel: &str, line: &Line, place: Position) -> Result<(), String> {
    let at = line.at;
    let (here, there) = (show(at), show(place));
    if line.comes_back(truth, channel, Position { sequence: place.sequence - 1, ..place }) {
        return Ok(());
    }
    must!(place.sequence > at.sequence, "a step back: {there} after {here} of {channel}");
    must!(place.sequence == at.sequence + 1, "a silent gap: {there} after {here} of {channel}");
    // From the beginning, sequence 1 of any epoch follows.
    if at.epoch.is_none() || place.epoch == at.epoch {
        return Ok(());
    }
    let before = Position { sequence: place.sequence - 1, ..place };
    truth.leads_to(channel, line, before).map_err(|text| format!("{channel} {text}"))
}
