//! What a consumer's stream is to send: filled by the dispatcher, emptied by the stream when its client takes it.
//!
//! A delivery that nobody takes in time is withdrawn by the dispatcher, and its message goes to another consumer. So
//! the stream never sends one whose time is over, also where the process was stopped for a while.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

use tidings::{pb, subscription::BlockId};
use tokio::time::Instant;
use tonic::Status;

use super::{
    delivery::{Delivery, RawReceived},
    losses::Losses,
};

/// Names a lease of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct LeaseKey {
    pub(super) block: BlockId,
    pub(super) sequence: i64,
}

impl LeaseKey {
    /// The block that its message was leased in, also where it has one of its own now.
    pub(super) fn base(self) -> BlockId {
        BlockId { own: 0, ..self.block }
    }
}

/// A delivery that waits for its stream.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) key: LeaseKey,
    pub(super) delivery: Delivery,
    /// When it is withdrawn.
    pub(super) until: Instant,
    /// How long the lease lasts from when it is sent.
    pub(super) ack_deadline: Duration,
}

/// What a stream is to send.
#[derive(Debug, Default)]
pub(crate) struct Outbox(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    queue: VecDeque<Queued>,
    lost: Losses,
    /// What was sent, and when.
    sent: Vec<(LeaseKey, Instant)>,
    /// Why the stream ends.
    end: Option<Status>,
    waker: Option<Waker>,
}

/// What a stream sends next.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(super) messages: Vec<RawReceived>,
    pub(super) lost: Vec<pb::LostMessages>,
}

impl Taken {
    /// As a call answers it.
    pub(crate) fn into_response(self) -> pb::PullMessagesResponse {
        let messages = self.messages.into_iter().filter_map(RawReceived::into_message).collect();
        pb::PullMessagesResponse { messages, lost: self.lost }
    }
}

impl Outbox {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing that holds the lock leaves it half-written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let (changed, waker) = {
            let mut inner = self.inner();
            (change(&mut inner), inner.waker.take())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        changed
    }

    /// Has more sent. Returns what [`Self::take_sent`] does, so that this is asked as often as there is more.
    pub(super) fn push(&self, deliveries: impl IntoIterator<Item = Queued>) -> Vec<(LeaseKey, Instant)> {
        self.change(|inner| {
            inner.queue.extend(deliveries);
            std::mem::take(&mut inner.sent)
        })
    }

    pub(super) fn report(&self, lost: impl IntoIterator<Item = pb::LostMessages>) {
        self.change(|inner| inner.lost.add(lost));
    }

    /// The losses that it was not told.
    pub(super) fn take_losses(&self) -> Vec<pb::LostMessages> {
        self.inner().lost.take()
    }

    /// Ends the stream once what it has is sent.
    pub(super) fn end(&self, status: Status) {
        self.change(|inner| {
            inner.end.get_or_insert(status);
        });
    }

    /// Takes a delivery back; false where it is not there any more, but sent.
    pub(super) fn withdraw(&self, key: LeaseKey) -> bool {
        let mut inner = self.inner();
        let found = inner.queue.iter().position(|queued| queued.key == key);
        found.and_then(|index| inner.queue.remove(index)).is_some()
    }

    /// Takes back all that was not sent.
    pub(super) fn clear(&self) {
        self.inner().queue.clear();
    }

    /// What was sent since this was asked last, and when.
    pub(super) fn take_sent(&self) -> Vec<(LeaseKey, Instant)> {
        std::mem::take(&mut self.inner().sent)
    }

    /// Takes what can be sent now, about so many bytes of it; the status at the end.
    pub(super) fn poll_take(&self, bytes: usize, cx: &mut Context<'_>) -> Poll<Result<Taken, Status>> {
        let mut inner = self.inner();
        let (now, clock) = (Instant::now(), SystemTime::now());
        let mut taken = Taken { lost: inner.lost.take(), messages: Vec::new() };
        let mut size = 0;
        while size < bytes && inner.queue.front().is_some_and(|queued| now < queued.until) {
            let Some(queued) = inner.queue.pop_front() else { break };
            size += queued.delivery.message.len();
            taken.messages.push(queued.delivery.send(clock + queued.ack_deadline));
            inner.sent.push((queued.key, now));
        }
        if !taken.messages.is_empty() || !taken.lost.is_empty() {
            return Poll::Ready(Ok(taken));
        }
        if let Some(status) = inner.end.take() {
            return Poll::Ready(Err(status));
        }
        inner.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Whether there is something to send.
    pub(super) fn is_empty(&self) -> bool {
        let inner = self.inner();
        inner.queue.is_empty() && inner.lost.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tidings::{
        message::Epoch,
        subscription::{AckId, Generation, Token},
    };

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn queued(sequence: i64) -> Queued {
        let block = BlockId { token: Token::from_u64(1).expect("a token"), number: 1, own: 0 };
        let ack_id = AckId { generation: Generation::random(), epoch: Epoch::random(), sequence, block };
        let delivery = Delivery { ack_id, attempt: 1, message: vec![0; 10].into() };
        Queued { key: LeaseKey { block, sequence }, delivery, until: Instant::now() + SECOND, ack_deadline: SECOND }
    }

    fn take(outbox: &Outbox, bytes: usize) -> Option<usize> {
        match outbox.poll_take(bytes, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(taken) => Some(taken.map_or(0, |taken| taken.messages.len())),
            Poll::Pending => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_is_known_and_what_is_late_is_not_sent() {
        let outbox = Outbox::default();
        outbox.push((1..=4).map(queued));
        assert_eq!(take(&outbox, 15), Some(2));
        let sent: Vec<_> = outbox.take_sent().into_iter().map(|(key, _)| key.sequence).collect();
        assert_eq!(sent, [1, 2]);
        assert!(!outbox.withdraw(queued(1).key) && outbox.withdraw(queued(3).key));
        tokio::time::advance(SECOND).await;
        assert_eq!(take(&outbox, 100), None);
        assert!(outbox.withdraw(queued(4).key) && outbox.take_sent().is_empty());
    }

    #[tokio::test]
    async fn the_end_comes_after_what_is_there() {
        let outbox = Outbox::default();
        outbox.push([queued(1)]);
        outbox.end(Status::not_found("gone"));
        assert_eq!(take(&outbox, 100), Some(1));
        assert_eq!(take(&outbox, 100), Some(0));
        assert_eq!(take(&outbox, 100), None);
    }
}
