//! A part of a chunk.

use std::ops::Range;

use tidings::pb::{self, stream_messages_response::Event};
use tidings_transport::encoding::{Block, Encoded, Encoder};

/// Collects some of a block's messages. Neighbours are taken together; where there is nothing else, they are shared
/// with the block and not copied.
pub(super) struct Cut<'a> {
    block: &'a Block,
    encoder: Encoder,
    /// Neighbours that were taken and are not encoded yet.
    neighbours: Range<usize>,
    messages: usize,
}

impl<'a> Cut<'a> {
    /// Nothing of a block yet, after what is encoded already.
    pub(super) fn new(block: &'a Block, before: Encoder) -> Self {
        Self { block, encoder: before, neighbours: 0..0, messages: 0 }
    }

    /// Takes a message, by its index.
    pub(super) fn take(&mut self, index: usize) {
        if self.neighbours.end != index || self.neighbours.is_empty() {
            self.flush();
            self.neighbours.start = index;
        }
        self.neighbours.end = index + 1;
        self.messages += 1;
    }

    /// Takes a message with another cursor: that of a stream whose position is not the one that the chunk's messages
    /// lead to.
    pub(super) fn take_with_cursor(&mut self, index: usize, cursor: String) {
        let response = self.block.part(index..index + 1).messages::<pb::StreamMessagesResponse>().next();
        let Some(Event::Message(message)) = response.and_then(|response| response.event) else {
            // A block has messages only.
            return self.take(index);
        };
        self.flush();
        let event = Some(Event::Message(pb::Message { cursor, ..message }));
        self.encoder.message(&pb::StreamMessagesResponse { event });
        self.messages += 1;
    }

    /// How many messages were taken.
    pub(super) fn messages(&self) -> usize {
        self.messages
    }

    /// What was taken.
    pub(super) fn finish(mut self) -> Encoded {
        if self.encoder.is_empty() {
            return self.block.part(self.neighbours);
        }
        self.flush();
        self.encoder.take()
    }

    fn flush(&mut self) {
        let neighbours = std::mem::take(&mut self.neighbours);
        if !neighbours.is_empty() {
            self.encoder.append(&self.block.part(neighbours));
        }
    }
}

#[cfg(test)]
mod tests {
    use tidings_transport::encoding::BlockBuilder;

    use super::*;

    fn block() -> Block {
        let mut builder = BlockBuilder::default();
        for sequence in 0..6 {
            let message = pb::Message { sequence, cursor: "own".to_owned(), ..Default::default() };
            let response = pb::StreamMessagesResponse { event: Some(Event::Message(message)) };
            builder.push(|encoder| encoder.message(&response));
        }
        builder.copy(1 << 10)
    }

    fn cut(block: &Block, select: impl FnOnce(&mut Cut<'_>)) -> Vec<(i64, String)> {
        let mut cut = Cut::new(block, Encoder::default());
        select(&mut cut);
        let taken = cut.messages();
        let messages: Vec<_> = cut.finish().messages::<pb::StreamMessagesResponse>().collect();
        assert_eq!(messages.len(), taken);
        let messages = messages.into_iter().map(|response| match response.event {
            Some(Event::Message(message)) => (message.sequence, message.cursor),
            other => panic!("not a message: {other:?}"),
        });
        messages.collect()
    }

    #[test]
    fn what_is_taken_comes_in_order_and_once() {
        let block = block();
        let own = |sequences: &[i64]| sequences.iter().map(|n| (*n, "own".to_owned())).collect::<Vec<_>>();
        assert_eq!(cut(&block, |_| {}), []);
        for some in [&[0][..], &[5], &[2, 3, 4], &[0, 2, 3, 5], &[0, 1, 2, 3, 4, 5]] {
            assert_eq!(cut(&block, |cut| some.iter().for_each(|n| cut.take(*n as usize))), own(some));
        }
    }

    #[test]
    fn neighbours_alone_are_not_copied() {
        let block = block();
        let mut cut = Cut::new(&block, Encoder::default());
        (2..5).for_each(|index| cut.take(index));
        assert_eq!(cut.finish(), block.part(2..5));
    }

    #[test]
    fn a_cursor_of_the_streams_own_changes_nothing_else() {
        let mut expected: Vec<_> = (0..6).map(|n| (n, "own".to_owned())).collect();
        expected[3].1 = "another".to_owned();
        let block = block();
        let messages = cut(&block, |cut| {
            (0..3).for_each(|index| cut.take(index));
            cut.take_with_cursor(3, "another".to_owned());
            (4..6).for_each(|index| cut.take(index));
        });
        assert_eq!(messages, expected);
    }
}
