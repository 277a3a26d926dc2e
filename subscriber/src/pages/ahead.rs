//! Reading ahead: the next page of a log is read and framed while the one before it is being sent, so that Redis and
//! the subscriber work at the same time. What comes lies among the shared pages, like what was asked for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tidings::{
    broker::{
        From, PageLimit,
        history::{Next, Reader},
    },
    channel::ChannelName,
    cursor::ChannelHash,
    limits::REPLAY_BYTES,
    message::Position,
};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::Pages;
use crate::chunk;

/// A page that is being read ahead, or was; reading ends when nobody waits for it any more.
pub(crate) struct Ahead {
    pages: Weak<Pages>,
    channel: ChannelName,
    hash: ChannelHash,
    from: Position,
    chain: Mutex<Chain>,
    is_done: watch::Sender<bool>,
    task: Mutex<Option<AbortOnDropHandle<()>>>,
}

/// What comes behind a page.
#[derive(Default)]
struct Chain {
    /// The reader has come to the page before, so that the one behind may be read as well.
    wanted: bool,
    /// Where the next page begins, if there is one; known as soon as this one was read.
    end: Option<Position>,
    next: Option<Arc<Ahead>>,
}

/// The pages that are read ahead, by where they begin.
pub(super) type Aheads = std::collections::HashMap<(ChannelName, Position), Weak<Ahead>>;

impl Pages {
    /// Reads the page behind a position, which a reader will come to next, and when that is there the one behind it.
    /// `None` where so many read that pages are small: one that is read too early would only push out another.
    pub(crate) fn read_ahead(
        self: &Arc<Self>,
        channel: &ChannelName,
        hash: ChannelHash,
        from: Position,
    ) -> Option<Arc<Ahead>> {
        let ahead = self.ahead(channel, hash, from)?;
        ahead.want();
        Some(ahead)
    }

    fn ahead(self: &Arc<Self>, channel: &ChannelName, hash: ChannelHash, from: Position) -> Option<Arc<Ahead>> {
        let mut shelf = self.shelf();
        let limit = shelf.limit();
        let key = (channel.clone(), from);
        if limit.bytes < REPLAY_BYTES || shelf.chunks.contains(&key) {
            return None;
        }
        if let Some(ahead) = shelf.ahead.get(&key).and_then(Weak::upgrade) {
            return Some(ahead);
        }
        let ahead = Arc::new(Ahead {
            pages: Arc::downgrade(self),
            channel: channel.clone(),
            hash,
            from,
            chain: Mutex::default(),
            is_done: watch::Sender::new(false),
            task: Mutex::default(),
        });
        let (pages, weak) = (Arc::clone(self), Arc::downgrade(&ahead));
        let task = tokio::spawn(async move {
            pages.fetch(&weak, (&key.0, hash, from), limit).await;
            if let Some(ahead) = weak.upgrade() {
                ahead.is_done.send_replace(true);
            }
        });
        *ahead.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(AbortOnDropHandle::new(task));
        shelf.ahead.insert((channel.clone(), from), Arc::downgrade(&ahead));
        Some(ahead)
    }

    /// Anything not contiguous is left to the reader that reaches it, which knows its position.
    async fn fetch(
        &self,
        ahead: &Weak<Ahead>,
        (channel, hash, from): (&ChannelName, ChannelHash, Position),
        limit: PageLimit,
    ) {
        let rewrites = self.rewrites();
        let Ok(page) = self.broker.read(channel, From::After(from.sequence), limit).await else { return };
        let mut reader = Reader::new(from);
        let mut next = reader.next(page.head.as_ref(), Default::default());
        if let (Next::Unlisted, Some(head)) = (next, &page.head)
            && chunk::leads_on(from, &page.messages)
            && reader.settle(head, true).is_none()
        {
            next = reader.next(Some(head), Default::default());
        }
        let Next::Read { to } = next else { return };
        if let (Some(last), Some(ahead)) = (page.messages.last(), ahead.upgrade())
            && !page.is_last
        {
            ahead.ends(Position { epoch: reader.position().epoch, sequence: last.sequence.min(to) });
        }
        // Meanwhile Redis reads the next.
        tokio::task::yield_now().await;
        let chunks = chunk::of_log(channel, hash, (reader.position(), to), &page.messages, page.head.as_ref());
        self.keep(channel, &chunks, rewrites);
    }
}

impl Ahead {
    /// Whether a reader at this position has come to it.
    pub(crate) fn is_at(&self, channel: &ChannelName, position: Position) -> bool {
        self.channel == *channel && self.from == position
    }

    /// Waits until it was read, however that ended; answers what is read behind it, if anything is.
    pub(crate) async fn next(&self) -> Option<Arc<Self>> {
        // The sender is here.
        let _ = self.is_done.subscribe().wait_for(|is_done| *is_done).await;
        self.want();
        let next = self.chain().next.take()?;
        next.want();
        Some(next)
    }

    fn chain(&self) -> MutexGuard<'_, Chain> {
        // Nothing that holds the lock leaves it half-written.
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ends(&self, end: Position) {
        let mut chain = self.chain();
        chain.end = Some(end);
        self.go_on(&mut chain);
    }

    fn want(&self) {
        let mut chain = self.chain();
        chain.wanted = true;
        self.go_on(&mut chain);
    }

    fn go_on(&self, chain: &mut Chain) {
        if let (true, None, Some(end), Some(pages)) = (chain.wanted, &chain.next, chain.end, self.pages.upgrade()) {
            chain.next = pages.ahead(&self.channel, self.hash, end);
        }
    }
}
