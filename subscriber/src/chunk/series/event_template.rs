//! The fast path for messages like the one before: its event once more, with what is the message's own written over it.
//! In a log that is most of them, since what is published together has one date, and programs publish texts of a size.

use std::ops::Range;

use tidings::{
    cursor::{self, OWN_TEXT_BYTES},
    envelope::{Content, Parts},
    protobuf::{delimited_length, number_length, time, varint_length},
};

use tidings_transport::encoding::Encoder;

/// What decides the layout of an event, and all of its content but id, text, sequence and cursor. Only texts without
/// attributes and ordering key have one, if their cursor is their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TemplateKey {
    time_ms: i64,
    text_bytes: usize,
    /// Of the sequence in protobuf.
    sequence_bytes: usize,
}

/// An event as protobuf, and the offsets at which the next one differs. It belongs to one channel and epoch.
#[derive(Debug)]
pub(super) struct EventTemplate {
    key: TemplateKey,
    event: Vec<u8>,
    id: usize,
    text: Range<usize>,
    sequence: Range<usize>,
    cursor: usize,
}

impl TemplateKey {
    pub(super) fn of(parts: &Parts<'_>, sequence: i64, after: i64) -> Option<Self> {
        let Content::Text(text) = parts.content else { return None };
        let is_own = sequence > 0 && sequence == after;
        if !is_own || !parts.attributes.is_empty() || !parts.ordering_key.is_empty() {
            return None;
        }
        let sequence_bytes = varint_length(sequence as u64);
        Some(Self { time_ms: parts.time_ms, text_bytes: text.len(), sequence_bytes })
    }
}

impl EventTemplate {
    /// Of an event that was just written for such a message, of a channel whose name has so many bytes, with a cursor
    /// of so many.
    pub(super) fn new(channel_bytes: usize, key: TemplateKey, event: &[u8], cursor_bytes: usize) -> Self {
        let TemplateKey { time_ms, text_bytes, sequence_bytes } = key;
        let (seconds, nanos) = time(time_ms);
        // From the end: the cursor, with tag and length, and so the epoch; the sequence, and its tag; the time.
        let sequence_end = event.len() - (2 + cursor_bytes) - (2 + 16);
        let sequence = sequence_end - sequence_bytes..sequence_end;
        let text_end = sequence.start - 1 - (2 + number_length(seconds) + number_length(nanos));
        let text = text_end - text_bytes..text_end;
        // The text's tag and length, and the channel.
        let id_end = text.start - 1 - varint_length(text_bytes as u64) - delimited_length(channel_bytes);
        let (id, cursor) = (id_end - 36, event.len() - OWN_TEXT_BYTES);
        Self { key, event: event.to_vec(), id, text, sequence, cursor }
    }

    /// Whether the event of such a message differs at these offsets only.
    pub(super) fn is_of(&self, key: &TemplateKey) -> bool {
        self.key == *key
    }

    /// Encodes another such message.
    pub(super) fn encode(&self, encoder: &mut Encoder, parts: &Parts<'_>, sequence: i64, cursors: &cursor::Series) {
        let Content::Text(text) = parts.content else { return };
        encoder.written(self.event.len(), |buffer| {
            let start = buffer.len();
            buffer.extend_from_slice(&self.event);
            let event = &mut buffer[start..];
            event[self.id..][..parts.id.len()].copy_from_slice(&parts.id);
            event[self.text.clone()].copy_from_slice(text);
            let mut number = sequence as u64;
            for byte in &mut event[self.sequence.clone()] {
                *byte = number as u8 | 0x80;
                number >>= 7;
            }
            // As many bytes as it has: the last one ends it.
            event[self.sequence.end - 1] &= 0x7f;
            cursors.put_own(sequence, &mut event[self.cursor..]);
        });
    }
}
