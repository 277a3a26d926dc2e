//! Dead letters on their way to the dead-letter channel.
//!
//! The channel has a place of its own on a cluster, so that a message can't die and be published in one step: what died
//! is in the subscription's outbox until it was published. Who dies between the two, or does not hear the answer,
//! leaves it there, and the next one publishes it with the same id. Within the deduplication window that is a repeat;
//! beyond it the channel's log is asked first.

mod draft;

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use tidings::{
    broker::{
        Error, From, PageLimit, Shared,
        subscriptions::{Letter, LetterId, Place, Subscriptions},
    },
    channel::ChannelName,
    envelope,
    limits::{OUTBOX_FRESH, OUTBOX_LETTERS, OUTBOX_SEARCH_PAGES, PAGE_BYTES, PAGE_MESSAGES},
};
use uuid::Uuid;

/// Publishes the dead letters of one subscription.
pub(super) struct Post {
    broker: Shared,
    store: Arc<dyn Subscriptions>,
    place: Place,
    /// Where it publishes them.
    channel: ChannelName,
    /// Somebody was told that one can't be published.
    is_told: AtomicBool,
}

impl Post {
    pub(super) fn new(broker: Shared, store: Arc<dyn Subscriptions>, place: Place, channel: ChannelName) -> Self {
        Self { broker, store, place, channel, is_told: AtomicBool::new(false) }
    }

    pub(super) fn channel(&self) -> &ChannelName {
        &self.channel
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Publishes the oldest of the outbox, where `now_ms` is the broker's clock. Answers how many have left it.
    pub(super) async fn round(&self, now_ms: i64) -> Result<usize, Error> {
        let letters = self.store.outbox(&self.place, OUTBOX_LETTERS).await?;
        let found = self.find_old(&letters, now_ms).await?;
        let mut drafts = Vec::with_capacity(letters.len());
        for (id, letter) in &letters {
            match draft::make(&self.place, id, letter) {
                Ok(draft) if found.contains(&draft.id) => {}
                Ok(draft) => drafts.push(draft),
                Err(unfit) => self.tell(id, unfit),
            }
        }
        if !drafts.is_empty() {
            self.broker.publish(&self.channel, drafts, 0).await?;
        }
        let sent: Vec<LetterId> = letters.into_iter().map(|(id, _)| id).collect();
        if !sent.is_empty() {
            self.store.sent(&self.place, &sent).await?;
        }
        Ok(sent.len())
    }

    /// Those that the channel's log has already, of letters that are so old that a repeat might not be known by its id.
    async fn find_old(&self, letters: &[(LetterId, Letter)], now_ms: i64) -> Result<HashSet<Uuid>, Error> {
        let fresh_ms = i64::try_from(OUTBOX_FRESH.as_millis()).unwrap_or(i64::MAX);
        let old = letters.iter().filter(|(id, _)| now_ms.saturating_sub(id.dead_ms) >= fresh_ms);
        let sought: HashSet<Uuid> = old.map(|(id, letter)| letter.copy_id(&self.place, id.dead_ms)).collect();
        let mut found = HashSet::new();
        let Some((oldest, _)) = letters.first().filter(|_| !sought.is_empty()) else { return Ok(found) };
        // The clocks of two servers may differ.
        let mut after = self.broker.sequence_before(&self.channel, oldest.dead_ms.saturating_sub(fresh_ms)).await?;
        for _ in 0..OUTBOX_SEARCH_PAGES {
            let limit = PageLimit { messages: PAGE_MESSAGES, bytes: PAGE_BYTES };
            let page = self.broker.read(&self.channel, From::After(after), limit).await?;
            for stored in &page.messages {
                after = stored.sequence;
                let envelope = envelope::decode(&stored.json, 0);
                // Anyone may give a message this id; only the service's own has the attribute.
                if sought.contains(&envelope.id) && draft::is_of(&envelope, &self.place) {
                    found.insert(envelope.id);
                }
            }
            if page.is_last || found.len() == sought.len() {
                break;
            }
        }
        Ok(found)
    }

    /// One that can't be published stays among the dead letters, and that is all.
    fn tell(&self, id: &LetterId, unfit: draft::Unfit) {
        let (subscription, channel) = (self.place.name.as_str(), self.channel.as_str());
        let sequence = id.sequence;
        if self.is_told.swap(true, Relaxed) {
            tracing::debug!(subscription, channel, sequence, %unfit, "another dead letter is not published");
        } else {
            tracing::warn!(
                subscription, channel, sequence, %unfit,
                "a dead letter is not published; it can be listed, and put back"
            );
        }
    }
}

#[cfg(test)]
mod tests;
