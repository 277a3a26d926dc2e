//! Events as gRPC frames, and chunks of them: what one read of the live connection brought, encoded once for all
//! streams.
//!
//! A frame is a flag byte (0, not compressed), four bytes of length, and the protobuf of a `StreamMessagesResponse`.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message as _;
use tidings::{
    broker::{Gap, GapReason},
    channel::ChannelName,
    cursor::{self, ChannelHash},
    envelope::{Envelope, Parts},
    limits::CHUNK_BYTES,
    message::{Lineage, Mark, Payload, Position},
    pb::{self, stream_messages_response::Event},
};

mod log;
mod wire;

pub(crate) use log::of_log;
use wire::Series;

/// A message as the contract has it. Sequence 0 stands for one that has no place of its own; its cursor is its
/// predecessor's.
pub(crate) fn message(
    channel: &ChannelName,
    channel_hash: ChannelHash,
    envelope: Envelope,
    sequence: i64,
    mark: Mark,
) -> pb::Message {
    pb::Message {
        message_id: envelope.id.to_string(),
        channel: channel.as_str().to_owned(),
        attributes: envelope.attributes.into_iter().collect(),
        ordering_key: envelope.ordering_key,
        publish_time: Some(pb::timestamp(envelope.time_ms)),
        sequence,
        epoch: if sequence == 0 { String::new() } else { epoch_text(mark.position) },
        cursor: cursor::encode_hashed(channel_hash, mark),
        payload: Some(match envelope.payload {
            Payload::Text(text) => pb::message::Payload::Text(text),
            Payload::Json(json) => pb::message::Payload::Json(json),
            Payload::Data(data) => pb::message::Payload::Data(data),
        }),
    }
}

fn epoch_text(position: Position) -> String {
    position.epoch.map(|epoch| epoch.to_string()).unwrap_or_default()
}

/// A gap as the contract has it, with where the position lies at which the reader goes on.
pub(crate) fn gap(channel: &ChannelName, gap: &Gap, lineage: Lineage) -> Event {
    let reason = match gap.reason {
        GapReason::Trimmed => pb::GapReason::Trimmed,
        GapReason::EpochChanged => pb::GapReason::EpochChanged,
        GapReason::NotRetained => pb::GapReason::NotRetained,
    };
    Event::Gap(pb::Gap {
        channel: channel.as_str().to_owned(),
        epoch: gap.epoch.map(|epoch| epoch.to_string()).unwrap_or_default(),
        first_missing: gap.first_missing,
        last_missing: gap.last_missing,
        reason: reason.into(),
        cursor: cursor::encode(channel, Mark { position: gap.resume, lineage }),
    })
}

/// Appends one event as a frame.
pub(crate) fn put(buffer: &mut BytesMut, event: Event) {
    let response = pb::StreamMessagesResponse { event: Some(event) };
    let length = response.encoded_len();
    buffer.reserve(5 + length);
    buffer.put_u8(0);
    // A message is at most a few MiB.
    buffer.put_u32(length as u32);
    response.encode_raw(buffer);
}

/// One event as a frame.
pub(crate) fn frame(event: Event) -> Bytes {
    let mut frame = BytesMut::new();
    put(&mut frame, event);
    frame.freeze()
}

/// Appends a message's frame with another cursor: that of a stream which stands elsewhere than the chunk's messages
/// lead to.
pub(crate) fn put_with_cursor(buffer: &mut BytesMut, frame: &[u8], cursor: String) {
    match frame.get(5..).map(pb::StreamMessagesResponse::decode) {
        Some(Ok(pb::StreamMessagesResponse { event: Some(Event::Message(message)) })) => {
            put(buffer, Event::Message(pb::Message { cursor, ..message }));
        }
        // Our own frames can be read.
        _ => buffer.extend_from_slice(frame),
    }
}

/// Frames of messages, in the order of their arrival, ready to be sent as they are.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// All frames, one behind the other.
    pub(crate) bytes: Bytes,
    /// What the chunk holds of each channel; one run for a channel.
    pub(crate) runs: Vec<Run>,
    /// One for each frame.
    pub(crate) entries: Vec<Entry>,
}

