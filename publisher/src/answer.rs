//! A receipt as the client gets it: as the generated type, and written as protobuf at once, which is the same to a byte
//! and spares an allocation for each field. Messages that were published together mostly have all but their ids and
//! sequences in common, which is written once.

use tidings::{
    broker::Receipt,
    channel::ChannelName,
    cursor::{self, ChannelHash, OWN_TEXT_BYTES, SHORT_TEXT_BYTES},
    message::{Epoch, Lineage},
    pb::{
        self, PublishBatchResponse, PublishResponse, PublishStreamResponse, publish_stream_response::Result as Outcome,
    },
    protobuf::{self, Small, delimited_length, number_length},
    status,
};
use tidings_transport::{encoding::Encoder, operation::Respond};
use tonic::{Code, Status};

/// A response with a channel's name of twenty bytes, about: what a batch's answer begins with room for.
const USUAL: usize = 168;

/// Any part of a response: at most 87 bytes, where all numbers are as large as can be.
type Part = Small<96>;
/// A field of sixteen digits, the tag and the length of the next, which is the cursor, and how that begins.
const AFTER: usize = 2 + 16 + 2 + SHORT_TEXT_BYTES - OWN_TEXT_BYTES;
const ID: usize = uuid::fmt::Hyphenated::LENGTH;
// Lengths of one byte are written as they are.
const _: () = assert!(ID < 128 && SHORT_TEXT_BYTES < 128);

/// The answer to a `Publish`.
pub(crate) struct ReceiptOfOne {
    responder: Responder,
    receipt: Receipt,
}

impl ReceiptOfOne {
    /// # Errors
    ///
    /// INTERNAL where the broker gave no receipt.
    pub(crate) fn new(responder: Responder, receipts: Vec<Receipt>) -> Result<Self, Status> {
        Ok(Self { responder, receipt: *only(&receipts)? })
    }
}

impl Respond for ReceiptOfOne {
    type Message = PublishResponse;

    fn into_message(mut self) -> PublishResponse {
        self.responder.respond(&self.receipt)
    }

    fn encode(mut self, encoder: &mut Encoder) {
        let written = self.responder.write(&self.receipt);
        encoder.written(written.length(), |buffer| written.put(buffer));
    }
}

/// The answer to a `PublishBatch`.
pub(crate) struct Receipts {
    responder: Responder,
    receipts: Vec<Receipt>,
}

impl Receipts {
    pub(crate) fn new(responder: Responder, receipts: Vec<Receipt>) -> Self {
        Self { responder, receipts }
    }
}

impl Respond for Receipts {
    type Message = PublishBatchResponse;

    fn into_message(mut self) -> PublishBatchResponse {
        PublishBatchResponse {
            responses: self.receipts.iter().map(|receipt| self.responder.respond(receipt)).collect(),
        }
    }

    fn encode(mut self, encoder: &mut Encoder) {
        encoder.written_about(self.receipts.len() * USUAL, |buffer| {
            for receipt in &self.receipts {
                self.responder.write(receipt).put_within(buffer);
            }
        });
    }
}

/// Makes the answers of messages that were published together.
pub(crate) struct Responder {
    channel: ChannelName,
    hash: ChannelHash,
    series: Option<Series>,
}

/// A response in three parts.
struct Written<'a> {
    id: [u8; 2 + ID],
    before: &'a [u8],
    end: Part,
}

/// What answers of one epoch and time have in common.
struct Series {
    epoch: Epoch,
    time_ms: i64,
    /// Channel and time, which a response has before its sequence.
    before: Vec<u8>,
    /// The epoch and the beginning of the cursor, which it has after its sequence.
    after: [u8; AFTER],
    cursors: cursor::Series,
}

impl Responder {
    pub(crate) fn new(channel: ChannelName) -> Self {
        Self { hash: cursor::channel_hash(channel.as_str()), channel, series: None }
    }

    /// A receipt for the client, and a line in the log for who looks for it.
    pub(crate) fn respond(&mut self, receipt: &Receipt) -> PublishResponse {
        let Receipt { id, epoch, sequence, time_ms, duplicate, replicas } = *receipt;
        self.log(receipt);
        let cursor = self.series(epoch, time_ms).cursors.text_at(sequence);
        PublishResponse {
            message_id: id.hyphenated().to_string(),
            channel: self.channel.as_str().to_owned(),
            publish_time: Some(pb::timestamp(time_ms)),
            sequence,
            epoch: epoch.to_string(),
            cursor,
            duplicate,
            replicas: i32::try_from(replicas).unwrap_or(i32::MAX),
        }
    }

