//! Who gets messages of a subscription at this replica, streams and calls: their credit, and what they are told.

use std::{sync::Arc, time::Duration};

use tidings::{
    broker::subscriptions::{BlockChange, Outcome as Carried},
    metrics, pb,
    subscription::AckId,
};
use tokio::{sync::oneshot, time::Instant};
use tonic::Status;

use super::{
    super::{
        claim::{Plan, Planned},
        consumers::Consumers,
        delivery::Delivery,
        leases::{Lease, LeaseState, Leases},
        losses::Losses,
        mailbox::{Consumer, Pull, Pulled},
        outbox::{LeaseKey, Outbox, Queued},
        retry::Failure,
    },
    ledger::Ledger,
    pulls::Pulls,
    settler::Settler,
    want::GivenBack,
};

#[derive(Default)]
pub(super) struct Recipients {
    consumers: Consumers,
    pulls: Pulls,
    /// Losses that no consumer was there to be told.
    unreported: Losses,
}

impl Recipients {
    pub(super) fn consumers(&self) -> &Consumers {
        &self.consumers
    }

    /// The same, to take credit.
    pub(super) fn consumers_mut(&mut self) -> &mut Consumers {
        &mut self.consumers
    }

    /// How many streams there are.
    pub(super) fn streams(&self) -> usize {
        self.consumers.len().saturating_sub(self.pulls.len())
    }

    /// Delivers to a stream from now on, which gets a number.
    pub(super) fn open(&mut self, Consumer { outbox, limit, ack_deadline }: Consumer) -> u64 {
        self.consumers.add(outbox, limit, ack_deadline)
    }

    /// Delivers to a call.
    pub(super) fn pull(&mut self, pull: Pull, reply: oneshot::Sender<Result<Pulled, Status>>) {
        let Pull { limit, ack_deadline, wait } = pull;
        let outbox = Arc::<Outbox>::default();
        let key = self.consumers.add(Arc::clone(&outbox), limit, ack_deadline);
        self.pulls.add(key, outbox, wait, reply);
    }

