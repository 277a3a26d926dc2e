//! Chunks that were made lately: a message that comes through several topics is kept once for all of them.

use std::sync::Arc;

use tidings::limits::HELD_BYTES;
use tidings_transport::encoding::Encoded;

use crate::chunk::Chunk;

/// Chunks of this size and more are worth comparing.
const LEAST_BYTES: usize = 1 << 10;
/// Topics bring a message one after the other, so the one that is alike is mostly among the last.
const LAST: usize = 4;
/// Bytes of the chunks that are remembered: what waited for a head comes in a row, and again for the next topic.
const MOST_BYTES: usize = HELD_BYTES;

/// The messages of the last chunks.
#[derive(Debug, Default)]
pub(super) struct Made {
    chunks: Vec<Encoded>,
    bytes: usize,
    /// The one that comes after the last that was alike, or the first: where a row of them is repeated, the next.
    next: usize,
}

impl Made {
    /// Has a chunk share the bytes of an earlier one that has the same.
    pub(super) fn share(&mut self, chunk: &mut Arc<Chunk>) {
        if chunk.block.bytes() < LEAST_BYTES {
            return;
        }
        // It was just made, and nobody else has it.
        let Some(chunk) = Arc::get_mut(chunk) else { return };
        let last = self.chunks.len().saturating_sub(LAST)..self.chunks.len();
        let mut likely = last.rev();
        let next = self.chunks.get(self.next).filter(|next| chunk.block.share(next)).map(|_| self.next);
        match next.or_else(|| likely.find(|index| chunk.block.share(&self.chunks[*index]))) {
            Some(index) => self.next = index + 1,
            None => self.add(chunk.block.all()),
        }
        if self.next == self.chunks.len() {
            self.next = 0;
        }
    }

    fn add(&mut self, chunk: Encoded) {
        if self.bytes + chunk.len() > MOST_BYTES {
            self.clear();
        }
        self.bytes += chunk.len();
        self.chunks.push(chunk);
        self.next = 0;
    }

    /// Forgets them.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use tidings_transport::encoding::BlockBuilder;

    use super::*;

    fn chunk(text: &str, bytes: usize) -> Arc<Chunk> {
        let mut block = BlockBuilder::default();
        block.push(|encoder| encoder.message(&text.repeat(bytes)));
        Arc::new(Chunk { block: block.copy(0), ..Chunk::default() })
    }

    #[test]
    fn what_is_the_same_is_kept_once() {
        let mut made = Made::default();
        let (mut one, mut other) = (chunk("1", LEAST_BYTES), chunk("2", LEAST_BYTES));
        let (mut alike, mut small) = (chunk("1", LEAST_BYTES), chunk("1", 1));
        for chunk in [&mut one, &mut other, &mut small, &mut alike] {
            made.share(chunk);
        }
        assert!(alike.block.all().is_shared_with(&one.block.all()));
        assert_eq!(other.block.all(), chunk("2", LEAST_BYTES).block.all());
        assert_eq!(made.chunks.len(), 2);
        made.clear();
        let mut later = chunk("1", LEAST_BYTES);
        made.share(&mut later);
        assert!(!later.block.all().is_shared_with(&one.block.all()));
    }

    #[test]
    fn a_row_that_is_repeated_is_kept_once() {
        let mut made = Made::default();
        let row = || (0..100).map(|n| chunk(&n.to_string(), LEAST_BYTES)).collect::<Vec<_>>();
        let shared = |made: &mut Made, mut row: Vec<Arc<Chunk>>| {
            row.iter_mut().for_each(|chunk| made.share(chunk));
            row.iter().map(|chunk| chunk.block.all()).collect::<Vec<_>>()
        };
        let first = shared(&mut made, row());
        for from in [0, 0, 97, 0] {
            let again = shared(&mut made, row().split_off(from));
            assert!(again.iter().zip(&first[from..]).all(|(again, first)| again.is_shared_with(first)), "{from}");
        }
        assert_eq!(made.chunks.len(), 100);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut made = Made::default();
        for n in 0..3 * MOST_BYTES / (1 << 20) {
            made.share(&mut chunk(&format!("{n:04}"), 1 << 18));
            assert!(made.bytes <= MOST_BYTES && made.bytes == made.chunks.iter().map(Encoded::len).sum::<usize>());
        }
    }
}
