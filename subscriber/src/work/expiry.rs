//! Deletes subscriptions that nobody has used for as long as they say; and publishes dead letters that a process that
//! died has left in an outbox.

use std::{sync::Arc, time::Duration};

use tidings::{
    backoff::jittered,
    broker::subscriptions::{Look, Place, Set, Unchanged},
    limits::EXPIRY_INTERVAL,
};
use tokio::time::sleep;
use tonic::Code;

use super::desk::Desk;

/// Does so now and then, for as long as it is polled.
pub(crate) async fn expire(desk: Arc<Desk>) {
    loop {
        sleep(jittered(EXPIRY_INTERVAL)).await;
        match desk.reserved().await {
            Ok(places) => {
                for place in &places {
                    expire_one(&desk, place).await;
                }
            }
            Err(status) => {
                tracing::debug!(%status, "subscriptions could not be looked through for unused ones");
            }
        }
    }
}

async fn expire_one(desk: &Desk, place: &Place) {
    let name = &place.name;
    let (place, settings, books) = match desk.find(name, Look::default()).await {
        Ok(found) => found,
        Err(status) if status.code() == Code::NotFound => {
            // A name whose books were never made, or went with a call that ended in the middle. While it may still
            // be made, its reservation stays.
            if let Err(error) = desk.store().delete(place, None).await {
                tracing::debug!(subscription = name.as_str(), %error, "a name without a subscription was not released");
            }
            return;
        }
        Err(_) => return,
    };
    let unused = Duration::from_millis(u64::try_from(books.state.now_ms - books.used_ms).unwrap_or(0));
    if settings.expire_after.is_zero() || unused < settings.expire_after {
        if books.unsent > 0 {
            desk.send_unsent(name).await;
        }
        return;
    }
    // Unless somebody has come meanwhile.
    let only = Unchanged { revision: books.state.revision, used_ms: Some(books.used_ms) };
    match desk.store().delete(&place, Some(only)).await {
        Ok(Set::Done) => tracing::info!(
            subscription = name.as_str(),
            channel = place.channel.as_str(),
            "a subscription that nobody used was deleted (expire_after)"
        ),
        Ok(Set::Differs | Set::Missing) => {}
        Err(error) => {
            tracing::debug!(subscription = name.as_str(), %error, "an unused subscription was not deleted")
        }
    }
}
