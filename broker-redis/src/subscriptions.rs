//! The books of durable subscriptions. All of a call on one of them is one script in the channel's slot; the names of
//! all subscriptions have a slot of their own, so that a creation and a deletion take two calls, and what is left of
//! one that ended between them is found and completed by the next.
//!
//! What the books mean is the contract's; this compares and writes, and knows nothing of consumers or filters.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use tidings::{
    broker::{
        Error,
        subscriptions::{
            self, Applied, Books, Change, Closed, Created, Due, Fate, Glance, Hold, Letter, LetterId, Look, New, Place,
            Set, Start, Unchanged,
        },
    },
    channel::{ChannelName, Names},
    limits::{OUTSTANDING, PAGE_BYTES},
    message::Epoch,
    subscription::{Block, BlockId, Generation, OrderKey, SubscriptionName},
};
use tokio_util::sync::CancellationToken;

use self::{
    answer::Fields,
    apply::{read_applied, write_apply},
    books::{read_books, read_glance, write_look, write_renewal},
    calls::Calls,
    creation::{Creation, write_hold, write_start},
    index::Index,
    letters::{Which, read_letters, write_letters, write_redrive, write_sent},
};
use super::{connection::Connection, keys::Keys, script};

mod answer;
mod apply;
mod books;
mod calls;
mod creation;
mod index;
mod letters;
mod messages;

/// Keeps the books of all subscriptions on one server.
pub(super) struct Subscriptions {
    calls: Calls,
    index: Index,
}

impl Subscriptions {
    pub(super) fn new(connection: Arc<Connection>, keys: Keys, names: Names, closing: CancellationToken) -> Self {
        let calls = Calls::new(connection, keys, closing);
        Self { index: Index::new(calls.clone(), names), calls }
    }
}

#[async_trait]
impl subscriptions::Subscriptions for Subscriptions {
    async fn channel_of(&self, name: &SubscriptionName) -> Result<Option<ChannelName>, Error> {
        let entry = self.index.entry(name).await?;
        entry.map(|entry| self.index.channel(&entry)).transpose()
    }

    async fn names(&self, after: &str, limit: usize) -> Result<Vec<(SubscriptionName, ChannelName)>, Error> {
        self.index.names(after, limit).await
    }

    async fn create(&self, place: &Place, new: &New) -> Result<Created, Error> {
        Creation { calls: &self.calls, index: &self.index, place, new }.run().await
    }

    async fn look(&self, place: &Place, look: Look) -> Result<Option<Books>, Error> {
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        if look.used || look.hold.is_some() || look.consumers.is_some() {
            pipeline.add_command(write_renewal(&self.calls, place, &look));
        }
        pipeline.add_command(write_look(&self.calls, place, &look));
        let scripts = [&script::SUBSCRIPTION_RENEW, &script::SUBSCRIPTION_LOOK];
        let answer = self.calls.read_last(&pipeline, &scripts).await?;
        read_books(Fields::of(answer)?)
    }

    async fn glance(&self, place: &Place) -> Result<Option<Glance>, Error> {
        let keys = self.calls.keys();
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors().cmd("ZCARD").arg(keys.waiting(place));
        pipeline.cmd("HMGET").arg(keys.books(place)).arg(&["g", "r", "o", "n"]);
        read_glance(self.calls.read_all(&pipeline, &[]).await?)
    }

    async fn set(&self, place: &Place, revision: u64, settings: &Bytes) -> Result<Set, Error> {
        let mut call = self.calls.of(&script::SUBSCRIPTION_SET, place);
        call.arg(revision).arg(&settings[..]);
        read_set(&self.calls.write(&script::SUBSCRIPTION_SET, &call).await?)
    }

    async fn delete(&self, place: &Place, only: Option<Unchanged>) -> Result<Set, Error> {
        // Read before: a reservation that comes meanwhile is not given up.
        let entry = self.index.entry(&place.name).await?;
        let mut call = self.calls.of(&script::SUBSCRIPTION_DELETE, place);
        call.arg(place.name.as_str());
        match only {
            Some(Unchanged { revision, used_ms }) => {
                call.arg(revision).arg(used_ms.map(|ms| ms.to_string()).unwrap_or_default())
            }
            None => call.arg("").arg(""),
        };
        let set = read_set(&self.calls.write(&script::SUBSCRIPTION_DELETE, &call).await?)?;
        if let Some(entry) = entry.filter(|entry| set != Set::Differs && index::is_of(entry, &place.channel)) {
            // Without books it may be one whose creation is under way.
            self.index.release(&place.name, &entry, set == Set::Missing).await?;
        }
        Ok(set)
    }

