//! The one message of a request, read off its body as it comes.

use bytes::{Bytes, BytesMut};

use crate::prefix;

/// What has been read. Mostly one part is all, which is taken as it lies.
#[derive(Debug, Default)]
pub(super) struct Message {
    first: Bytes,
    /// All of it, from the second part on.
    all: BytesMut,
}

impl Message {
    /// Takes what came next. Says whether it can still become one ordinary message. Where that has its share of memory,
    /// room is made for all of it; a claim alone makes none.
    pub(super) fn add(&mut self, data: Bytes, has_share: bool) -> bool {
        if self.all.is_empty() && self.first.is_empty() {
            self.first = data;
        } else {
            if self.all.is_empty() {
                self.all.extend_from_slice(&std::mem::take(&mut self.first));
            }
            if has_share {
                self.all.reserve(whole(&self.all).unwrap_or_default().saturating_sub(self.all.len()));
            }
            self.all.extend_from_slice(&data);
        }
        let so_far = self.so_far();
        so_far.len() < prefix::BYTES || whole(so_far).is_some_and(|whole| so_far.len() <= whole)
    }

    /// What there is.
    pub(super) fn so_far(&self) -> &[u8] {
        if self.all.is_empty() { &self.first } else { &self.all }
    }

    /// Whether it is a whole message.
    pub(super) fn is_whole(&self) -> bool {
        whole(self.so_far()).is_some_and(|whole| self.so_far().len() == whole)
    }

    /// All that was read.
    pub(super) fn take(&mut self) -> Bytes {
        if self.all.is_empty() { std::mem::take(&mut self.first) } else { self.all.split().freeze() }
    }
}

/// How long the frame is that begins so, where it is an ordinary one: not compressed, and within the limit.
fn whole(frame: &[u8]) -> Option<usize> {
    prefix::read(*frame.first_chunk()?).ok().map(|length| prefix::BYTES + length)
}

#[cfg(test)]
mod tests {
    use tidings::limits::DECODE_BYTES;

    use super::*;

    fn frame(flag: u8, length: u32, bytes: &[u8]) -> Vec<u8> {
        [&[flag][..], &length.to_be_bytes(), bytes].concat()
    }

    /// Adds the bytes in parts of a size, and says what came of it; whatever that is, all of them can be had back.
    fn read(bytes: &[u8], size: usize) -> Option<Bytes> {
        let mut read = Message::default();
        let mut taken = 0;
        for part in bytes.chunks(size) {
            taken += part.len();
            if !read.add(Bytes::copy_from_slice(part), size.is_multiple_of(2)) {
                assert_eq!(read.take(), bytes[..taken]);
                return None;
            }
        }
        let is_whole = read.is_whole();
        let all = read.take();
        assert_eq!(all, bytes);
        is_whole.then_some(all)
    }

    #[test]
    fn a_message_is_read_in_any_parts() {
        for message in [&b""[..], b"a", &[7; 300]] {
            let frame = frame(0, message.len() as u32, message);
            for size in 1..=frame.len() {
                assert_eq!(read(&frame, size).expect("whole"), frame, "{size}");
            }
        }
    }

    #[test]
    fn what_is_not_one_ordinary_message_is_none() {
        let too_long = DECODE_BYTES as u32 + 1;
        for odd in [
            vec![],
            vec![0],
            vec![0, 0, 0, 0],
            frame(0, 3, b"ab"),
            frame(0, 1, b"ab"),
            frame(1, 2, b"ab"),
            frame(2, 2, b"ab"),
            frame(0, too_long, b"ab"),
            frame(0, u32::MAX, b"ab"),
            [frame(0, 1, b"a"), frame(0, 1, b"a")].concat(),
        ] {
            for size in 1..=odd.len().max(1) {
                assert_eq!(read(&odd, size), None, "{odd:?} by {size}");
            }
        }
    }

    #[test]
    fn what_can_become_no_message_is_known_from_its_beginning() {
        for begin in [frame(1, 2, b""), frame(0, DECODE_BYTES as u32 + 1, b""), frame(0, 1, b"ab")] {
            assert!(!Message::default().add(Bytes::from(begin), false));
        }
        assert!(Message::default().add(Bytes::from(frame(0, DECODE_BYTES as u32, b"")), false));
    }

    /// Whatever a stranger sends, in parts as long as its first byte says.
    #[test]
    fn any_bytes_are_one_message_or_none() {
        let seeds = [frame(0, 3, b"abc"), frame(1, 3, b"abc"), [frame(0, 1, b"a"), frame(0, 0, b"")].concat()];
        let seeds = seeds.iter().flat_map(|seed| [1, 4, 200].map(|size| [&[size][..], seed].concat()));
        tidings_testing::bytes::throw(&seeds.collect::<Vec<_>>(), |bytes| {
            let Some((size, bytes)) = bytes.split_first() else { return };
            let is_message = bytes.split_first_chunk::<{ prefix::BYTES }>().is_some_and(|(prefix, message)| {
                prefix[0] == 0 && prefix[1..] == (message.len() as u32).to_be_bytes() && message.len() <= DECODE_BYTES
            });
            assert_eq!(read(bytes, usize::from(*size).max(1)).is_some(), is_message);
        });
    }

    #[test]
    fn a_claim_alone_makes_no_room() {
        for (has_share, least, most) in [(false, 0, 1 << 10), (true, DECODE_BYTES, 2 * DECODE_BYTES)] {
            let mut read = Message::default();
            assert!(read.add(Bytes::from(frame(0, DECODE_BYTES as u32, b"a")), has_share));
            assert!(read.add(Bytes::from_static(b"b"), has_share));
            assert!((least..=most).contains(&read.all.capacity()), "{}", read.all.capacity());
        }
    }

    #[test]
    fn one_part_is_not_copied() {
        let frame = Bytes::from(frame(0, 2, b"ab"));
        let mut read = Message::default();
        assert!(read.add(frame.clone(), false) && read.is_whole());
        assert_eq!(read.take().as_ptr(), frame.as_ptr());
    }
}
