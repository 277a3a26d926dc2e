//! Why a command failed, in words for a terminal.

use std::{error::Error as StdError, io};

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nobody answers at the address.
    #[error("cannot reach {address}: {cause}\nIs it running there? {flag} names another address.")]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// What the system says.
        cause: String,
        /// The flag that says where.
        flag: &'static str,
    },
    /// A server refused or failed.
    #[error("{}", describe(.0))]
    Refused(Box<Status>),
    /// What was to be sent cannot be read.
    #[error("cannot read {name}: {cause}")]
    Input {
        /// A file's name, or "standard input".
        name: String,
        /// What the system says.
        cause: io::Error,
    },
    /// Standard output is gone; a closed pipe is no failure.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
    /// A stream over so many channels has no cursor.
    #[error(
        "the connection was lost ({0}), and a stream over more than 1,000 channels cannot be resumed; start again with --since"
    )]
    NotResumable(String),
    /// The services cannot start, one of them ended, or one is not well.
    #[error("{0}")]
    Serve(#[source] Box<dyn StdError + Send + Sync>),
}

impl Error {
    /// Of serving.
    pub(crate) fn serve(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Serve(cause.into())
    }

    /// Whether the reader of our output has simply gone away, as `head` does.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(cause) if cause.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

/// A status in words: its code, its message, and each field that is not as it must be.
pub(crate) fn describe(status: &Status) -> String {
    let mut text = format!("{}: {}", code_name(status.code()), status.message());
    let details = status.get_error_details();
    match details.error_info() {
        Some(info) => text.push_str(&format!(" ({})", info.reason)),
        // The message of a status that the client library made says little; its root says more.
        None => {
            if let Some(source) = status.source() {
                text.push_str(&format!(" ({})", root_cause(source)));
            }
        }
    }
    for violation in details.bad_request().into_iter().flat_map(|bad| &bad.field_violations) {
        text.push_str(&format!("\n  {}: {}", violation.field, violation.description));
    }
    text
}

/// The last of an error's causes.
pub(crate) fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// The code as gRPC spells it: `INVALID_ARGUMENT`.
fn code_name(code: Code) -> String {
    let mut name = String::new();
    for c in format!("{code:?}").chars() {
        if c.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    #[test]
    fn a_status_is_told_with_code_reason_and_fields() {
        let mut details = ErrorDetails::new();
        details.set_error_info("BAD_CHANNEL", "tidings", HashMap::new());
        details.add_bad_request_violation("channel", "it contains ' '");
        let status = Status::with_error_details(Code::InvalidArgument, "bad channel", details);
        assert_eq!(describe(&status), "INVALID_ARGUMENT: bad channel (BAD_CHANNEL)\n  channel: it contains ' '");
    }
}
