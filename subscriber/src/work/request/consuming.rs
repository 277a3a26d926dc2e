//! Requests of consumers, checked.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tidings::{
    access::{Allowed, Consume, Verb},
    limits::{
        ACK_DEADLINE_MAX, ACK_DEADLINE_MIN, CONSUMER_BYTES, CONSUMER_MESSAGES, CONSUMER_MESSAGES_DEFAULT, DELAY_MAX,
        HEARTBEAT_MAX, HEARTBEAT_MIN, PAGE_BYTES, PULL_MESSAGES_DEFAULT, PULL_WAIT_MAX, REASON_BYTES, SETTLED,
    },
    metrics::{self, Refused},
    pb::{self, consume_messages_request::Request},
    status,
    subscription::SubscriptionName,
};
use tidings_transport::{CallContext, Caller};
use tonic::Status;

use crate::work::{CreditLimit, Decision, Desk, Failure, Pull, Settle, within};

/// A stream's first request.
pub(crate) struct Started {
    pub(crate) name: Arc<Allowed<Consume, SubscriptionName>>,
    pub(crate) limit: CreditLimit,
    pub(crate) ack_deadline: Option<Duration>,
    pub(crate) heartbeat: Option<Duration>,
}

/// The first request is missing.
pub(crate) fn not_started() -> Status {
    status::invalid("start", "the first request of a stream names its subscription: send `start` first")
}

/// Checks the first request of a stream.
pub(crate) fn started(
    request: pb::ConsumeMessagesRequest,
    desk: &Desk,
    context: &CallContext,
) -> Result<Started, Status> {
    let Some(Request::Start(start)) = request.request else { return Err(not_started()) };
    Ok(Started {
        name: Arc::new(consume(&start.name, "start.name", desk, context)?),
        limit: credit(start.max_outstanding_messages, start.max_outstanding_bytes, "start")?,
        ack_deadline: ack_deadline(start.ack_deadline, "start.ack_deadline")?,
        heartbeat: heartbeat(start.heartbeat_interval)?,
    })
}

/// The name of a subscription that the caller may consume.
pub(crate) fn consume(
    name: &str,
    field: &str,
    desk: &Desk,
    context: &CallContext,
) -> Result<Allowed<Consume, SubscriptionName>, Status> {
    let name = super::subscription::name(name, field, desk)?;
    context.caller().rights().consume(name).map_err(|name| denied(field, &name))
}

fn denied(field: &str, name: &SubscriptionName) -> Status {
    metrics::refused(Refused::Denied);
    status::subscription_denied(Verb::Consume, field, name.as_str())
}

/// Waits until the caller may consume no longer; `None` where its rights can't change.
pub(crate) fn revoked(
    caller: Caller,
    name: Arc<Allowed<Consume, SubscriptionName>>,
) -> Option<BoxFuture<'static, Status>> {
    let mut changes = caller.changes()?;
    Some(Box::pin(async move {
        loop {
            // They may have changed since they were asked: first they are looked at.
            changes.mark_unchanged();
            if let Err(name) = caller.rights().consume((**name).clone()) {
                return denied("start.name", &name);
            }
            if changes.changed().await.is_err() {
                // The policy is gone with the server.
                std::future::pending::<()>().await;
            }
        }
    }))
}

/// The credit of a stream from now on, which may be none.
pub(crate) fn changed(credit: &pb::Credit) -> Result<CreditLimit, Status> {
    let limit = self::credit(credit.max_outstanding_messages, credit.max_outstanding_bytes, "credit")?;
    let is_none = credit.max_outstanding_messages == 0;
    Ok(if is_none { CreditLimit { messages: 0, ..limit } } else { limit })
}

/// The credit of a stream.
pub(crate) fn credit(messages: i32, bytes: i64, path: &str) -> Result<CreditLimit, Status> {
    let messages = match usize::try_from(messages) {
        Ok(0) => CONSUMER_MESSAGES_DEFAULT,
        Ok(messages) if messages <= CONSUMER_MESSAGES => messages,
        _ => {
            let text = format!("it must be from 1 to {CONSUMER_MESSAGES}; 0 means {CONSUMER_MESSAGES_DEFAULT}");
            return Err(status::invalid(format!("{path}.max_outstanding_messages"), text));
        }
    };
    let bytes = match usize::try_from(bytes) {
        Ok(0) => CONSUMER_BYTES,
        Ok(bytes) if bytes <= CONSUMER_BYTES => bytes,
        _ => {
            let text = format!("it must be from 1 to {CONSUMER_BYTES}; 0 means that");
            return Err(status::invalid(format!("{path}.max_outstanding_bytes"), text));
        }
    };
    Ok(CreditLimit { messages, bytes })
}

