//! Durable subscriptions of the embedded broker: finds the books under the broker's lock, and has them do the work.
//!
//! Whatever changes books counts their bytes again and tells the channel what is held of its log, under the same lock.
//! What an operation means is in `books`.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    Core, Inner,
    books::{Books, Moment},
};
use crate::{
    broker::{
        Error, Subscriptions,
        subscriptions::{
            self as contract, Applied, Change, Closed, Created, Due, Fate, Glance, Hold, Letter, LetterId, Look, New,
            Place, Set, Start, Unchanged,
        },
    },
    channel::ChannelName,
    limits::{CHANNEL_SUBSCRIPTIONS, PAGE_BYTES, SUBSCRIPTIONS},
    message::{Epoch, Position},
    subscription::{Attempts, Block, BlockId, Generation, OrderKey, SubscriptionName},
};

#[async_trait]
impl Subscriptions for Inner {
    async fn channel_of(&self, name: &SubscriptionName) -> Result<Option<ChannelName>, Error> {
        Ok(self.open()?.shelf.channel_of(name).cloned())
    }

    async fn names(&self, after: &str, limit: usize) -> Result<Vec<(SubscriptionName, ChannelName)>, Error> {
        Ok(self.open()?.shelf.names(after, limit))
    }

    async fn create(&self, place: &Place, new: &New) -> Result<Created, Error> {
        let mut core = self.open()?;
        let core = &mut *core;
        if core.shelf.channel_of(&place.name).is_some() {
            return Ok(Created::Exists);
        }
        if core.shelf.len_of(&place.channel) >= CHANNEL_SUBSCRIPTIONS {
            return Ok(Created::Full(CHANNEL_SUBSCRIPTIONS));
        }
        if core.shelf.len() >= SUBSCRIPTIONS {
            return Ok(Created::Full(SUBSCRIPTIONS));
        }
        let books = Books::new(new, &self.moment(core, &place.channel));
        self.has_room(core, books.cost())?;
        core.bytes += books.cost();
        core.shelf.insert(place, books);
        core.hold(&place.channel);
        Ok(Created::Done)
    }

    async fn look(&self, place: &Place, look: Look) -> Result<Option<contract::Books>, Error> {
        self.change(place, |books, moment| books.look(look, moment))
    }

    async fn glance(&self, place: &Place) -> Result<Option<Glance>, Error> {
        Ok(self.open()?.shelf.get(place).map(Books::glance))
    }

    async fn set(&self, place: &Place, revision: u64, settings: &Bytes) -> Result<Set, Error> {
        let mut core = self.open()?;
        let Some(books) = core.shelf.get(place) else { return Ok(Set::Missing) };
        if !books.is_revision(revision) {
            return Ok(Set::Differs);
        }
        self.has_room(&core, books.growth_of_settings(settings))?;
        let set = core.change(place, |books| books.set(revision, settings));
        Ok(set.unwrap_or(Set::Missing))
    }

    async fn delete(&self, place: &Place, only: Option<Unchanged>) -> Result<Set, Error> {
        let mut core = self.open()?;
        let Some(books) = core.shelf.get(place) else { return Ok(Set::Missing) };
        if only.is_some_and(|seen| !books.is_unchanged(seen)) {
            return Ok(Set::Differs);
        }
        let removed = core.shelf.remove(place);
        core.bytes -= removed.map_or(0, |books| books.cost());
        core.hold(&place.channel);
        Ok(Set::Done)
    }

    async fn seek(&self, place: &Place, to: Start, generation: Generation, hold: Hold) -> Result<bool, Error> {
        let sought = self.change(place, |books, moment| books.seek(to, generation, hold, moment))?;
        Ok(sought.is_some())
    }

    /// A call whose dead letters don't all fit is refused as a whole, and nothing of it is done. One without any never
    /// is: it may be what makes room.
    async fn apply(&self, place: &Place, generation: Generation, changes: &[Change]) -> Result<Applied, Error> {
        let mut core = self.open()?;
        let core = &mut *core;
        let moment = self.moment(core, &place.channel);
        let room = self.bounds.bytes.saturating_sub(core.bytes);
        let applied = core.change(place, |books| books.apply(generation, changes, &moment, room));
        Ok(applied.unwrap_or(Applied::Missing))
    }

    async fn blocks(&self, place: &Place, ids: &[BlockId]) -> Result<Vec<Option<Block>>, Error> {
        let core = self.open()?;
        Ok(core.shelf.get(place).map_or_else(|| vec![None; ids.len()], |books| books.blocks(ids)))
    }

