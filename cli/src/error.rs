//! Why a command failed, in words for a terminal.

use std::{error::Error as StdError, fmt, io};

use tidings::printable::{Printable, chain};
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
    /// Somebody is there, and says nothing.
    #[error("{address} did not answer within {timeout}; --timeout lets it take longer")]
    TimedOut {
        /// Who was asked.
        address: String,
        /// How long it had.
        timeout: humantime::Duration,
    },
    /// A server refused or failed.
    #[error("{}", describe(.0))]
    Refused(Box<Status>),
    /// A publish that may have been carried out.
    #[error("{0}\nWhether it was published is not known. With an --id a repeat is safe.")]
    Unanswered(Box<Error>),
    /// Of many publishes not all have a receipt.
    #[error("{0}")]
    Publishing(Incomplete),
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
    Output(io::Error),
    /// A stream over so many channels has no cursor.
    #[error(
        "the connection was lost ({0}), and a stream over more than 1,000 channels cannot be resumed; start again with --since"
    )]
    NotResumable(String),
    /// Flags that do not go together, where the command line alone does not show it.
    #[error("{0}")]
    Usage(&'static str),
    /// A Redis that was to be looked at can't be asked.
    #[error("cannot look at Redis: {0}")]
    Examined(String),
    /// What a measurement found is not as it was promised.
    #[error("{0}")]
    Broken(String),
    /// A key, a token or a policy is none.
    #[error("{0}")]
    Access(String),
    /// The answer was no, and is on standard output.
    #[error("no")]
    No,
    /// A second signal ended it.
    #[error("stopped at once")]
    Interrupted,
    /// What became of messages could not be told in time.
    #[error(
        "{address} did not settle {count} within {timeout}: they may be delivered again; --timeout lets it take longer"
    )]
    Unsettled {
        /// Who was asked.
        address: String,
        /// How many, in words.
        count: String,
        /// How long it had.
        timeout: humantime::Duration,
    },
    /// The services cannot start, one of them ended, or one is not well.
    #[error("{0}")]
    Serve(String),
}

/// How far many publishes came, and why no further.
#[derive(Debug)]
pub(crate) struct Incomplete {
    /// Which message failed first, and why.
    pub(crate) cause: String,
    /// Messages with a receipt.
    pub(crate) published: u64,
    /// Messages that were refused.
    pub(crate) failed: u64,
    /// Messages without an answer.
    pub(crate) unanswered: u64,
}

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cause, published, failed, unanswered } = self;
        write!(f, "{cause}\nWith a receipt: {published}")?;
        if *failed > 0 {
            write!(f, ", failed: {failed}")?;
        }
        if *unanswered > 0 {
            write!(f, ", without an answer: {unanswered} (whether these were published is not known)")?;
        }
        Ok(())
    }
}

impl Error {
    /// Of serving.
    pub(crate) fn serve(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Serve(chain(&*cause.into()))
    }

    /// Of keys, tokens and policies.
    pub(crate) fn access(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Access(chain(&*cause.into()))
    }

    /// Whether the reader of our output has simply gone away, as `head` does.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(cause) if cause.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl From<io::Error> for Error {
    fn from(cause: io::Error) -> Self {
        Self::Output(cause)
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

/// A status in words: its code, its message, and each field that is not as it must be.
pub(crate) fn describe(status: &Status) -> String {
    let mut text = format!("{}: {}", code_name(status.code()), Printable(status.message()));
    let details = status.get_error_details();
    match details.error_info() {
        Some(info) => text.push_str(&format!(" ({})", Printable(&info.reason))),
        // The message of a status that the client library made says little; its root says more.
        None => {
            if let Some(source) = status.source() {
                text.push_str(&format!(" ({})", root_cause(source)));
            }
        }
    }
    for violation in details.bad_request().into_iter().flat_map(|bad| &bad.field_violations) {
        // Of one field the message says it already.
        if status.message() != format!("{}: {}", violation.field, violation.description) {
            let (field, description) = (Printable(&violation.field), Printable(&violation.description));
            text.push_str(&format!("\n  {field}: {description}"));
        }
    }
    text
}

/// The last of an error's causes.
pub(crate) fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    Printable(&error.to_string()).to_string()
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
    fn a_status_is_reported_with_code_reason_and_fields() {
        let mut details = ErrorDetails::new();
        details.set_error_info("BAD_CHANNEL", "tidings", HashMap::new());
        details.add_bad_request_violation("channel", "it contains ' '");
        let status = Status::with_error_details(Code::InvalidArgument, "bad channel", details);
        assert_eq!(describe(&status), "INVALID_ARGUMENT: bad channel (BAD_CHANNEL)\n  channel: it contains ' '");
    }

    #[test]
    fn a_field_that_the_message_names_is_reported_once() {
        let mut details = ErrorDetails::new();
        details.set_error_info("MESSAGE_EMPTY", "tidings", HashMap::new());
        details.add_bad_request_violation("text", "it is empty");
        let status = Status::with_error_details(Code::InvalidArgument, "text: it is empty", details);
        assert_eq!(describe(&status), "INVALID_ARGUMENT: text: it is empty (MESSAGE_EMPTY)");
    }

    #[test]
    fn a_server_s_words_cannot_steer_the_terminal() {
        let mut details = ErrorDetails::new();
        details.set_error_info("\u{1b}[31m", "tidings", HashMap::new());
        details.add_bad_request_violation("\u{202e}", "\r");
        let text = describe(&Status::with_error_details(Code::Unknown, "\u{9b}2J\n", details));
        assert_eq!(text, "UNKNOWN: \\u{9b}2J\\n (\\u{1b}[31m)\n  \\u{202e}: \\r");
    }

    #[test]
    fn no_cause_is_reported_twice() {
        let cause = io::Error::other("the disk is full");
        assert_eq!(Error::serve(cause).to_string(), "the disk is full");
        let input = tidings_runtime::config::Error::Listen {
            flag: "--listen",
            address: "127.0.0.1:1".parse().expect("an address"),
            source: io::Error::other("no\u{7}"),
        };
        assert_eq!(Error::serve(input).to_string(), "--listen 127.0.0.1:1: can't listen there: no\\u{7}");
    }
}
