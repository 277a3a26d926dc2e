//! Counts the channels that have subscriptions, and has each hold its share. Replicas count by themselves, so for a
//! minute two may not agree; the larger share counts then.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tidings::{
    broker::subscriptions::{Look, Place},
    limits::{HOLDS_INTERVAL, RENEW_INTERVAL},
};
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};

use super::desk::{Desk, failed};

/// Does so for as long as it is polled; for subscriptions without consumers too, which nobody else renews.
pub(crate) async fn share(desk: Arc<Desk>) {
    // The share that all hold, as far as that is known.
    let mut held = None;
    loop {
        match count(&desk).await {
            Ok(places) => {
                let bytes = desk.given().holds.bytes();
                if held != Some(bytes) {
                    held = hold(&desk, &places, bytes).await.then_some(bytes);
                }
            }
            Err(status) => tracing::debug!(%status, "channels with subscriptions could not be counted"),
        }
        // Many that are created one after the other are counted together.
        sleep(RENEW_INTERVAL).await;
        let _many = timeout(interval(), desk.given().holds.grown()).await;
    }
}

fn interval() -> Duration {
    tidings::backoff::jittered(HOLDS_INTERVAL).saturating_sub(RENEW_INTERVAL)
}

async fn count(desk: &Desk) -> Result<Vec<Place>, Status> {
    let places = desk.reserved().await?;
    let channels: HashSet<_> = places.iter().map(|place| &place.channel).collect();
    desk.given().holds.note(channels.len());
    Ok(places)
}

/// Has all of them hold so many bytes; answers whether all do. One that fails keeps no other from it.
async fn hold(desk: &Desk, places: &[Place], bytes: u64) -> bool {
    tracing::debug!(subscriptions = places.len(), bytes, "what subscriptions may hold is shared out");
    let mut all = true;
    for Place { name, .. } in places {
        let held = match desk.find(name, Look::default()).await {
            Ok((place, settings, books)) => {
                let hold = Some(settings.hold(bytes));
                let look = Look { hold, created_ms: Some(books.create_ms), ..Look::default() };
                desk.store().look(&place, look).await.map(|_| ()).map_err(failed)
            }
            // A name alone holds nothing.
            Err(status) if status.code() == Code::NotFound => Ok(()),
            Err(status) => Err(status),
        };
        if let Err(status) = held {
            tracing::debug!(subscription = name.as_str(), %status, "its share could not be written");
            all = false;
        }
    }
    all
}
