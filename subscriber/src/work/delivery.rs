//! Messages on their way through a subscription, as they are on the wire: they are neither decoded nor encoded again.
//!
//! The messages here have the field numbers of the contract's, and take parts of them as bytes, which protobuf encodes
//! alike. A test holds them to the contract.

use std::{collections::HashMap, time::SystemTime};

use bytes::Bytes;
use prost::Message;
use tidings::{
    filter::Filter,
    message::Epoch,
    pb,
    subscription::{AckId, OrderKey},
};

/// What a subscription reads of an event of a stream (`StreamMessagesResponse`).
#[derive(Clone, PartialEq, Message)]
pub(super) struct RawEvent {
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub(super) message: Option<Bytes>,
    #[prost(message, optional, tag = "3")]
    pub(super) gap: Option<pb::Gap>,
}

/// What is read of a message to hand it out.
#[derive(Clone, PartialEq, Message)]
struct RawNumber {
    #[prost(int64, tag = "9")]
    sequence: i64,
    #[prost(string, tag = "10")]
    epoch: String,
}

/// What is read of a message to compare it with a filter.
#[derive(Clone, PartialEq, Message)]
struct RawAttributes {
    #[prost(map = "string, string", tag = "6")]
    attributes: HashMap<String, String>,
}

/// What is read of a message to keep the order of its key.
#[derive(Clone, PartialEq, Message)]
struct RawKey {
    #[prost(string, tag = "7")]
    ordering_key: String,
}

/// `ReceivedMessage`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RawReceived {
    #[prost(bytes = "bytes", tag = "1")]
    message: Bytes,
    #[prost(string, tag = "2")]
    ack_id: String,
    #[prost(int32, tag = "3")]
    delivery_attempt: i32,
    #[prost(message, optional, tag = "4")]
    ack_deadline_time: Option<prost_types::Timestamp>,
}

impl RawReceived {
    /// As the contract has it.
    pub(super) fn into_message(self) -> Option<pb::ReceivedMessage> {
        let Self { message, ack_id, delivery_attempt, ack_deadline_time } = self;
        let message = Some(pb::Message::decode(message).ok()?);
        Some(pb::ReceivedMessage { message, ack_id, delivery_attempt, ack_deadline_time })
    }
}

/// A message of the channel, encoded.
#[derive(Debug, Clone)]
pub(super) struct Arrived {
    pub(super) epoch: Epoch,
    pub(super) sequence: i64,
    /// `Message`, encoded.
    pub(super) message: Bytes,
    /// Its ordering key, where that counts.
    pub(super) key: Option<OrderKey>,
}

impl Arrived {
    /// Reads what is needed of an encoded message; `None` where it has no number.
    pub(super) fn read(message: Bytes) -> Option<Self> {
        let RawNumber { sequence, epoch } = RawNumber::decode(message.clone()).ok()?;
        let epoch = epoch.parse().ok()?;
        (sequence > 0).then_some(Self { epoch, sequence, message, key: None })
    }

    /// Whether a filter lets it pass.
    pub(super) fn matches(&self, filter: &Filter) -> bool {
        let attributes = RawAttributes::decode(self.message.clone()).unwrap_or_default().attributes;
        filter.matches(|key| attributes.get(key).map(String::as_str))
    }

    /// The same with its ordering key, if it has one.
    pub(super) fn keyed(self) -> Self {
        let key = OrderKey::of(&RawKey::decode(self.message.clone()).unwrap_or_default().ordering_key);
        Self { key, ..self }
    }
}

/// A message that is leased to a consumer.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) ack_id: AckId,
    /// 1 for the first.
    pub(super) attempt: u32,
    pub(super) message: Bytes,
}

impl Delivery {
    /// As it is sent now, with a lease until then.
    pub(super) fn send(&self, until: SystemTime) -> RawReceived {
        RawReceived {
            message: self.message.clone(),
            ack_id: self.ack_id.to_string(),
            delivery_attempt: i32::try_from(self.attempt).unwrap_or(i32::MAX),
            ack_deadline_time: Some(until.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tidings::subscription::{BlockId, Generation, Token};

    use super::*;

    fn message() -> pb::Message {
        pb::Message {
            message_id: "id".to_owned(),
            channel: "orders".to_owned(),
            attributes: [("k".to_owned(), "v".to_owned())].into_iter().collect(),
            ordering_key: "key".to_owned(),
            publish_time: Some(pb::timestamp(5)),
            sequence: 42,
            epoch: Epoch::from_u64(7).expect("an epoch").to_string(),
            cursor: "cursor".to_owned(),
            payload: Some(pb::message::Payload::Text("text".to_owned())),
        }
    }

    #[test]
    fn what_is_read_of_events_and_messages_is_the_contracts() {
        use pb::stream_messages_response::Event;
        let event = pb::StreamMessagesResponse { event: Some(Event::Message(message())) };
        let raw = RawEvent::decode(&event.encode_to_vec()[..]).expect("an event");
        let arrived = Arrived::read(raw.message.expect("a message")).expect("a number");
        assert_eq!((arrived.sequence, arrived.epoch.as_u64()), (42, 7));
        assert_eq!(pb::Message::decode(arrived.message.clone()), Ok(message()));
        assert!(arrived.matches(&Filter::parse(r#"attributes.k = "v""#).expect("a filter")));
        assert!(!arrived.matches(&Filter::parse(r#"attributes.k = "w""#).expect("a filter")));
        assert_eq!((arrived.key, arrived.clone().keyed().key), (None, OrderKey::of("key")));
        let gap = pb::Gap { first_missing: 3, last_missing: 5, ..pb::Gap::default() };
        let event = pb::StreamMessagesResponse { event: Some(Event::Gap(gap.clone())) };
        assert_eq!(RawEvent::decode(&event.encode_to_vec()[..]).expect("an event").gap, Some(gap));
        let plain = pb::Message { sequence: 0, epoch: String::new(), ..message() };
        assert!(Arrived::read(plain.encode_to_vec().into()).is_none());
    }

    #[test]
    fn what_is_sent_is_the_contracts() {
        let block = BlockId { token: Token::random(), number: 1, own: 0 };
        let ack_id = AckId { generation: Generation::random(), epoch: Epoch::random(), sequence: 42, block };
        let delivery = Delivery { ack_id, attempt: 3, message: message().encode_to_vec().into() };
        let until = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_500);
        let sent = pb::ReceivedMessage::decode(&delivery.send(until).encode_to_vec()[..]).expect("a message");
        assert_eq!(sent.message, Some(message()));
        assert_eq!((sent.ack_id, sent.delivery_attempt), (ack_id.to_string(), 3));
        assert_eq!(sent.ack_deadline_time, Some(pb::timestamp(1_500)));
    }
}
