//! What a message means, apart from how it is written: payload, attributes, and its position in a channel's history.

use std::{fmt, num::NonZeroU64, str::FromStr};

use bytes::Bytes;
use uuid::Uuid;

/// What a message carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Text.
    Text(String),
    /// One JSON text, without white space around it, otherwise byte for byte as it was sent.
    Json(String),
    /// Bytes.
    Data(Bytes),
}

/// A message that is to be published; its position, time and epoch come from the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Its UUID.
    pub id: Uuid,
    /// The key by which a repeat is recognised, which is answered with the first receipt; `None` where the client gave
    /// no UUID. See [`DedupKey`].
    pub dedup: Option<DedupKey>,
    /// What it carries.
    pub payload: Payload,
    /// In the order in which they will be written: by key, each key once.
    pub attributes: Vec<(String, String)>,
    /// Empty for none.
    pub ordering_key: String,
}

/// Who publishes, as far as repeats are concerned: a repeat is one by the same sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender<'a> {
    /// Nobody is asked who it is: all are one.
    Unasked,
    /// Others sign in, and this one has not: all of these are one.
    Anonymous,
    /// The subject that it signed in as.
    Subject(&'a str),
}

impl<'a> Sender<'a> {
    /// The subject, where there is one.
    pub fn subject(self) -> Option<&'a str> {
        match self {
            Self::Subject(subject) => Some(subject),
            Self::Unasked | Self::Anonymous => None,
        }
    }
}

/// The key by which a broker recognises a repeat: the client's UUID, mixed with its sender where anybody signs in.
/// So nobody can make another's publish a repeat by using its UUID first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DedupKey([u8; 16]);

impl DedupKey {
    /// That of a UUID. Where nobody signs in it is the UUID itself, as older programs have it. Where some do, the
    /// UUIDs of those who have not are hashed as well: anybody can compute a subject's key, and send it as a UUID.
    pub fn new(sender: Sender<'_>, id: Uuid) -> Self {
        let (context, subject) = match sender {
            Sender::Unasked => return Self(*id.as_bytes()),
            Sender::Anonymous => ("tidings 2026-11 message_id without a subject", ""),
            Sender::Subject(subject) => ("tidings 2026-11 message_id of a subject", subject),
        };
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(id.as_bytes()).update(subject.as_bytes());
        let mut key = [0; 16];
        hasher.finalize_xof().fill(&mut key);
        Self(key)
    }

    /// Its bytes, as they are on Redis.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Names one unbroken history of a channel. Written as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(NonZeroU64);

/// The greatest sequence there can be: above it Lua's numbers, and many JSON readers', are not exact.
pub const MAX_SEQUENCE: i64 = 1 << 53;

/// A position in a channel's history: just after the message with this sequence. Sequence 0 is the beginning, and no
/// epoch means a channel that has no history yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Position {
    /// The history.
    pub epoch: Option<Epoch>,
    /// The last sequence before this position; never negative.
    pub sequence: i64,
}

/// Names one data set of a broker: a random number that a data set is given once and keeps in every copy of it. A flush
/// ends it. Written as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DataSet(Epoch);

impl DataSet {
    /// A new name.
    pub fn random() -> Self {
        Self(Epoch::random())
    }

    /// From its number; `None` for 0.
    pub fn from_u64(number: u64) -> Option<Self> {
        Epoch::from_u64(number).map(Self)
    }

    /// Its number.
    pub fn as_u64(self) -> u64 {
        self.0.as_u64()
    }
}

impl fmt::Display for DataSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for DataSet {
    type Err = InvalidEpoch;

    fn from_str(text: &str) -> Result<Self, InvalidEpoch> {
        text.parse().map(Self)
    }
}

/// The history to which a position belongs, as far as its cursor knows. A reader that resumes when this history is gone
/// needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Lineage {
    /// Nothing is known.
    #[default]
    Unknown,
    /// Of a position in an epoch.
    Epoch {
        /// The epoch's first sequence, from 1.
        first: i64,
        /// The epoch before it, if there was one.
        previous: Option<Epoch>,
    },
    /// Of the beginning, on a channel without a history: the data set in which it had none.
    DataSet(DataSet),
}

