//! What one address or one subject has taken.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tidings::{
    limits::{
        BACKLOG_BYTES, SLOW_REQUESTS, SMALL_UPLOADS_BYTES, TOPIC_LINGER, UNREAD_ANSWERS_BYTES, UPLOADS_BYTES,
        WAITING_UPLOADS,
    },
    metrics::{self, Limit},
};
use tokio::{sync::Semaphore, time::Instant};

use super::{Exceeded, Quotas, Shares, rate::Rate};

/// What is counted by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rated {
    /// Messages that are published.
    Publishes = 0,
    /// Bytes of requests to publish.
    BytesIn = 1,
    /// Lists that are asked for.
    Lists = 2,
    /// Bytes of answers.
    BytesOut = 3,
    /// Channels that are created.
    NewChannels = 4,
}

impl Rated {
    const ALL: [Self; 5] = [Self::Publishes, Self::BytesIn, Self::Lists, Self::BytesOut, Self::NewChannels];

    fn limit(self) -> Limit {
        match self {
            Self::Publishes => Limit::Publishes,
            Self::BytesIn => Limit::BytesIn,
            Self::Lists => Limit::Lists,
            Self::BytesOut => Limit::BytesOut,
            Self::NewChannels => Limit::NewChannels,
        }
    }
}

/// The counters of one address or one subject. Where nothing limits a rate, nothing is counted.
#[derive(Debug)]
pub struct Account {
    connections: Gauge,
    streams: Gauge,
    positions: Gauge,
    patterns: Mutex<HashMap<Box<str>, Followed>>,
    most_patterns: u64,
    rates: [Option<Rate>; Rated::ALL.len()],
    slow_requests: Gauge,
    answers: Arc<Semaphore>,
    backlog: Arc<Semaphore>,
    /// Few have requests that do not come at once.
    uploads: OnceLock<Shares>,
}

/// A pattern. It counts for as long as its subscription is on Redis, which outlives its last stream.
#[derive(Debug)]
struct Followed {
    streams: usize,
    ended: Instant,
}

/// How many there are of something.
#[derive(Debug)]
struct Gauge {
    limit: Limit,
    most: u64,
    now: AtomicU64,
}

impl Gauge {
    fn new(limit: Limit, most: u64) -> Self {
        Self { limit, most, now: AtomicU64::new(0) }
    }

    fn add(&self, count: u64) -> Result<(), Exceeded> {
        let more = |now: u64| now.checked_add(count).filter(|next| *next <= self.most);
        let added = self.now.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        added.map(|_| ()).map_err(|_| exceeded(self.limit, self.most, None))
    }
}

fn exceeded(limit: Limit, most: u64, wait: Option<Duration>) -> Exceeded {
    metrics::limited(limit);
    Exceeded { limit, most, wait }
}

impl Account {
    pub(super) fn new(quotas: &Quotas) -> Self {
        Self {
            connections: Gauge::new(Limit::Connections, quotas.connections),
            streams: Gauge::new(Limit::Streams, quotas.streams),
            positions: Gauge::new(Limit::Positions, quotas.positions),
            patterns: Mutex::default(),
            most_patterns: quotas.patterns,
            rates: Rated::ALL.map(|rated| quotas.rate(rated)),
            slow_requests: Gauge::new(Limit::SlowRequests, SLOW_REQUESTS),
            answers: Arc::new(Semaphore::new(UNREAD_ANSWERS_BYTES)),
            backlog: Arc::new(Semaphore::new(BACKLOG_BYTES)),
            uploads: OnceLock::new(),
        }
    }

    /// Counts a connection for as long as what is returned lives.
    ///
    /// # Errors
    ///
    /// It has as many as it may; so with all that follows.
    pub fn connect(self: &Arc<Self>) -> Result<Held, Exceeded> {
        self.hold(|account| &account.connections, 1)
    }

    /// Counts an open stream.
    pub fn open_stream(self: &Arc<Self>) -> Result<Held, Exceeded> {
        self.hold(|account| &account.streams, 1)
    }

    /// Counts channels that a pattern stream follows.
    pub fn positions(self: &Arc<Self>, channels: usize) -> Result<Held, Exceeded> {
        self.hold(|account| &account.positions, channels as u64)
    }

    /// Counts a request that does not come at once.
    pub fn slow_request(self: &Arc<Self>) -> Result<Held, Exceeded> {
        self.hold(|account| &account.slow_requests, 1)
    }

    fn hold(self: &Arc<Self>, gauge: fn(&Self) -> &Gauge, count: u64) -> Result<Held, Exceeded> {
        gauge(self).add(count)?;
        Ok(Held { account: Arc::clone(self), gauge, count })
    }

    /// Counts a followed pattern; following it again adds nothing.
    pub fn follow(self: &Arc<Self>, pattern: &str) -> Result<HeldPattern, Exceeded> {
        let mut patterns = self.patterns();
        if patterns.len() as u64 >= self.most_patterns {
            patterns.retain(|_, followed| followed.streams > 0 || followed.ended.elapsed() < TOPIC_LINGER);
        }
        if let Some(followed) = patterns.get_mut(pattern) {
            followed.streams += 1;
        } else if patterns.len() as u64 >= self.most_patterns {
            return Err(exceeded(Limit::Patterns, self.most_patterns, None));
        } else {
            patterns.insert(pattern.into(), Followed { streams: 1, ended: Instant::now() });
        }
        Ok(HeldPattern { account: Arc::clone(self), pattern: pattern.into() })
    }

