//! Requests about subscriptions, checked.

use tidings::{
    access::{Allowed, Manage, Publish, Verb},
    channel::ChannelName,
    cursor,
    metrics::{self, Refused},
    pb,
    status::{self, reason},
    subscription::SubscriptionName,
};
use tidings_transport::CallContext;
use tonic::Status;
use uuid::Uuid;

use crate::{
    request::since_ms,
    work::{Desk, StartAt, dead_letter_channel},
};

/// Reads a subscription's name.
pub(crate) fn name(name: &str, field: &str, desk: &Desk) -> Result<SubscriptionName, Status> {
    SubscriptionName::parse(name, desk.names())
        .map_err(|error| status::invalid_because(reason::INVALID_SUBSCRIPTION, field, error.to_string()))
}

/// The name of a subscription that the caller may manage.
pub(crate) fn manage(
    text: &str,
    field: &str,
    desk: &Desk,
    context: &CallContext,
) -> Result<Allowed<Manage, SubscriptionName>, Status> {
    let name = name(text, field, desk)?;
    context.caller().rights().manage(name).map_err(|name| denied(Verb::Manage, field, &name))
}

/// The name of a subscription that the caller may see, because it may consume or manage it.
pub(crate) fn see(text: &str, desk: &Desk, context: &CallContext) -> Result<SubscriptionName, Status> {
    let name = name(text, "name", desk)?;
    match context.caller().rights().may_see(&name) {
        true => Ok(name),
        false => Err(denied(Verb::Consume, "name", &name)),
    }
}

/// The channel of a new subscription's dead letters, on which the caller may publish: the service will, in its place.
pub(crate) fn dead_letters(
    subscription: &pb::Subscription,
    name: &SubscriptionName,
    channel: &ChannelName,
    desk: &Desk,
    context: &CallContext,
) -> Result<Allowed<Publish, ChannelName>, Status> {
    let found = dead_letter_channel(&subscription.dead_letter_channel, name, channel, desk.names())?;
    context.caller().rights().publish(found).map_err(|found| {
        metrics::refused(Refused::Denied);
        status::permission_denied(Verb::Publish, "subscription.dead_letter_channel", found.as_str())
    })
}

fn denied(verb: Verb, field: &str, name: &SubscriptionName) -> Status {
    metrics::refused(Refused::Denied);
    status::subscription_denied(verb, field, name.as_str())
}

/// A position that a request names.
#[derive(Default)]
pub(crate) struct Given<'a> {
    pub(crate) earliest: bool,
    pub(crate) latest: bool,
    pub(crate) since: Option<&'a prost_types::Timestamp>,
    pub(crate) last: i32,
    pub(crate) after: &'a str,
}

/// The one position that is given; `None` for none.
pub(crate) fn start(given: &Given<'_>, channel: &ChannelName) -> Result<Option<StartAt>, Status> {
    let set = [
        ("earliest", given.earliest),
        ("latest", given.latest),
        ("since", given.since.is_some()),
        ("last", given.last != 0),
        ("after", !given.after.is_empty()),
    ];
    let mut set = set.into_iter().filter_map(|(field, is_set)| is_set.then_some(field));
    let Some(field) = set.next() else { return Ok(None) };
    if let Some(second) = set.next() {
        let text = format!("there is one position at most; {field} is set as well");
        return Err(status::invalid_because(reason::SEVERAL_STARTS, second, text));
    }
    Ok(Some(match (field, given.since) {
        ("earliest", _) => StartAt::Earliest,
        ("latest", _) => StartAt::Latest,
        ("since", Some(since)) => StartAt::Since(since_ms(since)?),
        ("last", _) if given.last < 0 => return Err(status::invalid("last", "it must not be negative")),
        ("last", _) => StartAt::Last(given.last.into()),
        _ => {
            let mark = cursor::decode_for(given.after, channel);
            StartAt::After(mark.map_err(|error| status::invalid_cursor("after", error))?)
        }
    }))
}

/// The client's own name of a call; `None` where it has none.
pub(crate) fn request_id(text: &str) -> Result<Option<Uuid>, Status> {
    match Uuid::try_parse(text) {
        _ if text.is_empty() => Ok(None),
        Ok(id) if text.len() == uuid::fmt::Hyphenated::LENGTH => Ok(Some(id)),
        _ => Err(status::invalid("request_id", "it is no UUID of the form 0192f0c1-2a3b-7c4d-8e5f-0123456789ab")),
    }
}

/// The subscription of a request.
pub(crate) fn subscription(given: Option<pb::Subscription>) -> Result<pb::Subscription, Status> {
    given.ok_or_else(|| status::invalid("subscription", "it must be set"))
}
