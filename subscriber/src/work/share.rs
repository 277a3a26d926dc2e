//! Counts the channels that have subscriptions, and has each hold its share. Replicas count by themselves, so for a
//! minute two may not agree; the larger share counts then.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tidings::{
    broker::subscriptions::{Look, Place},
    limits::{HOLDS_INTERVAL, RENEW_INTERVAL},
};
use tokio::time::{sleep, timeout};
use tonic::Status;

use super::desk::{Desk, failed};

/// Does so for as long as it is polled; for subscriptions without consumers too, which nobody else renews.
pub(crate) async fn share(desk: Arc<Desk>) {
    loop {
        if let Err(status) = count(&desk).await {
            tracing::debug!(%status, "what subscriptions may hold could not be shared out");
        }
        // Many that are created one after the other are counted together.
        sleep(RENEW_INTERVAL).await;
        let _many = timeout(interval(), desk.given().holds.grown()).await;
    }
}

fn interval() -> Duration {
    tidings::backoff::jittered(HOLDS_INTERVAL).saturating_sub(RENEW_INTERVAL)
}

async fn count(desk: &Desk) -> Result<(), Status> {
    let names = desk.reserved().await?;
    let channels: HashSet<_> = names.iter().map(|place| &place.channel).collect();
    let holds = &desk.given().holds;
    if !holds.note(channels.len()) {
        return Ok(());
    }
    tracing::debug!(channels = channels.len(), bytes = holds.bytes(), "what subscriptions may hold is shared out");
    for Place { name, .. } in &names {
        // One that was deleted meanwhile holds nothing.
        let Ok((place, settings, _)) = desk.find(name, Look::default()).await else { continue };
        let look = Look { hold: Some(settings.hold(holds.bytes())), ..Look::default() };
        desk.store().look(&place, look).await.map_err(failed)?;
    }
    Ok(())
}
