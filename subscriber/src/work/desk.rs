//! What the operations of durable subscriptions share: the way to the books, and to the dispatchers of this replica.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicI64},
};

use tidings::{
    broker::{
        Error, Head,
        subscriptions::{Books, Look, Place, Subscriptions},
    },
    channel::{ChannelName, Names},
    limits::{DISPATCH_FINISH, DISPATCH_REQUESTS, PAGE_MESSAGES, SUBSCRIPTIONS},
    status::{self, Call},
    subscription::SubscriptionName,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::Status;

use super::{
    dispatcher::{Dispatcher, Ground},
    holds::Holds,
    looks::Looks,
    mailbox::{Asker, Consumer, Handle, Inbox, Pull, Pulled, Request, Seat},
    outcome::{Settle, Settled},
    settings::Settings,
};
use crate::stream::Source;

/// What it is given.
pub(crate) struct Given {
    pub(crate) source: Source,
    pub(crate) names: Arc<Names>,
    /// How many bytes of logs subscriptions may hold.
    pub(crate) holds: Arc<Holds>,
    /// Whether the broker keeps any history.
    pub(crate) keeps_history: bool,
}

pub(crate) struct Desk {
    store: Arc<dyn Subscriptions>,
    given: Given,
    dispatchers: Mutex<HashMap<SubscriptionName, Handle>>,
    tasks: TaskTracker,
    /// When they look at their subscriptions.
    looks: Looks,
    /// Ends the tasks.
    ended: CancellationToken,
}

impl Desk {
    pub(crate) fn new(given: Given) -> Arc<Self> {
        let store = given.source.broker.subscriptions();
        let (dispatchers, tasks, ended) = (Mutex::default(), TaskTracker::new(), CancellationToken::new());
        Arc::new(Self { store, given, dispatchers, tasks, looks: Looks::new(), ended })
    }

    pub(super) fn store(&self) -> &dyn Subscriptions {
        &*self.store
    }

    pub(super) fn given(&self) -> &Given {
        &self.given
    }

    pub(crate) fn names(&self) -> &Names {
        &self.given.names
    }

    fn dispatchers(&self) -> MutexGuard<'_, HashMap<SubscriptionName, Handle>> {
        // Nothing that holds the lock leaves it half-written.
        self.dispatchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the tasks, and waits for them: what streams had that have ended is given back.
    pub(crate) async fn close(&self) {
        self.ended.cancel();
        self.tasks.close();
        // One that waits for a broker that hangs ends when that is closed.
        let _ended = timeout(2 * DISPATCH_FINISH, self.tasks.wait()).await;
    }

    /// Runs a task until the server has ended.
    pub(crate) fn start(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(self.ended.clone().run_until_cancelled_owned(task));
    }

    /// The books of a subscription, and its settings.
    pub(super) async fn find(&self, name: &SubscriptionName, look: Look) -> Result<(Place, Settings, Books), Status> {
        let missing = || status::not_found(name.as_str());
        let channel = self.store.channel_of(name).await.map_err(failed)?.ok_or_else(missing)?;
        let place = Place { channel, name: name.clone() };
        let books = self.store.look(&place, look).await.map_err(failed)?.ok_or_else(missing)?;
        let settings = Settings::read(&books.settings, &place, self.names());
        let settings = settings.ok_or_else(|| {
            failed(Error::Channel(format!("the settings of the subscription {name} are not understood")))
        })?;
        Ok((place, settings, books))
    }

    /// All names, with the channels for which they are reserved.
    pub(super) async fn reserved(&self) -> Result<Vec<Place>, Status> {
        let mut places: Vec<Place> = Vec::new();
        loop {
            let after = places.last().map_or("", |place| place.name.as_str());
            let names = self.store().names(after, PAGE_MESSAGES).await.map_err(failed)?;
            let is_last = names.len() < PAGE_MESSAGES;
            places.extend(names.into_iter().map(|(name, channel)| Place { channel, name }));
            if is_last {
                return Ok(places);
            }
        }
    }

    /// The channel of a subscription, whether there is one or only its name was reserved.
    pub(crate) async fn channel_of(&self, name: &SubscriptionName) -> Result<ChannelName, Status> {
        let channel = self.store.channel_of(name).await.map_err(failed)?;
        channel.ok_or_else(|| status::not_found(name.as_str()))
    }

    /// The head of a channel.
    pub(super) async fn head(&self, channel: &ChannelName) -> Result<Option<Head>, Status> {
        let heads = self.given.source.broker.heads(std::slice::from_ref(channel)).await.map_err(failed)?;
        Ok(heads.into_iter().next().transpose().map_err(failed)?.flatten())
    }

    /// Has a dispatcher publish dead letters that were left in the outbox. That is no use of the subscription.
    pub(super) async fn send_unsent(&self, name: &SubscriptionName) {
        if let Err(status) = self.dispatcher(name, false).await {
            tracing::debug!(subscription = name.as_str(), %status, "its dead letters could not be published");
        }
    }

    /// The dispatcher of a subscription, begun where there is none.
    async fn dispatcher(&self, name: &SubscriptionName, is_used: bool) -> Result<Handle, Status> {
        let present = self.dispatchers().get(name).filter(|handle| !handle.requests.is_closed()).cloned();
        if let Some(handle) = present {
            return Ok(handle);
        }
        let begun = Instant::now();
        let (place, settings, books) = self.find(name, Look { used: is_used, ..Look::default() }).await?;
        let mut dispatchers = self.dispatchers();
        // Another may have been begun meanwhile.
        if let Some(handle) = dispatchers.get(name).filter(|handle| !handle.requests.is_closed()) {
            return Ok(handle.clone());
        }
        dispatchers.retain(|_, handle| !handle.requests.is_closed());
        if dispatchers.len() >= SUBSCRIPTIONS {
            return Err(status::server_limit(format!("{SUBSCRIPTIONS} subscriptions are in use here")));
        }
        let (requests, asked) = mpsc::channel(DISPATCH_REQUESTS);
        let (closed, ended) = mpsc::unbounded_channel();
        let backlog = Arc::<AtomicI64>::default();
        let ground = Ground {
            store: Arc::clone(&self.store),
            source: self.given.source.clone(),
            names: Arc::clone(&self.given.names),
            holds: Arc::clone(&self.given.holds),
            server: self.ended.clone(),
            backlog: Arc::clone(&backlog),
            looks: self.looks,
        };
        let inbox = Inbox { requests: asked, closed: ended };
        self.tasks.spawn(Dispatcher::new(place, ground, inbox, settings, (&books, begun)).run());
        let handle = Handle { requests, closed, backlog };
        dispatchers.insert(name.clone(), handle.clone());
        Ok(handle)
    }

    /// Delivers to a stream from now on. Answers the subscription as well.
    pub(crate) async fn open(
        &self,
        name: &SubscriptionName,
        consumer: impl Fn() -> Consumer,
    ) -> Result<(Seat, tidings::pb::Subscription), Status> {
        let mut opened = None;
        self.ask(name, |handle, reply| Request::Open(consumer(), handle.clone(), reply), &mut opened).await?;
        let opened = opened.ok_or_else(status::internal)?;
        Ok((opened.seat, opened.subscription))
    }

    /// Delivers to a call.
    pub(crate) async fn pull(&self, name: &SubscriptionName, pull: Pull) -> Result<Pulled, Status> {
        let mut pulled = None;
        self.ask(name, |_, reply| Request::Pull(pull, reply), &mut pulled).await?;
        pulled.ok_or_else(status::internal)?
    }

    /// Settles deliveries.
    pub(crate) async fn settle(&self, name: &SubscriptionName, settles: &[Settle]) -> Result<Settled, Status> {
        let mut settled = None;
        self.ask(name, |_, reply| Request::Settle(settles.to_vec(), Asker::Call, reply), &mut settled).await?;
        settled.ok_or_else(status::internal)?
    }

    /// Asks a dispatcher. One that had just ended is begun again.
    async fn ask<T>(
        &self,
        name: &SubscriptionName,
        request: impl Fn(&Handle, oneshot::Sender<T>) -> Request,
        answer: &mut Option<T>,
    ) -> Result<(), Status> {
        const TRIES: usize = 3;
        for _ in 0..TRIES {
            let handle = self.dispatcher(name, true).await?;
            let (reply, answered) = oneshot::channel();
            if handle.requests.send(request(&handle, reply)).await.is_ok()
                && let Ok(answered) = answered.await
            {
                *answer = Some(answered);
                return Ok(());
            }
        }
        Err(status::draining(Call::Consume))
    }
}

/// What a broker's error is for a call.
pub(super) fn failed(error: Error) -> Status {
    status::from_broker(error, Call::Consume)
}
