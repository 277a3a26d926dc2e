//! Reads of logs that are under way, each for all who wait for it.
//!
//! However slow Redis is, each place of a log is read by one call at a time. If everybody who waited too long read for
//! himself, the first slow answer would make a thousand of it.

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

/// Where a page begins: behind this sequence of a channel.
pub(super) type Place = (ChannelName, i64);
type Answer = Result<Arc<Page>, Error>;
type Read = dyn Fn(&Place, PageLimit) -> BoxFuture<'static, Result<Page, Error>> + Send + Sync;

pub(super) struct Reads {
    read: Box<Read>,
    places: Mutex<HashMap<Place, Reading>>,
}

/// A place that is being read by a task of its own, which goes on whether those who wait are polled or not.
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
        read: impl Fn(&Place, PageLimit) -> BoxFuture<'static, Result<Page, Error>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { read: Box::new(read), places: Mutex::default() })
    }

    fn places(&self) -> MutexGuard<'_, HashMap<Place, Reading>> {
        // Nothing that holds the lock leaves it half-written.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The page behind a sequence, by a read that begins now or later.
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
        let place = (channel.clone(), after);
        let mut places = self.places();
        if let Some(reading) = places.get_mut(&place) {
            reading.next = Some(limit);
            return (reading.number + 1, reading.answers.subscribe());
        }
        let (answers, receiver) = watch::channel((0, None));
        places.insert(place.clone(), Reading { number: 1, next: None, answers: answers.clone() });
        let turn = Turn { reads: Arc::clone(self), place, answers, has_place: true };
        tokio::spawn(turn.read(limit));
        (1, receiver)
    }
}

/// A place's task. When it ends, however it does, the place is free.
struct Turn {
    reads: Arc<Reads>,
    place: Place,
    answers: watch::Sender<(u64, Option<Answer>)>,
    has_place: bool,
}

impl Turn {
    async fn read(mut self, mut limit: PageLimit) {
        loop {
            let read = (self.reads.read)(&self.place, limit);
            let answer = tokio::select! {
                biased;
                answer = read => Some(answer.map(Arc::new)),
                // All streams that waited have ended.
                () = self.answers.closed() => None,
            };
            let mut places = self.reads.places();
            let Some(reading) = places.get_mut(&self.place) else { return };
            if answer.is_some() {
                self.answers.send_replace((reading.number, answer));
            }
            match reading.next.take() {
                Some(next) if self.answers.receiver_count() > 0 => limit = next,
                // Under the lock, so that nobody who comes waits for an answer that does not.
                _ => {
                    places.remove(&self.place);
                    self.has_place = false;
                    return;
                }
            }
            reading.number += 1;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.has_place {
            self.reads.places().remove(&self.place);
        }
    }
}

#[cfg(test)]
mod tests;
