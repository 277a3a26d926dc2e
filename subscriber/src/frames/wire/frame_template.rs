//! The fast path for messages like the one before: its frame once more, with what is the message's own written over it.
//! In a log that is most of them, since what is published together has one date, and programs publish texts of a size.

use std::ops::Range;

use tidings::{
    channel::ChannelName,
    cursor::{self, OWN_TEXT_BYTES},
    envelope::{Content, Parts},
    protobuf::{number_length, time, varint_length},
};

use super::bytes_length;

/// What decides where in a frame everything stands, and all that it says but for id, text, sequence and cursor. Only
/// texts without attributes and ordering key have it, whose cursor is their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TemplateKey {
    time_ms: i64,
    text_bytes: usize,
    /// Of the sequence in protobuf.
    sequence_bytes: usize,
}

/// A frame, and where in it stands what the next one has in the same place. It belongs to one channel and epoch.
#[derive(Debug)]
pub(super) struct FrameTemplate {
    key: TemplateKey,
    frame: Vec<u8>,
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

impl FrameTemplate {
    /// Of a frame that was just written for such a message, whose cursor has so many bytes.
    pub(super) fn new(channel: &ChannelName, key: TemplateKey, frame: &[u8], cursor_bytes: usize) -> Self {
        let TemplateKey { time_ms, text_bytes, sequence_bytes } = key;
        let (seconds, nanos) = time(time_ms);
        // From the end: the cursor, with tag and length, and so the epoch; the sequence, and its tag; the time.
        let sequence_end = frame.len() - (2 + cursor_bytes) - (2 + 16);
        let sequence = sequence_end - sequence_bytes..sequence_end;
        let text_end = sequence.start - 1 - (2 + number_length(seconds) + number_length(nanos));
        let text = text_end - text_bytes..text_end;
        // The text's tag and length, and the channel.
        let id_end = text.start - 1 - varint_length(text_bytes as u64) - bytes_length(channel.as_str().as_bytes());
        let (id, cursor) = (id_end - 36, frame.len() - OWN_TEXT_BYTES);
        Self { key, frame: frame.to_vec(), id, text, sequence, cursor }
    }

    /// Whether the frame of such a message differs in these places only.
    pub(super) fn is_of(&self, key: &TemplateKey) -> bool {
        self.key == *key
    }

    /// Appends the frame of another such message.
    pub(super) fn put(&self, buffer: &mut Vec<u8>, parts: &Parts<'_>, sequence: i64, cursors: &cursor::Series) {
        let Content::Text(text) = parts.content else { return };
        let start = buffer.len();
        buffer.extend_from_slice(&self.frame);
        let frame = &mut buffer[start..];
        frame[self.id..][..parts.id.len()].copy_from_slice(&parts.id);
        frame[self.text.clone()].copy_from_slice(text);
        let mut number = sequence as u64;
        for byte in &mut frame[self.sequence.clone()] {
            *byte = number as u8 | 0x80;
            number >>= 7;
        }
        // As many bytes as it has: the last one ends it.
        frame[self.sequence.end - 1] &= 0x7f;
        cursors.put_own(sequence, &mut frame[self.cursor..]);
    }
}
