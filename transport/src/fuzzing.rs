//! Checks of what comes before any call, PROXY headers, and of requests in JSON. See the root crate's `fuzzing`.

use prost::Message as _;
use tidings::pb::{PublishBatchRequest, UpdateSubscriptionRequest};
use tonic::Code;

use crate::{json::Messages, proxied::parse};

/// A PROXY header: whatever it is, it is read or not, and no longer one names a client that a shorter one does not.
pub fn check_proxy_header(bytes: &[u8]) {
    if let Some(client) = parse(bytes) {
        // Both versions say how long they are.
        assert_eq!(parse(&[bytes, b"x"].concat()), None, "{client:?}");
        assert_eq!(parse(&bytes[..bytes.len() - 1]), None, "{client:?}");
    }
}

/// Headers of both versions.
pub fn proxy_header_seeds() -> Vec<Vec<u8>> {
    let v2 = |rest: &[u8]| [&b"\r\n\r\n\0\r\nQUIT\n"[..], rest].concat();
    vec![
        v2(b"\x20\0\0\0"),
        v2(b"\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\xdc\x04\x01\xbb"),
        v2(b"\x21\x11\0\x10\xc0\0\x02\x01\xc0\0\x02\x02\xdc\x04\x01\xbb\x04\0\x01\x07"),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n".to_vec(),
        b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n".to_vec(),
        b"PROXY UNKNOWN\r\n".to_vec(),
    ]
}

/// A request in JSON: whatever it is, it becomes a message of its type, or is refused in a few words.
pub fn check_json_request(bytes: &[u8]) {
    let batch = read("/tidings.v1.PublisherService/PublishBatch", bytes);
    let update = read("/tidings.v1.SubscriptionService/UpdateSubscription", bytes);
    batch.map(|protobuf| PublishBatchRequest::decode(&protobuf[..]).expect("a batch"));
    update.map(|protobuf| UpdateSubscriptionRequest::decode(&protobuf[..]).expect("an update"));
}

fn read(path: &str, json: &[u8]) -> Option<Vec<u8>> {
    match Messages::of(path).expect("it is served").read_request(json) {
        Ok(protobuf) => Some(protobuf.to_vec()),
        Err(status) => {
            assert!([Code::InvalidArgument, Code::ResourceExhausted].contains(&status.code()), "{status:?}");
            assert!(status.message().len() < 400, "{status:?}");
            None
        }
    }
}

/// Requests with a field of each kind.
pub fn json_request_seeds() -> Vec<Vec<u8>> {
    [
        r#"{"channel": "c", "requests": [{"text": "a", "attributes": {"k": "v"}, "minReplicas": 1}, {"data": "/+8="}]}"#,
        r#"{"requests": [{"json": "{\"a\": 1.10}", "ordering_key": "k", "messageId": "i", "text": null}]}"#,
        r#"{"subscription": {"name": "s", "ackDeadline": "1.5s", "labels": {"a": "b"}}, "updateMask": "labels,ackDeadline"}"#,
    ]
    .map(|json| json.as_bytes().to_vec())
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_comes_near_a_request_is_one_or_none() {
        let seeds = json_request_seeds();
        let paths = ["/tidings.v1.PublisherService/PublishBatch", "/tidings.v1.SubscriptionService/UpdateSubscription"];
        for seed in &seeds {
            assert!(paths.iter().any(|path| read(path, seed).is_some()), "{}", String::from_utf8_lossy(seed));
        }
        tidings_testing::bytes::throw(&seeds, check_json_request);
    }

    #[test]
    fn whatever_comes_near_the_seeds_passes() {
        let seeds = proxy_header_seeds();
        seeds.iter().for_each(|seed| assert!(parse(seed).is_some()));
        tidings_testing::bytes::throw(&seeds, check_proxy_header);
    }
}
