//! A message as an event of a stream, written as protobuf at once: what prost makes of
//! [`message`](crate::event::message), without an allocation for each field. This is done once for each message that
//! arrives, and decides how fast a channel can be.

use tidings::{
    channel::ChannelName,
    cursor::{self, ChannelHash, OWN_TEXT_BYTES},
    envelope::{Content, Parts},
    message::{Epoch, Lineage},
    protobuf::{Small, delimited_length, number_length, time},
};

mod event_template;

use event_template::{EventTemplate, TemplateKey};
use tidings_transport::encoding::Encoder;

const TEXT: u8 = 3;
const JSON: u8 = 4;
const DATA: u8 = 5;

/// What the events of one channel and epoch have in common.
#[derive(Debug)]
pub(super) struct Series {
    hash: ChannelHash,
    epoch: Option<Epoch>,
    digits: Option<[u8; 16]>,
    cursors: cursor::Series,
    /// What the event before was like, and that event where two in a row were alike.
    last: Option<TemplateKey>,
    template: Option<EventTemplate>,
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

    /// Encodes a message. Sequence 0 is for one without a number, whose cursor is just after `after`.
    pub(super) fn encode(
        &mut self,
        encoder: &mut Encoder,
        channel: &ChannelName,
        parts: &Parts<'_>,
        sequence: i64,
        after: i64,
    ) {
        let key = TemplateKey::of(parts, sequence, after);
        if let (Some(template), Some(key)) = (&self.template, &key)
            && template.is_of(key)
        {
            return template.encode(encoder, parts, sequence, &self.cursors);
        }
        let is_like_last = key.is_some() && self.last == key && self.digits.is_some();
        let template = is_like_last.then_some(key).flatten();
        self.template = self.encode_whole(encoder, channel, parts, (sequence, after), template);
        self.last = key;
    }

    /// The same for any message. Makes a template of it where a key is given.
    fn encode_whole(
        &self,
        encoder: &mut Encoder,
        channel: &ChannelName,
        parts: &Parts<'_>,
        (sequence, after): (i64, i64),
        key: Option<TemplateKey>,
    ) -> Option<EventTemplate> {
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
        begin.begin(2, length);
        begin.begin(1, parts.id.len());
        begin.bytes(parts.id);
        encoder.written(delimited_length(length), |buffer| {
            let start = buffer.len();
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
            key.map(|key| EventTemplate::new(channel.len(), key, &buffer[start..], self.cursors.text_bytes()))
        })
    }

    /// What follows the payload, and varies in size by a few bytes: time, sequence, epoch and cursor.
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
