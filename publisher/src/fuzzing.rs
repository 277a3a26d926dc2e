//! Checks of requests as bytes from anyone, for `fuzz/` and the tests. See the root crate's `fuzzing`.

use prost::Message as _;
use tidings::{
    access::Rights,
    channel::Names,
    envelope,
    limits::{BATCH_BYTES, BATCH_MESSAGES, MESSAGE_BYTES},
    message::{Draft, Epoch, Sender},
    pb::{PublishBatchRequest, PublishRequest, PublishStreamRequest, publish_request::Payload},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::request::{Batch, RequestPath, Terms, batch, single};

/// What a status may take of the headers in which it travels, where clients allow 8 KiB.
const STATUS_BYTES: usize = 4 << 10;

/// A request as protobuf, of a kind that its first byte says: what is taken is within the limits and reads back as it
/// was sent, and what is refused is refused in words and details.
pub fn check_publish(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let names = Names::new("tidings", "channel1").expect("valid");
    let rights = Rights::all();
    let terms = Terms { names: &names, rights: &rights, sender: Sender::Unasked };
    let checked = match kind % 3 {
        0 => PublishRequest::decode(bytes).map(|request| single(request, terms, RequestPath::Whole)),
        1 => PublishBatchRequest::decode(bytes).map(|request| batch(request, terms)),
        _ => PublishStreamRequest::decode(bytes)
            .map(|request| single(request.request.unwrap_or_default(), terms, RequestPath::Stream)),
    };
    match checked {
        Ok(Ok(batch)) => check_batch(&batch),
        Ok(Err(status)) => check_refusal(&status),
        // Refused by tonic, before it comes to us.
        Err(_) => {}
    }
}

fn check_batch(batch: &Batch) {
    assert!((1..=BATCH_MESSAGES).contains(&batch.drafts.len()));
    let mut whole = 0;
    for draft in &batch.drafts {
        let encoded = envelope::encode(draft);
        whole += encoded.len();
        assert!(encoded.len() <= MESSAGE_BYTES);
        let json = encoded.stamp(0, 1, Epoch::from_u64(1).expect("not 0"));
        let read = envelope::decode(json.as_bytes(), 0);
        let again = Draft {
            id: read.id,
            dedup: draft.dedup,
            payload: read.payload,
            attributes: read.attributes,
            ordering_key: read.ordering_key,
        };
        assert_eq!(&again, draft);
        assert!(read.claim.is_some());
    }
    assert!(whole <= BATCH_BYTES);
}

fn check_refusal(status: &Status) {
    assert!(matches!(status.code(), Code::InvalidArgument | Code::ResourceExhausted), "{status:?}");
    let info = status.get_details_error_info().expect("ErrorInfo");
    assert!(info.domain == "tidings" && !info.reason.is_empty());
    let blamed = status.get_details_bad_request().expect("BadRequest").field_violations;
    assert!(blamed.len() == 1 && !blamed[0].field.is_empty() && !blamed[0].description.is_empty());
    assert!(status.message().len() + status.details().len() < STATUS_BYTES, "too long for headers: {status:?}");
}

/// Requests that get far.
pub fn publish_seeds() -> Vec<Vec<u8>> {
    let request = |payload| PublishRequest { payload: Some(payload), ..PublishRequest::default() };
    let full = PublishRequest {
        channel: "orders.eu".to_owned(),
        attributes: [("a".to_owned(), "\"ü\n".to_owned()), ("b".to_owned(), String::new())].into(),
        ordering_key: "k".to_owned(),
        message_id: "0192f0c1-2a3b-7c4d-8e5f-0123456789ab".to_owned(),
        min_replicas: 1,
        ..request(Payload::Json(" {\"total\": 1.10} ".to_owned()))
    };
    let reserved = PublishRequest {
        attributes: [("tidings-x".to_owned(), "y".to_owned())].into(),
        ..request(Payload::Text("a".to_owned()))
    };
    let singles = [
        full.clone(),
        reserved,
        request(Payload::Text("Grüße \0\u{7f}\"\\".to_owned())),
        request(Payload::Data(vec![0xff, 0].into())),
        request(Payload::Json("\"\\u0041\\ud800\"".to_owned())),
    ];
    let one = |kind: u8, bytes: Vec<u8>| [vec![kind], bytes].concat();
    let mut seeds: Vec<_> = singles.iter().map(|single| one(0, single.encode_to_vec())).collect();
    let requests = vec![full.clone(), request(Payload::Text("b".to_owned()))];
    seeds.push(one(1, PublishBatchRequest { channel: "orders.eu".to_owned(), requests }.encode_to_vec()));
    seeds.push(one(2, PublishStreamRequest { request: Some(full) }.encode_to_vec()));
    seeds
}

#[cfg(test)]
mod tests {
    #[test]
    fn publishes() {
        tidings_testing::bytes::throw(&super::publish_seeds(), super::check_publish);
    }
}
