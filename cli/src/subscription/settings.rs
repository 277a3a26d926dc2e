//! Settings of a subscription as flags: those that can be changed.

use std::{collections::BTreeMap, time::Duration};

use clap::Args;
use tidings::{
    limits::{ATTEMPTS_MAX, OUTSTANDING},
    pb::{self, RetryPolicy},
};

/// The settings; what is not given is not set.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Settings {
    /// How long a consumer has for a message, unless it extends that: 1s to 10m; the server's default is 30s
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    ack_deadline: Option<Duration>,
    /// How often a message is delivered before it is a dead letter; 0 is without limit, the server's default 10
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..=i64::from(ATTEMPTS_MAX)))]
    max_attempts: Option<i32>,
    /// How long a message waits after its first attempt, and twice as long after each more; the server's default is 1s
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    min_backoff: Option<Duration>,
    /// How long it waits at most, up to 24h; the server's default is 5m
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_backoff: Option<Duration>,
    /// How long messages are kept that are not acknowledged: 10m to 365d; the server's default is 7d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    retention: Option<Duration>,
    /// How many messages may be out at once, over all consumers; the server's default is 10,000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=OUTSTANDING as i64))]
    max_outstanding: Option<i32>,
    /// Delete it when no consumer used it for so long: 1h or more, 0s is never; the server's default is 31d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    expire_after: Option<Duration>,
    /// A label, for people and programs (repeatable)
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,
}

impl Settings {
    /// As the contract has them.
    pub(super) fn to_message(&self) -> pb::Subscription {
        pb::Subscription {
            ack_deadline: self.ack_deadline.map(proto),
            max_delivery_attempts: self.max_attempts,
            retry_policy: self.retry_policy(None),
            message_retention: self.retention.map(proto),
            max_outstanding_messages: self.max_outstanding.unwrap_or(0),
            expire_after: self.expire_after.map(proto),
            labels: self.labels.iter().cloned().collect::<BTreeMap<_, _>>(),
            ..pb::Subscription::default()
        }
    }

    /// Whether one half of the retry policy is given, and the other is to stay.
    pub(super) fn is_half_a_policy(&self) -> bool {
        self.min_backoff.is_some() != self.max_backoff.is_some()
    }

    /// The retry policy, where something of it is given; the rest is that of `present`.
    pub(super) fn retry_policy(&self, present: Option<RetryPolicy>) -> Option<RetryPolicy> {
        if self.min_backoff.is_none() && self.max_backoff.is_none() {
            return None;
        }
        let present = present.unwrap_or_default();
        Some(RetryPolicy {
            min_backoff: self.min_backoff.map(proto).or(present.min_backoff),
            max_backoff: self.max_backoff.map(proto).or(present.max_backoff),
        })
    }

    /// The names of the fields that are given.
    pub(super) fn fields(&self) -> Vec<String> {
        let given = [
            ("ack_deadline", self.ack_deadline.is_some()),
            ("max_delivery_attempts", self.max_attempts.is_some()),
            ("retry_policy", self.min_backoff.is_some() || self.max_backoff.is_some()),
            ("message_retention", self.retention.is_some()),
            ("max_outstanding_messages", self.max_outstanding.is_some()),
            ("expire_after", self.expire_after.is_some()),
            ("labels", !self.labels.is_empty()),
        ];
        given.into_iter().filter(|(_, is_given)| *is_given).map(|(field, _)| field.to_owned()).collect()
    }
}

/// Reads how long something lasts.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write a number and a unit, such as 500ms, 30s or 7d"))
}

/// As the contract has it. Years are far below what it can have.
fn proto(duration: Duration) -> prost_types::Duration {
    duration.try_into().unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 0 })
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a label is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
