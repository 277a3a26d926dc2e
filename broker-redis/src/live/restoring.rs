//! What must have happened on a new connection before all is as it was on the one before.

use std::collections::HashSet;

use tidings::broker::Topic;

/// Counts down to that moment, which is reported once.
pub(super) struct Restoring {
    /// The topics that are not confirmed yet; `None` where nothing is to be reported, or was.
    unconfirmed: Option<HashSet<Topic>>,
    /// Scripts that are on their way to the server: without them nothing can be asked.
    loading: usize,
}

impl Restoring {
    /// Of a connection before which none was lost.
    pub(super) fn nothing() -> Self {
        Self { unconfirmed: None, loading: 0 }
    }

    /// From now on these topics are waited for.
    pub(super) fn wait_for(&mut self, topics: HashSet<Topic>) {
        self.unconfirmed = Some(topics);
    }

    /// So many scripts were sent.
    pub(super) fn loads(&mut self, scripts: usize) {
        self.loading += scripts;
    }

    /// One of them is there.
    pub(super) fn loaded(&mut self) {
        self.loading = self.loading.saturating_sub(1);
    }

    /// A topic was confirmed or refused, or nobody follows it any more.
    pub(super) fn settle(&mut self, topic: &Topic) {
        if let Some(unconfirmed) = &mut self.unconfirmed {
            unconfirmed.remove(topic);
        }
    }

    /// Whether everything has happened and this is the first time that it is asked.
    pub(super) fn is_done_now(&mut self) -> bool {
        self.loading == 0 && self.unconfirmed.take_if(|topics| topics.is_empty()).is_some()
    }

    /// Whether nothing is left to report.
    pub(super) fn is_over(&self) -> bool {
        self.unconfirmed.is_none()
    }
}
