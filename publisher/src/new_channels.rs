//! Which publishes create a channel, and what that counts for.
//!
//! A channel is new here until this process has published on it. A publish on such a one counts as creating it at
//! first; if its receipt has another sequence than 1 the channel was there already, and nothing counts. A caller that
//! has created as many as it may can still publish on channels that are known.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::{FutureExt as _, future::BoxFuture};
use tidings::{
    broker::{Error, Published, Receipt},
    channel::ChannelName,
    limits::KNOWN_CHANNELS,
};
use tidings_transport::{Account, Rated};
use tonic::Status;

/// The channels that are known to be there, by their hashes: each takes another one's slot. It is not known which.
#[derive(Debug)]
pub(crate) struct NewChannels {
    hasher: RandomState,
    slots: Box<[AtomicU64]>,
}

impl NewChannels {
    pub(crate) fn new() -> Arc<Self> {
        let slots = (0..KNOWN_CHANNELS).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self { hasher: RandomState::new(), slots })
    }

    /// Publishes by `publish`, unless that would create more channels than the account may.
    ///
    /// # Errors
    ///
    /// RESOURCE_EXHAUSTED, CALLER_LIMIT; nothing was published.
    pub(crate) fn publish(
        self: &Arc<Self>,
        channel: &ChannelName,
        account: Option<&Arc<Account>>,
        publish: impl FnOnce() -> BoxFuture<'static, Published>,
    ) -> Result<BoxFuture<'static, Published>, Status> {
        let Some(account) = account.filter(|account| account.is_rated(Rated::NewChannels)) else {
            return Ok(publish());
        };
        let (slot, hash) = self.slot(channel);
        if slot.load(Ordering::Relaxed) == hash {
            return Ok(publish());
        }
        account.take(Rated::NewChannels, 1)?;
        // Those that come together count once.
        slot.store(hash, Ordering::Relaxed);
        let (this, channel, account) = (Arc::clone(self), channel.clone(), Arc::clone(account));
        let published = publish();
        Ok(async move {
            let outcome = published.await;
            match &outcome {
                Ok(receipts) if has_created(receipts) => {}
                Ok(_) => account.give_back(Rated::NewChannels, 1),
                // It may have been created.
                Err(Error::OutcomeUnknown(_) | Error::ReplicasNotReached { .. }) => {}
                Err(_) => {
                    account.give_back(Rated::NewChannels, 1);
                    this.forget(&channel);
                }
            }
            outcome
        }
        .boxed())
    }

    fn slot(&self, channel: &ChannelName) -> (&AtomicU64, u64) {
        // 0 is an empty slot.
        let hash = self.hasher.hash_one(channel.as_str()).max(1);
        (&self.slots[hash as usize % self.slots.len()], hash)
    }

    fn forget(&self, channel: &ChannelName) {
        let (slot, hash) = self.slot(channel);
        // If another one has taken it, it stays.
        let _ = slot.compare_exchange(hash, 0, Ordering::Relaxed, Ordering::Relaxed);
    }
}

fn has_created(receipts: &[Receipt]) -> bool {
    receipts.first().is_some_and(|receipt| receipt.sequence == 1 && !receipt.duplicate)
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use tidings::{channel::Names, message::Epoch};
    use tidings_transport::{Accounts, Quotas};
    use tonic::Code;

    use super::*;

    fn receipt(sequence: i64, duplicate: bool) -> Published {
        let (id, epoch) = (uuid::Uuid::nil(), Epoch::random());
        Ok(vec![Receipt { id, epoch, sequence, time_ms: 1, duplicate, replicas: 0 }])
    }

    fn name(name: &str) -> ChannelName {
        Names::new("tidings", "channel1").expect("valid").parse(name).expect("valid")
    }

    async fn publish(
        channels: &Arc<NewChannels>,
        account: &Arc<Account>,
        channel: &str,
        outcome: Published,
    ) -> Result<(), Status> {
        let published = channels.publish(&name(channel), Some(account), || ready(outcome).boxed())?;
        let _ = published.await;
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_is_created_counts_and_known_channels_go_on() {
        let channels = NewChannels::new();
        let accounts = Accounts::new(Quotas { new_channels: 2, ..Quotas::UNLIMITED });
        let account = accounts.of_address([192, 0, 2, 1].into());
        let away = || Err(Error::Unavailable("away".to_owned()));
        for n in 0..10 {
            publish(&channels, &account, &format!("there{n}"), receipt(7, false)).await.expect("it was there");
            publish(&channels, &account, &format!("away{n}"), away()).await.expect("nothing was created");
            publish(&channels, &account, &format!("again{n}"), receipt(1, true)).await.expect("nothing was created");
        }
        publish(&channels, &account, "one", receipt(1, false)).await.expect("it may create two");
        publish(&channels, &account, "two", receipt(1, false)).await.expect("it may create two");
        let refused = publish(&channels, &account, "three", receipt(1, false)).await.expect_err("and no more");
        assert_eq!(refused.code(), Code::ResourceExhausted);
        for known in ["one", "two", "there3"] {
            publish(&channels, &account, known, receipt(8, false)).await.expect("it is known");
        }
        let refused = publish(&channels, &account, "away3", receipt(9, false)).await.expect_err("not known");
        assert_eq!(refused.code(), Code::ResourceExhausted);
        let other = accounts.of_address([192, 0, 2, 2].into());
        publish(&channels, &other, "three", receipt(1, false)).await.expect("another caller's");
    }
}