/// The messages of one channel in a chunk: consecutive, in one epoch.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) channel: ChannelName,
    /// Where a reader must stand to take all of it.
    pub(crate) before: Position,
    /// The last sequence in it; that of `before` when there are only messages without a place.
    pub(crate) last: i64,
    /// Log time of the last message that has a place, ms; 0 when none has.
    pub(crate) time_ms: i64,
    /// Where all of it lies.
    pub(crate) lineage: Lineage,
    /// Its epoch is the channel's first, and messages are known to be lost before it.
    pub(crate) after_loss: bool,
}

impl Run {
    /// Where it leads.
    pub(crate) fn end(&self) -> Position {
        Position { epoch: self.before.epoch, sequence: self.last }
    }
}

/// One frame of a chunk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    /// Which of the runs it belongs to.
    pub(crate) run: u32,
    /// Where it ends in the chunk's bytes.
    pub(crate) end: u32,
    /// 0 for a message without a place.
    pub(crate) sequence: i64,
    /// Log time, ms.
    pub(crate) time_ms: i64,
}

/// Where a message stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// What it follows.
    pub(crate) before: Position,
    /// 0 where it has no place of its own.
    pub(crate) sequence: i64,
    /// What its cursor says.
    pub(crate) position: Position,
    /// Log time, ms: its publish time, unless a plain program wrote that.
    pub(crate) time_ms: i64,
}

/// Where an epoch comes from.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Origin {
    pub(crate) lineage: Lineage,
    /// It is its channel's first, and messages are known to be lost before it.
    pub(crate) after_loss: bool,
}

/// Makes chunks out of messages as they come.
#[derive(Debug)]
pub(crate) struct Builder {
    buffer: Vec<u8>,
    series: Series,
    runs: Vec<Run>,
    entries: Vec<Entry>,
    done: Vec<Chunk>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            buffer: Vec::new(),
            series: Series::new(ChannelHash::from_bytes([0; ChannelHash::BYTES]), None, Lineage::Unknown),
            runs: Vec::new(),
            entries: Vec::new(),
            done: Vec::new(),
        }
    }
}

impl Builder {
    /// Adds a message of a channel. Where its epoch comes from is asked only where that is news.
    pub(crate) fn push(
        &mut self,
        channel: &ChannelName,
        hash: ChannelHash,
        place: Place,
        parts: &Parts<'_>,
        origin: impl Fn() -> Origin,
    ) {
        let Place { before, sequence, position, time_ms } = place;
        let run = match self.run_for(channel, before) {
            Some(run) => run,
            None => {
                let Origin { lineage, after_loss } = origin();
                let (channel, last) = (channel.clone(), before.sequence);
                self.runs.push(Run { channel, before, last, time_ms: 0, lineage, after_loss });
                self.runs.len() - 1
            }
        };
        if sequence > 0 {
            self.runs[run].last = sequence;
            self.runs[run].time_ms = time_ms;
        }
        if !self.series.is_of(hash, position.epoch) {
            self.series = Series::new(hash, position.epoch, origin().lineage);
        }
        self.series.put(&mut self.buffer, channel, parts, sequence, position.sequence);
        self.entries.push(Entry { run: run as u32, end: self.buffer.len() as u32, sequence, time_ms });
        if self.buffer.len() >= CHUNK_BYTES {
            self.seal(true);
        }
    }

    /// The run that the message continues. Where the channel has one that it does not continue, the chunk ends, so
    /// that within a chunk a channel is always consecutive.
    fn run_for(&mut self, channel: &ChannelName, before: Position) -> Option<usize> {
        let run = self.runs.iter().position(|run| run.channel == *channel)?;
        let Run { before: start, last, .. } = &self.runs[run];
        if start.epoch == before.epoch && *last == before.sequence {
            return Some(run);
        }
        self.seal(false);
        None
    }

    fn seal(&mut self, full: bool) {
        if self.entries.is_empty() {
            return;
        }
        // A copy of the right size: a slice of a large buffer would keep all of it alive.
        let bytes = Bytes::copy_from_slice(&self.buffer);
        self.buffer.clear();
        // Where one is full, the next mostly has as many.
        let room = if full { self.entries.len() } else { 0 };
        self.done.push(Chunk {
            bytes,
            runs: std::mem::take(&mut self.runs),
            entries: std::mem::replace(&mut self.entries, Vec::with_capacity(room)),
        });
    }

    /// Ends the last chunk and hands out all of them.
    pub(crate) fn finish(&mut self) -> Vec<Chunk> {
        self.seal(false);
        std::mem::take(&mut self.done)
    }
}
