//! Statuses about callers: who has not signed in, and who may not do something.

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{extract, info, info_with, reason, unavailable};
use crate::access::Verb;

/// The caller has to sign in: UNAUTHENTICATED. One text, whatever is wrong with a token: who makes one up learns
/// nothing.
pub fn unauthenticated() -> Status {
    let text = "sign in: this server takes calls with `authorization: Bearer TOKEN` or with a client certificate, and must \
                trust them";
    Status::with_error_details(Code::Unauthenticated, text, info(reason::UNAUTHENTICATED))
}

/// The token's time is over: UNAUTHENTICATED, TOKEN_EXPIRED. Reported only after a good signature.
pub fn token_expired() -> Status {
    let text = "the token has expired; call again with a new one";
    Status::with_error_details(Code::Unauthenticated, text, info(reason::TOKEN_EXPIRED))
}

/// The time of the certificate that a client connected with is over: UNAUTHENTICATED, CERTIFICATE_EXPIRED.
pub fn certificate_expired() -> Status {
    let text = "the client certificate has expired; connect again with a new one";
    Status::with_error_details(Code::Unauthenticated, text, info(reason::CERTIFICATE_EXPIRED))
}

/// The server has no keys to check tokens with: UNAVAILABLE, NO_KEYS.
pub fn no_keys() -> Status {
    unavailable("the server can't check tokens: it has no keys yet", reason::NO_KEYS)
}

/// The caller may not do this: PERMISSION_DENIED. Channels that there are and those that there are not are answered
/// alike. `field` is the path of what names `what`, a channel or pattern.
pub fn permission_denied(verb: Verb, field: impl Into<String>, what: &str) -> Status {
    let (field, description) = (field.into(), format!("you may not {verb} on {}", extract(what)));
    let message = format!("{field}: {description}");
    let mut details = info_with(reason::PERMISSION_DENIED, [("verb", verb.as_str().to_owned())]);
    details.add_bad_request_violation(field, description);
    Status::with_error_details(Code::PermissionDenied, message, details)
}
