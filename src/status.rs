//! Errors as gRPC statuses, made only here. As AIP-193 asks, each has a message that a person
//! can act on, `google.rpc.ErrorInfo` with the domain `tidings` and a [`reason`] for programs, `BadRequest` where a
//! field is to blame, and `RetryInfo` where waiting helps.
//!
//! Texts from clients go into a status only in short extracts: details travel in HTTP headers, which clients limit.

use std::{collections::HashMap, time::Duration};

use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    broker,
    channel::InvalidName,
    cursor::InvalidCursor,
    limits::{AFTER_CURSORS, ATTRIBUTES, BATCH_MESSAGES, BODIES_BYTES, EXTRACT_BYTES, RETRY_AFTER, SMALL_BODIES_BYTES},
    metrics::Limit,
    pb,
};

pub use self::{
    callers::{certificate_expired, no_keys, permission_denied, token_expired, unauthenticated},
    requests::{
        compressed, cut_off, malformed, misframed, not_json, not_one_request, of_decoder, request_too_slow,
        too_many_values, undecodable, wrong_content_type,
    },
    subscriptions::{
        differs, exists, filter_invalid, name_busy, no_history, not_found, subscription_denied, subscription_limit,
        too_many_ids, too_many_labels,
    },
};

mod callers;
pub mod reason;
mod requests;
mod subscriptions;

/// The domain of every `ErrorInfo`.
pub const DOMAIN: &str = "tidings";

/// The kind of a failed call: decides the reason that is given, and whether the error says that a message may have been
/// published, or a subscription changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// A publish: `NOT_PUBLISHED` where nothing was done.
    Publish,
    /// A list, a stream or another read.
    Read,
    /// A call about a durable subscription: `OUTCOME_UNKNOWN` where a write may have been carried out,
    /// `BROKER_UNAVAILABLE` where nothing was done.
    Consume,
}

/// A field of a request is not as it must be: INVALID_ARGUMENT, INVALID_FIELD. `field` is its path, such as
/// `requests[3].json`; `description` says what is wrong.
pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Status {
    invalid_because(reason::INVALID_FIELD, field, description)
}

/// The same with a [`reason`] of its own.
pub fn invalid_because(reason: &str, field: impl Into<String>, description: impl Into<String>) -> Status {
    blame(Code::InvalidArgument, reason, field.into(), description.into())
}

/// No payload was set: INVALID_ARGUMENT, MESSAGE_MISSING. `field` is the path of the oneof.
pub fn message_missing(field: impl Into<String>) -> Status {
    let text = "the message is mandatory";
    let mut details = info(reason::MESSAGE_MISSING);
    details.add_bad_request_violation(field, format!("{text}: set one of text, json and data"));
    Status::with_error_details(Code::InvalidArgument, text, details)
}

/// A name is no channel: INVALID_ARGUMENT, INVALID_CHANNEL.
pub fn invalid_channel(field: impl Into<String>, error: &InvalidName) -> Status {
    invalid_because(reason::INVALID_CHANNEL, field, error.to_string())
}

/// A text is no pattern: INVALID_ARGUMENT, INVALID_PATTERN.
pub fn invalid_pattern(field: impl Into<String>, error: &InvalidName) -> Status {
    invalid_because(reason::INVALID_PATTERN, field, error.to_string())
}

/// A text is no cursor of this stream: INVALID_ARGUMENT, INVALID_CURSOR.
pub fn invalid_cursor(field: impl Into<String>, error: InvalidCursor) -> Status {
    invalid_because(reason::INVALID_CURSOR, field, error.to_string())
}

/// A text is no page token of this list: INVALID_ARGUMENT, INVALID_PAGE_TOKEN.
pub fn invalid_page_token(field: impl Into<String>, error: InvalidCursor) -> Status {
    invalid_because(reason::INVALID_PAGE_TOKEN, field, error.to_string())
}

