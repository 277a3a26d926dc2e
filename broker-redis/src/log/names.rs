//! The names of the registry in order. On Redis they are ordered by the time of their last publish, as writers of all
//! versions keep them; a process needs ranges by name, so it keeps them in order for itself.
//!
//! It is as good as reading all of the registry each time: before each use it asks for the names that were published on
//! since, and for how many there are in all. A name that it lacks then (its time is older than it should be, because a
//! reader put it back or Redis's clock was set) shows in that number, and the registry is read as a whole.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use redis::Value;
use tidings::{
    broker::{Error, Walk, busy_listing},
    channel::{ChannelName, Names, Pattern},
    limits::{
        LIST_WAIT, REGISTRY_NAMES, REGISTRY_PAGE, REGISTRY_RECENT_NAMES, REGISTRY_REREAD, REGISTRY_SLACK,
        REGISTRY_SWEEP,
    },
};
use tokio::{
    sync::Mutex,
    time::{Duration, Instant, timeout},
};

use super::{malformed_reply, queries::Queries};
use crate::{connection::Connection, keys::Keys, script};

/// The names, and what reads them.
pub(super) struct NameIndex {
    connection: Arc<Connection>,
    queries: Queries,
    keys: Keys,
    names: Names,
    /// Whoever has it goes through the names.
    kept: Mutex<Option<Index>>,
}

/// A registry as it was.
struct Index {
    names: BTreeSet<ChannelName>,
    /// Members that are no names of channels: they count as well.
    others: HashSet<Vec<u8>>,
    /// The connection over which it was read: another one may lead to another registry.
    generation: u64,
    /// Just before it was last read as a whole.
    read: Instant,
    /// Just before it was last asked for new names.
    looked: Instant,
}

impl Index {
    fn add(&mut self, names: &Names, member: Vec<u8>) {
        match std::str::from_utf8(&member).ok().and_then(|name| names.parse(name).ok()) {
            Some(name) => drop(self.names.insert(name)),
            None => drop(self.others.insert(member)),
        }
    }

    fn len(&self) -> usize {
        self.names.len() + self.others.len()
    }

    /// Whether it may lack names, where the registry has so many.
    fn is_doubtful(&self, registered: usize, now: Instant) -> bool {
        let age = now.duration_since(self.read);
        match self.len().cmp(&registered) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Equal => age > REGISTRY_SWEEP,
            // It has names that were swept, which hides how many it lacks.
            std::cmp::Ordering::Greater => age > REGISTRY_REREAD,
        }
    }
}

impl NameIndex {
    pub(super) fn new(connection: Arc<Connection>, keys: Keys, names: Names) -> Self {
        Self { queries: Queries::new(Arc::clone(&connection)), connection, keys, names, kept: Mutex::default() }
    }

    /// See [`Broker::channels`](tidings::broker::Broker::channels).
    pub(super) async fn channels(
        &self,
        pattern: Option<&Pattern>,
        after: &str,
        limit: usize,
    ) -> Result<Vec<ChannelName>, Error> {
        let asked = Instant::now();
        let mut index = timeout(LIST_WAIT, self.kept.lock()).await.map_err(|_| busy_listing())?;
        self.refresh(&mut index, asked).await?;
        let mut walk = Walk::new(pattern, after, limit);
        let Some(index) = &*index else { return self.scan(walk).await };
        while !walk.is_over() {
            walk.step(index.names.range::<str, _>(walk.rest()).map(|name| (name, true)));
            tokio::task::yield_now().await;
        }
        Ok(walk.found)
    }

    /// Brings the index to how the registry was when it was asked for, or later; there is none where that is too large.
    async fn refresh(&self, kept: &mut Option<Index>, asked: Instant) -> Result<(), Error> {
        let generation = self.connection.session().await?.generation;
        if let Some(index) = kept.as_mut().filter(|index| index.generation == generation) {
            if index.looked >= asked {
                return Ok(());
            }
            let registered = self.look(index).await?;
            if index.len() <= REGISTRY_NAMES && !index.is_doubtful(registered, Instant::now()) {
                return Ok(());
            }
        }
        *kept = self.read_all(generation).await?;
        Ok(())
    }

