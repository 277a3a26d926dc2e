//! What a receipt says to a client: as the generated type, and written straight into a frame, which is the same to a byte and
//! spares a text of its own for each field. Messages that were published together mostly have all but the sequence in common.

use bytes::Bytes;
use prost::Message as _;
use tidings::{
    broker::Receipt,
    channel::ChannelName,
    cursor,
    message::Epoch,
    pb::{self, PublishResponse, PublishStreamResponse, publish_stream_response::Result as Outcome},
    status,
};
use tonic::{Code, Status};

use self::small::{Small, delimited_length, number_length};

mod small;

/// Flag and length of a gRPC frame.
const PREFIX: usize = 5;
/// A response with a channel's name of twenty bytes, about: what a batch's answer begins with room for.
const USUAL: usize = 160;

/// Makes the answers of messages that were published together.
pub(crate) struct Responder {
    channel: ChannelName,
    hash: u64,
    series: Option<Series>,
}

/// What answers of one epoch have in common.
struct Series {
    epoch: Epoch,
    digits: [u8; 16],
    cursors: cursor::Series,
}

impl Responder {
    pub(crate) fn new(channel: ChannelName) -> Self {
        Self { hash: cursor::channel_hash(channel.as_str()), channel, series: None }
    }

    /// A receipt for the client, and a line in the log for who looks for it.
    pub(crate) fn respond(&mut self, receipt: &Receipt) -> PublishResponse {
        let Receipt { id, epoch, sequence, time_ms, duplicate, replicas } = *receipt;
        self.tell(receipt);
        let cursor = self.series(epoch).cursors.text_at(sequence);
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

    /// The answer to a `Publish`.
    pub(crate) fn frame_of_one(mut self, receipts: &[Receipt]) -> Result<Bytes, Status> {
        let receipt = only(receipts)?;
        let end = self.end(receipt);
        let length = self.length(&end);
        let mut frame = Vec::with_capacity(PREFIX + length);
        put_prefix(&mut frame, length);
        self.put(&mut frame, receipt, &end);
        Ok(frame.into())
    }

    /// The answer to a `PublishBatch`.
    pub(crate) fn frame_of_batch(mut self, receipts: &[Receipt]) -> Result<Bytes, Status> {
        let mut frame = Vec::with_capacity(PREFIX + receipts.len() * USUAL);
        put_prefix(&mut frame, 0);
        for receipt in receipts {
            let end = self.end(receipt);
            put_begin(&mut frame, self.length(&end));
            self.put(&mut frame, receipt, &end);
        }
        let length = frame.len() - PREFIX;
        frame[1..PREFIX].copy_from_slice(&(length as u32).to_be_bytes());
        Ok(frame.into())
    }

    /// Appends the answer to one publish of a `PublishStream`, as a frame. Says its code.
    pub(crate) fn put_next(&mut self, buffer: &mut Vec<u8>, receipt: Option<Receipt>) -> Code {
        let receipt = match only(receipt.as_slice()) {
            Ok(receipt) => receipt,
            Err(status) => return put_error(buffer, &status),
        };
        let end = self.end(receipt);
        let length = self.length(&end);
        put_prefix(buffer, delimited_length(length));
        put_begin(buffer, length);
        self.put(buffer, receipt, &end);
        Code::Ok
    }

    fn length(&self, end: &Small) -> usize {
        delimited_length(uuid::fmt::Hyphenated::LENGTH)
            + delimited_length(self.channel.as_str().len())
            + end.written().len()
    }

    /// Writes a response: what all have, and its [`end`](Self::end).
    fn put(&self, buffer: &mut Vec<u8>, receipt: &Receipt, end: &Small) {
        let mut begin = Small::new();
        begin.begin(1, uuid::fmt::Hyphenated::LENGTH);
        let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
        receipt.id.hyphenated().encode_lower(&mut id);
        begin.bytes(id);
        begin.begin(2, self.channel.as_str().len());
        buffer.extend_from_slice(begin.written());
        buffer.extend_from_slice(self.channel.as_str().as_bytes());
        buffer.extend_from_slice(end.written());
    }

    /// What stands behind the channel's name in a response. What is zero is left out, as proto3 has it.
    fn end(&mut self, receipt: &Receipt) -> Small {
        self.tell(receipt);
        let Receipt { epoch, sequence, time_ms, duplicate, replicas, .. } = *receipt;
        let (seconds, nanos) = (time_ms.div_euclid(1_000) as u64, time_ms.rem_euclid(1_000) as u64 * 1_000_000);
        let Series { digits, cursors, .. } = self.series(epoch);
        let mut end = Small::new();
        end.begin(3, number_length(seconds) + number_length(nanos));
        end.number(1, seconds);
        end.number(2, nanos);
        end.number(4, sequence as u64);
        end.begin(5, digits.len());
        end.bytes(*digits);
        end.begin(6, cursor::CHANNEL_TEXT_BYTES);
        end.bytes(cursors.at(sequence));
        end.number(7, duplicate.into());
        end.number(8, i32::try_from(replicas).unwrap_or(i32::MAX) as u64);
        end
    }

    fn tell(&self, receipt: &Receipt) {
        let Receipt { id, epoch, sequence, duplicate, .. } = *receipt;
        tracing::debug!(channel = %self.channel, %id, sequence, %epoch, duplicate, "published");
    }

    fn series(&mut self, epoch: Epoch) -> &Series {
        let series = match self.series.take_if(|series| series.epoch == epoch) {
            Some(series) => series,
            None => Series { epoch, digits: epoch.digits(), cursors: cursor::Series::new(self.hash, Some(epoch)) },
        };
        self.series.insert(series)
    }
}

/// Appends the answer to a publish of a `PublishStream` that failed, as a frame. Says its code.
pub(crate) fn put_error(buffer: &mut Vec<u8>, status: &Status) -> Code {
    let error = Outcome::Error(status::to_publish_error(status));
    let answer = PublishStreamResponse { result: Some(error) };
    put_prefix(buffer, answer.encoded_len());
    buffer.extend_from_slice(&answer.encode_to_vec());
    status.code()
}

/// The receipt of a single message.
pub(crate) fn only(receipts: &[Receipt]) -> Result<&Receipt, Status> {
    receipts.first().ok_or_else(|| {
        tracing::error!("the broker gave no receipt for a message that it published");
        status::internal()
    })
}

fn put_prefix(buffer: &mut Vec<u8>, length: usize) {
    // A response has less than a kilobyte, and a batch a thousand of them.
    buffer.push(0);
    buffer.extend_from_slice(&(length as u32).to_be_bytes());
}

/// The beginning of a response within another message, where it is field 1.
fn put_begin(buffer: &mut Vec<u8>, length: usize) {
    let mut begin = Small::new();
    begin.begin(1, length);
    buffer.extend_from_slice(begin.written());
}

#[cfg(test)]
mod tests;
