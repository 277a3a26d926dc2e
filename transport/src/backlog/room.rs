//! What the reader of a connection asks before it reads.

use std::{
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
};

use futures_util::{FutureExt as _, future::BoxFuture};
use tidings::{
    limits::{BACKLOG_PART_BYTES, BACKLOG_TIME, SHORT_READ_BYTES},
    metrics::{self, Limit},
};
use tokio::{
    sync::{AcquireError, OwnedSemaphorePermit},
    time::{Sleep, sleep},
};

use super::Backlog;

/// Whether there is room for more. Its reader is polled by the task that accepts the connection's calls.
pub(crate) struct Room {
    backlog: Arc<Backlog>,
    asked: Option<BoxFuture<'static, Result<OwnedSemaphorePermit, AcquireError>>>,
    /// How many calls there had been when nothing could be read last.
    idle: Option<usize>,
    /// While it has a part of its address's share, or waits for one.
    time: Option<Pin<Box<Sleep>>>,
}

impl Room {
    pub(crate) fn new(backlog: Arc<Backlog>) -> Self {
        Self { backlog, asked: None, idle: None, time: None }
    }

    pub(crate) fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// Waits until more may be read, and says how much at once.
    ///
    /// # Errors
    ///
    /// Nothing was read by any call for too long, and others of the address need the room.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let backlog = &self.backlog;
        // h2 has handed out all calls that it knew of since it found nothing to read: there are no others.
        let is_idle = self.idle == Some(backlog.accepted.load(Ordering::Relaxed));
        if is_idle && backlog.unread.load(Ordering::Relaxed) > 0 && backlog.open.load(Ordering::Acquire) == 0 {
            backlog.forget();
        }
        self.look_at_time(context)?;
        loop {
            if self.backlog.take() {
                self.asked = None;
                self.backlog.is_waiting.store(false, Ordering::SeqCst);
                return Poll::Ready(Ok(if self.backlog.is_short() { SHORT_READ_BYTES } else { usize::MAX }));
            }
            self.backlog.reader.register(context.waker());
            // What is read from here on wakes it.
            if !self.backlog.is_waiting.swap(true, Ordering::SeqCst) {
                continue;
            }
            let Some(left) = self.backlog.semaphore() else { continue };
            let asked = self
                .asked
                .get_or_insert_with(|| Arc::clone(left).acquire_many_owned(BACKLOG_PART_BYTES as u32).boxed());
            let share = ready!(asked.poll_unpin(context));
            self.asked = None;
            if let Ok(share) = share {
                self.backlog.add(share);
                // Calls may have read meanwhile.
                self.backlog.give_back();
            }
        }
    }

    /// What was read of the connection just now: nothing, or something.
    pub(crate) fn has_read(&mut self, is_pending: bool) {
        self.idle = is_pending.then(|| self.backlog.accepted.load(Ordering::Relaxed));
        if !is_pending {
            self.backlog.take();
        }
    }

    fn look_at_time(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.backlog.held.load(Ordering::Relaxed) == 0 && self.backlog.needed() == 0 {
            self.time = None;
            return Ok(());
        }
        let time = self.time.get_or_insert_with(|| Box::pin(sleep(BACKLOG_TIME)));
        while time.poll_unpin(context).is_ready() {
            if !self.backlog.has_moved.swap(false, Ordering::Relaxed) && self.backlog.is_short() {
                metrics::limited(Limit::Backlog);
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no call reads what came"));
            }
            time.set(sleep(BACKLOG_TIME));
        }
        Ok(())
    }
}