fn ack_deadline(given: Option<prost_types::Duration>, field: &str) -> Result<Option<Duration>, Status> {
    let read = given.map(|given| within(given, ACK_DEADLINE_MIN..=ACK_DEADLINE_MAX)).transpose();
    read.map_err(|text| status::invalid(field, text))
}

fn heartbeat(given: Option<prost_types::Duration>) -> Result<Option<Duration>, Status> {
    match given {
        None | Some(prost_types::Duration { seconds: 0, nanos: 0 }) => Ok(None),
        Some(given) => {
            let read = within(given, HEARTBEAT_MIN..=HEARTBEAT_MAX);
            read.map(Some).map_err(|text| status::invalid("start.heartbeat_interval", text))
        }
    }
}

/// What a call pulls.
pub(crate) fn pull(request: &pb::PullMessagesRequest) -> Result<Pull, Status> {
    let messages = match usize::try_from(request.max_messages) {
        Ok(0) => PULL_MESSAGES_DEFAULT,
        Ok(messages) => messages.min(CONSUMER_MESSAGES),
        Err(_) => return Err(status::invalid("max_messages", "it must not be negative")),
    };
    let wait = match request.max_wait {
        None => Duration::ZERO,
        Some(wait) => within(wait, Duration::ZERO..=PULL_WAIT_MAX).map_err(|text| status::invalid("max_wait", text))?,
    };
    let ack_deadline = ack_deadline(request.ack_deadline, "ack_deadline")?;
    // What is added to each message fits into the rest of a client's limit of 4 MiB.
    Ok(Pull { limit: CreditLimit { messages, bytes: PAGE_BYTES }, ack_deadline, wait })
}

/// The decisions of a stream's request.
pub(crate) fn settlement(settlement: pb::Settlement) -> Result<Vec<Settle>, Status> {
    let pb::Settlement { ack_ids, rejections, extensions } = settlement;
    let mut settles: Vec<_> = acknowledged(ack_ids).collect();
    rejected(rejections, "settlement.rejections", &mut settles)?;
    extended(extensions, "settlement.extensions", &mut settles)?;
    bounded(settles)
}

/// Decisions that a request may have together.
pub(crate) fn bounded(settles: Vec<Settle>) -> Result<Vec<Settle>, Status> {
    if settles.len() > SETTLED { Err(status::too_many_ids()) } else { Ok(settles) }
}

/// Deliveries that are done.
pub(crate) fn acknowledged(ack_ids: Vec<String>) -> impl Iterator<Item = Settle> {
    ack_ids.into_iter().map(|text| Settle::new(text, Decision::Acknowledge))
}

/// Deliveries that are given back.
pub(crate) fn rejected(rejections: Vec<pb::Rejection>, path: &str, settles: &mut Vec<Settle>) -> Result<(), Status> {
    for (index, rejection) in rejections.into_iter().enumerate() {
        let field = |field: &str| format!("{path}[{index}].{field}");
        let pb::Rejection { ack_ids, delay, dead_letter, reason, uncounted } = rejection;
        let delay = delay.map(|delay| within(delay, Duration::ZERO..=DELAY_MAX)).transpose();
        let delay = delay.map_err(|text| status::invalid(field("delay"), text))?;
        if reason.len() > REASON_BYTES {
            let text = format!("it has {} bytes; at most {REASON_BYTES} are allowed", reason.len());
            return Err(status::invalid(field("reason"), text));
        }
        if dead_letter && (delay.is_some() || uncounted) {
            let text = "a dead letter waits for nothing, and counts: leave delay and uncounted unset";
            return Err(status::invalid(field("dead_letter"), text));
        }
        let failure = Failure { delay, is_dead: dead_letter, reason, is_uncounted: uncounted };
        settles.extend(ack_ids.into_iter().map(|text| Settle::new(text, Decision::Reject(failure.clone()))));
    }
    Ok(())
}

/// Deliveries whose leases are moved.
pub(crate) fn extended(extensions: Vec<pb::Extension>, path: &str, settles: &mut Vec<Settle>) -> Result<(), Status> {
    for (index, pb::Extension { ack_ids, ack_deadline: given }) in extensions.into_iter().enumerate() {
        let time = ack_deadline(given, &format!("{path}[{index}].ack_deadline"))?;
        settles.extend(ack_ids.into_iter().map(|text| Settle::new(text, Decision::Extend(time))));
    }
    Ok(())
}
