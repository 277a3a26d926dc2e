//! Frames that were made lately: a message that comes through several topics is kept once for all of them.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;

use crate::chunk::Chunk;

/// Chunks of this size and more are worth to be compared.
const LEAST_BYTES: usize = 1 << 10;
/// Topics bring a message one after the other, so the one that is alike is mostly the last.
const MOST: usize = 4;

/// The frames of the last few chunks.
#[derive(Debug, Default)]
pub(super) struct Made(VecDeque<Bytes>);

impl Made {
    /// Gives a chunk the bytes of an earlier one that has the same.
    pub(super) fn share(&mut self, chunk: &mut Arc<Chunk>) {
        if chunk.bytes.len() < LEAST_BYTES {
            return;
        }
        match self.0.iter().find(|made| **made == chunk.bytes) {
            Some(made) => {
                if let Some(chunk) = Arc::get_mut(chunk) {
                    chunk.bytes = made.clone();
                }
            }
            None => {
                self.0.push_front(chunk.bytes.clone());
                self.0.truncate(MOST);
            }
        }
    }

    /// Lets go of them.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(bytes: Vec<u8>) -> Arc<Chunk> {
        Arc::new(Chunk { bytes: bytes.into(), runs: Vec::new(), entries: Vec::new() })
    }

    #[test]
    fn what_is_the_same_is_kept_once() {
        let mut made = Made::default();
        let (mut one, mut other) = (chunk(vec![1; LEAST_BYTES]), chunk(vec![2; LEAST_BYTES]));
        let (mut alike, mut small) = (chunk(vec![1; LEAST_BYTES]), chunk(vec![1]));
        for chunk in [&mut one, &mut other, &mut small, &mut alike] {
            made.share(chunk);
        }
        assert_eq!(alike.bytes.as_ptr(), one.bytes.as_ptr());
        assert_eq!(other.bytes[..], [2; LEAST_BYTES]);
        assert_eq!(made.0.len(), 2);
        made.clear();
        let mut later = chunk(vec![1; LEAST_BYTES]);
        made.share(&mut later);
        assert_ne!(later.bytes.as_ptr(), one.bytes.as_ptr());
    }
}
