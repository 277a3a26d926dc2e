//! The books of one subscription, as a dispatcher sees them: what their last answer said, and the way to them.

use std::{sync::Arc, time::Duration};

use tidings::{
    broker::{
        Error,
        subscriptions::{
            Applied, Books, Change, Closed, Due, Fate, Glance, Look, Outcome, Place, State, Subscriptions,
        },
    },
    message::Epoch,
    metrics,
    subscription::{Block, BlockId, OrderKey},
};
use tokio::time::Instant;

use super::super::clock::{BrokerClock, ms};

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
    state: State,
    clock: BrokerClock,
    /// What is handed out next has gone back: the broker has lost claims.
    went_back: bool,
    /// There may be dead letters that were not published.
    has_unsent: bool,
}

impl Ledger {
    /// That of a subscription that was found so, when that was asked.
    pub(super) fn new(place: Place, store: Arc<dyn Subscriptions>, books: &Books, asked: Instant) -> Self {
        let clock = BrokerClock::heard(books.state.now_ms, asked);
        let (state, has_unsent) = (books.state, books.unsent > 0);
        Self { place, store, state, clock, went_back: false, has_unsent }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// What the last answer said.
    pub(super) fn state(&self) -> &State {
        &self.state
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

    /// Whether a look would show nothing new, where nothing was out and nothing waited.
    pub(super) async fn is_unchanged(&self) -> Result<bool, Stop> {
        let State { generation, revision, next, out: 0, due_ms: None, .. } = self.state else { return Ok(false) };
        let glance = self.store.glance(&self.place).await?.ok_or(Stop::Missing)?;
        Ok(glance == Glance { generation, revision, next, out: 0, waiting: 0 })
    }

    /// Looks into the books.
    pub(super) async fn look(&mut self, look: Look) -> Result<Books, Stop> {
        let asked = Instant::now();
        let books = self.store.look(&self.place, look).await?.ok_or(Stop::Missing)?;
        self.heard(books.state, asked);
        self.has_unsent |= books.unsent > 0;
        Ok(books)
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