    fn patterns(&self) -> MutexGuard<'_, HashMap<Box<str>, Followed>> {
        self.patterns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a limit at all.
    pub fn is_rated(&self, rated: Rated) -> bool {
        self.rates[rated as usize].is_some()
    }

    /// Takes an amount.
    pub fn take(&self, rated: Rated, amount: u64) -> Result<(), Exceeded> {
        let Some(rate) = &self.rates[rated as usize] else { return Ok(()) };
        rate.take(amount).map_err(|wait| exceeded(rated.limit(), rate.amount(), Some(wait)))
    }

    /// Gives back what was taken and not used.
    pub fn give_back(&self, rated: Rated, amount: u64) {
        if let Some(rate) = &self.rates[rated as usize] {
            rate.give_back(amount);
        }
    }

    /// Takes what is gone already; says how long it takes until it was not too much.
    pub fn charge(&self, rated: Rated, amount: u64) -> Option<Duration> {
        let rate = self.rates[rated as usize].as_ref()?;
        rate.charge(amount);
        rate.owed()
    }

    /// Whether more was charged than may be.
    ///
    /// # Errors
    ///
    /// It was.
    pub fn is_settled(&self, rated: Rated) -> Result<(), Exceeded> {
        let Some(rate) = &self.rates[rated as usize] else { return Ok(()) };
        rate.owed().map_or(Ok(()), |wait| Err(exceeded(rated.limit(), rate.amount(), Some(wait))))
    }

    /// Bytes of answers that may wait to be read.
    pub fn answers(&self) -> &Arc<Semaphore> {
        &self.answers
    }

    /// Bytes of requests that may have come and lie unread.
    pub fn backlog(&self) -> &Arc<Semaphore> {
        &self.backlog
    }

    /// Bytes of requests that may be under way.
    pub fn uploads(&self) -> &Shares {
        self.uploads.get_or_init(|| Shares::new(UPLOADS_BYTES, SMALL_UPLOADS_BYTES, WAITING_UPLOADS))
    }
}

/// Something that counts for as long as this lives.
#[derive(Debug)]
pub struct Held {
    account: Arc<Account>,
    gauge: fn(&Account) -> &Gauge,
    count: u64,
}

impl Held {
    /// Counts for more.
    ///
    /// # Errors
    ///
    /// That is too much.
    pub fn grow(&mut self, count: usize) -> Result<(), Exceeded> {
        (self.gauge)(&self.account).add(count as u64)?;
        self.count += count as u64;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        (self.gauge)(&self.account).now.fetch_sub(self.count, Ordering::Relaxed);
    }
}

/// A pattern that counts for as long as this lives, and [`TOPIC_LINGER`] longer.
#[derive(Debug)]
pub struct HeldPattern {
    account: Arc<Account>,
    pattern: Box<str>,
}

impl Drop for HeldPattern {
    fn drop(&mut self) {
        if let Some(followed) = self.account.patterns().get_mut(&self.pattern) {
            followed.streams = followed.streams.saturating_sub(1);
            followed.ended = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(quotas: Quotas) -> Arc<Account> {
        Arc::new(Account::new(&quotas))
    }

    #[test]
    fn what_is_held_counts_until_it_is_dropped() {
        let account = account(Quotas { connections: 2, streams: 1, positions: 10, ..Quotas::UNLIMITED });
        let first = account.connect().expect("room");
        let _second = account.connect().expect("room");
        let refused = account.connect().expect_err("full");
        assert_eq!(refused, Exceeded { limit: Limit::Connections, most: 2, wait: None });
        drop(first);
        let _third = account.connect().expect("room again");
        let _stream = account.open_stream().expect("of another kind");
        assert_eq!(account.open_stream().expect_err("full").limit, Limit::Streams);
        let mut positions = account.positions(9).expect("room");
        positions.grow(1).expect("room");
        assert_eq!(positions.grow(1).expect_err("full").limit, Limit::Positions);
        assert!(account.positions(1).is_err());
        drop(positions);
        account.positions(10).expect("room again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pattern_counts_once_however_many_follow_it_and_for_as_long_as_redis_is_asked_for_it() {
        let account = account(Quotas { patterns: 2, ..Quotas::UNLIMITED });
        let one = [account.follow("a*").expect("room"), account.follow("a*").expect("the same")];
        let _other = account.follow("b*").expect("room");
        assert_eq!(account.follow("c*").expect_err("full").limit, Limit::Patterns);
        let [first, second] = one;
        drop(first);
        assert!(account.follow("c*").is_err(), "the other stream follows it still");
        drop(second);
        assert!(account.follow("c*").is_err(), "its subscription is still there");
        account.follow("a*").expect("the same");
        tokio::time::advance(TOPIC_LINGER).await;
        account.follow("c*").expect("room again");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_limited_is_not_counted() {
        let account = account(Quotas { lists: Some(1), ..Quotas::UNLIMITED });
        for rated in Rated::ALL {
            assert_eq!(account.is_rated(rated), rated == Rated::Lists);
        }
        account.take(Rated::Publishes, u64::MAX).expect("unlimited");
        account.take(Rated::Publishes, u64::MAX).expect("unlimited");
        assert_eq!(account.charge(Rated::BytesOut, u64::MAX), None);
        while account.take(Rated::Lists, 1).is_ok() {}
        let refused = account.take(Rated::Lists, 1).expect_err("used up");
        assert_eq!((refused.limit, refused.most), (Limit::Lists, 1));
        assert!(refused.wait.is_some_and(|wait| !wait.is_zero()));
    }
}
