//! Adoption: what plain programs publish on a channel is taken into its log.
//!
//! Several processes receive the same message, and each of them may adopt it. It is adopted once, because adopting
//! compares: a call says which message it takes for the last adopted one, and where that is not so it changes nothing.
//! So a process that accounts for every adopted message (by notices, or by [`Stored::adopted`](super::Stored::adopted))
//! before it calls, never adopts one again: neither after a call whose outcome it does not know, nor after another's.
//! The *lease* only spares processes from doing the same work.

use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

use super::Error;
use crate::{
    channel::ChannelName,
    envelope::{Envelope, Unnumbered},
    limits::MESSAGE_BYTES,
    message::Position,
};

/// A message that a plain program published, as it will be in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// The hash of the bytes that it published: the same on every process that receives them.
    pub hash: [u8; Raw::HASH_BYTES],
    /// The text that will be published.
    pub envelope: Unnumbered,
}

/// What the log keeps of an adopted message besides its JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adopted {
    /// The [hash](Raw::hash) of the bytes that were on the channel.
    pub hash: [u8; Raw::HASH_BYTES],
    /// Its log time, ms: unlike that of other messages, its date is the plain program's own.
    pub time_ms: i64,
}

/// Messages to adopt, and the caller's knowledge of the channel.
#[derive(Debug, Clone)]
pub struct Adopt {
    /// Names the caller, as holder of the lease.
    pub token: Uuid,
    /// Ask for the lease where it is another's.
    pub ask: bool,
    /// The last adopted message that the caller has accounted for; the beginning for none.
    pub adopted: Position,
    /// The last message that the caller knows of.
    pub seen: Position,
    /// At least one, in order; together within the limits of a batch.
    pub messages: Vec<Arc<Raw>>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adoption {
    /// All of it is in the log.
    Done {
        /// The position of the last message.
        last: Position,
        /// The lease was given to another process that had asked for it; otherwise it is the caller's.
        given_up: bool,
    },
    /// Nothing: messages were adopted that the caller has not accounted for.
    Behind,
    /// Nothing: the lease is another's.
    Other {
        /// For so long at least, unless it is given up, ms.
        for_ms: u64,
    },
}

/// Takes what plain programs publish into the log.
#[async_trait]
pub trait Adopter: Send + Sync + 'static {
    /// Adopts messages of one channel: consecutively and together, or none. Each is announced in a
    /// [notice](super::LiveEvent::Notice).
    async fn adopt(&self, channel: &ChannelName, adopt: &Adopt) -> Result<Adoption, Error>;
}

impl Raw {
    /// The bytes of a hash.
    pub const HASH_BYTES: usize = 16;

    /// A message that was published as `payload` and is read as `envelope`. `None` where it does not [fit](Self::fits).
    pub fn new(payload: &[u8], envelope: &Envelope) -> Option<Self> {
        let envelope = envelope.unnumbered();
        fits(&envelope).then(|| Self { hash: xxh3_128(payload).to_be_bytes(), envelope })
    }

    /// Whether a message fits into an envelope, with its hash before it in a notice. All processes agree: a message
    /// that one can't adopt is adopted by none.
    pub fn fits(payload: &[u8], envelope: &Envelope) -> bool {
        // A byte becomes six at most, and the envelope adds far less than this.
        payload.len() < (MESSAGE_BYTES >> 3) || fits(&envelope.unnumbered())
    }
}

fn fits(envelope: &Unnumbered) -> bool {
    envelope.len() + Raw::HASH_BYTES <= MESSAGE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::decode;

    #[test]
    fn what_is_too_large_with_its_envelope_is_not_adopted_by_anyone() {
        let adopted = |bytes: usize, fill: &str| {
            let payload = fill.repeat(bytes);
            let raw = |arrival_ms| Raw::new(payload.as_bytes(), &decode(payload.as_bytes(), arrival_ms));
            let (early, late) = (raw(-62_135_596_800_000), raw(253_402_300_799_999));
            assert_eq!(early.is_some(), late.is_some());
            assert_eq!(Raw::fits(payload.as_bytes(), &decode(payload.as_bytes(), 0)), early.is_some());
            early.is_some()
        };
        let most = (1..MESSAGE_BYTES).rev().find(|bytes| adopted(*bytes, "x")).expect("most are");
        assert!(most > MESSAGE_BYTES - 256, "{most}");
        assert!(!adopted(most + 1, "x"));
        assert!(adopted((MESSAGE_BYTES >> 3) - 1, "\u{1}"), "the quick answer is the right one");
        // Escaped, each takes six bytes.
        assert!(adopted(most / 6, "\u{1}") && !adopted(most / 6 + 1, "\u{1}"));
    }

    #[test]
    fn equal_bytes_have_equal_hashes() {
        let hash = |payload: &[u8]| Raw::new(payload, &decode(payload, 0)).expect("small").hash;
        assert_eq!(hash(b"a"), hash(b"a"));
        assert_ne!(hash(b"a"), hash(b"b"));
        assert_ne!(hash(b"\"a\""), hash(b" \"a\""), "the same payload in other bytes");
    }
}
