//! What one peer may take of a server: connections, streams, patterns, and what it publishes, lists and is sent.
//!
//! Each address and each subject that has signed in has an [`Account`], found once for a connection and once for a
//! token; a call that is counted touches that, and looks nothing up. Accounts are made for the address of a real
//! connection and for the subject of a token that was verified, so nobody fills the tables with names made up.

use std::{
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use lru::LruCache;
use tidings::{
    limits::{ACCOUNTS, ACCOUNTS_LOOKED_AT, NEW_CHANNELS_PER, QUOTA_BURST, QUOTA_PER},
    metrics::Limit,
    status,
};
use tonic::Status;

use self::rate::Rate;
pub use self::{
    account::{Account, Held, HeldPattern, Rated},
    shares::Shares,
};

mod account;
mod rate;
mod shares;

/// How much one address or one subject may have. The flags' defaults are the runtime's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Connections of an address.
    pub connections: u64,
    /// Open streams, of an address and of a subject.
    pub streams: u64,
    /// Different patterns that it follows at once.
    pub patterns: u64,
    /// Channels that its pattern streams follow, each counted for each stream.
    pub positions: u64,
    /// Channels created in a minute.
    pub new_channels: u64,
    /// Messages published in a second; `None` for as many as it likes, here and below.
    pub publishes: Option<u64>,
    /// Bytes of publish requests in a second.
    pub bytes_in: Option<u64>,
    /// Lists asked for in a second.
    pub lists: Option<u64>,
    /// Bytes of answers in a second.
    pub bytes_out: Option<u64>,
}

impl Quotas {
    /// None at all, for servers within a test.
    pub const UNLIMITED: Self = Self {
        connections: u64::MAX,
        streams: u64::MAX,
        patterns: u64::MAX,
        positions: u64::MAX,
        new_channels: u64::MAX,
        publishes: None,
        bytes_in: None,
        lists: None,
        bytes_out: None,
    };

    fn rate(&self, rated: Rated) -> Option<Rate> {
        let (amount, per, burst) = match rated {
            Rated::Publishes => (self.publishes?, QUOTA_PER, QUOTA_BURST),
            Rated::BytesIn => (self.bytes_in?, QUOTA_PER, QUOTA_BURST),
            Rated::Lists => (self.lists?, QUOTA_PER, QUOTA_BURST),
            Rated::BytesOut => (self.bytes_out?, QUOTA_PER, QUOTA_BURST),
            Rated::NewChannels if self.new_channels == u64::MAX => return None,
            Rated::NewChannels => (self.new_channels, NEW_CHANNELS_PER, NEW_CHANNELS_PER),
        };
        Some(Rate::new(amount, per, burst))
    }
}

/// A quota that is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    /// Which.
    pub limit: Limit,
    /// How much it is.
    pub most: u64,
    /// When there is room again; `None` where that depends on what the peer ends.
    pub wait: Option<Duration>,
}

impl From<Exceeded> for Status {
    fn from(Exceeded { limit, most, wait }: Exceeded) -> Self {
        status::caller_limit(limit, most, wait)
    }
}

/// All accounts of a process.
#[derive(Debug)]
pub struct Accounts {
    quotas: Quotas,
    addresses: Table<IpAddr>,
    subjects: Table<Box<str>>,
}

impl Accounts {
    /// None yet; each that is made has these quotas.
    pub fn new(quotas: Quotas) -> Arc<Self> {
        Arc::new(Self { quotas, addresses: Table::new(ACCOUNTS), subjects: Table::new(ACCOUNTS) })
    }

    /// That of a peer's address; all addresses of an IPv6 network of 64 bits, which is what one host is given, share
    /// one.
    pub fn of_address(&self, address: IpAddr) -> Arc<Account> {
        self.addresses.find(network(address), &self.quotas)
    }

    /// That of the subject of a token that was verified.
    pub fn of_subject(&self, subject: &str) -> Arc<Account> {
        self.subjects.find(subject.into(), &self.quotas)
    }
}

/// The part of an address that distinguishes one peer from another.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

/// Accounts by what they are of. Those that nobody uses go first when there are too many.
#[derive(Debug)]
struct Table<K: Hash + Eq> {
    most: usize,
    accounts: Mutex<LruCache<K, Arc<Account>>>,
}

impl<K: Hash + Eq> Table<K> {
    fn new(most: usize) -> Self {
        let unbounded = LruCache::unbounded();
        Self { most: NonZeroUsize::new(most).map_or(1, NonZeroUsize::get), accounts: Mutex::new(unbounded) }
    }

    fn find(&self, key: K, quotas: &Quotas) -> Arc<Account> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let found = Arc::clone(accounts.get_or_insert(key, || Arc::new(Account::new(quotas))));
        // One that is in use stays: there are no more of them than connections and remembered tokens.
        for _ in 0..ACCOUNTS_LOOKED_AT {
            if accounts.len() <= self.most {
                break;
            }
            if let Some((key, oldest)) = accounts.pop_lru()
                && Arc::strong_count(&oldest) > 1
            {
                accounts.put(key, oldest);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_peer_and_so_is_a_network_of_ipv6() {
        let accounts = Accounts::new(Quotas::UNLIMITED);
        let of = |text: &str| accounts.of_address(text.parse().expect("an address"));
        assert!(Arc::ptr_eq(&of("192.0.2.1"), &of("::ffff:192.0.2.1")));
        assert!(!Arc::ptr_eq(&of("192.0.2.1"), &of("192.0.2.2")));
        assert!(Arc::ptr_eq(&of("2001:db8:1:2::1"), &of("2001:db8:1:2:ffff::9")));
        assert!(!Arc::ptr_eq(&of("2001:db8:1:2::1"), &of("2001:db8:1:3::1")));
        assert!(Arc::ptr_eq(&accounts.of_subject("alice"), &accounts.of_subject("alice")));
        assert!(!Arc::ptr_eq(&accounts.of_subject("alice"), &accounts.of_subject("bob")));
    }

    #[test]
    fn those_that_nobody_uses_make_room_and_others_stay() {
        let table = Table::new(4);
        let used: Vec<_> = (0..3).map(|key| table.find(key, &Quotas::UNLIMITED)).collect();
        for key in 3..100 {
            table.find(key, &Quotas::UNLIMITED);
            assert!(table.accounts.lock().expect("no panic").len() <= 4);
        }
        for (key, account) in used.iter().enumerate() {
            assert!(Arc::ptr_eq(&table.find(key, &Quotas::UNLIMITED), account));
        }
    }
}
