//! Cursors of one channel and epoch: every message has one, and only its own part is made for each, in registers.

use super::{AT_START, CHANNEL, ChannelHash, IN_EPOCH, IN_FIRST_EPOCH, VERSION, base64url, lineage_words};
use crate::message::{Epoch, Lineage};

/// The common part of short cursors: the byte for their kind, the hash, and the epoch but for its last byte. Three
/// bytes make four characters, so that the last one goes with the sequence, of which seven bytes hold the greatest.
/// With the checksum the whole has thirty-six bytes, which leave no rest.
const SHORT_SAME: usize = 1 + ChannelHash::BYTES + 7;
/// In a long one: version, kind, hash, the epoch, its first sequence and the epoch before it.
const LONG_SAME: usize = 2 + ChannelHash::BYTES + 3 * 8;
/// The last byte of the epoch or the first of the sequence, the rest of the sequence, and the checksum.
const OWN: usize = 8 + 4;

/// How long the end of a cursor is that differs from those of other sequences.
pub const OWN_TEXT_BYTES: usize = OWN / 3 * 4;
/// How long a short cursor is.
pub const SHORT_TEXT_BYTES: usize = SHORT_SAME / 3 * 4 + OWN_TEXT_BYTES;
const LONG_SAME_TEXT_BYTES: usize = LONG_SAME / 3 * 4;

/// What all of them have in common.
#[derive(Debug, Clone)]
pub struct Series {
    same: [u8; LONG_SAME_TEXT_BYTES],
    same_bytes: usize,
    /// What shares one word with the sequence.
    above: u64,
    sum: Sum,
}

impl Series {
    /// The cursors of a channel with this hash. They are short unless it has had an epoch before.
    pub fn new(channel: ChannelHash, epoch: Option<Epoch>, lineage: Lineage) -> Self {
        match (epoch.map(Epoch::as_u64), lineage_words(epoch, lineage)) {
            (None, [data_set, _]) => Self::short(AT_START, channel, data_set),
            (Some(epoch), [0, 0]) => Self::short(IN_EPOCH, channel, epoch),
            (Some(epoch), [1, 0]) => Self::short(IN_FIRST_EPOCH, channel, epoch),
            (Some(epoch), [first, previous]) => Self::long(channel, [epoch, first, previous]),
        }
    }

    fn short(begin: u8, channel: ChannelHash, epoch: u64) -> Self {
        let mut bytes = [0; SHORT_SAME];
        bytes[0] = begin;
        bytes[1..17].copy_from_slice(channel.as_bytes());
        bytes[17..].copy_from_slice(&epoch.to_be_bytes()[..7]);
        Self::of(&bytes, epoch << 56)
    }

    /// Also of what would be short.
    pub(super) fn long(channel: ChannelHash, words: [u64; 3]) -> Self {
        let mut bytes = [0; LONG_SAME];
        bytes[..2].copy_from_slice(&[VERSION, CHANNEL]);
        bytes[2..18].copy_from_slice(channel.as_bytes());
        for (slot, word) in bytes[18..].chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_be_bytes());
        }
        Self::of(&bytes, 0)
    }

    fn of(bytes: &[u8], above: u64) -> Self {
        let (mut same, same_bytes) = ([0; LONG_SAME_TEXT_BYTES], bytes.len() / 3 * 4);
        base64url(bytes, &mut same[..same_bytes]);
        Self { same, same_bytes, above, sum: Sum::new(bytes) }
    }

    /// How they begin: all but the last [`OWN_TEXT_BYTES`].
    pub fn same(&self) -> &[u8] {
        &self.same[..self.same_bytes]
    }

    /// How long each of them is.
    pub fn text_bytes(&self) -> usize {
        self.same_bytes + OWN_TEXT_BYTES
    }

    /// The cursor just after a sequence.
    pub fn text_at(&self, sequence: i64) -> String {
        let mut text = [self.same(), &[0; OWN_TEXT_BYTES]].concat();
        self.put_own(sequence, &mut text[self.same_bytes..]);
        String::from_utf8(text).unwrap_or_default()
    }

    /// Writes its end, of [`OWN_TEXT_BYTES`], which is all that differs from another's.
    pub fn put_own(&self, sequence: i64, text: &mut [u8]) {
        // No sequence has more than 54 bits.
        let word = self.above | (sequence as u64 & ((1 << 56) - 1));
        // Word and sum are twelve bytes: twice 48 bits, of eight characters each.
        let halves = [word >> 16, (word & 0xffff) << 32 | u64::from(self.sum.of(word))];
        for (eight, half) in text.chunks_exact_mut(8).zip(halves) {
            eight.copy_from_slice(&digits(half).to_be_bytes());
        }
    }
}

