//! Pages of logs, framed once and shared by all streams that catch up.
//!
//! A stream that reads the log holds nothing but its position: what it has not taken yet lies here, bounded in bytes
//! for the whole process, so that a reader that has stopped costs no page. Streams that are at the same position share
//! one read and its frames. Frames may be taken however old they are, since what was numbered never changes, unless the
//! history is said to be written anew ([`forget`](Pages::forget)); that a log has nothing further is believed only of a
//! read that began after the question.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use foldhash::fast::RandomState;
use futures_util::FutureExt as _;
use lru::LruCache;
use tidings::{
    broker::{Error, From, Page, PageLimit, Shared},
    channel::ChannelName,
    limits::{CHUNK_BYTES, PAGES_AGE, PAGES_BYTES, REPLAY_BYTES, REPLAY_MESSAGES},
    message::Position,
};

pub(crate) use self::ahead::Ahead;
use self::{ahead::Aheads, reads::Reads};
use crate::{chunk::Chunk, feed::Rewrite};

mod ahead;
mod reads;

/// The shared pages, and the way to the log.
pub(crate) struct Pages {
    broker: Shared,
    reads: Arc<Reads>,
    shelf: Mutex<Shelf>,
}

struct Shelf {
    /// By where a reader must stand to take the chunk, with the time of its last use.
    chunks: LruCache<(ChannelName, Position), (Instant, Arc<Chunk>), RandomState>,
    bytes: usize,
    ahead: Aheads,
    /// How many histories were written anew.
    rewrites: u64,
    /// Counts up every second; a stream that catches up is counted once in each.
    second: u64,
    readers: usize,
    readers_before: usize,
}

/// A stream's mark that it was counted among the readers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counted(u64);

impl Pages {
    pub(crate) fn new(broker: Shared) -> Arc<Self> {
        let shelf = Shelf {
            chunks: LruCache::unbounded_with_hasher(RandomState::default()),
            bytes: 0,
            ahead: Aheads::new(),
            rewrites: 0,
            second: 1,
            readers: 0,
            readers_before: 0,
        };
        let reads = Reads::new({
            let broker = Arc::clone(&broker);
            move |(channel, after), limit| {
                let (broker, channel, after) = (Arc::clone(&broker), channel.clone(), From::After(*after));
                async move { broker.read(&channel, after, limit).await }.boxed()
            }
        });
        Arc::new(Self { broker, reads, shelf: Mutex::new(shelf) })
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // Nothing that holds the lock leaves it half-written.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The chunk that continues a position, if it lies here.
    pub(crate) fn get(&self, channel: &ChannelName, position: Position) -> Option<Arc<Chunk>> {
        let mut shelf = self.shelf();
        let (used, chunk) = shelf.chunks.get_mut(&(channel.clone(), position))?;
        *used = Instant::now();
        Some(Arc::clone(chunk))
    }

    /// How many histories were written anew, as far as that is known.
    pub(crate) fn rewrites(&self) -> u64 {
        self.shelf().rewrites
    }

    /// Drops what lies here of a history that was written anew.
    pub(crate) fn forget(&self, rewrite: &Rewrite) {
        let mut shelf = self.shelf();
        shelf.rewrites += 1;
        let is_gone = |(channel, before): &(ChannelName, Position), chunk: &Chunk| {
            *channel == rewrite.channel
                && before.epoch == Some(rewrite.epoch)
                && chunk.runs.iter().any(|run| run.last >= rewrite.from)
        };
        let gone: Vec<_> =
            shelf.chunks.iter().filter(|(key, (_, chunk))| is_gone(key, chunk)).map(|(key, _)| key.clone()).collect();
        for key in gone {
            if let Some((_, chunk)) = shelf.chunks.pop(&key) {
                shelf.bytes -= chunk.block.bytes();
            }
        }
        shelf.ahead.retain(|(channel, _), _| *channel != rewrite.channel);
    }

    /// Keeps chunks of one channel for whoever comes to them; the least used go when there are too many. Those that
    /// were read when fewer histories were known to be written anew are not kept.
    pub(crate) fn keep(&self, channel: &ChannelName, chunks: &[Arc<Chunk>], rewrites: u64) {
        let mut shelf = self.shelf();
        if shelf.rewrites != rewrites {
            return;
        }
        let now = Instant::now();
        for chunk in chunks {
            let Some(run) = chunk.runs.first() else { continue };
            shelf.bytes += chunk.block.bytes();
            if let Some((_, replaced)) = shelf.chunks.put((channel.clone(), run.before), (now, Arc::clone(chunk))) {
                shelf.bytes -= replaced.block.bytes();
            }
        }
        while shelf.bytes > PAGES_BYTES && shelf.drop_oldest() {}
    }

    /// Reads a page of the log above a sequence. Whoever waits for the same page shares the read that begins after it
    /// came.
    pub(crate) async fn read(
        &self,
        channel: &ChannelName,
        after: i64,
        counted: &mut Counted,
    ) -> Result<Arc<Page>, Error> {
        let limit = self.limit(counted);
        self.reads.join(channel, after, limit).await
    }

    /// How large a page may be for this stream, which is one of those that read now.
    fn limit(&self, counted: &mut Counted) -> PageLimit {
        let mut shelf = self.shelf();
        if counted.0 != shelf.second {
            counted.0 = shelf.second;
            shelf.readers += 1;
        }
        shelf.limit()
    }

    /// Drops what nobody took for a while. Called every second.
    pub(crate) fn age(&self, now: Instant) {
        let mut shelf = self.shelf();
        shelf.second += 1;
        shelf.readers_before = std::mem::take(&mut shelf.readers);
        shelf.ahead.retain(|_, ahead| ahead.strong_count() > 0);
        while shelf.chunks.peek_lru().is_some_and(|(_, (used, _))| now.duration_since(*used) > PAGES_AGE) {
            shelf.drop_oldest();
        }
    }
}

impl Shelf {
    /// Many readers take small pages, so that what one has read is still there when it comes back for the rest.
    fn limit(&self) -> PageLimit {
        let readers = self.readers.max(self.readers_before).max(1);
        let bytes = (PAGES_BYTES / 2 / readers).clamp(CHUNK_BYTES, REPLAY_BYTES);
        PageLimit { messages: REPLAY_MESSAGES, bytes }
    }

    fn drop_oldest(&mut self) -> bool {
        let Some((_, (_, chunk))) = self.chunks.pop_lru() else { return false };
        self.bytes -= chunk.block.bytes();
        true
    }
}

#[cfg(test)]
mod tests;
