//! What a call's protocol decides before its operation is called and where it fails: a row for each. How calls are
//! recognised is in [`front`](super::front), how requests become messages and answers go out in each one's module.

use http::{HeaderMap, Response};
use tidings::status;
use tokio::time::Instant;
use tonic::{Status, body::Body};

use super::{
    connect, deadline, grpc,
    methods::{Method, Shape},
};

/// How a call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// gRPC, and gRPC-Web within it.
    Grpc,
    Connect(connect::Form),
}

impl Protocol {
    /// When the caller stops waiting, where its headers say so.
    pub(super) fn deadline(self, headers: &HeaderMap) -> Option<Instant> {
        let time = match self {
            Self::Grpc => deadline::of(headers),
            Self::Connect(_) => connect::timeout(headers).ok().flatten(),
        };
        time.and_then(|time| Instant::now().checked_add(time))
    }

    /// Refuses what the headers ask for and is not done.
    ///
    /// # Errors
    ///
    /// UNIMPLEMENTED: it is compressed. INVALID_ARGUMENT: Connect's version, timeout or content type is not right.
    pub(super) fn check(self, headers: &HeaderMap, method: &Method) -> Result<(), Status> {
        match self {
            Self::Grpc if grpc::is_plain(headers) => Ok(()),
            Self::Grpc => Err(status::compressed()),
            Self::Connect(form) => form.check(headers, method.shape() == Shape::Unary),
        }
    }

    /// The answer to a call that failed before its first message.
    pub(super) fn failed(self, status: Status) -> Response<Body> {
        match self {
            Self::Grpc => status.into_http(),
            Self::Connect(form) => connect::failed(form, &status),
        }
    }
}
