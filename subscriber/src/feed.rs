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
mod tests {
    use std::time::Duration;

    use tidings::channel::Names;
    use tidings_transport::encoding::BlockBuilder;

    use super::*;
    use crate::chunk::Run;

    fn channel() -> ChannelName {
        Names::new("tidings", "").expect("names").parse("c").expect("a name")
    }

    fn chunk(bytes: usize, before: i64, last: i64) -> Item {
        let before = Position { epoch: tidings::message::Epoch::from_u64(1), sequence: before };
        let runs = vec![Run {
            channel: channel(),
            before,
            last,
            time_ms: 0,
            lineage: tidings::message::Lineage::Unknown,
            after_loss: false,
        }];
        let mut block = BlockBuilder::default();
        // With the prefix of a frame it has just so many.
        block.push(|encoder| encoder.written(bytes - 5, |buffer| buffer.resize(buffer.len() + bytes - 5, 0)));
        Item::Chunk(Arc::new(Chunk { block: block.copy(1 << 10), runs, entries: Vec::new() }))
    }

    fn peek(follower: &Follower) -> Found {
        follower.peek(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_follower_sees_what_comes_after_it_began() {
        let feed = Feed::new(&Arc::default());
        feed.push([chunk(9, 0, 1)]);
        let mut follower = feed.follow();
        assert!(matches!(peek(&follower), Found::Nothing));
        feed.push([chunk(9, 1, 2), Item::Break]);
        assert!(matches!(peek(&follower), Found::Item(Item::Chunk(_))));
        follower.advance();
        assert!(matches!(peek(&follower), Found::Item(Item::Break)));
        follower.advance();
        assert!(matches!(peek(&follower), Found::Nothing));
    }

    #[test]
    fn the_ring_is_bounded_and_who_falls_behind_finds_out() {
        let feed = Feed::new(&Arc::default());
        let mut slow = feed.follow();
        for i in 0..40 {
            feed.push([chunk(RING_BYTES / 16, i, i + 1)]);
        }
        assert!(feed.ring().bytes <= RING_BYTES);
        assert!(matches!(peek(&slow), Found::Passed));
        slow.rewind();
        assert!(matches!(peek(&slow), Found::Item(Item::Chunk(chunk)) if chunk.runs[0].before.sequence == 25));
        feed.push([chunk(RING_BYTES * 2, 40, 41)]);
        assert_eq!(feed.ring().items.len(), 1, "the newest stays, however large it is");
    }

    #[test]
    fn who_falls_behind_gets_the_rewritten_histories_that_it_has_not_passed() {
        let feed = Feed::new(&Arc::default());
        let epoch = Epoch::from_u64(1).expect("not zero");
        let rewrite = |from| Arc::new(Rewrite { channel: channel(), epoch, from, to: 9, time_ms: 0 });
        let (mut slow, mut quick) = (feed.follow(), feed.follow());
        feed.push([Item::Rewritten(rewrite(1))]);
        quick.advance();
        feed.push([Item::Rewritten(rewrite(2)), chunk(RING_BYTES * 2, 0, 1), chunk(RING_BYTES * 2, 1, 2)]);
        let passed = |follower: &mut Follower| {
            assert!(matches!(peek(follower), Found::Passed));
            follower.rewind().iter().map(|rewrite| rewrite.from).collect::<Vec<_>>()
        };
        assert_eq!((passed(&mut slow), passed(&mut quick)), (vec![1, 2], vec![2]));
        assert!(slow.rewind().is_empty());
        for from in 0..2 * FEED_REWRITES as i64 {
            feed.push([Item::Rewritten(rewrite(from))]);
        }
        assert_eq!(feed.ring().rewrites.len(), FEED_REWRITES);
    }

    #[test]
    fn what_is_old_goes_and_nobody_is_counted_twice() {
        let feed = Feed::new(&Arc::default());
        assert!(feed.idle_since().is_some());
        let (one, two) = (feed.follow(), feed.follow());
        assert_eq!((feed.followers(), feed.idle_since()), (2, None));
        feed.push([chunk(9, 0, 1)]);
        feed.age(Instant::now());
        assert!(matches!(peek(&one), Found::Item(_)));
        feed.age(Instant::now() + RING_AGE + Duration::from_secs(1));
        assert!(matches!(peek(&one), Found::Passed));
        assert_eq!(feed.ring().bytes, 0);
        drop((one, two));
        assert_eq!(feed.followers(), 0);
        assert!(feed.idle_since().is_some());
    }

    #[test]
    fn all_rings_together_are_bounded() {
        let rings = Arc::new(Rings::default());
        let feeds: Vec<_> = (0..4 * RINGS_BYTES / RING_BYTES).map(|_| Feed::new(&rings)).collect();
        for i in 0..32 {
            for feed in &feeds {
                feed.push([chunk(RING_BYTES / 16, i, i + 1)]);
            }
        }
        let held = || feeds.iter().map(|feed| feed.ring().bytes).sum::<usize>();
        assert!(held() == rings.bytes.load(Relaxed) && held() <= RINGS_BYTES + RINGS_BYTES / 8, "{}", held());
        assert_eq!(rings.filled.load(Relaxed), feeds.len());
        feeds.iter().for_each(|feed| feed.push([chunk(RING_BYTES, 32, 33)]));
        assert!(feeds.iter().all(|feed| feed.ring().items.len() == 1), "the newest of each stays");
        drop(feeds);
        assert_eq!((rings.bytes.load(Relaxed), rings.filled.load(Relaxed)), (0, 0));
    }

    #[test]
    fn the_first_run_beyond_a_position_is_found() {
        let feed = Feed::new(&Arc::default());
        let follower = feed.follow();
        feed.push([chunk(9, 0, 3), chunk(9, 6, 9)]);
        let at = |sequence| Position { epoch: tidings::message::Epoch::from_u64(1), sequence };
        assert_eq!(follower.first_beyond(&channel(), at(1)), Some(0));
        assert_eq!(follower.first_beyond(&channel(), at(3)), Some(6));
        assert_eq!(follower.first_beyond(&channel(), at(9)), None);
        assert_eq!(follower.first_beyond(&channel(), Position::START), None);
    }
}
