//! One stream, event by event: no message twice, no step back, no jump without a gap, no cursor ahead of what was
//! delivered.

use std::collections::{BTreeMap, HashMap, HashSet};

use tidings::message::{Epoch, Position};

use super::{Spot, Violation, ends, gaps, must, show, starts, truth::Truth};
use crate::board::CAPTURED;
use crate::history::{At, Event, History, Positions, Stream};

/// A stream's position in a channel.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) at: Position,
    /// What of an epoch was reported as lost: no two of them overlap.
    reported: HashMap<Epoch, Vec<ReportedLoss>>,
    /// What was delivered, and at which position.
    pub(super) delivered: HashMap<String, Position>,
    /// How far it was in each epoch: what it had of one is lost without a word to it.
    had: HashMap<Epoch, i64>,
    /// Up to where losses were named where it has been: they were reported to it then.
    settled: HashMap<Epoch, i64>,
    /// Of which it was reported that all is lost, however much that was, and in which it has not been since.
    gone: HashSet<Epoch>,
    /// Where it began in an epoch of which nobody saw where it comes from: what it has had of others up to there is not
    /// known.
    begins: i64,
    /// The same of where it began before all was lost that followed.
    had_before: i64,
}

/// A loss that was reported.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReportedLoss {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) said: At,
}

impl Line {
    /// Moves it there, which is after the epochs before.
    pub(super) fn move_to(&mut self, truth: &Truth, channel: &str, at: Position) {
        let is_new = at.epoch != self.at.epoch;
        if self.had.is_empty() && at.epoch.is_some_and(|epoch| truth.began(channel, epoch).is_none()) {
            self.begins = at.sequence;
        }
        self.at = at;
        let mut position = at;
        while let Some(epoch) = position.epoch {
            self.gone.remove(&epoch);
            let had = self.had.entry(epoch).or_default();
            *had = position.sequence.max(*had);
            match truth.began(channel, epoch).filter(|_| is_new) {
                Some(began) => {
                    for (lost, to) in truth.named_by(channel, epoch) {
                        let settled = self.settled.entry(lost).or_default();
                        *settled = to.max(*settled);
                    }
                    position = Position { epoch: began.previous, sequence: began.start.first - 1 };
                }
                None => break,
            }
        }
    }

    /// Up to where it had messages of an epoch, or got a gap for them.
    pub(super) fn knows(&self, epoch: Epoch) -> i64 {
        if self.gone.contains(&epoch) {
            return i64::MAX - 1;
        }
        let settled = self.settled.get(&epoch).copied().unwrap_or_default();
        self.reported(epoch).max(settled).max(self.had.get(&epoch).copied().unwrap_or(self.begins.max(self.had_before)))
    }

    /// Whether it may have come by the start of an epoch at this sequence before it began here: what was named there it
    /// was reported then.
    pub(super) fn may_come_from(&self, first: i64) -> bool {
        first <= self.begins
    }

    /// The furthest that it has ever been, in any history.
    pub(super) fn furthest(&self) -> i64 {
        self.settled.values().copied().max().unwrap_or_default().max(self.at.sequence)
    }

    /// Whether it has been in an epoch, or after it.
    pub(super) fn has_been_in(&self, epoch: Epoch) -> bool {
        self.had.contains_key(&epoch)
    }

    /// Whether it is where the stream was in that epoch before a gap of unknown length: a copy came back, and what was
    /// had of it is not reported again.
    fn comes_back(&self, truth: &Truth, channel: &str, to: Position) -> bool {
        !self.settled.is_empty() && truth.leads_to(channel, self, to).is_ok()
    }

    /// Whether it had an epoch up to there at least, before a gap of unknown length.
    pub(super) fn had_before_a_gap(&self, epoch: Epoch, sequence: i64) -> bool {
        self.settled.get(&epoch).is_some_and(|settled| sequence <= *settled)
    }

    /// The same of any epoch.
    pub(super) fn had_some_before_a_gap(&self, sequence: i64) -> bool {
        self.settled.values().any(|settled| sequence <= *settled)
    }

    /// It was reported that all is lost that follows in an epoch, and it begins again with what is retained. What it
    /// received before may come again, and need not.
    pub(super) fn forget(&mut self, lost: Option<Epoch>) {
        self.gone.extend(lost);
        self.delivered.clear();
        let reported = std::mem::take(&mut self.reported).into_iter();
        let reported = reported
            .map(|(epoch, reported)| (epoch, reported.iter().map(|reported| reported.last).max().unwrap_or_default()));
        for (epoch, known) in reported.chain(self.had.drain()) {
            let settled = self.settled.entry(epoch).or_default();
            *settled = known.max(*settled);
        }
        self.had_before = self.had_before.max(std::mem::take(&mut self.begins));
    }

    /// Up to where a loss of an epoch was reported; 0 where none was.
    pub(super) fn reported(&self, epoch: Epoch) -> i64 {
        self.reported.get(&epoch).into_iter().flatten().map(|reported| reported.last).max().unwrap_or_default()
    }

