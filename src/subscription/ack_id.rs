//! Ack ids: opaque texts that name one delivery, whole or refused.
//!
//! Inside: a version, the generation, the epoch and the sequence of the message, its block, and a checksum, as
//! URL-safe base64. They are not secret and carry no rights: what is settled is asked of the subscription that the
//! call names, and an id of another one has another generation.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use xxhash_rust::xxh3::xxh3_64;

use super::{BlockId, Generation, Token};
use crate::{limits::ACK_ID_BYTES, message::Epoch};

/// Names one delivery of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AckId {
    /// The life of the subscription in which it was delivered.
    pub generation: Generation,
    /// The message's epoch.
    pub epoch: Epoch,
    /// The message's sequence.
    pub sequence: i64,
    /// The block in which it was leased, not one of its own.
    pub block: BlockId,
}

/// The text is no ack id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not a whole ack id")]
pub struct InvalidAckId;

const VERSION: u8 = 1;
const BODY: usize = 1 + 5 * 8;
const CHECKSUM: usize = 4;

impl fmt::Display for AckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = [
            self.generation.as_u64(),
            self.epoch.as_u64(),
            self.sequence.unsigned_abs(),
            self.block.token.as_u64(),
            self.block.number,
        ];
        let mut bytes = [VERSION; BODY + CHECKSUM];
        for (place, number) in bytes[1..].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        let checksum = checksum(&bytes[..BODY]);
        bytes[BODY..].copy_from_slice(&checksum);
        // On the stack: one is written and one is read for each delivery.
        let mut text = [0; ACK_ID_BYTES];
        let length = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&text[..length]).map_err(|_| fmt::Error)?)
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let [a, b, c, d, ..] = xxh3_64(bytes).to_be_bytes();
    [a, b, c, d]
}

impl FromStr for AckId {
    type Err = InvalidAckId;

    fn from_str(text: &str) -> Result<Self, InvalidAckId> {
        let short = Some(text).filter(|text| text.len() <= ACK_ID_BYTES).ok_or(InvalidAckId)?;
        let mut bytes = [0; ACK_ID_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(short, &mut bytes).map_err(|_| InvalidAckId)?;
        let (body, sum) = bytes[..length].split_last_chunk::<CHECKSUM>().ok_or(InvalidAckId)?;
        if body.len() != BODY || *sum != checksum(body) || body[0] != VERSION {
            return Err(InvalidAckId);
        }
        let (numbers, _) = body[1..].as_chunks::<8>();
        let number = |index: usize| u64::from_be_bytes(numbers[index]);
        let read = || {
            Some(Self {
                generation: Generation::from_u64(number(0))?,
                epoch: Epoch::from_u64(number(1))?,
                sequence: i64::try_from(number(2)).ok()?,
                block: BlockId { token: Token::from_u64(number(3))?, number: number(4), own: 0 },
            })
        };
        read().ok_or(InvalidAckId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> AckId {
        AckId {
            generation: Generation::random(),
            epoch: Epoch::random(),
            sequence: 42,
            block: BlockId { token: Token::random(), number: 7, own: 0 },
        }
    }

    #[test]
    fn an_ack_id_is_whole_or_refused() {
        let id = sample();
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        assert!(text.len() <= ACK_ID_BYTES, "{text}");
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(String::from_utf8(changed).expect("text").parse::<AckId>(), Err(InvalidAckId), "{at}");
            assert_eq!(text[..at].parse::<AckId>(), Err(InvalidAckId), "{at}");
        }
        for text in ["", "A", "not base64!", &"A".repeat(60), &"A".repeat(10_000)] {
            assert_eq!(text.parse::<AckId>(), Err(InvalidAckId));
        }
    }
}
