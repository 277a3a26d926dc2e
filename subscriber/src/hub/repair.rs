//! Putting channels back into the registry that readers know and it lacks: it was deleted, or an older copy of it came back.
//! Whoever lists channels, and every new stream of a pattern, finds them again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use tidings::{
    broker::Shared,
    channel::ChannelName,
    limits::{HEADS_PER_READ, PATTERN_CHANNELS, REPAIR_PAUSE},
};

/// What was put back lately: many streams find the same channels missing at once.
pub(super) struct Repair {
    broker: Shared,
    tried: Mutex<HashMap<ChannelName, Instant>>,
}

impl std::fmt::Debug for Repair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repair").finish_non_exhaustive()
    }
}

impl Repair {
    pub(super) fn new(broker: Shared) -> Arc<Self> {
        Arc::new(Self { broker, tried: Mutex::default() })
    }

    /// Has those of the channels put back that have a head. Nobody waits for it, and what fails is found missing again.
    pub(super) fn put_back(&self, mut channels: Vec<ChannelName>) {
        let now = Instant::now();
        {
            let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
            tried.retain(|_, at| now.duration_since(*at) < REPAIR_PAUSE);
            channels.retain(|channel| tried.len() < PATTERN_CHANNELS && tried.insert(channel.clone(), now).is_none());
        }
        if channels.is_empty() {
            return;
        }
        let broker = Arc::clone(&self.broker);
        tokio::spawn(async move {
            for some in channels.chunks(HEADS_PER_READ) {
                match broker.register_again(some).await {
                    Ok(0) => {}
                    Ok(count) => tracing::info!(count, "put channels back into the registry, which had lost them"),
                    Err(error) => tracing::debug!(%error, "channels could not be put back into the registry"),
                }
            }
        });
    }
}
