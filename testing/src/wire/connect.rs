//! The same calls over the Connect protocol: what a test has written as frames of gRPC is sent as Connect has it, in
//! JSON or protobuf, and what comes back is read again, so that the answers of both can be compared.

use std::sync::LazyLock;

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor};
use prost_types::Any;
use serde_json::Value;
use tidings::pb;
use tonic::{Code, Status};

use super::framed;

/// The flag of the envelope that ends a stream.
const END_OF_STREAM: u8 = 2;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let mut pool = DescriptorPool::new();
    for descriptors in [
        pb::FILE_DESCRIPTOR_SET,
        tonic_types::pb::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ] {
        pool.decode_file_descriptor_set(descriptors).expect("descriptors");
    }
    pool
});

/// How a call of a method is written.
pub(super) struct Dialect {
    is_json: bool,
    is_stream: bool,
    /// None for what is no method.
    method: Option<MethodDescriptor>,
}

impl Dialect {
    /// That of a method in a format; what is no method is called as an unary one.
    pub(super) fn of(path: &str, is_json: bool) -> Self {
        let method = path.strip_prefix('/').and_then(|path| path.split_once('/')).and_then(|(service, method)| {
            POOL.get_service_by_name(service)?.methods().find(|found| found.name() == method)
        });
        let is_stream = method.as_ref().is_some_and(|m| m.is_client_streaming() || m.is_server_streaming());
        Self { is_json, is_stream, method }
    }

    /// Whether messages are in envelopes.
    pub(super) fn is_stream(&self) -> bool {
        self.is_stream
    }

    pub(super) fn content_type(&self) -> &'static str {
        match (self.is_stream, self.is_json) {
            (false, true) => "application/json",
            (false, false) => "application/proto",
            (true, true) => "application/connect+json",
            (true, false) => "application/connect+proto",
        }
    }

    /// A header of gRPC, as Connect names it.
    pub(super) fn header(&self, name: &str, value: &str) -> (String, String) {
        let name = match name {
            "grpc-timeout" => {
                let ms = value.strip_suffix('m').expect("milliseconds");
                return ("connect-timeout-ms".to_owned(), ms.to_owned());
            }
            "grpc-encoding" if self.is_stream => "connect-content-encoding",
            "grpc-encoding" => "content-encoding",
            other => other,
        };
        (name.to_owned(), value.to_owned())
    }

    /// Frames of gRPC, as this has them. What is no message of the method goes as it is.
    pub(super) fn request(&self, mut frames: &[u8]) -> Vec<u8> {
        let input = self.method.as_ref().map(MethodDescriptor::input);
        let mut body = Vec::new();
        while let Some((prefix, rest)) = frames.split_first_chunk::<5>() {
            let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
            let (message, next) = rest.split_at(length.min(rest.len()));
            let json = self.is_json && message.len() == length;
            let written = input.as_ref().filter(|_| json).and_then(|input| to_json(input, message));
            let written = written.as_deref().unwrap_or(message);
            match self.is_stream {
                true => {
                    // What claims more than it has still does.
                    let claimed = if message.len() == length { written.len() } else { length };
                    body.extend_from_slice(&framed(prefix[0], claimed, written));
                }
                false => body.extend_from_slice(written),
            }
            frames = next;
        }
        body.extend_from_slice(frames);
        body
    }

    /// The messages of an answer, as protobuf, and its status.
    pub(super) fn answer(&self, http_code: u16, body: &[u8]) -> (Vec<Vec<u8>>, Status) {
        if !self.is_stream {
            return match http_code {
                200 => (vec![self.message(body)], Status::ok("")),
                _ => (Vec::new(), status(&serde_json::from_slice(body).expect("an error in JSON"))),
            };
        }
        assert_eq!(http_code, 200, "{}", String::from_utf8_lossy(body));
        let (mut messages, mut rest) = (Vec::new(), body);
        loop {
            let (prefix, after) = rest.split_first_chunk::<5>().expect("an envelope that ends the stream");
            let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
            let (message, next) = after.split_at(length);
            if prefix[0] == END_OF_STREAM {
                assert!(next.is_empty(), "nothing comes after the end");
                let end: Value = serde_json::from_slice(message).expect("JSON");
                return (messages, end.get("error").map_or_else(|| Status::ok(""), status));
            }
            assert_eq!(prefix[0], 0);
            messages.push(self.message(message));
            rest = next;
        }
    }

    fn message(&self, written: &[u8]) -> Vec<u8> {
        let output = self.method.as_ref().expect("a method").output();
        match self.is_json {
            true => {
                let mut deserializer = serde_json::Deserializer::from_slice(written);
                DynamicMessage::deserialize(output, &mut deserializer).expect("canonical JSON").encode_to_vec()
            }
            false => written.to_vec(),
        }
    }
}

fn to_json(of: &MessageDescriptor, protobuf: &[u8]) -> Option<Vec<u8>> {
    let message = DynamicMessage::decode(of.clone(), protobuf).ok()?;
    serde_json::to_vec(&message).ok()
}

/// An error of the protocol as a status.
fn status(error: &Value) -> Status {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let code = match error["code"].as_str().expect("a code") {
        "canceled" => Code::Cancelled,
        "invalid_argument" => Code::InvalidArgument,
        "deadline_exceeded" => Code::DeadlineExceeded,
        "not_found" => Code::NotFound,
        "already_exists" => Code::AlreadyExists,
        "permission_denied" => Code::PermissionDenied,
        "resource_exhausted" => Code::ResourceExhausted,
        "failed_precondition" => Code::FailedPrecondition,
        "aborted" => Code::Aborted,
        "out_of_range" => Code::OutOfRange,
        "unimplemented" => Code::Unimplemented,
        "internal" => Code::Internal,
        "unavailable" => Code::Unavailable,
        "unauthenticated" => Code::Unauthenticated,
        "unknown" => Code::Unknown,
        other => panic!("{other} is no code"),
    };
    let details = error["details"].as_array().into_iter().flatten().map(|detail| Any {
        type_url: format!("type.googleapis.com/{}", text(&detail["type"])),
        value: BASE64_STANDARD_NO_PAD.decode(text(&detail["value"])).expect("base64 without padding"),
    });
    let message = text(&error["message"]);
    let rpc = tonic_types::Status { code: code.into(), message: message.clone(), details: details.collect() };
    Status::with_details(code, message, rpc.encode_to_vec().into())
}
