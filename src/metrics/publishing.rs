//! What the publisher counts.

use std::{sync::LazyLock, time::Instant};

use ::metrics::{Counter, Histogram, counter, histogram};
use tonic::Code;

use super::{PUBLISH_SECONDS, PUBLISH_TOTAL, clock};

pub(super) struct Publishing {
    codes: [Counter; CODES.len()],
    seconds: Histogram,
}

pub(super) static PUBLISHING: LazyLock<Publishing> = LazyLock::new(|| Publishing {
    codes: CODES.map(|(_, code)| counter!(PUBLISH_TOTAL, "code" => code)),
    seconds: histogram!(PUBLISH_SECONDS),
});

/// All that gRPC has, each at the index of its number.
const CODES: [(Code, &str); 17] = [
    (Code::Ok, "OK"),
    (Code::Cancelled, "CANCELLED"),
    (Code::Unknown, "UNKNOWN"),
    (Code::InvalidArgument, "INVALID_ARGUMENT"),
    (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
    (Code::NotFound, "NOT_FOUND"),
    (Code::AlreadyExists, "ALREADY_EXISTS"),
    (Code::PermissionDenied, "PERMISSION_DENIED"),
    (Code::ResourceExhausted, "RESOURCE_EXHAUSTED"),
    (Code::FailedPrecondition, "FAILED_PRECONDITION"),
    (Code::Aborted, "ABORTED"),
    (Code::OutOfRange, "OUT_OF_RANGE"),
    (Code::Unimplemented, "UNIMPLEMENTED"),
    (Code::Internal, "INTERNAL"),
    (Code::Unavailable, "UNAVAILABLE"),
    (Code::DataLoss, "DATA_LOSS"),
    (Code::Unauthenticated, "UNAUTHENTICATED"),
];

/// One call, or one message of a stream, that is to be published: counted when it is answered, and as CANCELLED where
/// nobody waits for the answer any more.
#[derive(Debug)]
pub struct Publish {
    messages: usize,
    since: Option<Instant>,
    code: Code,
}

impl Publish {
    /// A publish of so many messages, which has just arrived.
    pub fn begin(messages: usize) -> Self {
        Self { messages, since: clock::now(), code: Code::Cancelled }
    }

    /// It is answered.
    pub fn end(mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for Publish {
    fn drop(&mut self) {
        let Some(since) = self.since else { return };
        // What panics is answered with INTERNAL, further out.
        let code = if std::thread::panicking() { Code::Internal } else { self.code };
        PUBLISHING.codes[code as usize].increment(self.messages as u64);
        PUBLISHING.seconds.record(since.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_at_the_index_of_their_number() {
        for (index, (code, _)) in CODES.iter().enumerate() {
            assert_eq!(*code as usize, index);
        }
    }
}
