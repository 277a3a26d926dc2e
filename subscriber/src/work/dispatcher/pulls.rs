//! Calls that wait for messages.

use std::{sync::Arc, task::Context, task::Poll, task::Waker, time::Duration};

use tidings::limits::PULL_GRACE;
use tokio::{sync::oneshot, time::Instant};
use tonic::Status;

use super::super::{consumers::Consumers, leases::Leases, mailbox::Pulled, outbox::Outbox};

/// A call, which is a consumer that is answered once.
struct Waiting {
    key: u64,
    outbox: Arc<Outbox>,
    /// Until when it waits for a message.
    end: Instant,
    reply: oneshot::Sender<Result<Pulled, Status>>,
}

#[derive(Default)]
pub(super) struct Pulls(Vec<Waiting>);

impl Pulls {
    pub(super) fn add(
        &mut self,
        key: u64,
        outbox: Arc<Outbox>,
        wait: Duration,
        reply: oneshot::Sender<Result<Pulled, Status>>,
    ) {
        self.0.push(Waiting { key, outbox, end: Instant::now() + wait, reply });
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// When the next of them has waited long enough.
    pub(super) fn next_end(&self) -> Option<Instant> {
        let now = Instant::now();
        // One whose time is over waits until it is known that there is nothing.
        self.0.iter().map(|waiting| if waiting.end > now { waiting.end } else { waiting.end + PULL_GRACE }).min()
    }

    /// Those that nobody waits for any more, by their numbers.
    pub(super) fn abandoned(&mut self) -> Vec<u64> {
        let gone = self.0.iter().filter(|waiting| waiting.reply.is_closed()).map(|waiting| waiting.key).collect();
        self.0.retain(|waiting| !waiting.reply.is_closed());
        gone
    }

    /// Answers those that have messages, unless more are coming at once. Returns those that nobody waited for.
    pub(super) fn answer(&mut self, consumers: &mut Consumers, leases: &mut Leases, more: bool) -> Vec<u64> {
        let mut gone = Vec::new();
        let is_ready = |waiting: &Waiting, consumers: &Consumers| {
            !waiting.outbox.is_empty() && (!more || consumers.get(waiting.key).is_none_or(|entry| !entry.has_room()))
        };
        for waiting in std::mem::take(&mut self.0) {
            match is_ready(&waiting, consumers) {
                true => gone.extend(waiting.answer(consumers, leases)),
                false => self.0.push(waiting),
            }
        }
        gone
    }

    /// Answers those that have waited long enough: at once where it is known that there is nothing for them.
    pub(super) fn end(&mut self, consumers: &mut Consumers, leases: &mut Leases, nothing: bool) {
        let now = Instant::now();
        for waiting in std::mem::take(&mut self.0) {
            let is_over =
                !waiting.outbox.is_empty() || waiting.end <= now && (nothing || waiting.end + PULL_GRACE <= now);
            match is_over {
                true => drop(waiting.answer(consumers, leases)),
                false => self.0.push(waiting),
            }
        }
    }

    /// Answers all with an error.
    pub(super) fn fail(&mut self, consumers: &mut Consumers, leases: &mut Leases, status: &Status) {
        for waiting in std::mem::take(&mut self.0) {
            match waiting.outbox.is_empty() {
                true => {
                    consumers.remove(waiting.key);
                    let _gone = waiting.reply.send(Err(status.clone()));
                }
                false => drop(waiting.answer(consumers, leases)),
            }
        }
    }

    /// Answers those that have messages. Whoever waits for the others hears that nobody answers, and asks again.
    pub(super) fn leave(&mut self, consumers: &mut Consumers, leases: &mut Leases) {
        for waiting in std::mem::take(&mut self.0) {
            if !waiting.outbox.is_empty() {
                let _gone = waiting.answer(consumers, leases);
            }
        }
    }
}

impl Waiting {
    /// Answers with what there is. Where nobody waits for it, its number comes back.
    fn answer(self, consumers: &mut Consumers, leases: &mut Leases) -> Option<u64> {
        consumers.remove(self.key);
        if self.reply.is_closed() {
            return Some(self.key);
        }
        let mut pulled = Pulled::default();
        while let Poll::Ready(Ok(taken)) = self.outbox.poll_take(usize::MAX, &mut Context::from_waker(Waker::noop())) {
            pulled.messages.extend(taken.messages);
            pulled.lost.extend(taken.lost);
        }
        for (key, at) in self.outbox.take_sent() {
            leases.sent(key, at);
        }
        let _gone = self.reply.send(Ok(pulled));
        None
    }
}
