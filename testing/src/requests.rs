//! Requests as most tests make them, and what their answers say.

use tidings::pb::{Message, PublishRequest, StreamMessagesRequest, message, publish_request::Payload};
use tonic::Status;
use tonic_types::StatusExt as _;

/// A publish of text.
pub fn text(channel: &str, text: impl Into<String>) -> PublishRequest {
    PublishRequest {
        channel: channel.to_owned(),
        payload: Some(Payload::Text(text.into())),
        ..PublishRequest::default()
    }
}

/// A stream of a channel from now on.
pub fn channel(name: &str) -> StreamMessagesRequest {
    StreamMessagesRequest { channel: name.to_owned(), ..StreamMessagesRequest::default() }
}

/// A stream of a pattern from now on.
pub fn pattern(glob: &str) -> StreamMessagesRequest {
    StreamMessagesRequest { pattern: glob.to_owned(), ..StreamMessagesRequest::default() }
}

/// The text that a message carries.
pub fn text_of(message: &Message) -> &str {
    match &message.payload {
        Some(message::Payload::Text(text)) => text,
        other => panic!("not a text: {other:?}"),
    }
}

/// The sequences of messages.
pub fn sequences(messages: &[Message]) -> Vec<i64> {
    messages.iter().map(|message| message.sequence).collect()
}

/// The reason in a status's `ErrorInfo`, whose domain must be ours.
pub fn reason(status: &Status) -> String {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    assert_eq!(info.domain, "tidings");
    info.reason
}

/// The fields that a status blames.
pub fn fields(status: &Status) -> Vec<String> {
    let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    violations.into_iter().map(|violation| violation.field).collect()
}