    /// What was reported of an epoch that overlaps with this.
    pub(super) fn reported_of(&self, epoch: Epoch, first: i64, last: i64) -> Option<ReportedLoss> {
        let reported = self.reported.get(&epoch).into_iter().flatten();
        reported.copied().find(|reported| reported.first <= last && first <= reported.last)
    }

    /// A loss was reported.
    pub(super) fn report(&mut self, epoch: Epoch, reported: ReportedLoss) {
        self.reported.entry(epoch).or_default().push(reported);
    }
}

/// A stream's position.
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
            Event::Started(positions) => {
                self.started = true;
                for (channel, position) in positions {
                    self.lines.entry(channel.clone()).or_default().move_to(self.truth, channel, *position);
                }
                starts::check(self, positions)
            }
            Event::CaughtUp(positions) => {
                must!(!std::mem::replace(&mut self.caught_up, true), "caught_up comes twice");
                self.level(positions)
            }
            Event::Heartbeat(positions) => self.level(positions),
            Event::Message { channel, body, position, cursor, .. } => {
                self.message(at, channel, body, *position, *cursor)
            }
            Event::Gap { channel, .. } => {
                must!(self.stream.covers(channel), "a gap of {channel} on a stream of {}", self.stream.topic);
                gaps::check(self, at, event)
            }
            Event::Odd(text) => Err(text.clone()),
        }
    }

    fn message(
        &mut self,
        at: At,
        channel: &str,
        body: &str,
        position: Position,
        cursor: Position,
    ) -> Result<(), String> {
        must!(self.stream.covers(channel), "a message of {channel} on a stream of {}", self.stream.topic);
        let line = self.lines.entry(channel.to_owned()).or_default();
        if position.sequence == 0 {
            must!(channel != CAPTURED, "{body} is unnumbered, on a captured channel");
            must!(
                self.truth.is_plain(channel, body) || self.truth.loss_before(at),
                "{body} of {channel} is unnumbered, and nothing was lost"
            );
            // An epoch that begins with what was lost has no message yet: a stream that got the gap goes over into it
            // without a word.
            let goes_over =
                || cursor.sequence == line.at.sequence && self.truth.leads_to(channel, line, cursor).is_ok();
            must!(
                cursor == line.at || line.at == Position::START || goes_over(),
                "the cursor of {body} says {}, and the stream is at {}",
                show(cursor),
                show(line.at)
            );
        } else {
            must!(cursor == position, "the cursor of {} says {}", show(position), show(cursor));
            follows(self.truth, channel, line, position)?;
            let reported =
                position.epoch.and_then(|epoch| line.reported_of(epoch, position.sequence, position.sequence));
            must!(
                reported.is_none_or(|reported| self.truth.was_restored(reported.said, at)),
                "{} of {channel} comes, and was said to be lost",
                show(position)
            );
        }
        if let Some(first) = line.delivered.insert(body.to_owned(), position) {
            // An unnumbered one was lost before its epoch could be looked up.
            let lost = match first.sequence {
                0 => self.truth.loss_before(at) && !self.truth.is_plain(channel, body),
                _ => {
                    let adopted_again = self.truth.is_plain(channel, body)
                        && position.sequence > 0
                        && self.truth.was_trimmed_between(channel, first, position);
                    adopted_again || (!line.reported.is_empty() && !self.truth.is_logged(channel, first))
                }
            };
            must!(lost, "{body} comes twice, at {} and at {}", show(first), show(position));
        }
        if position.sequence > 0 {
            line.move_to(self.truth, channel, position);
        }
        Ok(())
    }

    /// A cursor says the stream's position: not ahead of what was delivered, and not before it.
    fn level(&self, positions: &Positions) -> Result<(), String> {
        for (channel, position) in positions {
            let none = Line::default();
            let line = self.lines.get(channel).unwrap_or(&none);
            let at = line.at;
            must!(
                position.sequence == at.sequence || line.comes_back(self.truth, channel, *position),
                "a cursor says {} of {channel}, and the stream is at {}",
                show(*position),
                show(at)
            );
            if position.epoch != at.epoch && at.epoch.is_some() {
                self.truth.leads_to(channel, line, *position)?;
            }
        }
        let lacks = self.lines.iter().find(|(name, line)| line.at.sequence > 0 && !positions.contains_key(*name));
        must!(lacks.is_none(), "a cursor lacks {}", lacks.map_or("", |(name, _)| name));
        Ok(())
    }
}

/// Whether a message is the one that comes next.
fn follows(truth: &Truth, channel: &str, line: &Line, position: Position) -> Result<(), String> {
    let at = line.at;
    let (here, there) = (show(at), show(position));
    if line.comes_back(truth, channel, Position { sequence: position.sequence - 1, ..position }) {
        return Ok(());
    }
    must!(position.sequence > at.sequence, "a step back: {there} after {here} of {channel}");
    must!(position.sequence == at.sequence + 1, "a silent gap: {there} after {here} of {channel}");
    // From the beginning, sequence 1 of any epoch follows.
    if at.epoch.is_none() || position.epoch == at.epoch {
        return Ok(());
    }
    let before = Position { sequence: position.sequence - 1, ..position };
    truth.leads_to(channel, line, before).map_err(|text| format!("{channel} {text}"))
}
