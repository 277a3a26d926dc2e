//! Errors as gRPC statuses, the only place where they become such: AIP-193, with `google.rpc.ErrorInfo` (domain
//! `tidings`), `BadRequest` for bad input and `RetryInfo` where waiting helps.

use tonic::Status;

use crate::broker;

/// What a failed call was about: decides the reason that is given and what is said about a message's fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// A publish: `NOT_PUBLISHED` where nothing was done.
    Publish,
    /// A list, a stream or another read.
    Read,
}

/// A field of a request is not as it must be. `field` is its path, such as `requests[3].payload`; `description` says what is wrong.
pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Status {
    let _ = field.into();
    Status::invalid_argument(description)
}

/// A broker's error.
pub fn from_broker(error: broker::Error, call: Call) -> Status {
    let _ = call;
    Status::unknown(error.to_string())
}
