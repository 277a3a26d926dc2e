//! Chunks that were made lately: a message that comes through several topics is kept once for all of them.

use std::{collections::VecDeque, sync::Arc};

use tidings_transport::encoding::Encoded;

use crate::chunk::Chunk;

/// Chunks of this size and more are worth comparing.
const LEAST_BYTES: usize = 1 << 10;
/// Topics bring a message one after the other, so the one that is alike is mostly the last.
const MOST: usize = 4;

/// The messages of the last few chunks.
#[derive(Debug, Default)]
pub(super) struct Made(VecDeque<Encoded>);

impl Made {
    /// Has a chunk share the bytes of an earlier one that has the same.
    pub(super) fn share(&mut self, chunk: &mut Arc<Chunk>) {
        if chunk.block.bytes() < LEAST_BYTES {
            return;
        }
        // It was just made, and nobody else has it.
        let Some(chunk) = Arc::get_mut(chunk) else { return };
        if !self.0.iter().any(|made| chunk.block.share(made)) {
            self.0.push_front(chunk.block.all());
            self.0.truncate(MOST);
        }
    }

    /// Forgets them.
    pub(super) fn clear(&mut self) {
        self.0.clear();
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
        assert_eq!(made.0.len(), 2);
        made.clear();
        let mut later = chunk("1", LEAST_BYTES);
        made.share(&mut later);
        assert!(!later.block.all().is_shared_with(&one.block.all()));
    }
}
