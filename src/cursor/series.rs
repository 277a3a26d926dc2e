//! Cursors of one channel and epoch: every message has one, and only what is its own is made for each, without a step through
//! memory.

#[cfg(doc)]
use super::OWN_TEXT_BYTES;
use super::{CHANNEL, CHANNEL_BYTES, CHANNEL_TEXT_BYTES, ChannelHash, VERSION, base64url, lineage_words};
use crate::message::{Epoch, Lineage};

/// Before the sequence, in bytes and as text.
pub(super) const SAME: (usize, usize) = (42, 56);
/// What the checksum covers.
const SEALED_BYTES: usize = CHANNEL_BYTES - 4;

/// What all of them have in common.
#[derive(Debug, Clone)]
pub struct Series {
    text: [u8; CHANNEL_TEXT_BYTES],
    sum: Sum,
}

impl Series {
    /// The cursors of a channel with this hash.
    pub fn new(channel: ChannelHash, epoch: Option<Epoch>, lineage: Lineage) -> Self {
        let mut bytes = [0; SAME.0];
        bytes[..2].copy_from_slice(&[VERSION, CHANNEL]);
        bytes[2..18].copy_from_slice(channel.as_bytes());
        let [one, other] = lineage_words(epoch, lineage);
        for (i, word) in [epoch.map_or(0, Epoch::as_u64), one, other].into_iter().enumerate() {
            bytes[18 + 8 * i..][..8].copy_from_slice(&word.to_be_bytes());
        }
        let mut text = [0; CHANNEL_TEXT_BYTES];
        base64url(&bytes, &mut text[..SAME.1]);
        Self { text, sum: Sum::new(&bytes) }
    }

    /// The cursor just after a sequence.
    pub fn text_at(&self, sequence: i64) -> String {
        String::from_utf8(self.at(sequence).to_vec()).unwrap_or_default()
    }

    /// The same as ASCII.
    pub fn at(&self, sequence: i64) -> [u8; CHANNEL_TEXT_BYTES] {
        let mut text = self.text;
        self.put_own(sequence, &mut text[SAME.1..]);
        text
    }

    /// Writes its end, of [`OWN_TEXT_BYTES`], which is all that differs from another's.
    pub fn put_own(&self, sequence: i64, text: &mut [u8]) {
        let sum = self.sum.of(sequence);
        // Sequence and sum are twelve bytes: twice 48 bits, of eight characters each.
        let halves = [sequence as u64 >> 16, (sequence as u64 & 0xffff) << 32 | u64::from(sum)];
        for (eight, half) in text.chunks_exact_mut(8).zip(halves) {
            eight.copy_from_slice(&digits(half).to_be_bytes());
        }
    }
}

/// Eight characters for 48 bits, as one word: written one by one, and then copied, they would be waited for as well.
fn digits(bits: u64) -> u64 {
    (0..8).fold(0, |text, i| text << 8 | u64::from(super::DIGITS[(bits >> (42 - 6 * i)) as usize & 63]))
}

/// The checksum of a cursor, which is half of its XXH3 (xxHash's specification, "XXH3 Algorithm Details", inputs of 33 to 64
/// bytes, which are mixed in from both ends). All but the sequence goes into it once for the whole series. To put the bytes together and have them hashed took
/// an eighth of the time of a replayed message: the hash reads them as words other than they were written as, for which the
/// processor waits.
#[derive(Debug, Clone)]
struct Sum {
    /// Length, and all that is mixed without the sequence.
    before: u64,
    /// What stands just before the sequence.
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
    fn new(same: &[u8; SAME.0]) -> Self {
        const PRIME64_1: u64 = 0x9e37_79b1_85eb_ca87;
        let word = |at: usize| same[at..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
        let mixed = |at: usize, secret: usize| mix(word(at) ^ SECRET[secret], word(at + 8) ^ SECRET[secret + 1]);
        // Sixteen bytes from the beginning, the next sixteen, and those that end as far from the end.
        let mixed = [mixed(0, 0), mixed(16, 4), mixed(SEALED_BYTES - 32, 6)];
        let before = mixed.into_iter().fold(PRIME64_1.wrapping_mul(SEALED_BYTES as u64), u64::wrapping_add);
        Self { before, beside: word(SEALED_BYTES - 16) ^ SECRET[2] }
    }

    fn of(&self, sequence: i64) -> u32 {
        const PRIME_MX1: u64 = 0x1656_6791_9e37_79f9;
        let last = mix(self.beside, (sequence as u64).swap_bytes() ^ SECRET[3]);
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

    proptest! {
        #[test]
        fn the_sum_is_that_of_all_bytes_together(
            channel: [u8; 16],
            epoch: u64,
            first in 1..=MAX_SEQUENCE,
            previous: u64,
            sequence in 0..=i64::MAX,
        ) {
            let lineage = Lineage::Epoch { first, previous: Epoch::from_u64(previous) };
            let words = if epoch == 0 { [0; 4] } else { [epoch, first as u64, previous, 0] };
            let mut bytes = [&[VERSION, CHANNEL], &channel[..]].concat();
            for word in [words[0], words[1], words[2], sequence as u64] {
                bytes.extend_from_slice(&word.to_be_bytes());
            }
            let sum = checksum(&bytes);
            bytes.extend_from_slice(&sum);
            let mut text = [0; CHANNEL_TEXT_BYTES];
            base64url(&bytes, &mut text);
            let channel = ChannelHash::from_bytes(channel);
            prop_assert_eq!(Series::new(channel, Epoch::from_u64(epoch), lineage).at(sequence), text);
        }
    }
}
