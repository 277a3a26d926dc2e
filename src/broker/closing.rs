//! The end of a broker that services use: after their last call, or just before they would cut it.

use std::{pin::pin, time::Duration};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::limits::CLOSE_RESERVE;

/// Runs `serving`, which ends within `timeout` of `stop`, and closes the broker. Where calls still wait for a broker
/// that hangs, it is closed before the timeout, so that a publish gets an error that says whether it may have happened,
/// instead of being cut off.
pub async fn closed_after<T>(
    broker: &Shared,
    stop: &CancellationToken,
    timeout: Duration,
    serving: impl Future<Output = T>,
) -> T {
    let mut serving = pin!(serving);
    let nearly_over = async {
        stop.cancelled().await;
        sleep(timeout - CLOSE_RESERVE.min(timeout / 2)).await;
    };
    tokio::select! {
        served = serving.as_mut() => {
            broker.close().await;
            served
        }
        () = nearly_over => tokio::join!(broker.close(), serving).1,
    }
}
