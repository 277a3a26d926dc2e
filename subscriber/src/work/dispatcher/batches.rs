//! Requests to settle deliveries, and what has become of them so far.

use std::collections::VecDeque;

use tidings::{broker::Error, subscription::Generation};
use tokio::{sync::oneshot, time::Instant};
use tonic::Status;

use super::{
    super::{
        mailbox::Asker,
        outbox::LeaseKey,
        outcome::{Outcome, Settle, Settled},
    },
    want::{By, Ticket, Want},
};

struct Batch {
    settles: Vec<(Settle, Option<Outcome>)>,
    /// Whether its decisions are being tried.
    is_begun: bool,
    error: Option<Error>,
    reply: oneshot::Sender<Result<Settled, Status>>,
}

/// Requests that are not answered yet, in the order in which they came: those that are being tried first.
#[derive(Default)]
pub(super) struct Batches {
    batches: VecDeque<Batch>,
    /// How many were answered before the first of them: each has a number that is never used again.
    answered: u64,
    /// When the first one came that is not being tried, and whether one of those can't wait.
    came: Option<Instant>,
    is_urgent: bool,
}

impl Batches {
    pub(super) fn add(&mut self, settles: Vec<Settle>, asker: Asker, reply: oneshot::Sender<Result<Settled, Status>>) {
        self.came.get_or_insert_with(Instant::now);
        self.is_urgent |= asker == Asker::Call;
        let settles = settles.into_iter().map(|settle| (settle, None)).collect();
        self.batches.push_back(Batch { settles, is_begun: false, error: None, reply });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Since when the first of those waits that are not being tried; `None` where there is none, or one can't wait.
    pub(super) fn patient_since(&self) -> Option<Instant> {
        self.came.filter(|_| !self.is_urgent)
    }

    /// The decisions that were not tried yet. Ids of other generations, and what is none, are stale at once.
    pub(super) fn take(&mut self, generation: Generation) -> Vec<Want> {
        (self.came, self.is_urgent) = (None, false);
        let mut wants = Vec::new();
        for (number, batch) in (self.answered..).zip(&mut self.batches) {
            if std::mem::replace(&mut batch.is_begun, true) {
                continue;
            }
            let open = batch.settles.iter_mut().enumerate().filter(|(_, (_, outcome))| outcome.is_none());
            for (index, (settle, outcome)) in open {
                let Some(id) = settle.id.filter(|id| id.generation == generation) else {
                    *outcome = Some(Outcome::Stale);
                    continue;
                };
                wants.push(Want {
                    by: By::Consumer(Ticket { batch: number, index }),
                    key: LeaseKey { block: id.block, sequence: id.sequence },
                    epoch: Some(id.epoch),
                    decision: settle.decision.clone(),
                });
            }
        }
        wants
    }

    pub(super) fn note(&mut self, by: By, outcome: Outcome) {
        let By::Consumer(Ticket { batch, index }) = by else { return };
        let at = batch.checked_sub(self.answered).and_then(|at| usize::try_from(at).ok());
        let batch = at.and_then(|at| self.batches.get_mut(at));
        if let Some((_, slot)) = batch.and_then(|batch| batch.settles.get_mut(index)) {
            *slot = Some(outcome);
        }
    }

    /// Says why outcomes are unknown of what is being tried.
    pub(super) fn fail(&mut self, error: &Error) {
        for batch in self.batches.iter_mut().filter(|batch| batch.is_begun) {
            batch.error.get_or_insert_with(|| error.clone());
        }
    }

    /// Answers what was tried. What has no outcome is unknown.
    pub(super) fn answer(&mut self) {
        while self.batches.front().is_some_and(|batch| batch.is_begun)
            && let Some(batch) = self.batches.pop_front()
        {
            self.answered += 1;
            batch.answer(Outcome::Unknown);
        }
    }

    /// Whether a decision that was not tried yet is about another generation.
    pub(super) fn have_other(&self, generation: Generation) -> bool {
        let waiting = self.batches.iter().filter(|batch| !batch.is_begun).flat_map(|batch| &batch.settles);
        waiting.filter_map(|(settle, _)| settle.id).any(|id| id.generation != generation)
    }

    /// All leases are over, but those of the generation that has begun: what has no outcome is tried in that.
    pub(super) fn begin_again(&mut self) {
        self.batches.iter_mut().for_each(|batch| batch.is_begun = false);
        if !self.batches.is_empty() {
            (self.came, self.is_urgent) = (Some(Instant::now()), true);
        }
    }

    /// The broker can't be asked: nothing was done.
    pub(super) fn unavailable(&mut self, error: &Error) {
        for mut batch in self.take_all() {
            batch.error.get_or_insert_with(|| error.clone());
            batch.answer(Outcome::Unknown);
        }
    }

    /// Refuses all.
    pub(super) fn refuse(&mut self, status: &Status) {
        for batch in self.take_all() {
            let _gone = batch.reply.send(Err(status.clone()));
        }
    }

    fn take_all(&mut self) -> VecDeque<Batch> {
        (self.came, self.is_urgent) = (None, false);
        self.answered += self.batches.len() as u64;
        std::mem::take(&mut self.batches)
    }
}

impl Batch {
    fn answer(self, otherwise: Outcome) {
        let outcome = |(settle, outcome): (Settle, Option<Outcome>)| (settle, outcome.unwrap_or(otherwise));
        let settled = Settled { settled: self.settles.into_iter().map(outcome).collect(), error: self.error };
        settled.count();
        let _gone = self.reply.send(Ok(settled));
    }
}
