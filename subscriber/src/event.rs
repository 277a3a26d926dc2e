//! Messages and gaps as the contract has them.

use tidings::{
    broker::{Gap, GapReason},
    channel::ChannelName,
    cursor::{self, ChannelHash},
    envelope::Envelope,
    message::{Lineage, Mark, Payload, Position},
    pb::{self, stream_messages_response::Event},
};
use tidings_transport::encoding::{Encoded, Encoder};

/// A message. Sequence 0 is for one without a number, whose cursor is that of the message before it.
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

/// A gap, and where the epoch comes from in which the reader continues.
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

/// Encodes one event.
pub(crate) fn encode(encoder: &mut Encoder, event: Event) {
    encoder.message(&pb::StreamMessagesResponse { event: Some(event) });
}

/// One event, encoded.
pub(crate) fn encoded(event: Event) -> Encoded {
    let mut encoder = Encoder::default();
    encode(&mut encoder, event);
    encoder.take()
}
