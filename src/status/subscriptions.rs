//! Statuses about durable subscriptions.

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{extract, info, info_with, reason, too_large};
use crate::{
    access::Verb,
    limits::{LABELS, RETRY_AFTER, SETTLED},
};

/// A filter can't be read: INVALID_ARGUMENT, INVALID_FILTER, with the position in the text and in the metadata.
pub fn filter_invalid(field: &str, position: usize, description: &str) -> Status {
    let mut details = info_with(reason::INVALID_FILTER, [("position", position.to_string())]);
    details.add_bad_request_violation(field, description);
    Status::with_error_details(Code::InvalidArgument, format!("{field}: {description}"), details)
}

/// A request names more deliveries than can be settled together: RESOURCE_EXHAUSTED, TOO_MANY_DELIVERIES.
pub fn too_many_ids() -> Status {
    too_large(reason::TOO_MANY_DELIVERIES, "ack_ids", "ids or more", SETTLED + 1, SETTLED)
}

/// A subscription has more labels than it may: RESOURCE_EXHAUSTED, TOO_MANY_LABELS.
pub fn too_many_labels(count: usize) -> Status {
    too_large(reason::TOO_MANY_LABELS, "subscription.labels", "pairs or more", count, LABELS)
}

/// There is no such subscription: NOT_FOUND.
pub fn not_found(name: &str) -> Status {
    let text = format!("there is no subscription {}; create it with CreateSubscription", extract(name));
    Status::with_error_details(Code::NotFound, text, info(reason::SUBSCRIPTION_NOT_FOUND))
}

/// There is one of this name: ALREADY_EXISTS.
pub fn exists(name: &str) -> Status {
    let text = format!("there is a subscription {} already; names are unique over all channels", extract(name));
    Status::with_error_details(Code::AlreadyExists, text, info(reason::SUBSCRIPTION_EXISTS))
}

/// The name is reserved for a subscription of another channel: UNAVAILABLE.
pub fn name_busy(name: &str) -> Status {
    let text = format!("{} is being created on another channel, or was not completed there; try again", extract(name));
    Status::with_error_details(Code::Unavailable, text, waiting(info(reason::SUBSCRIPTION_BUSY)))
}

/// There are as many as there may be: RESOURCE_EXHAUSTED.
pub fn subscription_limit(most: usize) -> Status {
    let text =
        format!("there are {most} subscriptions, which is as many as there may be: delete those that nobody uses");
    let details = info_with(reason::SUBSCRIPTION_LIMIT, [("limit", most.to_string())]);
    Status::with_error_details(Code::ResourceExhausted, text, details)
}

/// The etag that was given is not the present one: ABORTED.
pub fn differs(name: &str) -> Status {
    let text = format!("{} was changed since its etag was read: read it again with GetSubscription", extract(name));
    Status::with_error_details(Code::Aborted, text, info(reason::ETAG_DIFFERS))
}

/// Nothing is kept that could be delivered later: FAILED_PRECONDITION.
pub fn no_history() -> Status {
    let text = "this server keeps no history (--history-max-messages 0), from which subscriptions deliver";
    Status::with_error_details(Code::FailedPrecondition, text, info(reason::NO_HISTORY))
}

/// The caller may not do this with the subscription: PERMISSION_DENIED, whether there is one or not.
pub fn subscription_denied(verb: Verb, field: &str, name: &str) -> Status {
    let description = format!("you may not {verb} the subscription {}", extract(name));
    let mut details = info_with(reason::PERMISSION_DENIED, [("verb", verb.as_str().to_owned())]);
    let message = format!("{field}: {description}");
    details.add_bad_request_violation(field, description);
    Status::with_error_details(Code::PermissionDenied, message, details)
}

/// The broker was given a call and has not answered it: UNKNOWN, OUTCOME_UNKNOWN. `text` is what it says.
pub(super) fn outcome_unknown(text: &str) -> Status {
    let text = format!("{text}; the call may have been carried out, and the same one can be made again");
    Status::with_error_details(Code::Unknown, text, info(reason::OUTCOME_UNKNOWN))
}

/// The broker has no room for what a subscription keeps: RESOURCE_EXHAUSTED, OUT_OF_MEMORY. `text` says what helps.
pub(super) fn no_room(text: &str) -> Status {
    let text = format!("{text}; nothing was done");
    Status::with_error_details(Code::ResourceExhausted, text, info(reason::OUT_OF_MEMORY))
}

fn waiting(mut details: ErrorDetails) -> ErrorDetails {
    details.set_retry_info(Some(RETRY_AFTER));
    details
}