    /// When the next call has waited long enough.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.pulls.next_end()
    }

    /// Calls that nobody waits for any more, by their numbers.
    pub(super) fn abandoned(&mut self) -> Vec<u64> {
        self.pulls.abandoned()
    }

    /// Answers calls that have messages, unless more are coming at once. Returns those that nobody waited for.
    pub(super) fn answer(&mut self, leases: &mut Leases, more: bool) -> Vec<u64> {
        self.pulls.answer(&mut self.consumers, leases, more)
    }

    /// Answers calls that have waited long enough: at once where it is known that there is nothing for them.
    pub(super) fn end_calls(&mut self, leases: &mut Leases, nothing: bool) {
        self.pulls.end(&mut self.consumers, leases, nothing);
    }

    /// Answers all calls with an error.
    pub(super) fn fail_calls(&mut self, leases: &mut Leases, status: &Status) {
        self.pulls.fail(&mut self.consumers, leases, status);
    }

    /// Ends all streams and calls.
    pub(super) fn end(&mut self, leases: &mut Leases, status: &Status) {
        for entry in self.consumers.all() {
            entry.outbox.end(status.clone());
        }
        self.fail_calls(leases, status);
    }

    /// The same, but that calls without messages ask another dispatcher.
    pub(super) fn leave(&mut self, leases: &mut Leases, status: &Status) {
        self.consumers.all().for_each(|entry| entry.outbox.end(status.clone()));
        self.pulls.leave(&mut self.consumers, leases);
    }

    /// A stream has ended: what it had goes to others at once. What was sent to it counts as an attempt.
    pub(super) fn close(&mut self, key: u64, settler: &mut Settler) {
        if let Some(entry) = self.consumers.remove(key) {
            note_sent(&entry.outbox, settler.leases());
            let untold = entry.outbox.take_losses();
            self.report(untold);
        }
        for (lease, is_sent) in settler.leases().of(key) {
            let delay = Some(Duration::ZERO);
            let failure = Failure { delay, is_uncounted: !is_sent, ..Failure::default() };
            settler.give_back(lease, GivenBack { failure, is_over: false });
        }
    }

    /// Gives back leases that are over, and deliveries that nobody took in time.
    pub(super) fn give_back_over(&self, settler: &mut Settler) {
        if settler.next_over().is_none_or(|next| next > Instant::now()) {
            return;
        }
        for entry in self.consumers.all() {
            note_sent(&entry.outbox, settler.leases());
        }
        for (key, consumer) in settler.leases().over(Instant::now()) {
            if let Some(entry) = consumer.and_then(|consumer| self.consumers.get(consumer)) {
                entry.outbox.withdraw(key);
                // It may have been sent a moment ago.
                note_sent(&entry.outbox, settler.leases());
            }
            let failure = match settler.leases().state(key) {
                Some(LeaseState::Unsent(_)) => Failure { is_uncounted: true, ..Failure::default() },
                Some(LeaseState::Out(until)) if until <= Instant::now() => Failure::default(),
                _ => continue,
            };
            settler.give_back(key, GivenBack { failure, is_over: true });
        }
    }

    /// What was planned is out, or not.
    pub(super) fn planned(
        &mut self,
        plan: Plan,
        carried: Carried,
        until: Instant,
        ledger: &Ledger,
        leases: &mut Leases,
    ) {
        let subscription = ledger.place().name.as_str();
        tracing::trace!(subscription, change = ?plan.change, ?carried, "messages were to be handed out");
        if carried != Carried::Done {
            plan.abandon(&mut self.consumers);
            return;
        }
        let Plan { mut change, out, lost, .. } = plan;
        self.report(lost);
        let Some(BlockChange { id, to: Some(block), .. }) = change.blocks.pop() else { return };
        let generation = ledger.state().generation;
        let again = out.iter().filter(|planned| planned.attempts.count > 0).count();
        metrics::leased((out.len() - again) as u64, again as u64);
        let mut leased = Vec::with_capacity(out.len());
        let mut deliveries = Vec::with_capacity(out.len());
        for Planned { consumer, message, attempts, json } in out {
            let (sequence, bytes) = (message.sequence, message.message.len());
            let Some(entry) = self.consumers.get(consumer) else { continue };
            let ack_deadline = entry.ack_deadline.unwrap_or(ledger.settings().ack_deadline);
            let ack_id = AckId { generation, epoch: message.epoch, sequence, block: id };
            let delivery = Delivery { ack_id, attempt: attempts.count.saturating_add(1), message: message.message };
            let key = LeaseKey { block: id, sequence };
            deliveries.push((consumer, Queued { key, delivery, until, ack_deadline }));
            let (consumer, state) = (Some(consumer), LeaseState::Unsent(until));
            leased.push((sequence, Lease { attempts, consumer, bytes, json, ack_deadline, state }));
        }
        leases.add(id, block, leased);
        self.push(deliveries, leases);
    }

    /// Has deliveries sent, those of each consumer together.
    fn push(&self, mut deliveries: Vec<(u64, Queued)>, leases: &mut Leases) {
        // They stay in their order.
        deliveries.sort_by_key(|(consumer, _)| *consumer);
        let mut deliveries = deliveries.into_iter().peekable();
        while let Some((consumer, first)) = deliveries.next() {
            let others = std::iter::from_fn(|| deliveries.next_if(|(next, _)| *next == consumer));
            let all = std::iter::once(first).chain(others.map(|(_, queued)| queued));
            let Some(entry) = self.consumers.get(consumer) else { continue };
            for (key, at) in entry.outbox.push(all) {
                leases.sent(key, at);
            }
        }
    }

    /// Reports losses to one of the consumers; those that nobody is there for wait.
    pub(super) fn report(&mut self, lost: Vec<pb::LostMessages>) {
        self.unreported.add(lost);
        if let Some(entry) = self.consumers.all().next()
            && !self.unreported.is_empty()
        {
            entry.outbox.report(self.unreported.take());
        }
    }
}

/// Notes which deliveries have left.
fn note_sent(outbox: &Outbox, leases: &mut Leases) {
    for (key, at) in outbox.take_sent() {
        leases.sent(key, at);
    }
}