/// The content of a cursor: a position, and the history to which it belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Mark {
    /// A reader's position.
    pub position: Position,
    /// Where that lies.
    pub lineage: Lineage,
}

impl From<Position> for Mark {
    /// A position of which nothing else is known.
    fn from(position: Position) -> Self {
        Self { position, lineage: Lineage::Unknown }
    }
}

impl Position {
    /// Before the first message of a channel that has no history yet.
    pub const START: Self = Self { epoch: None, sequence: 0 };

    /// Just after message `sequence` of `epoch`.
    pub fn new(epoch: Epoch, sequence: i64) -> Self {
        Self { epoch: Some(epoch), sequence }
    }
}

impl Epoch {
    /// A new name, different from all others for all practical purposes.
    pub fn random() -> Self {
        let (high, low) = Uuid::new_v4().as_u64_pair();
        // A UUID's fixed bits are at different offsets of its halves: mixed, all 64 bits are random.
        NonZeroU64::new(high.rotate_left(32) ^ low).map_or(Self(NonZeroU64::MIN), Self)
    }

    /// Another name that begins as this one does, with the same eight digits.
    #[must_use]
    pub fn sibling(self) -> Self {
        const BEGINNING: u64 = !0 << 32;
        let number = (self.as_u64() & BEGINNING) | (Self::random().as_u64() & !BEGINNING);
        NonZeroU64::new(number).map_or(self, Self)
    }

    /// From its number; `None` for 0.
    pub fn from_u64(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// Sixteen hexadecimal digits in lower case, as an epoch is written everywhere.
    pub fn digits(self) -> [u8; 16] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        std::array::from_fn(|i| DIGITS[(self.as_u64() >> (60 - 4 * i)) as usize & 15])
    }

    /// Its number.
    pub fn as_u64(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 16 lower-case hexadecimal digits, or all of them are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an epoch is 16 lower-case hexadecimal digits")]
pub struct InvalidEpoch;

impl FromStr for Epoch {
    type Err = InvalidEpoch;

    fn from_str(text: &str) -> Result<Self, InvalidEpoch> {
        let well_formed = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let number = u64::from_str_radix(text, 16).ok().filter(|_| well_formed);
        number.and_then(Self::from_u64).ok_or(InvalidEpoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_is_one_of_the_same_subject() {
        let (id, other) = (Uuid::from_u128(7), Uuid::from_u128(8));
        let alice = Sender::Subject("alice");
        assert_eq!(DedupKey::new(Sender::Unasked, id).as_bytes(), id.as_bytes());
        // A subject's key, as the UUID of somebody else.
        let derived = Uuid::from_bytes(*DedupKey::new(alice, id).as_bytes());
        let keys = [
            (Sender::Unasked, id),
            (Sender::Anonymous, id),
            (Sender::Anonymous, derived),
            (alice, id),
            (alice, other),
            (alice, derived),
            (Sender::Subject("bob"), id),
            (Sender::Subject("bob"), derived),
            (Sender::Subject(""), id),
        ];
        let distinct: std::collections::HashSet<_> =
            keys.iter().map(|(sender, id)| DedupKey::new(*sender, *id)).collect();
        assert_eq!(distinct.len(), keys.len());
        assert_eq!(DedupKey::new(alice, id), DedupKey::new(alice, id));
    }

    #[test]
    fn epochs_round_trip_and_refuse_other_spellings() {
        let epoch = Epoch::random();
        assert_eq!(epoch.to_string().parse(), Ok(epoch));
        assert_ne!(epoch, Epoch::random());
        for bad in ["", "0000000000000000", "00000000000000AB", "+00000000000000a", "123"] {
            assert_eq!(bad.parse::<Epoch>(), Err(InvalidEpoch), "{bad}");
        }
    }
}
