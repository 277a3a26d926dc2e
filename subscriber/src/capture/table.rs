//! The states of all captured channels on which plain programs published, within one budget.

use std::collections::{HashMap, HashSet};

use tidings::{
    broker::{Head, adopt::Raw},
    channel::ChannelName,
    limits::{CAPTURE_BYTES, CAPTURE_CHANNELS},
    message::Position,
    metrics::{self, Dropped},
};
use tokio::time::Instant;

use super::adoption_state::AdoptionState;

#[derive(Debug, Default)]
pub(super) struct Table {
    states: HashMap<ChannelName, AdoptionState>,
    /// Of what is held.
    bytes: usize,
    /// Accounts that may have something to do.
    due: HashSet<ChannelName>,
    /// Something was dropped, and it was said.
    overflowed: bool,
}

impl Table {
    /// Holds what a plain program published.
    pub(super) fn hold(&mut self, channel: &ChannelName, raw: Raw, now: Instant) {
        if !self.states.contains_key(channel) {
            if self.states.len() >= CAPTURE_CHANNELS {
                self.make_room();
            }
            if self.states.len() >= CAPTURE_CHANNELS {
                return self.overflow(1);
            }
            self.states.insert(channel.clone(), AdoptionState::default());
        }
        self.update(channel, |state| state.hold(raw, now));
        while self.bytes > CAPTURE_BYTES && self.drop_one(channel) {}
        if self.bytes < CAPTURE_BYTES / 2 {
            self.overflowed = false;
        }
    }

    /// The live connection was lost: nothing that was asked on it is answered.
    pub(super) fn break_off(&mut self) {
        for channel in self.states.keys().cloned().collect::<Vec<_>>() {
            self.update(&channel, AdoptionState::break_off);
        }
    }

    /// The live connection was lost since this channel's messages were received.
    pub(super) fn break_off_one(&mut self, channel: &ChannelName) {
        self.update(channel, AdoptionState::break_off);
    }

    /// Numbered messages of a channel were received.
    pub(super) fn pass(&mut self, channel: &ChannelName, before: Position, last: Position) {
        self.update(channel, |state| state.pass(before, last));
    }

    /// Other messages have replaced those that were received beyond a position.
    pub(super) fn rewrite(&mut self, channel: &ChannelName, to: Position) {
        self.update(channel, |state| state.rewrite(to));
    }

    /// A message was adopted.
    pub(super) fn notice(
        &mut self,
        channel: &ChannelName,
        before: Position,
        at: Position,
        hash: &[u8; Raw::HASH_BYTES],
        now: Instant,
    ) {
        self.update(channel, |state| state.notice(before, at, hash, now));
    }

    /// A channel's head was read.
    pub(super) fn look(&mut self, channel: &ChannelName, head: Option<&Head>) {
        self.update(channel, |state| state.look(head));
    }

    /// Does something to a state, if there is one, and counts what that changes.
    pub(super) fn with<T>(&mut self, channel: &ChannelName, act: impl FnOnce(&mut AdoptionState) -> T) -> Option<T> {
        let state = self.states.get_mut(channel)?;
        let bytes = state.held_bytes();
        let done = act(state);
        self.bytes = self.bytes + state.held_bytes() - bytes;
        Some(done)
    }

    fn update<T>(&mut self, channel: &ChannelName, act: impl FnOnce(&mut AdoptionState) -> T) {
        let is_due = self.with(channel, |state| {
            act(state);
            !state.is_idle()
        });
        if is_due == Some(true) && !self.due.contains(channel) {
            self.due.insert(channel.clone());
        }
    }

    /// The states that may have something to do, each once.
    pub(super) fn take_due(&mut self) -> HashSet<ChannelName> {
        std::mem::take(&mut self.due)
    }

    pub(super) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Since when the oldest message is held.
    pub(super) fn since(&self) -> Option<Instant> {
        self.states.values().filter_map(AdoptionState::since).min()
    }

    /// On how many of these channels this replica was the last to adopt.
    pub(super) fn leads(&self, is_captured: impl Fn(&ChannelName) -> bool) -> usize {
        self.states.iter().filter(|(channel, state)| state.leads() && is_captured(channel)).count()
    }

    /// Whether nothing is held anywhere.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Drops the oldest message of the channel that holds too much: the given one where most is its own, or else
    /// the one that holds most, so that a flood costs the others nothing.
    fn drop_one(&mut self, channel: &ChannelName) -> bool {
        let own = self.states.get(channel).map_or(0, AdoptionState::held_bytes);
        let most = match own > CAPTURE_BYTES / 2 {
            true => Some(channel.clone()),
            false => {
                let most = self.states.iter().max_by_key(|(_, state)| state.held_bytes());
                most.map(|(channel, _)| channel.clone())
            }
        };
        let dropped = most.and_then(|most| self.with(&most, AdoptionState::drop_oldest)).unwrap_or(false);
        if dropped {
            self.overflow(1);
        }
        dropped
    }

    fn overflow(&mut self, messages: usize) {
        metrics::dropped(Dropped::Capture, messages);
        // One line for many: they go one by one.
        if !std::mem::replace(&mut self.overflowed, true) {
            tracing::warn!(
                "more waits to be adopted from plain programs than this replica may hold; dropped the oldest of it"
            );
        }
    }

    /// Forgets states of which nothing is known but a position.
    fn make_room(&mut self) {
        self.states.retain(|_, state| !state.is_idle());
    }
}

#[cfg(test)]
mod tests {
    use tidings::{channel::Names, envelope::decode};

    use super::*;

    fn name(text: &str) -> ChannelName {
        Names::new("tidings", "").expect("names").parse(text).expect("a name")
    }

    fn raw(bytes: usize) -> Raw {
        let payload = vec![b'x'; bytes];
        Raw::new(&payload, &decode(&payload, 0)).expect("small enough")
    }

    #[test]
    fn a_flood_of_one_channel_drops_its_own_oldest() {
        let mut table = Table::default();
        let now = Instant::now();
        table.hold(&name("quiet"), raw(100), now);
        for _ in 0..40 {
            table.hold(&name("flood"), raw(1 << 19), now);
            assert!(table.bytes <= CAPTURE_BYTES);
        }
        table.hold(&name("late"), raw(1 << 19), now);
        assert!(table.bytes > CAPTURE_BYTES - (1 << 20));
        for channel in ["quiet", "late"] {
            assert!(table.states[&name(channel)].held_bytes() > 0, "{channel}");
        }
        assert!(table.overflowed);
        while table.drop_one(&name("flood")) {}
        assert!(table.is_empty());
    }

    #[test]
    fn channels_are_bounded_and_those_that_wait_for_nothing_go_first() {
        let mut table = Table::default();
        let now = Instant::now();
        for i in 0..CAPTURE_CHANNELS {
            table.hold(&name(&format!("c{i}")), raw(1), now);
        }
        table.hold(&name("new"), raw(1), now);
        assert!(!table.states.contains_key(&name("new")) && table.overflowed);
        table.with(&name("c7"), AdoptionState::drop_oldest);
        table.hold(&name("new"), raw(1), now);
        assert!(table.states.contains_key(&name("new")) && !table.states.contains_key(&name("c7")));
        assert_eq!(table.states.len(), CAPTURE_CHANNELS);
        assert!(table.take_due().contains(&name("new")) && !table.is_due());
    }
}
