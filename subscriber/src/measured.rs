//! The making of chunks, for the micro-benchmarks and nobody else: it is not part of what this crate offers.

use tidings::{
    channel::ChannelName,
    cursor::channel_hash,
    envelope::Envelope,
    message::{Epoch, Position},
};

use crate::chunk::{Builder, Numbered, Origin};

/// Encodes consecutive messages of a channel as the hub does with what one read brought; answers the bytes of all
/// chunks.
pub fn chunks(channel: &ChannelName, envelopes: &[Envelope]) -> usize {
    let (mut builder, hash, epoch) = (Builder::default(), channel_hash(channel.as_str()), Epoch::from_u64(1));
    for (sequence, envelope) in (1..).zip(envelopes) {
        let before = Position { epoch, sequence: sequence - 1 };
        let position = Position { epoch, sequence };
        let numbered = Numbered { before, sequence, position, time_ms: envelope.time_ms };
        builder.push(channel, hash, numbered, &envelope.parts(), Origin::default);
    }
    builder.finish().iter().map(|chunk| chunk.block.bytes()).sum()
}
