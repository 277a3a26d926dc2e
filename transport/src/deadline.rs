//! How long a client waits, its answer when that is over, and the `grpc-timeout` header.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::HeaderMap;
use tidings::status::{self, Call};
use tidings_auth::Reason;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;

use super::usage::Open;

/// Ends a call whose client waits no longer, or is believed no longer. It lives as long as the call's answer.
#[derive(Debug)]
pub(super) struct Deadline {
    // Few calls have one.
    sleep: Option<Pin<Box<Sleep>>>,
    end: End,
    /// What the call counts for, until its answer has ended.
    _open: Option<Arc<Open>>,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Deadline(Call),
    Expiry(Reason),
}

impl Deadline {
    pub(super) fn new(at: Option<Instant>, call: Call) -> Self {
        Self { sleep: at.map(|at| Box::pin(sleep_until(at))), end: End::Deadline(call), _open: None }
    }

    /// Whichever comes first.
    pub(super) fn with_expiry(at: Option<Instant>, expiry: Option<(Instant, Reason)>, call: Call) -> Self {
        match (at, expiry) {
            (at, Some((expiry, reason))) if at.is_none_or(|at| expiry < at) => {
                Self { sleep: Some(Box::pin(sleep_until(expiry))), end: End::Expiry(reason), _open: None }
            }
            (at, _) => Self::new(at, call),
        }
    }

    /// One that never passes.
    pub(super) fn none() -> Self {
        Self { sleep: None, end: End::Expiry(Reason::Token), _open: None }
    }

    /// The same, with what the call counts for.
    pub(super) fn holding(self, open: Option<Arc<Open>>) -> Self {
        Self { _open: open, ..self }
    }

    /// Ready, once it has passed, with DEADLINE_EXCEEDED or UNAUTHENTICATED.
    pub(super) fn poll_passed(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        let end = self.end;
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().poll(context).map(|()| match end {
                End::Deadline(call) => status::deadline_exceeded(call),
                End::Expiry(Reason::Token) => status::token_expired(),
                End::Expiry(Reason::Certificate) => status::certificate_expired(),
            }),
            None => Poll::Pending,
        }
    }
}

/// The time that a call has, as its headers say; `None` where they say nothing that can be read.
pub(super) fn of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    // gRPC allows at most eight digits, and nothing but digits.
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().expect("a header"));
            of(&headers)
        };
        assert_eq!(read("5S"), Some(Duration::from_secs(5)));
        assert_eq!(read("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("1u"), Some(Duration::from_micros(1)));
        assert_eq!(read("7n"), Some(Duration::from_nanos(7)));
        for bad in ["", "S", "5", "5s", "-5S", "+5S", "123456789S", "5 S", "5ü"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(of(&HeaderMap::new()), None);
    }
}
