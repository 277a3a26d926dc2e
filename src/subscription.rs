//! What a durable subscription means, apart from where it is kept: its name, its deliveries, and the *blocks* in which
//! they are leased.
//!
//! A subscription hands each message of its channel to one consumer at a time. What is out is kept in blocks: some
//! messages that were leased together, of which a bit each says whether it is still out. A block has a name that is
//! never used again, so that a lease is good for as long as its block is there and its bit is set: nothing else has to
//! be compared. This module knows no clock and no I/O.

use std::{borrow::Borrow, fmt, sync::Arc};

use crate::{
    channel::{InvalidName, Names},
    limits::SUBSCRIPTION_NAME_BYTES,
    message::Epoch,
};

mod ack_id;
mod block;
mod order_key;

pub use self::{
    ack_id::{AckId, InvalidAckId},
    block::{Block, BlockId, Token},
    order_key::OrderKey,
};

/// A subscription's name: 1 to 100 bytes of the characters that a channel's name may have.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionName(Arc<str>);

/// Why a text is no subscription's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSubscriptionName {
    /// Nothing was given.
    #[error("a subscription's name is needed")]
    Missing,
    /// Longer than 100 bytes.
    #[error("it has {0} bytes; at most {SUBSCRIPTION_NAME_BYTES} are allowed")]
    TooLong(usize),
    /// It breaks the rules of channels.
    #[error("{0}")]
    Name(InvalidName),
}

impl SubscriptionName {
    /// Reads a name.
    ///
    /// # Errors
    ///
    /// It is empty, too long, or has a character that names don't have.
    pub fn parse(name: &str, names: &Names) -> Result<Self, InvalidSubscriptionName> {
        match name.len() {
            0 => Err(InvalidSubscriptionName::Missing),
            1..=SUBSCRIPTION_NAME_BYTES => {
                names.parse(name).map_err(InvalidSubscriptionName::Name)?;
                Ok(Self(name.into()))
            }
            bytes => Err(InvalidSubscriptionName::TooLong(bytes)),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for SubscriptionName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SubscriptionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names one life of a subscription: a new one begins when it is created, and with each seek. Leases of earlier ones
/// are over. Written as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Generation(Epoch);

impl Generation {
    /// A new one.
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

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::str::FromStr for Generation {
    type Err = crate::message::InvalidEpoch;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// What is remembered of a message that was delivered before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attempts {
    /// How many deliveries counted, since it was put back last.
    pub count: u32,
    /// When it was first delivered, ms since 1970; 0 where it was not.
    pub first_ms: i64,
    /// How often it was put back from the dead letters.
    pub redrives: u32,
}

impl fmt::Display for Attempts {
    /// As it is kept: `count,first,redrives`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{}", self.count, self.first_ms, self.redrives)
    }
}

impl Attempts {
    /// Reads what was kept; `None` where it is not understood.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(',');
        let (count, first_ms, redrives) = (parts.next()?, parts.next()?, parts.next()?);
        let is_whole = parts.next().is_none();
        let attempts = || {
            Some(Self {
                count: count.parse().ok()?,
                first_ms: first_ms.parse().ok()?,
                redrives: redrives.parse().ok()?,
            })
        };
        attempts().filter(|_| is_whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_short_channels_name() {
        let names = Names::new("tidings", "").expect("names");
        let parse = |name: &str| SubscriptionName::parse(name, &names);
        assert_eq!(parse("orders.mail").expect("a name").as_str(), "orders.mail");
        assert_eq!(parse(""), Err(InvalidSubscriptionName::Missing));
        assert_eq!(parse(&"n".repeat(101)), Err(InvalidSubscriptionName::TooLong(101)));
        assert!(parse(&"n".repeat(100)).is_ok());
        for name in ["a b", "a*", "{a}", "__a", "tidings:a", "a\n"] {
            assert!(matches!(parse(name), Err(InvalidSubscriptionName::Name(_))), "{name}");
        }
    }

    #[test]
    fn attempts_are_kept_as_text() {
        let attempts = Attempts { count: 3, first_ms: 1_700_000_000_000, redrives: 1 };
        assert_eq!(attempts.to_string(), "3,1700000000000,1");
        assert_eq!(Attempts::parse(&attempts.to_string()), Some(attempts));
        for text in ["", "1", "1,2", "1,2,3,4", "a,2,3", "-1,2,3"] {
            assert_eq!(Attempts::parse(text), None, "{text}");
        }
    }
}
