//! A publisher's memory of the channels it publishes on: its receipts of the present epoch, by which a loss is found
//! out, and when the channel was last written to the registry. The least recent are forgotten, and those that are so
//! old that Redis has forgotten them as well.

use std::{
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use lru::LruCache;
use tidings::{
    channel::ChannelName,
    limits::{OPTIMISTIC_PAUSE, REGISTRY_RENEWAL, REMEMBERED_EPOCHS, REMEMBERED_RECEIPTS},
    message::Position,
};

use super::{call::Seen, optimistic::ChannelSnapshot};

#[derive(Debug, Clone, Default)]
struct Known {
    seen: Seen,
    /// Receipts of earlier epochs, oldest first, each with the time of the last one: Redis may lose its record of a
    /// loss.
    older: Vec<(Seen, Instant)>,
    /// When the last receipt came, and from a server with which replication id.
    given: Option<(Instant, ReplicationId)>,
    /// How this process's last call left the channel.
    snapshot: Option<ChannelSnapshot>,
    /// When somebody else was last found to write there as well.
    shared: Option<Instant>,
    /// When, and over which connection.
    registered: Option<(Instant, u64)>,
}

impl Known {
    /// Receipts of earlier epochs that Redis has not forgotten. Only log time tells which messages they are: the name
    /// of a later call does not.
    fn older(&self, lifetime: Duration) -> impl Iterator<Item = Seen> {
        let is_within = move |(_, at): &&(Seen, Instant)| at.elapsed() < lifetime;
        self.older.iter().filter(is_within).map(|(seen, _)| Seen { call: None, ..*seen })
    }

    fn is_within(&self, lifetime: Duration) -> bool {
        self.given.is_none_or(|(at, _)| at.elapsed() < lifetime)
    }
}

/// A hash of what Redis calls `master_replid`: it changes where a history may have forked.
pub(super) type ReplicationId = u64;

/// A replication id as it is compared here.
pub(super) fn replication_id(info: &str) -> ReplicationId {
    let id = info.lines().find_map(|line| line.strip_prefix("master_replid:")).unwrap_or_default();
    xxhash_rust::xxh3::xxh3_64(id.trim().as_bytes())
}

pub(super) struct Receipts {
    known: Mutex<LruCache<ChannelName, Known>>,
    /// How long a channel's head outlives its last message.
    lifetime: Duration,
}

impl Receipts {
    pub(super) fn new(lifetime: Duration) -> Self {
        let capacity = NonZeroUsize::new(REMEMBERED_RECEIPTS).unwrap_or(NonZeroUsize::MIN);
        Self { known: Mutex::new(LruCache::new(capacity)), lifetime }
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<ChannelName, Known>> {
        // Every change is a single assignment.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The messages of a channel for which receipts were given out.
    pub(super) fn seen(&self, channel: &ChannelName) -> Seen {
        let mut known = self.lock();
        let known = known.get(channel).filter(|known| known.is_within(self.lifetime));
        known.map_or_else(Seen::default, |known| known.seen)
    }

    /// Remembers receipts of one epoch, from a server with this replication id and at about this time. Answers whether
    /// the channel's epoch is another than it was.
    pub(super) fn remember(&self, channel: &ChannelName, given: Seen, by: ReplicationId, at: Instant) -> bool {
        let mut known = self.lock();
        let known = known.get_or_insert_mut(channel.clone(), Known::default);
        known.given = Some((at, by));
        let before = known.seen;
        if before.last.epoch == given.last.epoch {
            known.seen.first = before.first.min(given.first);
            if given.last.sequence >= before.last.sequence {
                (known.seen.last, known.seen.time_ms) = (given.last, given.time_ms);
            }
            known.seen.call = given.call;
            return false;
        }
        known.seen = given;
        if before.last.epoch.is_none() {
            return false;
        }
        known.older.retain(|(older, _)| older.last.epoch != before.last.epoch);
        if known.older.len() >= REMEMBERED_EPOCHS {
            known.older.remove(0);
        }
        known.older.push((before, at));
        true
    }

    /// Receipts of a channel's earlier epochs, oldest first.
    pub(super) fn older(&self, channel: &ChannelName) -> Vec<Seen> {
        let known = self.lock();
        known.peek(channel).map(|known| known.older(self.lifetime).collect()).unwrap_or_default()
    }

    /// It is not known which of this process's calls on a channel was the last to be carried out.
    pub(super) fn doubt(&self, channel: &ChannelName) {
        if let Some(known) = self.lock().peek_mut(channel) {
            known.seen.call = None;
        }
    }

    /// Remembers the first receipt of a message that was published again: somebody got that receipt before.
    pub(super) fn repeat(&self, channel: &ChannelName, receipt: Position, time_ms: i64) {
        let mut known = self.lock();
        let known = known.get_or_insert_mut(channel.clone(), Known::default);
        let seen = &mut known.seen;
        if seen.last.epoch.is_none() {
            *seen = Seen { first: receipt.sequence, last: receipt, time_ms, call: None };
        } else if seen.last.epoch == receipt.epoch {
            seen.first = seen.first.min(receipt.sequence);
            if receipt.sequence > seen.last.sequence {
                (seen.last, seen.time_ms) = (receipt, time_ms);
            }
        }
    }

    /// All receipts that no server with this replication id has given or confirmed.
    pub(super) fn unconfirmed(&self, by: ReplicationId) -> Vec<(ChannelName, Seen)> {
        let known = self.lock();
        let is_due =
            |known: &Known| known.is_within(self.lifetime) && known.given.is_some_and(|(_, given)| given != by);
        let due = known.iter().filter(|(_, known)| is_due(known) && known.seen.last.epoch.is_some());
        let all = |known: &Known| known.older(self.lifetime).chain([known.seen]).collect::<Vec<_>>();
        due.flat_map(|(channel, known)| all(known).into_iter().map(|seen| (channel.clone(), seen))).collect()
    }

    /// A server with this replication id knows of a channel's receipts.
    pub(super) fn confirm(&self, channel: &ChannelName, by: ReplicationId) {
        if let Some(Known { given: Some((_, given)), .. }) = self.lock().peek_mut(channel) {
            *given = by;
        }
    }

    /// How this process's last call left the channel; `None` where that is not known, or others write there as well.
    pub(super) fn snapshot(&self, channel: &ChannelName) -> Option<ChannelSnapshot> {
        let mut known = self.lock();
        let known = known.get(channel)?;
        let is_shared = known.shared.is_some_and(|at| at.elapsed() < OPTIMISTIC_PAUSE);
        known.snapshot.filter(|_| !is_shared)
    }

    pub(super) fn set_snapshot(&self, channel: &ChannelName, snapshot: ChannelSnapshot) {
        self.lock().get_or_insert_mut(channel.clone(), Known::default).snapshot = Some(snapshot);
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
    use tidings::{channel::Names, message::Epoch};

    const LIFETIME: Duration = Duration::from_secs(60);

    fn seen(epoch: u64, first: i64, last: i64) -> Seen {
        let last = Position::new(Epoch::from_u64(epoch).expect("not zero"), last);
        Seen { first, last, time_ms: 1_000 + last.sequence, call: Epoch::from_u64(9) }
    }

    #[test]
    fn receipts_and_registrations_are_remembered_separately() {
        let receipts = Receipts::new(LIFETIME);
        let channel = Names::new("tidings", "").expect("names").parse("c").expect("a name");
        assert_eq!(receipts.seen(&channel), Seen::default());
        assert!(!receipts.remember(&channel, seen(1, 1, 1), 7, Instant::now()), "the first epoch is no change");
        assert!(!receipts.remember(&channel, seen(1, 2, 2), 7, Instant::now()));
        assert_eq!(receipts.seen(&channel), seen(1, 1, 2));
        assert!(receipts.remember(&channel, seen(2, 3, 4), 7, Instant::now()));
        assert_eq!(receipts.seen(&channel), seen(2, 3, 4));
        assert!(!receipts.is_registered(&channel, 1));
        receipts.register(&channel, 1);
        assert!(receipts.is_registered(&channel, 1));
        assert!(!receipts.is_registered(&channel, 2), "another connection may be another server");
        assert_eq!(receipts.seen(&channel), seen(2, 3, 4));
    }

    #[test]
    fn receipts_wait_for_each_new_server_once() {
        let receipts = Receipts::new(LIFETIME);
        let names = Names::new("tidings", "").expect("names");
        let [one, two] = ["one", "two"].map(|name| names.parse(name).expect("a name"));
        receipts.remember(&one, seen(1, 1, 5), 7, Instant::now());
        receipts.remember(&two, seen(2, 1, 5), 8, Instant::now());
        receipts.register(&names.parse("three").expect("a name"), 1);
        assert_eq!(receipts.unconfirmed(7), [(two.clone(), seen(2, 1, 5))]);
        receipts.confirm(&two, 7);
        assert_eq!(receipts.unconfirmed(7), []);
        receipts.remember(&one, seen(1, 6, 6), 9, Instant::now());
        assert_eq!(receipts.unconfirmed(7), [(one.clone(), seen(1, 1, 6))]);
        // Receipts of earlier epochs as well, the oldest first, without the name of a call.
        receipts.remember(&one, seen(3, 7, 8), 9, Instant::now());
        let earlier = Seen { call: None, ..seen(1, 1, 6) };
        assert_eq!(receipts.unconfirmed(7), [(one.clone(), earlier), (one, seen(3, 7, 8))]);
        let old = Receipts::new(Duration::ZERO);
        old.remember(&two, seen(2, 1, 5), 8, Instant::now());
        assert_eq!((old.unconfirmed(7), old.seen(&two)), (Vec::new(), Seen::default()), "Redis has forgotten as well");
    }

    #[test]
    fn repeats_say_what_was_given_out() {
        let receipts = Receipts::new(LIFETIME);
        let channel = Names::new("tidings", "").expect("names").parse("c").expect("a name");
        let at = |epoch, sequence| seen(epoch, sequence, sequence).last;
        receipts.repeat(&channel, at(1, 5), 1_005);
        assert_eq!(receipts.seen(&channel), Seen { call: None, ..seen(1, 5, 5) });
        receipts.repeat(&channel, at(1, 9), 1_009);
        receipts.repeat(&channel, at(2, 99), 1_099);
        receipts.repeat(&channel, at(1, 2), 1_002);
        let repeated = Seen { call: None, ..seen(1, 2, 9) };
        assert_eq!(receipts.seen(&channel), repeated, "an epoch of which nothing was published here says nothing");
    }

    #[test]
    fn the_least_recent_are_forgotten() {
        let receipts = Receipts::new(LIFETIME);
        let names = Names::new("tidings", "").expect("names");
        for i in 0..=REMEMBERED_RECEIPTS {
            receipts.remember(&names.parse(&format!("c{i}")).expect("a name"), seen(1, 1, 1), 7, Instant::now());
        }
        assert_eq!(receipts.lock().len(), REMEMBERED_RECEIPTS);
    }
}
