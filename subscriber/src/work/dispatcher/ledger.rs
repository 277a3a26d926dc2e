//! The books of one subscription, as a dispatcher sees them: what their last answer said, and the way to them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use tidings::{
    broker::{
        Error,
        subscriptions::{
            Applied, Books, Change, Closed, Due, Fate, Glance, Look, Outcome, Place, State, Subscriptions,
        },
    },
    channel::Names,
    limits::{LEASE_GRACE, RENEW_INTERVAL, SWEPT_BLOCKS},
    message::Epoch,
    metrics, pb,
    subscription::{Block, BlockId, OrderKey, Token},
};
use tokio::time::Instant;

use super::{
    super::{
        clock::{BrokerClock, ms},
        holds::Holds,
        settings::Settings,
    },
    Ground,
};

/// Why a dispatcher can't go on as it is.
#[derive(Debug)]
pub(super) enum Stop {
    /// The subscription is not there any more.
    Missing,
    /// It was moved: all leases are over.
    Moved,
    /// The broker is away, or refuses.
    Broker(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Broker(error)
    }
}

pub(super) struct Ledger {
    place: Place,
    store: Arc<dyn Subscriptions>,
    names: Arc<Names>,
    settings: Settings,
    /// That of the settings.
    revision: u64,
    /// When it was created: one that was created since is another.
    create_ms: i64,
    subscription: pb::Subscription,
    state: State,
    clock: BrokerClock,
    /// What is handed out next has gone back: the broker has lost claims.
    went_back: bool,
    /// There may be dead letters that were not published.
    has_unsent: bool,
    /// How many bytes of the log it may hold.
    holds: Arc<Holds>,
    /// When it is noted again that the subscription is used, and what it holds of the log.
    renew_at: Instant,
    /// Under which name it is said how many streams are open here, and how many were, when that was said last.
    own: Token,
    said: usize,
    /// For heartbeats.
    backlog: Arc<AtomicI64>,
}

impl Ledger {
    /// That of a subscription that was found so, when that was asked.
    pub(super) fn new(place: Place, ground: &Ground, settings: Settings, (books, asked): (&Books, Instant)) -> Self {
        let ledger = Self {
            place,
            store: Arc::clone(&ground.store),
            names: Arc::clone(&ground.names),
            subscription: settings.answer(books),
            settings,
            revision: books.state.revision,
            create_ms: books.create_ms,
            state: books.state,
            clock: BrokerClock::heard(books.state.now_ms, asked),
            went_back: false,
            has_unsent: books.unsent > 0,
            holds: Arc::clone(&ground.holds),
            renew_at: Instant::now(),
            own: Token::random(),
            said: 0,
            backlog: Arc::clone(&ground.backlog),
        };
        ledger.note_backlog(books.waiting + books.parked);
        ledger
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The revision of the settings; that of the last answer may be later.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// What is answered about the subscription.
    pub(super) fn subscription(&self) -> &pb::Subscription {
        &self.subscription
    }

    /// What the last answer said.
    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// How many messages more may be out.
    pub(super) fn room(&self) -> usize {
        let most = self.settings.max_outstanding.saturating_sub(self.state.out);
        usize::try_from(most).unwrap_or(usize::MAX)
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// The time on the broker's clock so long from now, or a little later.
    pub(super) fn after(&self, wait: Duration) -> i64 {
        self.clock.latest_ms().saturating_add(ms(wait))
    }

    pub(super) fn when(&self, time_ms: i64) -> Instant {
        self.clock.when(time_ms)
    }

    /// When the next message is due for a retry.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.state.due_ms.map(|due_ms| self.clock.when(due_ms))
    }

    fn heard(&mut self, state: State, asked: Instant) {
        self.went_back |= state.generation == self.state.generation && state.next < self.state.next;
        (self.state, self.clock) = (state, BrokerClock::heard(state.now_ms, asked));
    }

    /// Whether what is handed out next has gone back since this was asked last.
    pub(super) fn take_went_back(&mut self) -> bool {
        std::mem::take(&mut self.went_back)
    }

    /// Carries out changes. They are where they were afterwards, unless this fails.
    pub(super) async fn apply<'a>(
        &mut self,
        changes: impl IntoIterator<Item = &'a mut Change>,
    ) -> Result<Vec<Outcome>, Stop> {
        let mut places: Vec<_> = changes.into_iter().collect();
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let changes: Vec<_> = places.iter_mut().map(|change| std::mem::take(*change)).collect();
        let asked = Instant::now();
        match self.store.apply(&self.place, self.state.generation, &changes).await? {
            Applied::Missing => Err(Stop::Missing),
            Applied::Over(_) => Err(Stop::Moved),
            Applied::Done(state, carried) => {
                self.heard(state, asked);
                for (change, _) in changes.iter().zip(&carried).filter(|(_, carried)| **carried == Outcome::Done) {
                    metrics::ended(change.dead.len(), change.lost);
                    self.has_unsent |= !change.dead.is_empty();
                }
                for (place, change) in places.into_iter().zip(changes) {
                    *place = change;
                }
                Ok(carried)
            }
        }
    }

