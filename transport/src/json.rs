//! Messages as canonical proto3 JSON: 64-bit numbers as strings, bytes as base64, times as RFC 3339, enums by name. It
//! goes by the descriptors that reflection has, so it knows every message that is served, and no type of them.
//!
//! A request becomes the protobuf that operations take, and an answer is made of theirs. Fields that a request's type
//! has not are refused, not dropped: a misspelt one would be a silent default.

use std::sync::LazyLock;

use bytes::Bytes;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use prost_types::Any;
use serde_json::Value;
use tidings::{
    limits::{EXTRACT_BYTES, JSON_VALUES},
    pb, status,
};
use tonic::Status;

/// All that is served, and the details of errors.
static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let mut pool = DescriptorPool::new();
    for descriptors in [
        pb::FILE_DESCRIPTOR_SET,
        tonic_types::pb::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ] {
        pool.decode_file_descriptor_set(descriptors).expect("the descriptors were compiled into the program");
    }
    pool
});

/// What a method takes and answers with. Cloning is cheap.
#[derive(Clone)]
pub(super) struct Messages {
    request: MessageDescriptor,
    response: MessageDescriptor,
}

impl Messages {
    /// Those of the method with this path, such as `/tidings.v1.PublisherService/Publish`.
    ///
    /// # Errors
    ///
    /// INTERNAL: a method is served whose descriptor is not.
    pub(super) fn of(path: &str) -> Result<Self, Status> {
        find(path).ok_or_else(|| {
            tracing::error!(path, "a method has no descriptor");
            status::internal()
        })
    }

    /// A request in JSON, as protobuf.
    ///
    /// # Errors
    ///
    /// INVALID_ARGUMENT where it is no JSON, or not that of the request's type; RESOURCE_EXHAUSTED where it has more
    /// values than any request needs: each takes some hundred times its bytes while it is read.
    pub(super) fn read_request(&self, json: &[u8]) -> Result<Bytes, Status> {
        let values = values(json);
        if values > JSON_VALUES {
            return Err(status::too_many_values(values, JSON_VALUES));
        }
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let message = DynamicMessage::deserialize(self.request.clone(), &mut deserializer);
        let message = message.and_then(|message| deserializer.end().map(|()| message));
        let message = message.map_err(|error| self.refused(json, &error))?;
        Ok(message.encode_to_vec().into())
    }

    /// What is wrong with a request's JSON, and in which field. It is read once more to find that out, since to follow
    /// where one is costs, and few are refused.
    fn refused(&self, json: &[u8], error: &serde_json::Error) -> Status {
        let mut track = serde_path_to_error::Track::new();
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let followed = serde_path_to_error::Deserializer::new(&mut deserializer, &mut track);
        let field = match DynamicMessage::deserialize(self.request.clone(), followed) {
            Ok(_) => String::new(),
            Err(_) => track.path().to_string(),
        };
        // Keys are the client's own.
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_.[]".contains(&byte);
        let is_field = field.len() <= EXTRACT_BYTES && field != "." && field.bytes().all(is_name) && !field.is_empty();
        let field = if is_field { &field[..] } else { "request" };
        let text = error.to_string();
        // It says the place by itself, behind what may be long.
        let what = text.rsplit_once(" at line ").map_or(&text[..], |(what, _)| what);
        status::not_json(field, self.request.full_name(), what, error.line(), error.column())
    }

    /// Appends an answer in JSON, which comes as protobuf.
    ///
    /// # Errors
    ///
    /// INTERNAL: we have written what is no such message.
    pub(super) fn write_response(&self, protobuf: Bytes, buffer: &mut Vec<u8>) -> Result<(), Status> {
        let failed = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, message = self.response.full_name(), "an answer can't be written as JSON");
            status::internal()
        };
        let message = DynamicMessage::decode(self.response.clone(), protobuf).map_err(|error| failed(&error))?;
        serde_json::to_writer(buffer, &message).map_err(|error| failed(&error))
    }
}

fn find(path: &str) -> Option<Messages> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let service = POOL.get_service_by_name(service)?;
    let method = service.methods().find(|found| found.name() == method)?;
    Some(Messages { request: method.input(), response: method.output() })
}

/// A detail of an error; `None` where its type is not known.
pub(super) fn detail(detail: &Any) -> Option<Value> {
    let name = detail.type_url.rsplit('/').next()?;
    let detail = DynamicMessage::decode(POOL.get_message_by_name(name)?, &detail.value[..]).ok()?;
    serde_json::to_value(detail).ok()
}