    async fn fates(
        &self,
        place: &Place,
        generation: Generation,
        messages: &[(Epoch, i64)],
    ) -> Result<Vec<Fate>, Error> {
        let fates = self.read(place, |books, moment| books.fates(generation, messages, moment))?;
        Ok(fates.unwrap_or_else(|| vec![Fate::Open; messages.len()]))
    }

    async fn closed(&self, place: &Place, keys: &[OrderKey]) -> Result<Closed, Error> {
        let core = self.open()?;
        let closed = core.shelf.get(place).map(|books| books.closed(keys));
        Ok(closed.unwrap_or_else(|| Closed { keys: vec![false; keys.len()], parked: 0 }))
    }

    async fn due(&self, place: &Place, generation: Generation, limit: usize) -> Result<Vec<Due>, Error> {
        Ok(self.read(place, |books, moment| books.due(generation, limit, moment))?.unwrap_or_default())
    }

    async fn remembered(&self, place: &Place, sequences: &[i64]) -> Result<Vec<Due>, Error> {
        let core = self.open()?;
        let nothing = |sequence: &i64| Due { sequence: *sequence, attempts: Attempts::default(), json: None };
        let books = core.shelf.get(place).map(|books| books.remembered(sequences));
        Ok(books.unwrap_or_else(|| sequences.iter().map(nothing).collect()))
    }

    async fn dead_letters(
        &self,
        place: &Place,
        after: Option<&LetterId>,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<(LetterId, Letter)>, Error> {
        let core = self.open()?;
        Ok(core.shelf.get(place).map(|books| books.dead_letters(after, limit, bytes)).unwrap_or_default())
    }

    async fn redrive(
        &self,
        place: &Place,
        letters: &[LetterId],
        first: Duration,
        apart: Duration,
    ) -> Result<usize, Error> {
        let redriven = self.change(place, |books, moment| books.redrive(letters, first, apart, moment))?;
        Ok(redriven.unwrap_or(0))
    }

    async fn outbox(&self, place: &Place, limit: usize) -> Result<Vec<(LetterId, Letter)>, Error> {
        let core = self.open()?;
        Ok(core.shelf.get(place).map(|books| books.outbox(limit, PAGE_BYTES)).unwrap_or_default())
    }

    async fn sent(&self, place: &Place, letters: &[LetterId]) -> Result<(), Error> {
        self.change(place, |books, _| books.sent(letters)).map(|_| ())
    }
}

impl Inner {
    /// The clock and the channel's log as they are now. A channel that has none is at its start.
    fn moment(&self, core: &mut Core, channel: &ChannelName) -> Moment {
        let channel = self.channel(core, channel);
        let (end, first) = channel.map_or((Position::START, 1), |channel| (channel.end(), channel.first()));
        Moment { now_ms: (self.clock)(), end, first }
    }

    /// Reads books; `None` where there are none.
    fn read<T>(&self, place: &Place, read: impl FnOnce(&Books, &Moment) -> T) -> Result<Option<T>, Error> {
        let mut core = self.open()?;
        let moment = self.moment(&mut core, &place.channel);
        Ok(core.shelf.get(place).map(|books| read(books, &moment)))
    }

    /// Changes books; `None` where there are none.
    fn change<T>(&self, place: &Place, change: impl FnOnce(&mut Books, &Moment) -> T) -> Result<Option<T>, Error> {
        let mut core = self.open()?;
        let moment = self.moment(&mut core, &place.channel);
        Ok(core.change(place, |books| change(books, &moment)))
    }

    /// Whether the broker may grow by this many bytes.
    fn has_room(&self, core: &Core, added: usize) -> Result<(), Error> {
        match added > 0 && core.bytes + added > self.bounds.bytes {
            true => Err(Error::Full("its memory is used up")),
            false => Ok(()),
        }
    }
}

impl Core {
    /// Changes books, counts their bytes again, and holds the log from there on.
    fn change<T>(&mut self, place: &Place, change: impl FnOnce(&mut Books) -> T) -> Option<T> {
        let books = self.shelf.get_mut(place)?;
        let before = books.cost();
        let answer = change(books);
        self.bytes = self.bytes - before + books.cost();
        self.hold(&place.channel);
        Some(answer)
    }

    /// Tells a channel what its subscriptions hold of its log.
    fn hold(&mut self, channel: &ChannelName) {
        if let Some(found) = self.channels.get_mut(channel) {
            found.hold(self.shelf.held(channel));
        }
    }
}