    /// Adds the names that were published on since the index was last refreshed. Answers how many there are in all.
    async fn look(&self, index: &mut Index) -> Result<usize, Error> {
        let now = Instant::now();
        let window = now.duration_since(index.looked) + REGISTRY_SLACK;
        let (mut skip, mut counted) = (0, None);
        loop {
            let mut call = script::RECENT.call();
            call.arg(1).arg(self.keys.registry());
            call.arg(millis(window + now.elapsed())).arg(skip).arg(REGISTRY_RECENT_NAMES);
            let mut pipeline = redis::pipe();
            pipeline.add_command(call);
            let answer = self.queries.all(&pipeline, &[&script::RECENT]).await?.into_iter().next().unwrap_or_default();
            let Value::Array(fields) = answer else { return Err(malformed_reply()) };
            let mut fields = fields.into_iter().skip(1);
            let count = redis::from_redis_value(fields.next().unwrap_or_default()).map_err(|_| malformed_reply())?;
            // Names that come while the others are read are not counted: they may not have been brought.
            let registered = *counted.get_or_insert(count);
            let names = fields.len();
            for name in fields {
                index.add(&self.names, redis::from_redis_value(name).map_err(|_| malformed_reply())?);
            }
            skip += names;
            if names < REGISTRY_RECENT_NAMES || index.len() > REGISTRY_NAMES {
                index.looked = now;
                return Ok(registered);
            }
        }
    }

    /// Reads all of the registry; `None` where it has too many names.
    async fn read_all(&self, generation: u64) -> Result<Option<Index>, Error> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("ZCARD").arg(self.keys.registry());
        let answer = self.queries.all(&pipeline, &[]).await?.into_iter().next().unwrap_or_default();
        let registered: usize = redis::from_redis_value(answer).map_err(|_| malformed_reply())?;
        if registered > REGISTRY_NAMES {
            return Ok(None);
        }
        let now = Instant::now();
        let mut index = Index { names: BTreeSet::new(), others: HashSet::new(), generation, read: now, looked: now };
        let mut cursor = "0".to_owned();
        loop {
            let (next, members) = self.scan_page(&cursor).await?;
            members.into_iter().for_each(|member| index.add(&self.names, member));
            if index.len() > REGISTRY_NAMES {
                return Ok(None);
            }
            if next == "0" {
                return Ok(Some(index));
            }
            cursor = next;
        }
    }

    /// Picks the lowest names out of the whole registry. A scan may bring a name twice, but misses none that is there
    /// all the while.
    async fn scan(&self, walk: Walk<'_>) -> Result<Vec<ChannelName>, Error> {
        let mut lowest: BTreeSet<ChannelName> = BTreeSet::new();
        let mut cursor = "0".to_owned();
        loop {
            let (next, members) = self.scan_page(&cursor).await?;
            for name in members.into_iter().filter_map(|member| String::from_utf8(member).ok()) {
                if let (true, Ok(name)) = (walk.wants(&name), self.names.parse(&name)) {
                    lowest.insert(name);
                    if lowest.len() > walk.limit() {
                        lowest.pop_last();
                    }
                }
            }
            if next == "0" {
                return Ok(lowest.into_iter().collect());
            }
            cursor = next;
        }
    }

    async fn scan_page(&self, cursor: &str) -> Result<(String, Vec<Vec<u8>>), Error> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("ZSCAN").arg(self.keys.registry()).arg(cursor).arg("COUNT").arg(REGISTRY_PAGE);
        let answer = self.queries.all(&pipeline, &[]).await?.into_iter().next().unwrap_or_default();
        let (next, members): (String, Vec<(Vec<u8>, String)>) =
            redis::from_redis_value(answer).map_err(|_| malformed_reply())?;
        Ok((next, members.into_iter().map(|(member, _)| member).collect()))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