/// How many values a JSON text has, and no less: what begins with a bracket or a comma that is in no string.
fn values(json: &[u8]) -> usize {
    let (mut count, mut is_text, mut is_escaped) = (1, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'{' | b'[' | b',' if !is_text => count += 1,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use tidings::{
        limits::{ATTRIBUTES, BATCH_MESSAGES},
        pb::{
            ListMessagesResponse, Message, Order, PublishBatchRequest, PublishRequest, message,
            publish_request::Payload,
        },
    };
    use tidings_testing::contract;
    use tonic::Code;
    use tonic_types::StatusExt as _;

    use super::*;

    const PUBLISH: &str = "/tidings.v1.PublisherService/Publish";
    const LIST: &str = "/tidings.v1.SubscriberService/ListMessages";

    fn read<M: prost::Message + Default>(path: &str, json: &str) -> Result<M, Status> {
        let protobuf = Messages::of(path)?.read_request(json.as_bytes())?;
        Ok(M::decode(protobuf).expect("what is written can be read"))
    }

    #[test]
    fn every_method_that_is_served_has_its_messages() {
        let sets = [
            pb::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        ];
        let paths: Vec<_> = sets.into_iter().flat_map(contract::methods).map(|method| method.path).collect();
        assert!(paths.len() > 20, "{paths:?}");
        for path in paths {
            assert!(Messages::of(&path).is_ok(), "{path}");
        }
        for path in ["", "/", "tidings.v1.PublisherService/Publish", "/tidings.v1.PublisherService/Other"] {
            assert!(find(path).is_none(), "{path}");
        }
    }

    #[test]
    fn requests_are_read_by_either_name_and_exactly() {
        let request: PublishRequest = read(
            PUBLISH,
            r#"{"json": "{\"total\": 1.10}", "attributes": {"a": "b"}, "orderingKey": "k", "min_replicas": "2"}"#,
        )
        .expect("a request");
        assert_eq!(request.payload, Some(Payload::Json("{\"total\": 1.10}".to_owned())));
        assert_eq!((&request.ordering_key[..], request.min_replicas), ("k", 2));
        let request: PublishRequest = read(PUBLISH, r#"{"data": "/+8=", "text": null}"#).expect("null is unset");
        assert_eq!(request.payload, Some(Payload::Data(Bytes::from_static(b"\xff\xef"))));
        let request: pb::ListMessagesRequest = read(LIST, r#"{"order": "ORDER_NEWEST_FIRST"}"#).expect("a request");
        assert_eq!(request.order(), Order::NewestFirst);
    }

    #[test]
    fn what_is_no_request_is_refused_and_names_what_is_wrong() {
        let long = format!(r#"{{"{}": 1}}"#, "x".repeat(1 << 20));
        for (json, text) in [
            ("", "EOF while parsing a value\", at line 1, column 0"),
            ("hello", "line 1, column 1"),
            ("[]", "expected"),
            ("null", "expected"),
            (r#"{"text": "a"} x"#, "trailing characters"),
            (r#"{"text": "a""#, "EOF"),
            (r#"{"texd": "a"}"#, "unrecognized field name 'texd'"),
            (r#"{"text": 1}"#, "expected"),
            (r#"{"text": "a", "json": "1"}"#, "multiple fields provided for oneof 'payload'"),
            (r#"{"data": "?"}"#, "base64"),
            (r#"{"minReplicas": 2147483648}"#, "out of range"),
            (r#"{"minReplicas": 1.5}"#, "expected"),
            (r#"{"attributes": {"a": 1}}"#, "attributes.a: "),
            (r#"{"orderingKey": []}"#, "orderingKey: "),
            (r#"{"attributes": ["a"]}"#, "expected"),
            ("{\"text\": \"\u{0}\"}", "control character"),
            (&long, "unrecognized field name"),
        ] {
            let refused = read::<PublishRequest>(PUBLISH, json).expect_err(json);
            let (code, message) = (refused.code(), refused.message());
            assert_eq!(code, Code::InvalidArgument, "{json}");
            assert!(message.contains("tidings.v1.PublishRequest") && message.contains(text), "{json}: {message}");
            assert!(message.len() < 300, "{message}");
            assert_eq!(refused.get_details_error_info().expect("a reason").reason, "INVALID_FIELD");
        }
        let refused = read::<PublishRequest>(PUBLISH, &"[".repeat(1 << 10)).expect_err("deep");
        assert_eq!(refused.code(), Code::InvalidArgument);
        let batch = r#"{"requests": [{"text": "a"}, {"text": 2}]}"#;
        let refused =
            read::<PublishBatchRequest>("/tidings.v1.PublisherService/PublishBatch", batch).expect_err("a number");
        assert_eq!(refused.get_details_bad_request().expect("a field").field_violations[0].field, "requests[1].text");
    }

    #[test]
    fn the_largest_request_is_read_and_what_only_takes_memory_is_not() {
        let attributes = (0..ATTRIBUTES).map(|n| (n.to_string(), "v".to_owned())).collect();
        let one = PublishRequest {
            channel: "c".to_owned(),
            message_id: "i".to_owned(),
            ordering_key: "k".to_owned(),
            min_replicas: 1,
            attributes,
            payload: Some(Payload::Text(",[{".to_owned())),
        };
        let batch = PublishBatchRequest { channel: "c".to_owned(), requests: vec![one; BATCH_MESSAGES] };
        let messages = Messages::of("/tidings.v1.PublisherService/PublishBatch").expect("served");
        let dynamic = DynamicMessage::decode(messages.request.clone(), &batch.encode_to_vec()[..]).expect("a batch");
        let json = serde_json::to_vec(&dynamic).expect("JSON");
        let protobuf = messages.read_request(&json).expect("as large as it may be");
        assert_eq!(PublishBatchRequest::decode(protobuf).expect("a batch"), batch);
        let many = format!(r#"{{"requests": [{}{{}}]}}"#, "{},".repeat(JSON_VALUES));
        let refused = messages.read_request(many.as_bytes()).expect_err("too many");
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
        assert_eq!(values(br#"{"a": ["x", "\"[,{", 1], "b": {}}"#), 7);
    }

    #[test]
    fn answers_are_canonical() {
        let message = Message {
            message_id: "id".to_owned(),
            publish_time: Some(pb::timestamp(1_790_000_000_123)),
            sequence: i64::MAX,
            payload: Some(message::Payload::Data(Bytes::from_static(b"\xff\xef"))),
            ..Message::default()
        };
        let answer = ListMessagesResponse { messages: vec![message], next_page_token: String::new() };
        let mut json = Vec::new();
        Messages::of(LIST).expect("served").write_response(answer.encode_to_vec().into(), &mut json).expect("JSON");
        assert_eq!(
            String::from_utf8(json).expect("text"),
            r#"{"messages":[{"messageId":"id","data":"/+8=","publishTime":"2026-09-21T14:13:20.123Z","sequence":"9223372036854775807"}]}"#
        );
    }
}
