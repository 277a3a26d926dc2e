//! Blocks: messages that were leased together.

use std::fmt;

use crate::{limits::BLOCK_MESSAGES, message::Epoch};

/// Names a process that leases messages: a random number, new at each start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(Epoch);

impl Token {
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

/// Names a block. A message that was extended has one of its own, named after the one that it was leased in, so that
/// its ack id finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId {
    /// Who leased it.
    pub token: Token,
    /// Counted by that process from 1.
    pub number: u64,
    /// The sequence of the message, where it has a block of its own; 0 otherwise.
    pub own: i64,
}

impl BlockId {
    /// The block of a message of this one that was extended.
    #[must_use]
    pub fn of_one(self, sequence: i64) -> Self {
        Self { own: sequence, ..self }
    }

    /// Reads what [`Display`](fmt::Display) writes.
    pub fn parse(text: &str) -> Option<Self> {
        let (token, rest) = text.split_once('.')?;
        let (number, own) = rest.split_once('.').unwrap_or((rest, "0"));
        Some(Self {
            token: Token(token.parse().ok()?),
            number: number.parse().ok()?,
            own: own.parse().ok().filter(|own| *own >= 0)?,
        })
    }
}

impl fmt::Display for BlockId {
    /// As it is kept: `<token>.<number>`, and `.<sequence>` for a message of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.token.0, self.number)?;
        if self.own > 0 { write!(f, ".{}", self.own) } else { Ok(()) }
    }
}

/// Messages that were leased together, and which of them are still out. The content of a block is compared as a whole
/// by whoever changes it, so equal blocks have equal bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// When all its leases are over, by the broker's clock, ms since 1970.
    pub deadline_ms: i64,
    /// The sequence of its first bit.
    first: i64,
    /// Bit `i % 8` of byte `i / 8` is that of message `first + i`: 1 while it is out.
    bits: Vec<u8>,
}

/// Digits of the deadline and of the first sequence, which scripts read by their offsets.
const DEADLINE_DIGITS: usize = 14;
const FIRST_DIGITS: usize = 16;

impl Block {
    /// Messages from one sequence to another.
    pub const SPAN: i64 = BLOCK_MESSAGES as i64;

    /// Of these messages, in their order, with less than [`Block::SPAN`] between the first and the last; `None` for
    /// none.
    pub fn new(deadline_ms: i64, sequences: &[i64]) -> Option<Self> {
        let (first, last) = (*sequences.first()?, *sequences.last()?);
        let span = last.checked_sub(first).filter(|span| (0..Self::SPAN).contains(span))?;
        let mut block = Self { deadline_ms, first, bits: vec![0; span as usize / 8 + 1] };
        for sequence in sequences {
            let (byte, bit) = block.find(*sequence)?;
            block.bits[byte] |= bit;
        }
        Some(block)
    }

    fn find(&self, sequence: i64) -> Option<(usize, u8)> {
        let index = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        (index / 8 < self.bits.len()).then_some((index / 8, 1 << (index % 8)))
    }

    /// Whether a message is out.
    pub fn has(&self, sequence: i64) -> bool {
        self.find(sequence).is_some_and(|(byte, bit)| self.bits[byte] & bit != 0)
    }

    /// Takes a message out of it; false where it was not out.
    pub fn remove(&mut self, sequence: i64) -> bool {
        let is_out = self.has(sequence);
        if let Some((byte, bit)) = self.find(sequence) {
            self.bits[byte] &= !bit;
        }
        is_out
    }

    /// Whether nothing of it is out.
    pub fn is_empty(&self) -> bool {
        self.bits.iter().all(|byte| *byte == 0)
    }

    /// How many are out.
    pub fn len(&self) -> usize {
        self.bits.iter().map(|byte| byte.count_ones() as usize).sum()
    }

    /// The messages that are out, in their order.
    pub fn sequences(&self) -> impl Iterator<Item = i64> + '_ {
        let bits = self.bits.iter().enumerate().flat_map(|(byte, bits)| {
            (0..8).filter(move |bit| bits & (1 << bit) != 0).map(move |bit| (byte * 8 + bit) as i64)
        });
        bits.map(|index| self.first + index)
    }

    /// As it is kept: the deadline in 14 digits, the first sequence in 16, then the bits.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes =
            format!("{:0DEADLINE_DIGITS$}{:0FIRST_DIGITS$}", self.deadline_ms.max(0), self.first).into_bytes();
        bytes.extend_from_slice(&self.bits);
        bytes
    }

    /// Reads what was kept; `None` where it is not understood.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (digits, bits) = bytes.split_at_checked(DEADLINE_DIGITS + FIRST_DIGITS)?;
        let (deadline, first) = std::str::from_utf8(digits).ok()?.split_at_checked(DEADLINE_DIGITS)?;
        let number = |digits: &str| digits.parse().ok().filter(|number| *number >= 0);
        let fits = (1..=BLOCK_MESSAGES / 8).contains(&bits.len());
        Some(Self { deadline_ms: number(deadline)?, first: number(first)?, bits: bits.to_vec() }).filter(|_| fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(own: i64) -> BlockId {
        BlockId { token: Token::from_u64(0xabc).expect("a token"), number: 7, own }
    }

    #[test]
    fn a_block_has_a_bit_for_each_message() {
        let mut block = Block::new(1_700_000_000_000, &[5, 6, 12, 20]).expect("a block");
        assert_eq!(block.sequences().collect::<Vec<_>>(), [5, 6, 12, 20]);
        assert_eq!(block.len(), 4);
        assert!(block.has(12) && !block.has(13) && !block.has(4) && !block.has(1_000) && !block.has(i64::MIN));
        assert!(block.remove(12) && !block.remove(12) && !block.remove(99));
        assert_eq!(block.sequences().collect::<Vec<_>>(), [5, 6, 20]);
        for sequence in [5, 6, 20] {
            assert!(!block.is_empty());
            assert!(block.remove(sequence));
        }
        assert!(block.is_empty());
        assert_eq!(block.len(), 0);
    }

    #[test]
    fn what_is_kept_is_read_again() {
        for sequences in [&[1][..], &[1, 2, 3], &[9_007_199_254_740_992], &[1, 256], &[100, 101, 163]] {
            let block = Block::new(1_700_000_000_000, sequences).expect("a block");
            assert_eq!(Block::from_bytes(&block.to_bytes()), Some(block.clone()), "{sequences:?}");
            assert_eq!(&block.to_bytes()[..DEADLINE_DIGITS], b"01700000000000");
        }
        assert_eq!(Block::new(0, &[]), None);
        assert_eq!(Block::new(0, &[1, 257]), None);
        assert_eq!(Block::new(0, &[2, 1]), None);
        for bytes in [&b""[..], b"017000000000000000000000000001", b"0170000000000x0000000000000001\x01", &[b'0'; 63]] {
            assert_eq!(Block::from_bytes(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn an_id_is_kept_as_text() {
        assert_eq!(id(0).to_string(), "0000000000000abc.7");
        assert_eq!(id(0).of_one(42).to_string(), "0000000000000abc.7.42");
        for id in [id(0), id(42)] {
            assert_eq!(BlockId::parse(&id.to_string()), Some(id));
        }
        for text in
            ["", "0000000000000abc", "0000000000000abc.", "abc.7", "0000000000000abc.7.x", "0000000000000abc.7.-1"]
        {
            assert_eq!(BlockId::parse(text), None, "{text}");
        }
    }
}