/// Eight characters for 48 bits, as one word: written one by one, and then copied, they would be waited for as well.
fn digits(bits: u64) -> u64 {
    (0..8).fold(0, |text, i| text << 8 | u64::from(super::DIGITS[(bits >> (42 - 6 * i)) as usize & 63]))
}

/// The checksum of a cursor, which is half of its XXH3 (xxHash's specification, "XXH3 Algorithm Details", inputs of 17
/// to 64 bytes, which are mixed in from both ends). All but the word with the sequence goes into it once for the whole
/// series. To put the bytes together and have them hashed took an eighth of the time of a replayed message: the hash
/// reads them as words other than they were written as, for which the processor waits.
#[derive(Debug, Clone)]
struct Sum {
    /// Length, and all that is mixed without the last word.
    before: u64,
    /// The position just before that.
    beside: u64,
}

/// The first words of XXH3's secret.
const SECRET: [u64; 8] = [
    0xbe4b_a423_396c_feb8,
    0x1cad_21f7_2c81_017c,
    0xdb97_9083_e96d_d4de,
    0x1f67_b3b7_a4a4_4072,
    0x78e5_c0cc_4ee6_79cb,
    0x2172_ffcc_7dd0_5a82,
    0x8e24_43f7_7446_08b8,
    0x4c26_3a81_e690_35e0,
];

impl Sum {
    /// After `same` comes the word.
    fn new(same: &[u8]) -> Self {
        const PRIME64_1: u64 = 0x9e37_79b1_85eb_ca87;
        let length = same.len() + 8;
        let word = |at: usize| same[at..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
        let mixed = |at: usize, secret: usize| mix(word(at) ^ SECRET[secret], word(at + 8) ^ SECRET[secret + 1]);
        let mut before = PRIME64_1.wrapping_mul(length as u64).wrapping_add(mixed(0, 0));
        if length > 32 {
            // After the first sixteen bytes the next, and those that end as far from the end.
            before = before.wrapping_add(mixed(16, 4)).wrapping_add(mixed(length - 32, 6));
        }
        Self { before, beside: word(length - 16) ^ SECRET[2] }
    }

    fn of(&self, last: u64) -> u32 {
        const PRIME_MX1: u64 = 0x1656_6791_9e37_79f9;
        let last = mix(self.beside, last.swap_bytes() ^ SECRET[3]);
        let sum = self.before.wrapping_add(last);
        let sum = (sum ^ sum >> 37).wrapping_mul(PRIME_MX1);
        ((sum ^ sum >> 32) >> 32) as u32
    }
}

/// Both halves of the product together.
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::checksum, *};
    use crate::message::MAX_SEQUENCE;

    fn text(bytes: &[u8]) -> String {
        let whole = [bytes, &checksum(bytes)].concat();
        let mut text = vec![0; whole.len() / 3 * 4];
        base64url(&whole, &mut text);
        String::from_utf8(text).expect("ASCII")
    }

    proptest! {
        #[test]
        fn the_sum_is_that_of_all_bytes_together(
            channel: [u8; 16],
            epoch: u64,
            first in prop_oneof![0..=1i64, 2..=MAX_SEQUENCE],
            previous: u64,
            sequence in 0..=MAX_SEQUENCE,
        ) {
            let hash = ChannelHash::from_bytes(channel);
            let sequence = sequence.to_be_bytes();
            let series = Series::long(hash, [epoch, first as u64, previous]);
            let words = [epoch, first as u64, previous].map(u64::to_be_bytes).concat();
            let long = [&[VERSION, CHANNEL][..], &channel, &words, &sequence].concat();
            prop_assert_eq!(series.text_at(i64::from_be_bytes(sequence)), text(&long));
            prop_assert_eq!(series.text_bytes(), text(&long).len());
            for begin in [IN_EPOCH, IN_FIRST_EPOCH, AT_START] {
                let series = Series::short(begin, hash, epoch);
                let short = [&[begin][..], &channel, &epoch.to_be_bytes(), &sequence[1..]].concat();
                prop_assert_eq!(series.text_at(i64::from_be_bytes(sequence)), text(&short));
                prop_assert_eq!(series.text_bytes(), SHORT_TEXT_BYTES);
            }
        }
    }
}
