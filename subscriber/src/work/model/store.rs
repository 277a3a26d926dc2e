//! The broker as one replica sees it, through its [`Faults`].

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tidings::{
    broker::{
        Broker, DataSetNow, Error, From, HeadOf, LiveControl, LiveEvents, Page, PageLimit, Published, State,
        Subscriptions,
        subscriptions::{
            Applied, Books, Change, Closed, Created, Due, Fate, Glance, Hold, Letter, LetterId, Look, New, Outcome,
            Place, Set, Start, Unchanged,
        },
    },
    channel::{ChannelName, Pattern},
    message::{Draft, Epoch},
    subscription::{Block, BlockId, Generation, OrderKey, SubscriptionName},
};
use tokio::sync::{mpsc, watch};

use super::faults::Faults;

/// A broker behind faults.
pub(super) struct Faulty {
    pub(super) broker: Arc<dyn Broker>,
    pub(super) faults: Arc<Faults>,
}

#[tonic::async_trait]
impl Broker for Faulty {
    fn publish(&self, channel: &ChannelName, drafts: Vec<Draft>, min_replicas: u32) -> BoxFuture<'static, Published> {
        self.broker.publish(channel, drafts, min_replicas)
    }

    async fn heads(&self, channels: &[ChannelName]) -> Result<Vec<HeadOf>, Error> {
        let (broker, channels) = (Arc::clone(&self.broker), channels.to_vec());
        self.faults.call("heads", async move { broker.heads(&channels).await }).await
    }

    async fn data_set(&self) -> Result<DataSetNow, Error> {
        self.broker.data_set().await
    }

    async fn report_loss(&self, channel: &ChannelName, epoch: Epoch, to: i64) -> Result<(), Error> {
        self.broker.report_loss(channel, epoch, to).await
    }

    async fn read(&self, channel: &ChannelName, from: From, limit: PageLimit) -> Result<Page, Error> {
        let (broker, channel) = (Arc::clone(&self.broker), channel.clone());
        self.faults.call("read", async move { broker.read(&channel, from, limit).await }).await
    }

    async fn sequence_before(&self, channel: &ChannelName, time_ms: i64) -> Result<i64, Error> {
        self.broker.sequence_before(channel, time_ms).await
    }

    async fn channels(&self, pattern: Option<&Pattern>, after: &str, limit: usize) -> Result<Vec<ChannelName>, Error> {
        self.broker.channels(pattern, after, limit).await
    }

    async fn register_again(&self, channels: &[ChannelName]) -> Result<usize, Error> {
        self.broker.register_again(channels).await
    }

    fn live(&self) -> (LiveControl, LiveEvents) {
        let (control, mut events) = self.broker.live();
        let (sender, received) = mpsc::channel(4);
        let faults = Arc::clone(&self.faults);
        tokio::spawn(async move {
            while let Some(some) = events.recv().await {
                faults.pass().await;
                if sender.send(some).await.is_err() {
                    break;
                }
            }
        });
        (control, received)
    }

    fn subscriptions(&self) -> Arc<dyn Subscriptions> {
        Arc::new(FaultyStore { store: self.broker.subscriptions(), faults: Arc::clone(&self.faults) })
    }

    fn state(&self) -> watch::Receiver<State> {
        self.broker.state()
    }

    fn probe_age(&self) -> Option<Duration> {
        self.broker.probe_age()
    }

    fn describe(&self) -> String {
        self.broker.describe()
    }

    async fn close(&self) {}
}

/// Books behind faults.
struct FaultyStore {
    store: Arc<dyn Subscriptions>,
    faults: Arc<Faults>,
}

/// Makes a call of the same name, with copies of what it is given.
macro_rules! through {
    ($self:ident.$name:ident($($argument:ident),*)) => {{
        let store = Arc::clone(&$self.store);
        $(let $argument = $argument.to_owned();)*
        $self.faults.call(stringify!($name), async move { store.$name($(&$argument),*).await }).await
    }};
}

#[tonic::async_trait]
impl Subscriptions for FaultyStore {
    async fn channel_of(&self, name: &SubscriptionName) -> Result<Option<ChannelName>, Error> {
        through!(self.channel_of(name))
    }

    async fn names(&self, after: &str, limit: usize) -> Result<Vec<(SubscriptionName, ChannelName)>, Error> {
        self.store.names(after, limit).await
    }

    async fn create(&self, place: &Place, new: &New) -> Result<Created, Error> {
        through!(self.create(place, new))
    }

    async fn look(&self, place: &Place, look: Look) -> Result<Option<Books>, Error> {
        let (store, place) = (Arc::clone(&self.store), place.clone());
        self.faults.call("look", async move { store.look(&place, look).await }).await
    }

    async fn glance(&self, place: &Place) -> Result<Option<Glance>, Error> {
        through!(self.glance(place))
    }

    async fn set(&self, place: &Place, revision: u64, settings: &Bytes) -> Result<Set, Error> {
        let (store, place, settings) = (Arc::clone(&self.store), place.clone(), settings.clone());
        self.faults.call("set", async move { store.set(&place, revision, &settings).await }).await
    }

