//! When a stream that was lost is opened again: how long to wait, and which ends are final.

use std::time::Duration;

use tidings::{
    backoff::Backoff,
    limits::{COMMAND_TOKEN_FRESH, TAIL_BACKOFF_MAX, TAIL_BACKOFF_MIN},
    status::reason,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::error::{Error, describe};

/// The tries to open one stream again.
pub(crate) struct Retry {
    backoff: Backoff,
    has_expired: bool,
}

impl Retry {
    /// Begins after a loss, and says so where it will pass.
    pub(crate) fn begin(status: &Status, say: impl Fn(&str)) -> Self {
        if is_passing(status) {
            say(&format!("connection lost, trying again: {}", describe(status)));
        }
        Self { backoff: Backoff::new(TAIL_BACKOFF_MIN, TAIL_BACKOFF_MAX), has_expired: false }
    }

    /// Ready where another try makes sense; the error where it does not.
    pub(crate) async fn admit(&mut self, status: &Status, say: impl Fn(&str)) -> Result<(), Error> {
        if has_token_expired(status) && !self.has_expired {
            // Something may have put another one into its file.
            self.has_expired = true;
            say("the token has expired, trying again with what its file has now");
            tokio::time::sleep(COMMAND_TOKEN_FRESH).await;
        } else if !is_passing(status) {
            return Err(status.clone().into());
        }
        Ok(())
    }

    /// Waits until the next try.
    pub(crate) async fn pause(&mut self, status: &Status) {
        tokio::time::sleep(self.backoff.jittered().max(wanted_pause(status))).await;
    }
}

fn has_token_expired(status: &Status) -> bool {
    status.get_details_error_info().is_some_and(|info| info.reason == reason::TOKEN_EXPIRED)
}

/// Whether the same request may succeed later: the server says so, or the status was made by the client library.
fn is_passing(status: &Status) -> bool {
    let from_server = status.get_details_error_info().is_some();
    match status.code() {
        Code::Unavailable => true,
        Code::Unknown | Code::Internal | Code::Cancelled => !from_server,
        _ => status.get_details_retry_info().is_some(),
    }
}

fn wanted_pause(status: &Status) -> Duration {
    let wanted = status.get_details_retry_info().and_then(|info| info.retry_delay);
    wanted.unwrap_or_default().min(TAIL_BACKOFF_MAX)
}
