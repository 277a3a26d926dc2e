//! Whom a cursor belongs to: a channel, or the pattern of a whole stream, by a hash of its name.

use std::cell::RefCell;

use xxhash_rust::xxh3::xxh3_64;

/// How cursors know a channel or a pattern: the first half of the BLAKE3 of its name. Nobody finds two names with the
/// same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelHash([u8; Self::BYTES]);

/// The channel or the pattern that a cursor belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// As the present version has it.
    Hash(ChannelHash),
    /// As version 1 has it: 64 bits of XXH3, to which other names can be found.
    Old(u64),
}

impl ChannelHash {
    /// Its size.
    pub const BYTES: usize = 16;

    /// From its bytes.
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl Owner {
    /// Whether a name is the owner's.
    pub fn is(&self, name: &str) -> bool {
        match self {
            Self::Hash(hash) => *hash == channel_hash(name),
            Self::Old(hash) => *hash == old_hash(name),
        }
    }
}

/// Names of which each thread remembers the hash, so that a publish does not pay for it each time: a few hundred
/// channels that are busy at once.
const REMEMBERED: usize = 256;

thread_local! {
    static RECENT: RefCell<Vec<(String, ChannelHash)>> = const { RefCell::new(Vec::new()) };
}

/// The hash under which cursors know a channel or a pattern. Part of the format: never change it.
pub fn channel_hash(name: &str) -> ChannelHash {
    RECENT.with_borrow_mut(|recent| {
        if recent.is_empty() {
            recent.resize(REMEMBERED, (String::new(), hash(b"")));
        }
        let (remembered, known) = &mut recent[old_hash(name) as usize % REMEMBERED];
        if remembered != name {
            *known = hash(name.as_bytes());
            name.clone_into(remembered);
        }
        *known
    })
}

fn hash(bytes: &[u8]) -> ChannelHash {
    let hash = blake3::hash(bytes);
    ChannelHash(std::array::from_fn(|i| hash.as_bytes()[i]))
}

/// The same in version 1.
pub fn old_hash(name: &str) -> u64 {
    xxh3_64(name.as_bytes())
}
