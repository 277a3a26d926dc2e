//! What a publisher remembers of the channels it publishes on: its last receipt, by which a failover's loss is told, and
//! when the registry last heard of the channel. The least recent are forgotten.

use std::{
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use lru::LruCache;

use super::prepared::Left;
use crate::{
    channel::ChannelName,
    limits::{PREPARED_PAUSE, REGISTRY_RENEWAL, REMEMBERED_RECEIPTS},
    message::Position,
};

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    receipt: Position,
    /// How this process's last call left the channel.
    left: Option<Left>,
    /// When somebody else was last found to write there as well.
    shared: Option<Instant>,
    /// When, and over which connection.
    registered: Option<(Instant, u64)>,
}

pub(super) struct Receipts {
    known: Mutex<LruCache<ChannelName, Known>>,
}

impl Receipts {
    pub(super) fn new() -> Self {
        let capacity = NonZeroUsize::new(REMEMBERED_RECEIPTS).unwrap_or(NonZeroUsize::MIN);
        Self { known: Mutex::new(LruCache::new(capacity)) }
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<ChannelName, Known>> {
        // Every change is a single assignment.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last receipt; the beginning where none is remembered.
    pub(super) fn last(&self, channel: &ChannelName) -> Position {
        self.lock().get(channel).map_or(Position::START, |known| known.receipt)
    }

    /// Remembers a receipt. Answers whether the channel's epoch is another than it was.
    pub(super) fn remember(&self, channel: &ChannelName, receipt: Position) -> bool {
        let mut known = self.lock();
        let known = known.get_or_insert_mut(channel.clone(), Known::default);
        let before = std::mem::replace(&mut known.receipt, receipt);
        before.epoch.is_some() && before.epoch != receipt.epoch
    }

    /// How this process's last call left the channel; `None` where that is not known, or others write there as well.
    pub(super) fn left(&self, channel: &ChannelName) -> Option<Left> {
        let mut known = self.lock();
        let known = known.get(channel)?;
        let is_shared = known.shared.is_some_and(|at| at.elapsed() < PREPARED_PAUSE);
        known.left.filter(|_| !is_shared)
    }

    pub(super) fn leave(&self, channel: &ChannelName, left: Left) {
        self.lock().get_or_insert_mut(channel.clone(), Known::default).left = Some(left);
    }

    /// Somebody else writes there as well.
    pub(super) fn share(&self, channel: &ChannelName) {
        self.lock().get_or_insert_mut(channel.clone(), Known::default).shared = Some(Instant::now());
    }

    pub(super) fn is_registered(&self, channel: &ChannelName, connection: u64) -> bool {
        let registered = self.lock().get(channel).and_then(|known| known.registered);
        registered.is_some_and(|(at, over)| over == connection && at.elapsed() < REGISTRY_RENEWAL)
    }

    pub(super) fn register(&self, channel: &ChannelName, connection: u64) {
        let registered = Some((Instant::now(), connection));
        self.lock().get_or_insert_mut(channel.clone(), Known::default).registered = registered;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{channel::Names, message::Epoch};

    #[test]
    fn receipts_and_registrations_are_remembered_apart() {
        let receipts = Receipts::new();
        let channel = Names::new("tidings", "").expect("names").parse("c").expect("a name");
        let at = |epoch, sequence| Position::new(Epoch::from_u64(epoch).expect("not zero"), sequence);
        assert_eq!(receipts.last(&channel), Position::START);
        assert!(!receipts.remember(&channel, at(1, 1)), "the first epoch is no change");
        assert!(!receipts.remember(&channel, at(1, 2)));
        assert!(receipts.remember(&channel, at(2, 3)));
        assert_eq!(receipts.last(&channel), at(2, 3));
        assert!(!receipts.is_registered(&channel, 1));
        receipts.register(&channel, 1);
        assert!(receipts.is_registered(&channel, 1));
        assert!(!receipts.is_registered(&channel, 2), "another connection may be another server");
        assert_eq!(receipts.last(&channel), at(2, 3));
    }

    #[test]
    fn the_least_recent_are_forgotten() {
        let receipts = Receipts::new();
        let names = Names::new("tidings", "").expect("names");
        for i in 0..=REMEMBERED_RECEIPTS {
            receipts.remember(&names.parse(&format!("c{i}")).expect("a name"), Position::START);
        }
        assert_eq!(receipts.lock().len(), REMEMBERED_RECEIPTS);
    }
}