/// A field is over a size limit: RESOURCE_EXHAUSTED, with the size and the limit in words and as metadata. `what`
/// is counted, such as "bytes as JSON".
pub fn too_large(reason: &str, field: impl Into<String>, what: &str, size: usize, limit: usize) -> Status {
    let mut details = info_with(reason, [("size", size.to_string()), ("limit", limit.to_string())]);
    let (field, text) = (field.into(), format!("it has {size} {what}; at most {limit} are allowed"));
    let message = format!("{field}: {text}");
    details.add_bad_request_violation(field, text);
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// A message has more attributes than it may: RESOURCE_EXHAUSTED, TOO_MANY_ATTRIBUTES.
pub fn too_many_attributes(field: impl Into<String>, count: usize) -> Status {
    too_large(reason::TOO_MANY_ATTRIBUTES, field, "pairs", count, ATTRIBUTES)
}

/// A batch has more messages than it may: RESOURCE_EXHAUSTED, BATCH_TOO_LARGE.
pub fn batch_too_long(count: usize) -> Status {
    too_large(reason::BATCH_TOO_LARGE, "requests", "messages", count, BATCH_MESSAGES)
}

/// A stream is to resume after more cursors than it may: RESOURCE_EXHAUSTED, TOO_MANY_CURSORS.
pub fn too_many_cursors(count: usize) -> Status {
    too_large(reason::TOO_MANY_CURSORS, "after", "cursors", count, 1 + AFTER_CURSORS)
}

/// A connection's requests are too large together: RESOURCE_EXHAUSTED, CONNECTION_LIMIT. Nothing was done, and waiting
/// helps.
pub fn connection_full() -> Status {
    let limit = BODIES_BYTES + SMALL_BODIES_BYTES;
    let text = format!(
        "the requests that come over this connection have more than {limit} bytes together; nothing was done: send fewer at a time, or use \
         more connections"
    );
    let mut details = info_with(reason::CONNECTION_LIMIT, [("limit", limit.to_string())]);
    details.set_retry_info(Some(RETRY_AFTER));
    Status::with_error_details(Code::ResourceExhausted, text, details)
}

/// A pattern covers more channels than one stream may follow: RESOURCE_EXHAUSTED, PATTERN_TOO_WIDE.
pub fn pattern_too_wide(field: impl Into<String>, limit: usize) -> Status {
    let (field, text) = (field.into(), format!("it matches more than {limit} channels; choose a narrower pattern"));
    let mut details = info_with(reason::PATTERN_TOO_WIDE, [("limit", limit.to_string())]);
    let message = format!("{field}: {text}");
    details.add_bad_request_violation(field, text);
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// A limit of the server as a whole is reached: RESOURCE_EXHAUSTED, SERVER_LIMIT. Waiting may help.
pub fn server_limit(description: impl Into<String>) -> Status {
    let mut details = info(reason::SERVER_LIMIT);
    details.set_retry_info(Some(RETRY_AFTER));
    Status::with_error_details(Code::ResourceExhausted, description, details)
}

/// The caller's address, or the subject that it signed in as, has used up a limit: RESOURCE_EXHAUSTED, CALLER_LIMIT,
/// with the limit's name in the metadata. `wait` is when there is room again, as far as that is known.
pub fn caller_limit(limit: Limit, most: u64, wait: Option<Duration>) -> Status {
    let what = match limit {
        Limit::Connections => format!("it has {most} connections (--address-max-connections)"),
        Limit::Streams => format!("it has {most} open streams (--caller-max-streams)"),
        Limit::Patterns => format!("it follows {most} different patterns (--caller-max-patterns)"),
        Limit::Positions => format!("its pattern streams follow {most} channels together (--caller-max-positions)"),
        Limit::Publishes => format!("it may publish {most} messages a second (--caller-publish-rate)"),
        Limit::BytesIn => format!("it may publish {most} bytes a second (--caller-bytes-in-rate)"),
        Limit::Lists => format!("it may ask for {most} lists a second (--caller-list-rate)"),
        Limit::BytesOut => format!("it may be sent {most} bytes a second (--caller-bytes-out-rate)"),
        Limit::NewChannels => format!("it may create {most} channels a minute (--caller-new-channels)"),
        Limit::UnreadAnswers => format!("{most} bytes of answers wait to be read by it"),
        Limit::Uploads => format!("requests that come from it have {most} bytes together"),
        Limit::SlowRequests => format!("{most} of its requests are incomplete"),
        // These have refusals of their own, or none.
        Limit::ControlFrames
        | Limit::ProxyHeaders
        | Limit::Backlog
        | Limit::ConnectionRequests
        | Limit::RequestTime
        | Limit::GreetingTime
        | Limit::WidePatterns => format!("it may have {most}"),
    };
    let text = format!("the caller's limit is reached: {what}, all calls of one subject or address taken together");
    let mut details = info_with(reason::CALLER_LIMIT, [("limit", limit.name().to_owned())]);
    details.set_retry_info(Some(wait.unwrap_or(RETRY_AFTER)));
    Status::with_error_details(Code::ResourceExhausted, text, details)
}

/// The messages after a position or token are gone: OUT_OF_RANGE. `reason` says why ([`TRIMMED`](reason::TRIMMED),
/// [`EPOCH_CHANGED`](reason::EPOCH_CHANGED), …), `metadata` names what, such as
/// `channel` and `cursor`.
pub fn out_of_range(
    reason: &str,
    description: impl Into<String>,
    metadata: impl IntoIterator<Item = (&'static str, String)>,
) -> Status {
    Status::with_error_details(Code::OutOfRange, description, info_with(reason, metadata))
}

/// The server is stopping: UNAVAILABLE, with NOT_PUBLISHED for publishes and DRAINING for all others.
pub fn draining(call: Call) -> Status {
    match call {
        Call::Publish => unavailable("the server is stopping; nothing was published", reason::NOT_PUBLISHED),
        Call::Read => {
            let text = "the server is stopping; resume with the last cursor at another one, or here in a moment";
            unavailable(text, reason::DRAINING)
        }
        Call::Consume => {
            let text = "the server is stopping; make the same call at another one, or here in a moment";
            unavailable(text, reason::DRAINING)
        }
    }
}

/// The connection has reached its maximum age, the server keeps running: UNAVAILABLE, with NOT_PUBLISHED for publishes
/// and CONNECTION_AGED for all others. Nobody has to wait before the next call.
pub fn connection_aged(call: Call) -> Status {
    let age = "the connection has reached its maximum age (--max-connection-age)";
    match call {
        Call::Publish => {
            let text = format!("{age}; what was not answered was not published: send it on a new connection");
            Status::with_error_details(Code::Unavailable, text, info(reason::NOT_PUBLISHED))
        }
        Call::Read => {
            let text = format!("{age}; resume with the last cursor on a new one");
            Status::with_error_details(Code::Unavailable, text, info(reason::CONNECTION_AGED))
        }
        Call::Consume => {
            let text = format!("{age}; make the same call on a new one");
            Status::with_error_details(Code::Unavailable, text, info(reason::CONNECTION_AGED))
        }
    }
}

/// The call's `grpc-timeout` has passed: DEADLINE_EXCEEDED.
pub fn deadline_exceeded(call: Call) -> Status {
    let text = match call {
        Call::Publish => {
            "the deadline passed before the answer was there; the publish may have been carried out, and a repeat with the \
             same message_id is safe"
        }
        Call::Read => "the deadline passed before the answer was there",
        Call::Consume => {
            "the deadline passed before the answer was there; the call may have been carried out, and the same one can \
             be made again"
        }
    };
    Status::with_error_details(Code::DeadlineExceeded, text, info(reason::DEADLINE_EXCEEDED))
}

/// A service that isn't served here: UNIMPLEMENTED. `location` says where it is.
pub fn wrong_service(service: &str, location: &str) -> Status {
    let text = format!("{} is not served here, but by {location}", extract(service));
    Status::with_error_details(Code::Unimplemented, text, info(reason::OTHER_SERVICE))
}

/// What calls of nothing that there is are answered with: how to find out what there is.
pub const LISTED: &str = "server reflection lists what is served";

/// A method that a service has not, or a service that is not here: UNIMPLEMENTED. `known` is what there is instead.
pub fn unknown_method(path: &str, known: &str) -> Status {
    let text = format!("there is no method {} here; {known}", extract(path));
    Status::with_error_details(Code::Unimplemented, text, info(reason::UNKNOWN_METHOD))
}

/// A bug: INTERNAL. The caller has logged what happened; clients learn nothing of it.
pub fn internal() -> Status {
    let text = "an internal error; the server's log says more";
    Status::with_error_details(Code::Internal, text, info(reason::INTERNAL))
}

/// A broker's error.
pub fn from_broker(error: broker::Error, call: Call) -> Status {
    use broker::Error as E;
    let text = error.to_string();
    match (error, call) {
        (E::TooLarge { bytes, limit }, _) => {
            let metadata = [("size", bytes.to_string()), ("limit", limit.to_string())];
            let details = info_with(reason::MESSAGE_TOO_LARGE, metadata);
            Status::with_error_details(Code::ResourceExhausted, text, details)
        }
        (E::Unavailable(_) | E::Channel(_), Call::Publish) => {
            unavailable(format!("{text}; nothing was published"), reason::NOT_PUBLISHED)
        }
        (E::Unavailable(_) | E::Channel(_) | E::OutcomeUnknown(_), Call::Read) => {
            unavailable(text, reason::BROKER_UNAVAILABLE)
        }
        (E::Unavailable(_) | E::Channel(_), Call::Consume) => {
            unavailable(format!("{text}; nothing was done"), reason::BROKER_UNAVAILABLE)
        }
        (E::OutcomeUnknown(_), Call::Consume) => subscriptions::outcome_unknown(&text),
        (E::OutcomeUnknown(_), Call::Publish) => {
            let text =
                format!("{text}; the message may have been published, and a repeat with the same message_id is safe");
            Status::with_error_details(Code::Unknown, text, info(reason::OUTCOME_UNKNOWN))
        }
        (E::OutOfMemory, Call::Consume) => subscriptions::no_room(
            "Redis is out of memory (maxmemory reached, noeviction): free memory or raise maxmemory",
        ),
        (E::Full(what), Call::Consume) => subscriptions::no_room(&format!(
            "the embedded broker is full ({what}): delete subscriptions that nobody uses, keep less history, or use \
             Redis (--redis-url)"
        )),
        // Only publishes ask for replicas, and have ids.
        (E::ReplicasNotReached { .. } | E::NoReplicas | E::TooManyIds { .. }, Call::Consume) | (E::Internal(_), _) => {
            tracing::error!(error = %text, "the broker failed in a way that only a bug explains");
            internal()
        }
        (E::ReplicasNotReached { wanted, reached, .. }, _) => {
            let metadata = [("wanted", wanted.to_string()), ("reached", reached.to_string())];
            Status::with_error_details(Code::Unknown, text, info_with(reason::REPLICAS_NOT_REACHED, metadata))
        }
        (E::NoReplicas, _) => {
            let mut details = info(reason::NO_REPLICAS);
            details.add_bad_request_violation("min_replicas", "this broker has no replicas");
            Status::with_error_details(Code::FailedPrecondition, text, details)
        }
        (E::OutOfMemory | E::Full(_), _) => {
            Status::with_error_details(Code::ResourceExhausted, text, info(reason::OUT_OF_MEMORY))
        }
        (E::TooManyIds { limit }, _) => {
            let details = info_with(reason::TOO_MANY_IDS, [("limit", limit.to_string())]);
            Status::with_error_details(Code::ResourceExhausted, text, details)
        }
    }
}

/// A status as one answer on a `PublishStream`, with the same details.
pub fn to_publish_error(status: &Status) -> pb::PublishError {
    // The details are the bytes of a `google.rpc.Status`, written above.
    let details = tonic_types::pb::Status::decode(status.details()).map(|rpc| rpc.details).unwrap_or_default();
    pb::PublishError { code: status.code().into(), message: status.message().to_owned(), details }
}

/// The beginning of a client's own text, for a message: short, and without control characters.
pub fn extract(text: &str) -> String {
    let end = (0..=EXTRACT_BYTES.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    let dots = if end < text.len() { "…" } else { "" };
    format!("{:?}{dots}", &text[..end])
}

fn blame(code: Code, reason: &str, field: String, description: String) -> Status {
    let message = format!("{field}: {description}");
    let mut details = info(reason);
    details.add_bad_request_violation(field, description);
    Status::with_error_details(code, message, details)
}

fn unavailable(text: impl Into<String>, reason: &str) -> Status {
    let mut details = info(reason);
    details.set_retry_info(Some(RETRY_AFTER));
    Status::with_error_details(Code::Unavailable, text, details)
}

fn info(reason: &str) -> ErrorDetails {
    info_with(reason, [])
}

fn info_with(reason: &str, metadata: impl IntoIterator<Item = (&'static str, String)>) -> ErrorDetails {
    let metadata: HashMap<String, String> = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    ErrorDetails::with_error_info(reason, DOMAIN, metadata)
}

#[cfg(test)]
mod tests;
