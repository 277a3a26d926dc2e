//! Where a body is among its messages.

use crate::limits::{DECODE_BYTES, UNRESERVED_BYTES};

/// The flag byte and the length of a gRPC frame.
pub(in crate::server) const PREFIX: usize = 5;

/// What of a body has come so far.
#[derive(Debug, Default)]
pub(super) struct Frames {
    messages: usize,
    prefix: [u8; PREFIX],
    /// Bytes of the prefix that have come, as long as it is not whole.
    known: usize,
    /// Bytes of the message that are to come.
    left: usize,
}

impl Frames {
    /// Takes what came next. Answers how long the last message is that began here, where that is large. One that is longer than can be
    /// decoded is refused by its prefix, and reserves nothing.
    pub(super) fn pass(&mut self, mut data: &[u8]) -> Option<u32> {
        let mut large = None;
        while !data.is_empty() {
            if self.left > 0 {
                let part = self.left.min(data.len());
                self.left -= part;
                data = &data[part..];
                continue;
            }
            self.messages += usize::from(self.known == 0);
            let (part, rest) = data.split_at((PREFIX - self.known).min(data.len()));
            self.prefix[self.known..][..part.len()].copy_from_slice(part);
            self.known += part.len();
            data = rest;
            if self.known == PREFIX {
                let [_, length @ ..] = self.prefix;
                let length = u32::from_be_bytes(length);
                (self.known, self.left) = (0, length as usize);
                if (UNRESERVED_BYTES + 1..=DECODE_BYTES).contains(&self.left) {
                    large = Some(length);
                }
            }
        }
        large
    }

    /// Messages that have begun.
    pub(super) fn messages(&self) -> usize {
        self.messages
    }

    /// Whether a message has begun and not ended.
    pub(super) fn is_within(&self) -> bool {
        self.known > 0 || self.left > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize) -> Vec<u8> {
        [&[0][..], &(length as u32).to_be_bytes(), &vec![7; length]].concat()
    }

    #[test]
    fn messages_are_told_apart_in_whatever_parts_they_come() {
        let large = UNRESERVED_BYTES + 1;
        let body = [frame(0), frame(3), frame(large), frame(1)].concat();
        for size in [1, 2, 7, 4_000, body.len()] {
            let (mut frames, mut told) = (Frames::default(), Vec::new());
            for part in body.chunks(size) {
                told.extend(frames.pass(part));
            }
            assert_eq!((frames.messages(), frames.is_within()), (4, false), "{size}");
            assert_eq!(told, [large as u32], "{size}");
        }
        let mut frames = Frames::default();
        assert!(!frames.is_within());
        assert_eq!((frames.pass(&[0, 0]), frames.is_within(), frames.messages()), (None, true, 1));
    }

    #[test]
    fn what_is_small_or_can_not_be_decoded_reserves_nothing() {
        for length in [0, UNRESERVED_BYTES, DECODE_BYTES + 1, u32::MAX as usize] {
            let prefix = [&[0][..], &(length as u32).to_be_bytes()].concat();
            assert_eq!(Frames::default().pass(&prefix), None, "{length}");
        }
    }
}
