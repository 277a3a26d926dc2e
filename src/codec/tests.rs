use std::collections::HashMap;

use tonic::Code;

use super::*;

/// A field that has a length.
fn field(number: u32, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut bytes);
    prost::encoding::encode_varint(value.len() as u64, &mut bytes);
    [&bytes, value].concat()
}

fn refusal(counted: Result<(), Status>) -> (Code, String) {
    let status = counted.expect_err("it is too much");
    (status.code(), status.message().to_owned())
}

#[test]
fn repeated_fields_are_counted_in_every_request_and_refused_in_one_text() {
    let pair = field(5, &[field(1, b"k"), field(2, b"v")].concat());
    let too_many = pair.repeat(ATTRIBUTES + 1);
    let long = field(2, &[b'x'; UNCOUNTED_BYTES]);
    let over = |what: &str| (Code::ResourceExhausted, format!("{what}; at most 64 are allowed"));
    assert_eq!(
        refusal(pb::PublishRequest::count(&[&long[..], &too_many].concat())),
        over("attributes: it has 65 pairs")
    );
    let enough = [&long[..], &pair.repeat(ATTRIBUTES)].concat();
    pb::PublishRequest::count(&enough).expect("as many as there may be");
    let longer = field(2, &[b'x'; UNCOUNTED_BATCH_BYTES]);
    let batch = [field(1, b"c"), field(2, b""), field(2, &[&longer[..], &too_many].concat())].concat();
    assert_eq!(refusal(pb::PublishBatchRequest::count(&batch)), over("requests[1].attributes: it has 65 pairs"));
    // One message, in two halves.
    let halves = field(1, &enough).repeat(2);
    assert_eq!(refusal(pb::PublishStreamRequest::count(&halves)), over("request.attributes: it has 128 pairs"));
    let batch = field(2, b"").repeat(4_000_000);
    assert_eq!(
        refusal(pb::PublishBatchRequest::count(&batch)),
        (Code::ResourceExhausted, "requests: it has 4000000 messages; at most 1000 are allowed".to_owned())
    );
    pb::PublishBatchRequest::count(&field(2, b"").repeat(1_000)).expect("as many as there may be");
    let after = field(6, b"").repeat(1_002);
    assert_eq!(
        refusal(pb::StreamMessagesRequest::count(&after)),
        (Code::ResourceExhausted, "after: it has 1002 cursors; at most 1001 are allowed".to_owned())
    );
}

/// How many elements prost makes of bytes, and how many are counted, which must not be fewer even where prost refuses
/// them in the end.
fn check_count(bytes: &[u8]) {
    let counted = |number| Fields::of(bytes).filter(|(field, _)| *field == number).count();
    if let Ok(batch) = pb::PublishBatchRequest::decode(bytes) {
        assert_eq!(batch.requests.len(), counted(2), "{bytes:?}");
    }
    if let Ok(request) = pb::StreamMessagesRequest::decode(bytes) {
        assert_eq!(request.after.len(), counted(6), "{bytes:?}");
    }
    if let Ok(request) = pb::PublishRequest::decode(bytes) {
        assert!(request.attributes.len() <= counted(5), "{bytes:?}");
    }
    // The part that prost has decoded when it meets the first bad byte.
    let mut before = pb::PublishBatchRequest::default();
    let _ = before.merge(bytes);
    assert!(before.requests.len() <= counted(2), "{bytes:?}");
}

#[test]
fn as_many_are_counted_as_prost_would_make() {
    let request = pb::PublishRequest {
        channel: "c".to_owned(),
        attributes: HashMap::from([("a".to_owned(), "b".to_owned()), ("c".to_owned(), String::new())]),
        min_replicas: -1,
        ..Default::default()
    };
    let batch = pb::PublishBatchRequest { channel: "c".to_owned(), requests: vec![request.clone(); 3] };
    let stream = pb::StreamMessagesRequest {
        after: vec!["x".to_owned(); 4],
        since: Some(prost_types::Timestamp { seconds: -1, nanos: 3 }),
        ..Default::default()
    };
    // A group with an element within, an unknown fixed field, and a key of five bytes.
    let odd =
        [&[0x1b, 0x12, 0x00, 0x1c, 0x12, 0x00, 0x7d, 1, 2, 3, 4][..], &[0x92, 0x80, 0x80, 0x80, 0x00, 0x00]].concat();
    let seeds = [request.encode_to_vec(), batch.encode_to_vec(), stream.encode_to_vec(), odd];
    tidings_testing::bytes::throw(&seeds, check_count);
}

#[test]
fn short_and_odd_bytes_are_left_to_prost() {
    for bytes in [&b""[..], b"\xff", &[0xff; 600], &[0x0b; 600]] {
        pb::PublishBatchRequest::count(bytes).expect("nothing is counted");
    }
    assert_eq!(decode::<pb::PublishRequest>(&b"\xff\xff"[..]).expect_err("odd").code(), Code::InvalidArgument);
    let counted =
        decode::<pb::PublishBatchRequest>(&field(2, b"").repeat(UNCOUNTED_BATCH_BYTES)[..]).expect_err("too much");
    assert_eq!(counted.code(), Code::ResourceExhausted);
}
