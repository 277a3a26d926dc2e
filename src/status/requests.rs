//! What is wrong with a request before its operation sees it, whatever protocol it came by.

use std::time::Duration;

use tonic::{Code, Status, metadata::MetadataValue};
use tonic_types::StatusExt as _;

use super::{extract, info, info_with, invalid, invalid_because, reason, too_large};

/// The beginning of tonic's message for a request that prost can't decode.
const UNDECODED: &str = "failed to decode Protobuf message";

/// A request that is too large to be decoded at all: RESOURCE_EXHAUSTED, REQUEST_TOO_LARGE.
pub fn undecodable(limit: usize) -> Status {
    let text = format!("the request is larger than {limit} bytes; send fewer or smaller messages in one request");
    Status::with_error_details(
        Code::ResourceExhausted,
        text,
        info_with(reason::REQUEST_TOO_LARGE, [("limit", limit.to_string())]),
    )
}

/// A request that is no protobuf message of its type: INVALID_ARGUMENT, INVALID_FIELD.
pub fn malformed() -> Status {
    invalid("request", "it can't be decoded as the protobuf message that the method takes")
}

/// A request is no JSON, or not that of the type `of` that the method takes: INVALID_ARGUMENT, INVALID_FIELD. `what` is
/// wrong with it, in which field (or `request`), and where.
pub fn not_json(field: &str, of: &str, what: &str, line: usize, column: usize) -> Status {
    let what = extract(what);
    invalid(field, format!("not the JSON of {of}: {what}, at line {line}, column {column}"))
}

/// A request has more values than can be read: RESOURCE_EXHAUSTED, REQUEST_TOO_LARGE.
pub fn too_many_values(count: usize, limit: usize) -> Status {
    too_large(reason::REQUEST_TOO_LARGE, "request", "values of JSON", count, limit)
}

/// A request's content type is that of other methods: INVALID_ARGUMENT, WRONG_CONTENT_TYPE. `right` are those of the
/// method.
pub fn wrong_content_type(right: &str) -> Status {
    let text = format!("the method does not take it; send {right}");
    invalid_because(reason::WRONG_CONTENT_TYPE, "content-type", text)
}

/// A method that takes one request was sent none, or several: INVALID_ARGUMENT, NOT_ONE_REQUEST.
///
/// Other servers answer INTERNAL (grpc-go, grpc-java), and gRPC's list of codes has UNIMPLEMENTED. Here INTERNAL is a
/// bug of the server, which operators are woken for, and whatever else is wrong with a request is INVALID_ARGUMENT.
pub fn not_one_request(were: &str) -> Status {
    let text = format!("there were {were}; the method takes exactly one");
    invalid_because(reason::NOT_ONE_REQUEST, "request", text)
}

/// A request ends before its message does: INVALID_ARGUMENT, INVALID_FIELD.
pub fn cut_off() -> Status {
    invalid("request", "it ends in the middle of a message")
}

/// A message begins as none does, of gRPC or Connect: INVALID_ARGUMENT, INVALID_FIELD.
pub fn misframed(flag: u8) -> Status {
    invalid("request", format!("not a message: the flag before it is {flag}; only 0 is supported"))
}

/// A request is compressed: UNIMPLEMENTED, COMPRESSED, with the encodings that are taken, as gRPC wants it.
pub fn compressed() -> Status {
    let text = "compressed requests are not taken; send them as they are (encoding: identity)";
    let mut status = Status::with_error_details(Code::Unimplemented, text, info(reason::COMPRESSED));
    status.metadata_mut().insert("grpc-accept-encoding", MetadataValue::from_static("identity"));
    status
}

/// A request did not come whole in time: DEADLINE_EXCEEDED, REQUEST_TOO_SLOW. Nothing was done with it.
pub fn request_too_slow(limit: Duration) -> Status {
    let text = format!("the request was still incomplete after {limit:?}; it was discarded");
    Status::with_error_details(Code::DeadlineExceeded, text, info(reason::REQUEST_TOO_SLOW))
}

/// What tonic's decoder says of a request, in our words: it gives INTERNAL for one that is malformed, and OUT_OF_RANGE
/// for one over `limit` bytes. Everything else stays as it is.
pub fn of_decoder(code: Code, message: &str, limit: usize) -> Option<Status> {
    match code {
        Code::OutOfRange => Some(undecodable(limit)),
        Code::Internal if message.starts_with(UNDECODED) => Some(malformed()),
        _ => None,
    }
}
