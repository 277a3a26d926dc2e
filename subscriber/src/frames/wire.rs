//! A message as a frame, written straight into the buffer: what prost makes of [`message`](super::message), without a
//! text of its own for each field. This is done once for each message that is heard, and decides how fast a channel can
//! be.

use tidings::{
    channel::ChannelName,
    cursor::{self, ChannelHash, OWN_TEXT_BYTES},
    envelope::{Content, Parts},
    message::{Epoch, Lineage},
    protobuf::{Small, delimited_length, number_length, time},
};

mod frame_template;

use frame_template::{FrameTemplate, TemplateKey};

const TEXT: u8 = 3;
const JSON: u8 = 4;
const DATA: u8 = 5;

/// What the frames of one channel and epoch have in common.
#[derive(Debug)]
pub(super) struct Series {
    hash: ChannelHash,
    epoch: Option<Epoch>,
    digits: Option<[u8; 16]>,
    cursors: cursor::Series,
    /// What the frame before was like, and that frame where two in a row were alike.
    last: Option<TemplateKey>,
    template: Option<FrameTemplate>,
}

impl Series {
    pub(super) fn new(hash: ChannelHash, epoch: Option<Epoch>, lineage: Lineage) -> Self {
        let (digits, cursors) = (epoch.map(Epoch::digits), cursor::Series::new(hash, epoch, lineage));
        Self { hash, epoch, digits, cursors, last: None, template: None }
    }

    /// Whether it is the one of this channel and epoch.
    pub(super) fn is_of(&self, hash: ChannelHash, epoch: Option<Epoch>) -> bool {
        self.hash == hash && self.epoch == epoch
    }

    /// Appends the frame of a message. Sequence 0 stands for one that has no place of its own; its cursor is just after
    /// `after`.
    pub(super) fn put(
        &mut self,
        buffer: &mut Vec<u8>,
        channel: &ChannelName,
        parts: &Parts<'_>,
        sequence: i64,
        after: i64,
    ) {
        let key = TemplateKey::of(parts, sequence, after);
        if let (Some(template), Some(key)) = (&self.template, &key)
            && template.is_of(key)
        {
            return template.put(buffer, parts, sequence, &self.cursors);
        }
        let start = buffer.len();
        self.put_whole(buffer, channel, parts, sequence, after);
        self.template = match key {
            Some(key) if self.last == Some(key) && self.digits.is_some() => {
                Some(FrameTemplate::new(channel, key, &buffer[start..], self.cursors.text_bytes()))
            }
            _ => None,
        };
        self.last = key;
    }

    /// The same for any message.
    fn put_whole(&self, buffer: &mut Vec<u8>, channel: &ChannelName, parts: &Parts<'_>, sequence: i64, after: i64) {
        let (payload_field, payload) = match parts.content {
            Content::Text(text) => (TEXT, text),
            Content::Json(json) => (JSON, json.as_bytes()),
            Content::Data(data) => (DATA, data),
        };
        let end = self.end(parts.time_ms, sequence, after);
        let channel = channel.as_str().as_bytes();
        let attributes = parts.attributes;
        let ordering_key = parts.ordering_key.as_bytes();

        let length = delimited_length(parts.id.len())
            + bytes_length(channel)
            // A oneof is written also where it is empty.
            + delimited_length(payload.len())
            + attributes.iter().map(|(key, value)| delimited_length(pair_length(key, value))).sum::<usize>()
            + bytes_length(ordering_key)
            + end.written().len();
        let mut begin = Small::<64>::default();
        begin.byte(0);
        // A message is at most a few MiB.
        begin.bytes((delimited_length(length) as u32).to_be_bytes());
        begin.begin(2, length);
        begin.begin(1, parts.id.len());
        begin.bytes(parts.id);
        buffer.reserve(5 + delimited_length(length));
        buffer.extend_from_slice(begin.written());
        put_bytes(buffer, 2, channel);
        put_begin(buffer, payload_field, payload.len());
        buffer.extend_from_slice(payload);
        for (key, value) in attributes {
            put_begin(buffer, 6, pair_length(key, value));
            put_bytes(buffer, 1, key.as_bytes());
            put_bytes(buffer, 2, value.as_bytes());
        }
        put_bytes(buffer, 7, ordering_key);
        buffer.extend_from_slice(end.written());
    }

    /// What stands behind the payload and has a size that is known but for a few bytes: time, sequence, epoch and
    /// cursor.
    fn end(&self, time_ms: i64, sequence: i64, after: i64) -> Small<128> {
        let (seconds, nanos) = time(time_ms);
        let mut end = Small::default();
        end.begin(8, number_length(seconds) + number_length(nanos));
        end.number(1, seconds);
        end.number(2, nanos);
        end.number(9, sequence as u64);
        if let (Some(epoch), true) = (self.digits, sequence != 0) {
            end.begin(10, epoch.len());
            end.bytes(epoch);
        }
        end.begin(11, self.cursors.text_bytes());
        end.slice(self.cursors.same());
        self.cursors.put_own(after, end.room(OWN_TEXT_BYTES));
        end
    }
}

fn pair_length(key: &str, value: &str) -> usize {
    bytes_length(key.as_bytes()) + bytes_length(value.as_bytes())
}

/// What is empty is left out, as proto3 has it.
fn bytes_length(bytes: &[u8]) -> usize {
    if bytes.is_empty() { 0 } else { delimited_length(bytes.len()) }
}

fn put_begin(buffer: &mut Vec<u8>, field: u8, length: usize) {
    let mut begin = Small::<16>::default();
    begin.begin(field, length);
    buffer.extend_from_slice(begin.written());
}

fn put_bytes(buffer: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_begin(buffer, field, bytes.len());
        buffer.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests;
