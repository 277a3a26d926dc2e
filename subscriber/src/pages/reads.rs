//! Reads of logs that are under way, each for all who wait for it.
//!
//! However slow Redis is, a page of a log is read by one call at a time. If each stream that waited too long read for
//! itself, the first slow answer would make a thousand.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::future::BoxFuture;
use tidings::{
    broker::{Error, Page, PageLimit},
    channel::ChannelName,
};
use tokio::sync::watch;

/// A page: a channel, and the sequence after which the page begins.
pub(super) type Key = (ChannelName, i64);
type Answer = Result<Arc<Page>, Error>;
type Read = dyn Fn(&Key, PageLimit) -> BoxFuture<'static, Result<Page, Error>> + Send + Sync;

pub(super) struct Reads {
    read: Box<Read>,
    table: Mutex<HashMap<Key, Reading>>,
}

/// A page that is being read by a task of its own, which goes on whether those who wait are polled or not.
struct Reading {
    /// The number of the read that goes on.
    number: u64,
    /// How large the next page may be, if anybody came since this read began.
    next: Option<PageLimit>,
    /// The last read that ended, by number.
    answers: watch::Sender<(u64, Option<Answer>)>,
}

impl Reads {
    /// `read` is one call.
    pub(super) fn new(
        read: impl Fn(&Key, PageLimit) -> BoxFuture<'static, Result<Page, Error>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { read: Box::new(read), table: Mutex::default() })
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Key, Reading>> {
        // Nothing that holds the lock leaves it half-written.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The page after a sequence, by a read that begins now or later.
    pub(super) async fn join(self: &Arc<Self>, channel: &ChannelName, after: i64, limit: PageLimit) -> Answer {
        let (number, mut answers) = self.wait(channel, after, limit);
        match answers.wait_for(|(ended, _)| *ended >= number).await.as_deref() {
            Ok((_, Some(answer))) => answer.clone(),
            _ => Err(Error::Internal("the read of the log was given up".to_owned())),
        }
    }

    /// The number of the read to wait for, and where its answer comes.
    fn wait(
        self: &Arc<Self>,
        channel: &ChannelName,
        after: i64,
        limit: PageLimit,
    ) -> (u64, watch::Receiver<(u64, Option<Answer>)>) {
        let key = (channel.clone(), after);
        let mut table = self.table();
        if let Some(reading) = table.get_mut(&key) {
            reading.next = Some(limit);
            return (reading.number + 1, reading.answers.subscribe());
        }
        let (answers, receiver) = watch::channel((0, None));
        table.insert(key.clone(), Reading { number: 1, next: None, answers: answers.clone() });
        let task = Task { reads: Arc::clone(self), key, answers, is_listed: true };
        tokio::spawn(task.run(limit));
        (1, receiver)
    }
}

/// What reads a page as long as somebody waits for it. However it ends, its entry goes with it.
struct Task {
    reads: Arc<Reads>,
    key: Key,
    answers: watch::Sender<(u64, Option<Answer>)>,
    is_listed: bool,
}

impl Task {
    async fn run(mut self, mut limit: PageLimit) {
        loop {
            let read = (self.reads.read)(&self.key, limit);
            let answer = tokio::select! {
                biased;
                answer = read => Some(answer.map(Arc::new)),
                // All streams that waited have ended.
                () = self.answers.closed() => None,
            };
            let mut table = self.reads.table();
            let Some(reading) = table.get_mut(&self.key) else { return };
            if answer.is_some() {
                self.answers.send_replace((reading.number, answer));
            }
            match reading.next.take() {
                Some(next) if self.answers.receiver_count() > 0 => limit = next,
                // Under the lock, so that nobody who comes waits for an answer that does not.
                _ => {
                    table.remove(&self.key);
                    self.is_listed = false;
                    return;
                }
            }
            reading.number += 1;
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.is_listed {
            self.reads.table().remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests;
