//! Durable subscriptions: each message is delivered until it is settled, to one consumer at a time.

mod consuming;
mod faults;
mod holds;
mod letters;
mod managing;
mod ordered;
mod pulling;

use std::time::Duration;

use tidings::pb::{PublishRequest, ReceivedMessage, Subscription};

use crate::harness::{House, duration, text, text_of};

/// Settings of a subscription of a channel of the same name, without a pause between attempts.
fn settings(name: &str) -> Subscription {
    let none = duration(Duration::ZERO);
    Subscription {
        name: name.to_owned(),
        channel: name.to_owned(),
        retry_policy: Some(tidings::pb::RetryPolicy { min_backoff: none, max_backoff: none }),
        ..Subscription::default()
    }
}

/// Publishes messages with the texts 1, 2 and so on.
async fn publish(house: &House, channel: &str, count: usize) {
    publish_each(house, (1..=count).map(|n| text(channel, n.to_string()))).await;
}

async fn publish_each(house: &House, requests: impl Iterator<Item = PublishRequest>) {
    for request in requests {
        house.publish(request).await;
    }
}

/// The texts of deliveries.
fn texts(deliveries: &[ReceivedMessage]) -> Vec<String> {
    deliveries
        .iter()
        .map(|delivery| text_of(delivery.message.as_ref().expect("a message")))
        .map(str::to_owned)
        .collect()
}

/// The texts 1, 2 and so on.
fn numbers(count: usize) -> Vec<String> {
    (1..=count).map(|n| n.to_string()).collect()
}

fn attempts(deliveries: &[ReceivedMessage]) -> Vec<i32> {
    deliveries.iter().map(|delivery| delivery.delivery_attempt).collect()
}

const SECOND: Duration = Duration::from_secs(1);
