//! A feed: the live messages of one topic, as a ring of chunks that all its streams share.
//!
//! The ring is bounded in bytes and age, and all rings together are in bytes: one message may come through very many
//! patterns. A stream holds an index into its ring; one whose next item was dropped finds that out and reads the log
//! instead. Writing never waits for a reader.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Waker},
    time::Instant,
};

use slab::Slab;
use tidings::{
    channel::ChannelName,
    limits::{CHUNK_COST, FEED_REWRITES, RING_AGE, RING_BYTES, RINGS_BYTES},
    message::{Epoch, Position},
};

use crate::chunk::Chunk;

/// The live messages of one topic.
#[derive(Debug)]
pub(crate) struct Feed {
    ring: Mutex<Ring>,
}

/// What all rings of a hub hold together. What they share counts in each.
#[derive(Debug, Default)]
pub(crate) struct Rings {
    bytes: AtomicUsize,
    /// Those that hold something.
    filled: AtomicUsize,
}

impl Rings {
    /// What one of them may hold now.
    fn share(&self) -> usize {
        match self.bytes.load(Relaxed) {
            ..=RINGS_BYTES => RING_BYTES,
            _ => (RINGS_BYTES / self.filled.load(Relaxed).max(1)).min(RING_BYTES),
        }
    }
}

#[derive(Debug, Default)]
struct Ring {
    all: Arc<Rings>,
    items: VecDeque<(Instant, Item)>,
    /// The index of the first item.
    base: u64,
    bytes: usize,
    /// The last items about a rewritten history, with their indexes: they outlive the items, for streams that fall
    /// behind.
    rewrites: VecDeque<(u64, Arc<Rewrite>)>,
    /// A slot for each follower, with the waker of one that waits.
    followers: Slab<Option<Waker>>,
    idle_since: Option<Instant>,
}

/// One item of the ring.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    /// Messages.
    Chunk(Arc<Chunk>),
    /// Pushes of one channel were lost before here: a stream whose position is not this end reads the log.
    Check(ChannelName, Position),
    /// Redis went back within an epoch of one channel, and from here on other messages replace what was delivered.
    Rewritten(Arc<Rewrite>),
    /// Pushes of any channel may have been lost here: the logs have to be read.
    Break,
    /// No more items follow, for this reason.
    Refused(Arc<str>),
}

/// A channel's history that was rewritten: other messages have the same numbers now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rewrite {
    pub(crate) channel: ChannelName,
    pub(crate) epoch: Epoch,
    /// From this sequence on.
    pub(crate) from: i64,
    /// The last message that was received of what was replaced, and its log time, ms; 0 where that is not known.
    pub(crate) to: i64,
    pub(crate) time_ms: i64,
}

/// What a follower finds at its index.
pub(crate) enum Found {
    Item(Item),
    /// Nothing yet; the follower will be woken.
    Nothing,
    /// The ring has dropped it.
    Passed,
}

impl Feed {
    /// One whose ring is among these.
    pub(crate) fn new(rings: &Arc<Rings>) -> Arc<Self> {
        let ring = Ring { all: Arc::clone(rings), idle_since: Some(Instant::now()), ..Ring::default() };
        Arc::new(Self { ring: Mutex::new(ring) })
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        // Nothing that holds the lock leaves it half-written.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends items and wakes everyone who waits.
    pub(crate) fn push(&self, items: impl IntoIterator<Item = Item>) {
        let mut wakers = Vec::new();
        {
            let mut ring = self.ring();
            let now = Instant::now();
            for item in items {
                if let Item::Rewritten(rewrite) = &item {
                    let index = ring.base + ring.items.len() as u64;
                    ring.remember(index, Arc::clone(rewrite));
                }
                ring.add(now, item);
            }
            // The newest item stays, however large it is.
            let share = ring.all.share();
            while ring.bytes > share && ring.items.len() > 1 {
                ring.drop_first();
            }
            wakers.extend(ring.followers.iter_mut().filter_map(|(_, waker)| waker.take()));
        }
        for waker in wakers {
            waker.wake();
        }
    }

    /// Drops what is older than the ring keeps.
    pub(crate) fn age(&self, now: Instant) {
        let mut ring = self.ring();
        while ring.items.front().is_some_and(|(at, _)| now.duration_since(*at) > RING_AGE) {
            ring.drop_first();
        }
        if ring.items.is_empty() {
            ring.items.shrink_to_fit();
        }
    }

    /// How many streams follow.
    pub(crate) fn followers(&self) -> usize {
        self.ring().followers.len()
    }

    /// Since when nobody follows.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        self.ring().idle_since
    }

