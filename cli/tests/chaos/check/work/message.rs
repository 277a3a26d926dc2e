//! All that happened to one message of a subscription.

use std::collections::BTreeMap;

use tidings::message::Position;

use crate::{
    history::{At, Fault},
    work::story::{Ask, Deed, Delivery, Redrive, Story},
};

/// A message that was delivered.
pub(super) struct Message<'a> {
    pub(super) position: Position,
    /// In the order in which they were sent.
    pub(super) deliveries: Vec<&'a Delivery>,
    /// What was asked about each of them, in order.
    pub(super) asks: BTreeMap<&'a str, Vec<&'a Ask>>,
    /// What may have put it back.
    pub(super) redrives: Vec<&'a Redrive>,
}

/// All messages that were delivered, by channel epoch and sequence.
pub(super) fn messages(story: &Story) -> BTreeMap<(i64, String), Message<'_>> {
    let mut messages: BTreeMap<(i64, String), Message> = BTreeMap::new();
    let mut of_ids: BTreeMap<&str, (i64, String)> = BTreeMap::new();
    for delivery in &story.deliveries {
        let position = delivery.position;
        let message = messages.entry(key(position)).or_insert_with(|| Message {
            position,
            deliveries: Vec::new(),
            asks: BTreeMap::new(),
            redrives: story.redrives.iter().filter(|redrive| redrive.covers(position)).collect(),
        });
        message.deliveries.push(delivery);
        of_ids.insert(&delivery.ack_id, key(position));
    }
    for ask in &story.asks {
        if let Some(message) = of_ids.get(ask.ack_id.as_str()).and_then(|key| messages.get_mut(key)) {
            message.asks.entry(&ask.ack_id).or_default().push(ask);
        }
    }
    for message in messages.values_mut() {
        message.deliveries.sort_by_key(|delivery| delivery.sent);
    }
    messages
}

pub(super) fn key(position: Position) -> (i64, String) {
    (position.sequence, position.epoch.map(|epoch| epoch.to_string()).unwrap_or_default())
}

impl<'a> Message<'a> {
    pub(super) fn of(&self, delivery: &Delivery) -> &[&'a Ask] {
        self.asks.get(delivery.ack_id.as_str()).map_or(&[], Vec::as_slice)
    }

    /// The first acknowledgement that was confirmed.
    pub(super) fn acknowledged(&self) -> Option<&'a Ask> {
        let acknowledgements = self.asks.values().flatten().filter(|ask| ask.deed == Deed::Acknowledge);
        acknowledgements.filter(|ask| ask.done().is_some()).min_by_key(|ask| ask.done()).copied()
    }

    /// Whether somebody asked for its acknowledgement, and does not know what became of it.
    pub(super) fn may_be_acknowledged(&self) -> bool {
        let mut asks = self.asks.values().flatten();
        asks.any(|ask| ask.deed == Deed::Acknowledge && ask.stale().is_none())
    }

    /// Whether it may have been put back within this time.
    pub(super) fn may_be_redriven(&self, from: At, until: At) -> bool {
        self.redrives.iter().any(|redrive| redrive.asked <= until && redrive.ended >= from)
    }

    /// Until when a delivery's lease is certain, by what was known until `now`.
    pub(super) fn leased_until(&self, story: &Story, faults: &[Fault], delivery: &Delivery, now: At) -> At {
        let mut until = delivery.deadline;
        let asks = || self.of(delivery).iter().filter(|ask| ask.asked <= now);
        let extensions: Vec<_> = asks()
            .filter_map(|ask| match ask.deed {
                Deed::Extend(time) => Some((*ask, ask.asked + time)),
                _ => None,
            })
            .collect();
        match &extensions[..] {
            // One that is confirmed counts from when it was asked.
            [(ask, end)] if ask.done().is_some_and(|done| done <= now) => until = *end,
            // It may have been carried out, or those that were may have met in any order.
            _ => until = extensions.iter().map(|(_, end)| *end).min().unwrap_or(until).min(until),
        }
        let ends = asks().filter(|ask| !matches!(ask.deed, Deed::Extend(_))).map(|ask| ask.asked).min();
        until.min(ends.unwrap_or(At::MAX)).min(story.sessions[delivery.session].holds_until(faults))
    }
}
