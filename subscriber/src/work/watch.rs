//! How subscriptions stand that an operator has named: read now and then, with consumers or without, for the metrics.

use std::{sync::Arc, time::SystemTime};

use tidings::{
    limits::WATCH_INTERVAL,
    metrics::{self, SubscriptionGauges},
    pb,
    subscription::SubscriptionName,
};
use tonic::Code;

use super::desk::Desk;

/// Reads how they stand for as long as it is polled, where there are any. What can't be read keeps its values.
pub(crate) async fn watch(desk: Arc<Desk>, names: Vec<SubscriptionName>) {
    while !names.is_empty() {
        for name in &names {
            match desk.get(name).await {
                Ok(found) => metrics::subscription(name.as_str(), gauges(&found.state.unwrap_or_default())),
                Err(status) if status.code() == Code::NotFound => {
                    metrics::subscription(name.as_str(), SubscriptionGauges::default());
                }
                Err(status) => {
                    tracing::debug!(subscription = name.as_str(), %status, "a watched subscription can't be read");
                }
            }
        }
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
}

fn gauges(state: &pb::SubscriptionState) -> SubscriptionGauges {
    let age = |time: prost_types::Timestamp| {
        let time = SystemTime::try_from(time).ok()?;
        SystemTime::now().duration_since(time).ok()
    };
    SubscriptionGauges {
        backlog: state.backlog_count,
        outstanding: state.outstanding_count,
        waiting: state.waiting_count,
        dead_letters: state.dead_letter_count,
        lost: state.lost_count,
        consumers: state.consumer_count,
        oldest: state.oldest_unacknowledged_time.and_then(age).unwrap_or_default().as_secs_f64(),
    }
}