    /// Adds a follower, from the next item on.
    pub(crate) fn follow(self: &Arc<Self>) -> Follower {
        let mut ring = self.ring();
        ring.idle_since = None;
        let key = ring.followers.insert(None);
        let index = ring.base + ring.items.len() as u64;
        drop(ring);
        Follower { feed: Arc::clone(self), key, index }
    }
}

impl Ring {
    fn remember(&mut self, index: u64, rewrite: Arc<Rewrite>) {
        self.rewrites.push_back((index, rewrite));
        if self.rewrites.len() > FEED_REWRITES {
            self.rewrites.pop_front();
        }
    }

    fn add(&mut self, now: Instant, item: Item) {
        if self.items.is_empty() {
            self.all.filled.fetch_add(1, Relaxed);
        }
        self.bytes += item.cost();
        self.all.bytes.fetch_add(item.cost(), Relaxed);
        self.items.push_back((now, item));
    }

    fn drop_first(&mut self) {
        if let Some((_, item)) = self.items.pop_front() {
            self.bytes -= item.cost();
            self.all.bytes.fetch_sub(item.cost(), Relaxed);
            self.base += 1;
            if self.items.is_empty() {
                self.all.filled.fetch_sub(1, Relaxed);
            }
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let mut ring = self.ring();
        while !ring.items.is_empty() {
            ring.drop_first();
        }
    }
}

impl Item {
    fn cost(&self) -> usize {
        match self {
            Self::Chunk(chunk) => chunk.block.bytes() + CHUNK_COST,
            Self::Check(..) | Self::Rewritten(_) | Self::Break | Self::Refused(_) => 0,
        }
    }
}

/// One stream's index into a feed.
#[derive(Debug)]
pub(crate) struct Follower {
    feed: Arc<Feed>,
    key: usize,
    index: u64,
}

impl Follower {
    /// The item at the follower's index, which does not move.
    pub(crate) fn peek(&self, cx: &mut Context<'_>) -> Found {
        let mut ring = self.feed.ring();
        if self.index < ring.base {
            return Found::Passed;
        }
        if let Some((_, item)) = ring.items.get((self.index - ring.base) as usize) {
            return Found::Item(item.clone());
        }
        let waker = &mut ring.followers[self.key];
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Found::Nothing
    }

    /// Moves past the item that was peeked at.
    pub(crate) fn advance(&mut self) {
        self.index += 1;
    }

    /// Moves to the oldest item that is left. Returns the histories that were rewritten on the way there.
    pub(crate) fn rewind(&mut self) -> Vec<Arc<Rewrite>> {
        let ring = self.feed.ring();
        let passed = self.index..ring.base;
        self.index = ring.base;
        let rewrites = ring.rewrites.iter().filter(|(index, _)| passed.contains(index));
        rewrites.map(|(_, rewrite)| Arc::clone(rewrite)).collect()
    }

    /// The sequence before the first run of a channel, from the follower's index on, that ends after a position in the
    /// same epoch.
    pub(crate) fn first_beyond(&self, channel: &ChannelName, position: Position) -> Option<i64> {
        let ring = self.feed.ring();
        let from = self.index.saturating_sub(ring.base) as usize;
        let chunks = ring.items.iter().skip(from).filter_map(|(_, item)| match item {
            Item::Chunk(chunk) => Some(chunk),
            Item::Check(..) | Item::Rewritten(_) | Item::Break | Item::Refused(_) => None,
        });
        let mut runs = chunks.flat_map(|chunk| &chunk.runs);
        let run = runs.find(|run| {
            run.channel == *channel && run.before.epoch == position.epoch && run.last > position.sequence
        })?;
        Some(run.before.sequence)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut ring = self.feed.ring();
        ring.followers.remove(self.key);
        if ring.followers.is_empty() {
            ring.idle_since = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
