//! Requests to settle deliveries, and what has become of them so far.

use std::collections::BTreeMap;

use tidings::{broker::Error, subscription::Generation};
use tokio::sync::oneshot;
use tonic::Status;

use super::{
    super::{
        outbox::LeaseKey,
        outcome::{Outcome, Settle, Settled},
    },
    want::{By, Ticket, Want},
};

struct Batch {
    settles: Vec<Settle>,
    outcomes: Vec<Option<Outcome>>,
    /// Whether its decisions are being tried.
    is_begun: bool,
    error: Option<Error>,
    reply: oneshot::Sender<Result<Settled, Status>>,
}

/// Requests that are not answered yet.
#[derive(Default)]
pub(super) struct Batches {
    batches: BTreeMap<u64, Batch>,
    numbered: u64,
}

impl Batches {
    pub(super) fn add(&mut self, settles: Vec<Settle>, reply: oneshot::Sender<Result<Settled, Status>>) {
        self.numbered += 1;
        let outcomes = vec![None; settles.len()];
        self.batches.insert(self.numbered, Batch { settles, outcomes, is_begun: false, error: None, reply });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// The decisions that were not tried yet. Ids of other generations, and what is none, are stale at once.
    pub(super) fn take(&mut self, generation: Generation) -> Vec<Want> {
        let mut wants = Vec::new();
        for (number, batch) in &mut self.batches {
            if std::mem::replace(&mut batch.is_begun, true) {
                continue;
            }
            let outcomes: Vec<_> = batch.outcomes.clone();
            let settles = batch.settles.iter().zip(outcomes).enumerate();
            for (index, (settle, _)) in settles.filter(|(_, (_, outcome))| outcome.is_none()) {
                let Some(id) = settle.id.filter(|id| id.generation == generation) else {
                    batch.outcomes[index] = Some(Outcome::Stale);
                    continue;
                };
                wants.push(Want {
                    by: By::Consumer(Ticket { batch: *number, index }),
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
        if let Some(slot) = self.batches.get_mut(&batch).and_then(|batch| batch.outcomes.get_mut(index)) {
            *slot = Some(outcome);
        }
    }

    /// Says why outcomes are unknown of what is being tried.
    pub(super) fn fail(&mut self, error: &Error) {
        for batch in self.batches.values_mut().filter(|batch| batch.is_begun) {
            batch.error.get_or_insert_with(|| error.clone());
        }
    }

    /// Answers what was tried. What has no outcome is unknown.
    pub(super) fn answer(&mut self) {
        for (number, batch) in std::mem::take(&mut self.batches) {
            match batch.is_begun {
                true => batch.answer(Outcome::Unknown),
                false => drop(self.batches.insert(number, batch)),
            }
        }
    }

    /// Whether a decision that was not tried yet is about another generation.
    pub(super) fn have_other(&self, generation: Generation) -> bool {
        let waiting = self.batches.values().filter(|batch| !batch.is_begun).flat_map(|batch| &batch.settles);
        waiting.filter_map(|settle| settle.id).any(|id| id.generation != generation)
    }

    /// All leases are over, but those of the generation that has begun: what has no outcome is tried in that.
    pub(super) fn begin_again(&mut self) {
        self.batches.values_mut().for_each(|batch| batch.is_begun = false);
    }

    /// The broker can't be asked: nothing was done.
    pub(super) fn unavailable(&mut self, error: &Error) {
        for mut batch in std::mem::take(&mut self.batches).into_values() {
            batch.error.get_or_insert_with(|| error.clone());
            batch.answer(Outcome::Unknown);
        }
    }

    /// Refuses all.
    pub(super) fn refuse(&mut self, status: &Status) {
        for batch in std::mem::take(&mut self.batches).into_values() {
            let _gone = batch.reply.send(Err(status.clone()));
        }
    }
}

impl Batch {
    fn answer(self, otherwise: Outcome) {
        let outcomes = self.outcomes.into_iter().map(|outcome| outcome.unwrap_or(otherwise));
        let settled = Settled { settled: self.settles.into_iter().zip(outcomes).collect(), error: self.error };
        settled.count();
        let _gone = self.reply.send(Ok(settled));
    }
}
