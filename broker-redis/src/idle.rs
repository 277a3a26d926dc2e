//! Connections that are used now and then, while nobody uses them. A firewall, a proxy or Redis may end those that are
//! idle, not always with a word. So they are given up sooner: to make one is as cheap as to ping it all the time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidings::limits::{IDLE_CONNECTION_AGE, PROBE_INTERVAL};
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

/// Those of one kind.
pub(super) struct Idle<C> {
    entries: Arc<Entries<C>>,
    /// Ends those that nobody needs.
    _ending: AbortOnDropHandle<()>,
}

struct Entries<C>(Mutex<Vec<Entry<C>>>);

struct Entry<C> {
    connection: C,
    /// The number of the command connection that was there when this one was made.
    session: u64,
    since: Instant,
}

impl<C: Send + 'static> Idle<C> {
    /// Starts without any. Call it within a Tokio runtime.
    pub(super) fn new() -> Self {
        let entries = Arc::new(Entries(Mutex::default()));
        let ending = tokio::spawn(Arc::clone(&entries).end_old());
        Self { entries, _ending: AbortOnDropHandle::new(ending) }
    }

    /// The one that was used last, if it is as young as the command connection with this number: an older one may lead
    /// to a server that is not the primary any more. It may have been ended since.
    pub(super) fn take(&self, session: u64) -> Option<C> {
        let mut entries = self.entries.fresh();
        entries.retain(|entry| entry.session >= session);
        entries.pop().map(|entry| entry.connection)
    }

    /// Keeps one that was made beside the command connection with this number, and that owes no answer.
    pub(super) fn put(&self, connection: C, session: u64) {
        self.entries.fresh().push(Entry { connection, session, since: Instant::now() });
    }
}

impl<C> Entries<C> {
    async fn end_old(self: Arc<Self>) {
        loop {
            sleep(PROBE_INTERVAL).await;
            drop(self.fresh());
        }
    }

    /// Those that are not too old.
    fn fresh(&self) -> MutexGuard<'_, Vec<Entry<C>>> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| entry.since.elapsed() < IDLE_CONNECTION_AGE);
        entries
    }
}
