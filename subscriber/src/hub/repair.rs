//! Putting channels back into the registry that readers know and it lacks: it was deleted, or an older copy of it came
//! back. Lists of channels, and every new stream of a pattern, find them again.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tidings::{
    broker::Shared,
    channel::ChannelName,
    limits::{HEADS_PER_READ, PATTERN_CHANNELS, REPAIR_PAUSE},
};
use tokio::time::sleep;

/// The channels that are to be put back. Many streams find the same ones missing at once: they are gathered.
pub(super) struct Repair {
    broker: Shared,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    due: HashSet<ChannelName>,
    is_running: bool,
}

impl std::fmt::Debug for Repair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repair").finish_non_exhaustive()
    }
}

impl Repair {
    pub(super) fn new(broker: Shared) -> Arc<Self> {
        Arc::new(Self { broker, state: Mutex::default() })
    }

    /// Has those of the channels put back that have a head. Nobody waits for it, and what fails is found missing again.
    pub(super) fn put_back(self: &Arc<Self>, channels: Vec<ChannelName>) {
        let mut state = self.state();
        let room = PATTERN_CHANNELS.saturating_sub(state.due.len());
        state.due.extend(channels.into_iter().take(room));
        if !state.due.is_empty() && !std::mem::replace(&mut state.is_running, true) {
            tokio::spawn(Arc::clone(self).run());
        }
    }

    async fn run(self: Arc<Self>) {
        while let Some(channels) = self.take() {
            for some in channels.chunks(HEADS_PER_READ) {
                match self.broker.register_again(some).await {
                    Ok(0) => {}
                    Ok(count) => tracing::info!(count, "put channels back into the registry, which had lost them"),
                    Err(error) => tracing::debug!(%error, "channels could not be put back into the registry"),
                }
            }
            sleep(REPAIR_PAUSE).await;
        }
    }

    fn take(&self) -> Option<Vec<ChannelName>> {
        let mut state = self.state();
        state.is_running = !state.due.is_empty();
        state.is_running.then(|| state.due.drain().collect())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock leaves it half-written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
