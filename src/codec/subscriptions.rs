//! Requests of durable subscriptions: ids and labels repeat in them.

use tonic::Status;

use super::{Counted, fields::Fields};
use crate::{
    limits::{LABELS, SETTLED, UNCOUNTED_BYTES},
    pb, status,
};

/// Fields of a message and of the messages in it, down to a depth; no more than one over a limit.
fn count(bytes: &[u8], depth: usize, limit: usize) -> usize {
    let mut counted = 0;
    for (_, field) in Fields::of(bytes) {
        counted += 1;
        if depth > 1 && counted <= limit {
            counted += count(field, depth - 1, limit - counted);
        }
        if counted > limit {
            return limit + 1;
        }
    }
    counted
}

/// Refuses what has more ids than can be settled together. Fields beside them are few.
fn settled(bytes: &[u8], depth: usize) -> Result<(), Status> {
    // Each rejection and each extension may have one id, and some fields beside it.
    const FIELDS: usize = 8 * SETTLED;
    let is_short = bytes.len() <= UNCOUNTED_BYTES;
    if is_short || count(bytes, depth, FIELDS) <= FIELDS { Ok(()) } else { Err(status::too_many_ids()) }
}

/// Refuses settings with more labels than they may have.
fn labels(bytes: &[u8]) -> Result<(), Status> {
    // A label has a key and a value; the other fields of a subscription and of its request are fewer than these.
    const FIELDS: usize = 64 + 4 * LABELS;
    let is_short = bytes.len() <= UNCOUNTED_BYTES;
    if is_short || count(bytes, 3, FIELDS) <= FIELDS { Ok(()) } else { Err(status::too_many_labels(LABELS + 1)) }
}

macro_rules! counted {
    ($check:expr => $($message:ident),+) => {
        $(impl Counted for pb::$message {
            fn count(bytes: &[u8]) -> Result<(), Status> {
                $check(bytes)
            }
        })+
    };
}

counted!(labels => CreateSubscriptionRequest, UpdateSubscriptionRequest);
counted!(|bytes| settled(bytes, 1) => AcknowledgeMessagesRequest, RedriveDeadLettersRequest);
counted!(|bytes| settled(bytes, 2) => RejectMessagesRequest, ExtendAckDeadlinesRequest);
counted!(|bytes| settled(bytes, 3) => ConsumeMessagesRequest);
counted!(|_| Ok(()) => GetSubscriptionRequest, DeleteSubscriptionRequest, ListSubscriptionsRequest,
    PullMessagesRequest, SeekSubscriptionRequest, ListDeadLettersRequest);
// It is us who write these.
counted!(|_| Ok(()) => CreateSubscriptionResponse, GetSubscriptionResponse, UpdateSubscriptionResponse,
    DeleteSubscriptionResponse, ListSubscriptionsResponse, ConsumeMessagesResponse, PullMessagesResponse,
    AcknowledgeMessagesResponse, RejectMessagesResponse, ExtendAckDeadlinesResponse, SeekSubscriptionResponse,
    ListDeadLettersResponse, RedriveDeadLettersResponse);

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::codec::decode;

    #[test]
    fn ids_are_counted_before_they_are_decoded() {
        let ids = |count: usize| vec![String::new(); count];
        let acknowledge = |count| pb::AcknowledgeMessagesRequest { name: "a".to_owned(), ack_ids: ids(count) };
        let decoded = |count| decode::<pb::AcknowledgeMessagesRequest>(&acknowledge(count).encode_to_vec()[..]);
        assert!(decoded(SETTLED).is_ok());
        assert!(decoded(9 * SETTLED).is_err());
        let rejections = vec![pb::Rejection { ack_ids: ids(100), ..Default::default() }; 100];
        let reject = pb::RejectMessagesRequest { name: "a".to_owned(), rejections: rejections.clone() };
        assert!(decode::<pb::RejectMessagesRequest>(&reject.encode_to_vec()[..]).is_err());
        let settlement = pb::Settlement { rejections, ..Default::default() };
        let request = Some(pb::consume_messages_request::Request::Settlement(settlement));
        let consume = pb::ConsumeMessagesRequest { request };
        assert!(decode::<pb::ConsumeMessagesRequest>(&consume.encode_to_vec()[..]).is_err());
    }

    #[test]
    fn labels_are_counted_before_they_are_decoded() {
        let create = |count: usize| {
            let labels = (0..count).map(|n| (n.to_string(), "a value".to_owned())).collect();
            let subscription = Some(pb::Subscription { labels, ..Default::default() });
            pb::CreateSubscriptionRequest { subscription, ..Default::default() }.encode_to_vec()
        };
        assert!(decode::<pb::CreateSubscriptionRequest>(&create(LABELS)[..]).is_ok());
        assert!(decode::<pb::CreateSubscriptionRequest>(&create(8 * LABELS)[..]).is_err());
    }
}