    async fn seek(&self, place: &Place, to: Start, generation: Generation, hold: Hold) -> Result<bool, Error> {
        let mut call = self.calls.of(&script::SUBSCRIPTION_SEEK, place);
        call.arg(place.name.as_str()).arg(generation.to_string());
        write_start(&mut call, to);
        write_hold(&mut call, &hold);
        answer::number(self.calls.write(&script::SUBSCRIPTION_SEEK, &call).await?).map(|done: u8| done == 1)
    }

    async fn apply(&self, place: &Place, generation: Generation, changes: &[Change]) -> Result<Applied, Error> {
        let call = write_apply(self.calls.keys(), place, generation, changes);
        read_applied(Fields::of(self.calls.write(&script::SUBSCRIPTION_APPLY, &call).await?)?, changes.len())
    }

    async fn blocks(&self, place: &Place, ids: &[BlockId]) -> Result<Vec<Option<Block>>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut call = redis::cmd("HMGET");
        call.arg(self.calls.keys().blocks_out(place));
        for id in ids {
            call.arg(id.to_string());
        }
        messages::read_blocks(Fields::of(self.calls.read(&[], call).await?)?)
    }

    async fn fates(
        &self,
        place: &Place,
        generation: Generation,
        messages: &[(Epoch, i64)],
    ) -> Result<Vec<Fate>, Error> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let script = &script::SUBSCRIPTION_FATES;
        let call = messages::write_fates(self.calls.of(script, place), generation, messages);
        messages::read_fates(Fields::of(self.calls.read(&[script], call).await?)?)
    }

    async fn closed(&self, place: &Place, keys: &[OrderKey]) -> Result<Closed, Error> {
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors().cmd("ZCARD").arg(self.calls.keys().parked(place));
        if !keys.is_empty() {
            let fields: Vec<_> = keys.iter().map(OrderKey::to_string).collect();
            pipeline.cmd("HMGET").arg(self.calls.keys().order_keys(place)).arg(fields);
        }
        messages::read_closed(self.calls.read_all(&pipeline, &[]).await?, keys.len())
    }

    async fn due(&self, place: &Place, generation: Generation, limit: usize) -> Result<Vec<Due>, Error> {
        let script = &script::SUBSCRIPTION_DUE;
        let mut call = self.calls.of(script, place);
        call.arg(generation.to_string()).arg(limit.min(OUTSTANDING));
        messages::read_due(Fields::of(self.calls.read(&[script], call).await?)?)
    }

    async fn remembered(&self, place: &Place, sequences: &[i64]) -> Result<Vec<Due>, Error> {
        if sequences.is_empty() {
            return Ok(Vec::new());
        }
        let fields = |key: String| {
            let mut call = redis::cmd("HMGET");
            call.arg(key);
            for sequence in sequences {
                call.arg(messages::sequence(*sequence));
            }
            call
        };
        let attempts = self.calls.read(&[], fields(self.calls.keys().attempts(place))).await?;
        let kept = self.calls.read(&[], fields(self.calls.keys().kept(place))).await?;
        messages::read_remembered(sequences, Fields::of(attempts)?, Fields::of(kept)?)
    }

    async fn dead_letters(
        &self,
        place: &Place,
        after: Option<&LetterId>,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<(LetterId, Letter)>, Error> {
        let script = &script::SUBSCRIPTION_LETTERS;
        let call = write_letters(self.calls.of(script, place), Which::All(after), limit, bytes);
        read_letters(Fields::of(self.calls.read(&[script], call).await?)?)
    }

    async fn redrive(
        &self,
        place: &Place,
        letters: &[LetterId],
        first: Duration,
        apart: Duration,
    ) -> Result<usize, Error> {
        let script = &script::SUBSCRIPTION_REDRIVE;
        let call = write_redrive(self.calls.of(script, place), letters, first, apart);
        answer::number(self.calls.write(script, &call).await?)
    }

    async fn outbox(&self, place: &Place, limit: usize) -> Result<Vec<(LetterId, Letter)>, Error> {
        let script = &script::SUBSCRIPTION_LETTERS;
        let call = write_letters(self.calls.of(script, place), Which::Outbox, limit, PAGE_BYTES);
        read_letters(Fields::of(self.calls.read(&[script], call).await?)?)
    }

    async fn sent(&self, place: &Place, letters: &[LetterId]) -> Result<(), Error> {
        if letters.is_empty() {
            return Ok(());
        }
        let script = &script::SUBSCRIPTION_SENT;
        self.calls.write(script, &write_sent(self.calls.of(script, place), letters)).await.map(|_| ())
    }
}

fn read_set(answer: &redis::Value) -> Result<Set, Error> {
    match answer::word(answer) {
        b"DONE" => Ok(Set::Done),
        b"DIFFERS" => Ok(Set::Differs),
        b"MISSING" => Ok(Set::Missing),
        _ => Err(answer::not_understood()),
    }
}