    async fn delete(&self, place: &Place, only: Option<Unchanged>) -> Result<Set, Error> {
        self.store.delete(place, only).await
    }

    async fn seek(&self, place: &Place, to: Start, generation: Generation, hold: Hold) -> Result<bool, Error> {
        let (store, place, truth) = (Arc::clone(&self.store), place.clone(), self.faults.truth.clone());
        let seek = async move {
            let sought = store.seek(&place, to, generation, hold).await;
            let books = store.look(&place, Look::default()).await?;
            if let Some(books) = books {
                truth.sought(books.state.generation, books.position.sequence);
            }
            sought
        };
        self.faults.call("seek", seek).await
    }

    async fn apply(&self, place: &Place, generation: Generation, changes: &[Change]) -> Result<Applied, Error> {
        let (store, place, changes) = (Arc::clone(&self.store), place.clone(), changes.to_vec());
        let (truth, replica) = (self.faults.truth.clone(), self.faults.replica);
        let apply = async move {
            let applied = store.apply(&place, generation, &changes).await;
            let Ok(Applied::Done(state, outcomes)) = &applied else { return applied };
            let done = changes.iter().zip(outcomes).filter(|(_, outcome)| **outcome == Outcome::Done);
            done.clone().for_each(|(change, _)| truth.carried_out(generation, change));
            for (change, _) in done.filter(|(change, _)| change.claim.is_some() || !change.take.is_empty()) {
                // The others are settled with it.
                for block in change.blocks.iter().filter(|block| block.from.is_none() && block.id.own == 0) {
                    let sequences = block.to.iter().flat_map(Block::sequences);
                    sequences.for_each(|sequence| truth.granted(generation, sequence, block.id, replica));
                }
            }
            truth.is_out(state.out);
            applied
        };
        self.faults.call("apply", apply).await
    }

    async fn blocks(&self, place: &Place, ids: &[BlockId]) -> Result<Vec<Option<Block>>, Error> {
        through!(self.blocks(place, ids))
    }

    async fn fates(
        &self,
        place: &Place,
        generation: Generation,
        messages: &[(Epoch, i64)],
    ) -> Result<Vec<Fate>, Error> {
        let (store, place, messages) = (Arc::clone(&self.store), place.clone(), messages.to_vec());
        self.faults.call("fates", async move { store.fates(&place, generation, &messages).await }).await
    }

    async fn closed(&self, place: &Place, keys: &[OrderKey]) -> Result<Closed, Error> {
        let (store, place, keys) = (Arc::clone(&self.store), place.clone(), keys.to_vec());
        self.faults.call("closed", async move { store.closed(&place, &keys).await }).await
    }

    async fn due(&self, place: &Place, generation: Generation, limit: usize) -> Result<Vec<Due>, Error> {
        let (store, place) = (Arc::clone(&self.store), place.clone());
        self.faults.call("due", async move { store.due(&place, generation, limit).await }).await
    }

    async fn remembered(&self, place: &Place, sequences: &[i64]) -> Result<Vec<Due>, Error> {
        through!(self.remembered(place, sequences))
    }

    async fn dead_letters(
        &self,
        place: &Place,
        after: Option<&LetterId>,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<(LetterId, Letter)>, Error> {
        let (store, place, after) = (Arc::clone(&self.store), place.clone(), after.cloned());
        let call = async move { store.dead_letters(&place, after.as_ref(), limit, bytes).await };
        self.faults.call("dead_letters", call).await
    }

    async fn outbox(&self, place: &Place, limit: usize) -> Result<Vec<(LetterId, Letter)>, Error> {
        let (store, place) = (Arc::clone(&self.store), place.clone());
        self.faults.call("outbox", async move { store.outbox(&place, limit).await }).await
    }

    async fn sent(&self, place: &Place, letters: &[LetterId]) -> Result<(), Error> {
        let (store, place, letters) = (Arc::clone(&self.store), place.clone(), letters.to_vec());
        self.faults.call("sent", async move { store.sent(&place, &letters).await }).await
    }

    async fn redrive(
        &self,
        place: &Place,
        letters: &[LetterId],
        first: Duration,
        apart: Duration,
    ) -> Result<usize, Error> {
        let (store, place, letters) = (Arc::clone(&self.store), place.clone(), letters.to_vec());
        let truth = self.faults.truth.clone();
        let redrive = async move {
            // Which of them are there is asked at the same moment: the embedded broker does not wait.
            let there = store.dead_letters(&place, None, usize::MAX, usize::MAX).await?;
            let there = there.into_iter().map(|(id, _)| id).filter(|id| letters.contains(id));
            let there: Vec<_> = there.collect();
            let redriven = store.redrive(&place, &letters, first, apart).await;
            truth.redriven(&there, redriven.clone());
            redriven
        };
        self.faults.call("redrive", redrive).await
    }
}