    /// Encodes the answer to one publish of a `PublishStream`, and returns its code.
    pub(crate) fn encode_next(&mut self, encoder: &mut Encoder, receipt: Option<Receipt>) -> Code {
        let receipt = match only(receipt.as_slice()) {
            Ok(receipt) => receipt,
            Err(status) => return encode_error(encoder, &status),
        };
        let written = self.write(receipt);
        encoder.written(delimited_length(written.length()), |buffer| written.put_within(buffer));
        Code::Ok
    }

    /// A response as protobuf. What is zero is left out, as in proto3.
    fn write(&mut self, receipt: &Receipt) -> Written<'_> {
        self.log(receipt);
        let Receipt { id: uuid, epoch, sequence, time_ms, duplicate, replicas } = *receipt;
        let Series { before, after, cursors, .. } = self.series(epoch, time_ms);
        let mut id = [0; 2 + ID];
        id[..2].copy_from_slice(&[1 << 3 | 2, ID as u8]);
        uuid.hyphenated().encode_lower(&mut id[2..]);
        let mut end = Part::default();
        end.number(4, sequence as u64);
        end.bytes(*after);
        cursors.put_own(sequence, end.room(OWN_TEXT_BYTES));
        end.number(7, duplicate.into());
        end.number(8, i32::try_from(replicas).unwrap_or(i32::MAX) as u64);
        Written { id, before, end }
    }

    fn log(&self, receipt: &Receipt) {
        let Receipt { id, epoch, sequence, duplicate, .. } = *receipt;
        tracing::debug!(channel = %self.channel, %id, sequence, %epoch, duplicate, "published");
    }

    fn series(&mut self, epoch: Epoch, time_ms: i64) -> &Series {
        if self.series.as_ref().is_some_and(|series| (series.epoch, series.time_ms) != (epoch, time_ms)) {
            self.series = None;
        }
        self.series.get_or_insert_with(|| Series::new(&self.channel, self.hash, epoch, time_ms))
    }
}

impl Written<'_> {
    fn length(&self) -> usize {
        self.id.len() + self.before.len() + self.end.written().len()
    }

    fn put(&self, buffer: &mut Vec<u8>) {
        buffer.extend_from_slice(&self.id);
        buffer.extend_from_slice(self.before);
        buffer.extend_from_slice(self.end.written());
    }

    /// Appends it to a message that has it as field 1.
    fn put_within(&self, buffer: &mut Vec<u8>) {
        let mut begin = Part::default();
        begin.begin(1, self.length());
        buffer.extend_from_slice(begin.written());
        self.put(buffer);
    }
}

impl Series {
    fn new(channel: &ChannelName, hash: ChannelHash, epoch: Epoch, time_ms: i64) -> Self {
        let mut before = Vec::with_capacity(channel.as_str().len() + 32);
        let mut name = Part::default();
        name.begin(2, channel.as_str().len());
        before.extend_from_slice(name.written());
        before.extend_from_slice(channel.as_str().as_bytes());
        let (seconds, nanos) = protobuf::time(time_ms);
        let mut time = Part::default();
        time.begin(3, number_length(seconds) + number_length(nanos));
        time.number(1, seconds);
        time.number(2, nanos);
        before.extend_from_slice(time.written());
        let mut after = [0; AFTER];
        after[..2].copy_from_slice(&[5 << 3 | 2, 16]);
        after[2..18].copy_from_slice(&epoch.digits());
        after[18..20].copy_from_slice(&[6 << 3 | 2, SHORT_TEXT_BYTES as u8]);
        // A receipt's cursor does not say where its epoch comes from, and is short therefore; readers find it out.
        let cursors = cursor::Series::new(hash, Some(epoch), Lineage::Unknown);
        after[20..].copy_from_slice(cursors.same());
        Self { epoch, time_ms, before, after, cursors }
    }
}

/// Encodes the answer to a publish of a `PublishStream` that failed, and returns its code.
pub(crate) fn encode_error(encoder: &mut Encoder, status: &Status) -> Code {
    let error = Outcome::Error(status::to_publish_error(status));
    encoder.message(&PublishStreamResponse { result: Some(error) });
    status.code()
}

/// The receipt of a single message.
fn only(receipts: &[Receipt]) -> Result<&Receipt, Status> {
    receipts.first().ok_or_else(|| {
        tracing::error!("the broker gave no receipt for a message that it published");
        status::internal()
    })
}

#[cfg(test)]
mod tests;
