//! What a round has the broker do in one call: settlements, and what is handed out.

use std::iter::repeat_n;

use tidings::broker::subscriptions::Outcome;

use super::{
    super::{
        claim::Plan,
        consumers::{Consumers, CreditLimit},
    },
    joint::Joint,
    ledger::{Ledger, Stop},
    round::Round,
};

/// Credit of consumers.
pub(super) type Credits = Vec<(u64, CreditLimit)>;

pub(super) struct Bundle {
    pub(super) round: Round,
    /// What the settlements give back where they are carried out: the first claim takes of that, so it goes with them.
    pub(super) lent: Credits,
    pub(super) retries: Vec<Plan>,
    pub(super) claims: Vec<Plan>,
}

/// What became of a bundle, each in its order.
pub(super) struct Answer {
    carried: Vec<Outcome>,
    /// How many of them are of settlements, and of those and retries.
    settled: usize,
    retried: usize,
    /// Settlements and the claim that goes with them were not carried out.
    pub(super) is_spoilt: bool,
}

impl Bundle {
    /// Has all of it carried out. The credit that was lent comes back afterwards, in any case.
    pub(super) async fn apply(&mut self, ledger: &mut Ledger, consumers: &mut Consumers) -> Result<Answer, Stop> {
        let Self { round, lent, retries, claims } = self;
        // Each claim follows the one before it: where the first is not carried out, none is.
        let first = claims.first_mut().filter(|_| !lent.is_empty());
        let joint = first.map(|plan| Joint::of(&mut round.groups, &mut plan.change));
        let mut settled = if joint.is_some() { 0 } else { round.groups.len() };
        let planned = retries.iter_mut().chain(claims.iter_mut()).map(|plan| &mut plan.change);
        let settling = round.groups[..settled].iter_mut().map(|group| &mut group.change);
        let applied = ledger.apply(settling.chain(planned)).await;
        // What was settled gives it back for itself.
        for (consumer, credit) in lent.drain(..) {
            consumers.take_back(consumer, credit);
        }
        let mut carried = applied?;
        let mut is_spoilt = false;
        if let (Some(joint), Some(plan), Some(outcome)) = (joint, claims.first_mut(), carried.get(retries.len())) {
            joint.part(&mut round.groups, &mut plan.change);
            let outcome = *outcome;
            is_spoilt = outcome != Outcome::Done;
            settled = round.groups.len();
            carried.splice(..0, repeat_n(outcome, settled));
        }
        let settled = settled.min(carried.len());
        let retried = (settled + retries.len()).min(carried.len());
        Ok(Answer { carried, settled, retried, is_spoilt })
    }

    /// Gives back the credit that was planned.
    pub(super) fn abandon(&self, consumers: &mut Consumers) {
        self.retries.iter().chain(&self.claims).for_each(|plan| plan.abandon(consumers));
    }
}

impl Answer {
    pub(super) fn settled(&self) -> &[Outcome] {
        &self.carried[..self.settled]
    }

    pub(super) fn retried(&self) -> &[Outcome] {
        &self.carried[self.settled..self.retried]
    }

    pub(super) fn claimed(&self) -> &[Outcome] {
        &self.carried[self.retried..]
    }
}
