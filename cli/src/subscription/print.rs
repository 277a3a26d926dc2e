//! A subscription as rows of a name and a value, or as one JSON object.

use std::{collections::BTreeMap, io};

use serde::Serialize;
use tidings::{
    pb::{Subscription, SubscriptionState},
    printable::Printable,
};

use crate::{
    error::Error,
    output::Out,
    render::{self, json_duration},
};

/// As wide as the longest name.
const WIDTH: usize = 26;

/// Prints one.
pub(super) fn one(subscription: &Subscription, is_json: bool, out: &mut Out) -> Result<(), Error> {
    if is_json {
        return Ok(out.line(json(subscription))?);
    }
    let retry = subscription.retry_policy.unwrap_or_default();
    row(out, "name", &subscription.name)?;
    row(out, "channel", &subscription.channel)?;
    row(out, "filter", if subscription.filter.is_empty() { "none: all messages" } else { &subscription.filter })?;
    row(out, "ordered", if subscription.ordered { "yes: one message of an ordering key at a time" } else { "no" })?;
    row(out, "dead_letter_channel", &subscription.dead_letter_channel)?;
    row(out, "ack_deadline", &render::duration(subscription.ack_deadline))?;
    row(out, "max_delivery_attempts", &or_limitless(subscription.max_delivery_attempts.unwrap_or(0)))?;
    let (min, max) = (render::duration(retry.min_backoff), render::duration(retry.max_backoff));
    row(out, "retry_policy", &format!("{min}, doubled up to {max}"))?;
    row(out, "message_retention", &render::duration(subscription.message_retention))?;
    row(out, "max_outstanding_messages", &subscription.max_outstanding_messages.to_string())?;
    let expire_after = match subscription.expire_after.unwrap_or_default() {
        prost_types::Duration { seconds: 0, nanos: 0 } => "never".to_owned(),
        expire_after => render::duration(Some(expire_after)),
    };
    row(out, "expire_after", &expire_after)?;
    row(out, "paused", if subscription.paused { "yes: nothing is delivered" } else { "no" })?;
    for (key, value) in &subscription.labels {
        row(out, "label", &format!("{key}={value}"))?;
    }
    row(out, "create_time", &render::time(subscription.create_time.as_ref()))?;
    row(out, "etag", &subscription.etag)?;
    if let Some(state) = &subscription.state {
        rows_of_state(state, !subscription.filter.is_empty(), out)?;
    }
    Ok(())
}

fn rows_of_state(state: &SubscriptionState, is_filtered: bool, out: &mut Out) -> io::Result<()> {
    row(out, "backlog_count", &state.backlog_count.to_string())?;
    if is_filtered {
        row(out, "unexamined_count", &state.unexamined_count.to_string())?;
    }
    row(out, "outstanding_count", &state.outstanding_count.to_string())?;
    row(out, "waiting_count", &state.waiting_count.to_string())?;
    row(out, "dead_letter_count", &state.dead_letter_count.to_string())?;
    row(out, "lost_count", &state.lost_count.to_string())?;
    row(out, "consumer_count", &state.consumer_count.to_string())?;
    if state.oldest_unacknowledged_sequence > 0 {
        let time = render::time(state.oldest_unacknowledged_time.as_ref());
        row(out, "oldest_unacknowledged", format!("#{} {time}", state.oldest_unacknowledged_sequence).trim_end())?;
    }
    Ok(())
}

fn or_limitless(count: i32) -> String {
    if count == 0 { "without limit".to_owned() } else { count.to_string() }
}

/// Prints a name and its value.
fn row(out: &mut Out, name: &str, value: &str) -> io::Result<()> {
    let faint = out.palette().faint;
    out.line(format_args!("{faint}{name:<WIDTH$}{faint:#} {}", Printable(value)))
}

#[derive(Serialize)]
struct JsonSubscription<'a> {
    name: &'a str,
    channel: &'a str,
    filter: &'a str,
    ordered: bool,
    dead_letter_channel: &'a str,
    ack_deadline: String,
    max_delivery_attempts: i32,
    retry_policy: JsonRetryPolicy,
    message_retention: String,
    max_outstanding_messages: i32,
    expire_after: String,
    paused: bool,
    labels: &'a BTreeMap<String, String>,
    etag: &'a str,
    create_time: String,
    state: JsonState,
}

#[derive(Serialize)]
struct JsonRetryPolicy {
    min_backoff: String,
    max_backoff: String,
}

#[derive(Serialize)]
struct JsonState {
    backlog_count: i64,
    unexamined_count: i64,
    outstanding_count: i64,
    waiting_count: i64,
    dead_letter_count: i64,
    lost_count: i64,
    consumer_count: i32,
    /// Empty where there is none.
    oldest_unacknowledged_time: String,
    oldest_unacknowledged_sequence: i64,
    cursor: String,
}

/// A subscription as one line of JSON, with the contract's names; durations are seconds, as in `1.500s`.
pub(super) fn json(subscription: &Subscription) -> String {
    let (retry, state) =
        (subscription.retry_policy.unwrap_or_default(), subscription.state.clone().unwrap_or_default());
    render::to_json(&JsonSubscription {
        name: &subscription.name,
        channel: &subscription.channel,
        filter: &subscription.filter,
        ordered: subscription.ordered,
        dead_letter_channel: &subscription.dead_letter_channel,
        ack_deadline: json_duration(subscription.ack_deadline),
        max_delivery_attempts: subscription.max_delivery_attempts.unwrap_or(0),
        retry_policy: JsonRetryPolicy {
            min_backoff: json_duration(retry.min_backoff),
            max_backoff: json_duration(retry.max_backoff),
        },
        message_retention: json_duration(subscription.message_retention),
        max_outstanding_messages: subscription.max_outstanding_messages,
        expire_after: json_duration(subscription.expire_after),
        paused: subscription.paused,
        labels: &subscription.labels,
        etag: &subscription.etag,
        create_time: render::time(subscription.create_time.as_ref()),
        state: JsonState {
            backlog_count: state.backlog_count,
            unexamined_count: state.unexamined_count,
            outstanding_count: state.outstanding_count,
            waiting_count: state.waiting_count,
            dead_letter_count: state.dead_letter_count,
            lost_count: state.lost_count,
            consumer_count: state.consumer_count,
            oldest_unacknowledged_time: render::time(state.oldest_unacknowledged_time.as_ref()),
            oldest_unacknowledged_sequence: state.oldest_unacknowledged_sequence,
            cursor: state.cursor,
        },
    })
}