    /// Whether a look would show nothing new, where nothing was out and nothing waited, and nothing is to be renewed.
    pub(super) async fn is_unchanged(&self) -> Result<bool, Stop> {
        let State { generation, revision, next, out: 0, due_ms: None, .. } = self.state else { return Ok(false) };
        if self.renew_at <= Instant::now() {
            return Ok(false);
        }
        let glance = self.store.glance(&self.place).await?.ok_or(Stop::Missing)?;
        Ok(glance == Glance { generation, revision, next, out: 0, waiting: 0 })
    }

    /// How many streams are open here, as the books know it.
    pub(super) fn said(&self) -> usize {
        self.said
    }

    /// Looks into the books: at the settings, at what is due, and at leases of others that are over. Says there how
    /// many streams are open here.
    pub(super) async fn look(&mut self, streams: usize) -> Result<Books, Stop> {
        let (asked, generation) = (Instant::now(), self.state.generation);
        let is_renewed = self.renew_at <= asked;
        let look = Look {
            oldest: false,
            overdue: Some((SWEPT_BLOCKS, LEASE_GRACE)),
            used: is_renewed,
            hold: is_renewed.then(|| self.settings.hold(self.holds.bytes())),
            consumers: (is_renewed || self.said != streams).then_some((self.own, streams as u64)),
            created_ms: Some(self.create_ms),
        };
        let books = self.store.look(&self.place, look).await?.ok_or(Stop::Missing)?;
        self.heard(books.state, asked);
        self.said = streams;
        self.has_unsent |= books.unsent > 0;
        if is_renewed {
            self.renew_at = Instant::now() + RENEW_INTERVAL;
        }
        if books.create_ms != self.create_ms {
            // It was deleted: this is another of its name.
            return Err(Stop::Missing);
        }
        let is_moved = books.state.generation != generation;
        if books.state.revision != self.revision || is_moved {
            let settings = Settings::read(&books.settings, &self.place, &self.names);
            self.settings = settings.ok_or_else(|| Error::Internal("its settings are not understood".to_owned()))?;
            (self.subscription, self.revision) = (self.settings.answer(&books), books.state.revision);
        }
        self.note_backlog(books.waiting + books.parked);
        if is_moved { Err(Stop::Moved) } else { Ok(books) }
    }

    fn note_backlog(&self, waiting: u64) {
        let backlog = self.state.ahead().saturating_add(self.state.out).saturating_add(waiting);
        self.backlog.store(i64::try_from(backlog).unwrap_or(i64::MAX), Relaxed);
    }

    /// Whether there may be dead letters that were not published, since this was asked last.
    pub(super) fn take_unsent(&mut self) -> bool {
        std::mem::take(&mut self.has_unsent)
    }

    pub(super) async fn closed(&self, keys: &[OrderKey]) -> Result<Closed, Error> {
        self.store.closed(&self.place, keys).await
    }

    pub(super) async fn due(&self, limit: usize) -> Result<Vec<Due>, Error> {
        self.store.due(&self.place, self.state.generation, limit).await
    }

    pub(super) async fn blocks(&self, ids: &[BlockId]) -> Result<Vec<Option<Block>>, Error> {
        match ids {
            [] => Ok(Vec::new()),
            ids => self.store.blocks(&self.place, ids).await,
        }
    }

    pub(super) async fn fates(&self, messages: &[(Epoch, i64)]) -> Result<Vec<Fate>, Error> {
        match messages {
            [] => Ok(Vec::new()),
            messages => self.store.fates(&self.place, self.state.generation, messages).await,
        }
    }

    pub(super) async fn remembered(&self, sequences: &[i64]) -> Result<Vec<Due>, Error> {
        match sequences {
            [] => Ok(Vec::new()),
            sequences => self.store.remembered(&self.place, sequences).await,
        }
    }
}
