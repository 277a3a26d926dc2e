//! Channels that can't be read, each for a reason of its own: what is on the broker for one is damaged, or is
//! refused.
//!
//! Each is named in the log once, and asked for again less and less often; all others continue. Streams of patterns
//! have skipped it, and are notified when it can be read. One that was read is remembered for a while: where only a
//! part of it can be, a stream reports it again, and the pauses keep growing. This module knows no stream and no Redis.

use std::time::Instant;

use foldhash::HashMap;
use tidings::{
    backoff::Backoff,
    broker::Error,
    channel::ChannelName,
    limits::{UNREADABLE_LINES, UNREADABLE_QUIET, UNREADABLE_RETRY_MAX, UNREADABLE_RETRY_MIN, UNREADABLE_TRIAL},
    metrics,
};

#[derive(Debug, Default)]
pub(super) struct Unreadable {
    channels: HashMap<ChannelName, Trouble>,
    /// Since when lines are counted, and how many there were.
    said: Option<(Instant, usize)>,
}

#[derive(Debug)]
struct Trouble {
    backoff: Backoff,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It is asked for at this time.
    Waits(Instant),
    /// It was asked for.
    Asked,
    /// It was read at this time.
    Read(Instant),
}

impl Unreadable {
    /// A channel could not be read. `was_asked`: it is the answer to a question of the hub's, and not a stream's own
    /// finding.
    pub(super) fn note(&mut self, channel: &ChannelName, error: &Error, was_asked: bool, now: Instant) {
        let trouble = self.channels.entry(channel.clone()).or_insert_with(|| Trouble {
            backoff: Backoff::new(UNREADABLE_RETRY_MIN, UNREADABLE_RETRY_MAX),
            stage: Stage::Read(now),
        });
        let is_news = trouble.backoff.is_new();
        match trouble.stage {
            Stage::Waits(_) => return,
            // Many streams may have found the same.
            Stage::Asked if !was_asked => return,
            Stage::Asked | Stage::Read(_) => {}
        }
        trouble.stage = Stage::Waits(now + trouble.backoff.pause());
        self.count();
        if is_news {
            self.say(channel, error, now);
        }
    }

    /// A channel's head was read. Answers whether that is news.
    pub(super) fn read(&mut self, channel: &ChannelName, now: Instant) -> bool {
        let Some(trouble) = self.channels.get_mut(channel) else { return false };
        if let Stage::Read(_) = trouble.stage {
            return false;
        }
        trouble.stage = Stage::Read(now);
        self.count();
        true
    }

    /// Whether a channel is asked for by itself, at its own time.
    pub(super) fn has(&self, channel: &ChannelName) -> bool {
        self.channels.get(channel).is_some_and(|trouble| !matches!(trouble.stage, Stage::Read(_)))
    }

    /// Some channels whose time has come; those that have been well for a while are forgotten.
    pub(super) fn due(&mut self, most: usize, now: Instant) -> Vec<ChannelName> {
        let is_over = |trouble: &Trouble| matches!(trouble.stage, Stage::Read(since) if now - since > UNREADABLE_TRIAL);
        self.channels.retain(|channel, trouble| {
            let is_over = is_over(trouble);
            if is_over {
                tracing::info!(channel = channel.as_str(), "a channel that could not be read can be again");
            }
            !is_over
        });
        let waits = self
            .channels
            .iter_mut()
            .filter(|(_, trouble)| matches!(trouble.stage, Stage::Waits(until) if until <= now));
        waits
            .take(most)
            .map(|(channel, trouble)| {
                trouble.stage = Stage::Asked;
                channel.clone()
            })
            .collect()
    }

    /// Questions under way were lost with the connection.
    pub(super) fn lost(&mut self, now: Instant) {
        for trouble in self.channels.values_mut().filter(|trouble| trouble.stage == Stage::Asked) {
            trouble.stage = Stage::Waits(now);
        }
    }

    fn count(&self) {
        let unreadable = self.channels.values().filter(|trouble| !matches!(trouble.stage, Stage::Read(_)));
        metrics::unreadable(unreadable.count());
    }

    /// Some lines a minute: where all of Redis is damaged, they would hide everything else.
    fn say(&mut self, channel: &ChannelName, error: &Error, now: Instant) {
        let (since, lines) = self.said.filter(|(since, _)| now - *since < UNREADABLE_QUIET).unwrap_or((now, 0));
        self.said = Some((since, lines + 1));
        if lines < UNREADABLE_LINES {
            tracing::warn!(channel = channel.as_str(), %error, "a channel can't be read; it is tried again, and the others continue");
        } else if lines == UNREADABLE_LINES {
            tracing::warn!("many channels can't be read; further ones are not named for a while");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidings::channel::Names;

    use super::*;

    fn name(text: &str) -> ChannelName {
        Names::new("tidings", "").expect("names").parse(text).expect("a name")
    }

    fn error() -> Error {
        Error::Channel("damaged".to_owned())
    }

    #[test]
    fn it_is_asked_for_less_and_less_often_and_recovery_is_reported() {
        let (mut unreadable, channel) = (Unreadable::default(), name("a"));
        let begun = Instant::now();
        let mut now = begun;
        unreadable.note(&channel, &error(), false, now);
        let mut asked = Vec::new();
        while now < begun + 10 * UNREADABLE_RETRY_MAX {
            now += UNREADABLE_RETRY_MIN / 2;
            // Streams find it as well, and nothing comes of that.
            unreadable.note(&channel, &error(), false, now);
            if !unreadable.due(9, now).is_empty() {
                asked.push(now);
                assert_eq!(unreadable.due(9, now), [], "one question at a time");
                unreadable.note(&channel, &error(), true, now);
            }
        }
        let pauses: Vec<Duration> = asked.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(pauses.is_sorted() && pauses.last() == Some(&UNREADABLE_RETRY_MAX), "{pauses:?}");
        assert!(unreadable.has(&channel));
        unreadable.lost(now);
        now += UNREADABLE_RETRY_MAX;
        assert_eq!(unreadable.due(9, now), [name("a")]);
        unreadable.lost(now);
        assert_eq!(unreadable.due(9, now), [name("a")], "the answer was lost with its connection");
        assert!(unreadable.read(&channel, now) && !unreadable.read(&channel, now) && !unreadable.has(&channel));
        // What a stream could not read after the head continues where it was.
        unreadable.note(&channel, &error(), false, now);
        assert_eq!(unreadable.due(9, now + UNREADABLE_RETRY_MAX / 2), []);
        assert_eq!(unreadable.due(9, now + UNREADABLE_RETRY_MAX), [name("a")]);
        assert!(unreadable.read(&channel, now));
        assert_eq!(unreadable.due(9, now + UNREADABLE_TRIAL + UNREADABLE_RETRY_MIN), []);
        assert!(unreadable.channels.is_empty());
    }

    #[test]
    fn many_are_asked_for_some_at_a_time_and_not_all_are_named() {
        let mut unreadable = Unreadable::default();
        let now = Instant::now();
        for i in 0..3 * UNREADABLE_LINES {
            unreadable.note(&name(&format!("c{i}")), &error(), false, now);
        }
        assert_eq!(unreadable.said, Some((now, 3 * UNREADABLE_LINES)));
        let now = now + UNREADABLE_RETRY_MIN;
        assert_eq!(unreadable.due(7, now).len(), 7);
        assert_eq!(unreadable.due(1_000, now).len(), 3 * UNREADABLE_LINES - 7);
    }
}
