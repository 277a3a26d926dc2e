//! Where the books of all subscriptions of the embedded broker stand: by name, and by channel.
//!
//! A name is on it once, whatever the channel. Channels are named here that nobody has published on.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
};

use super::{books::Books, channel::Held};
use crate::{broker::subscriptions::Place, channel::ChannelName, subscription::SubscriptionName};

#[derive(Default)]
pub(super) struct Shelf {
    books: BTreeMap<SubscriptionName, (ChannelName, Books)>,
    /// The subscriptions of each channel that has any.
    names: HashMap<ChannelName, Vec<SubscriptionName>>,
}

impl Shelf {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.books.len()
    }

    /// How many a channel has.
    pub(super) fn len_of(&self, channel: &ChannelName) -> usize {
        self.names.get(channel).map_or(0, Vec::len)
    }

    /// The channel of a subscription.
    pub(super) fn channel_of(&self, name: &SubscriptionName) -> Option<&ChannelName> {
        self.books.get(name).map(|(channel, _)| channel)
    }

    /// The lowest names above one, with their channels.
    pub(super) fn names(&self, after: &str, limit: usize) -> Vec<(SubscriptionName, ChannelName)> {
        let above = self.books.range::<str, _>((Bound::Excluded(after), Bound::Unbounded)).take(limit);
        above.map(|(name, (channel, _))| (name.clone(), channel.clone())).collect()
    }

    /// Books, where they are those of this channel.
    pub(super) fn get(&self, place: &Place) -> Option<&Books> {
        self.books.get(&place.name).filter(|(channel, _)| *channel == place.channel).map(|(_, books)| books)
    }

    /// See [`Shelf::get`].
    pub(super) fn get_mut(&mut self, place: &Place) -> Option<&mut Books> {
        let found = self.books.get_mut(&place.name).filter(|(channel, _)| *channel == place.channel);
        found.map(|(_, books)| books)
    }

    /// Adds books whose name is not on it.
    pub(super) fn insert(&mut self, place: &Place, books: Books) {
        self.names.entry(place.channel.clone()).or_default().push(place.name.clone());
        self.books.insert(place.name.clone(), (place.channel.clone(), books));
    }

    /// Removes books, where they are those of this channel.
    pub(super) fn remove(&mut self, place: &Place) -> Option<Books> {
        self.get(place)?;
        if let Some(names) = self.names.get_mut(&place.channel) {
            names.retain(|name| *name != place.name);
            if names.is_empty() {
                self.names.remove(&place.channel);
            }
        }
        self.books.remove(&place.name).map(|(_, books)| books)
    }

    /// What all subscriptions of a channel hold of its log; `None` where it has none.
    pub(super) fn held(&self, channel: &ChannelName) -> Option<Held> {
        let books = self.names.get(channel)?.iter().filter_map(|name| self.books.get(name));
        books.map(|(_, books)| books.held()).reduce(Held::and)
    }

    /// What all books cost, by going through them.
    #[cfg(test)]
    pub(super) fn cost(&self) -> usize {
        self.books.values().map(|(_, books)| books.cost()).sum()
    }
}
