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
    settler::Settler,
};

/// Credit of consumers.
type Credits = Vec<(u64, CreditLimit)>;

pub(super) struct Bundle {
    pub(super) round: Round,
    /// What the settlements give back where they are carried out: the first claim takes of that, so it goes with them.
    lent: Credits,
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
    pub(super) joint_failed: bool,
}

impl Bundle {
    pub(super) fn new(round: Round, retries: Vec<Plan>) -> Self {
        Self { round, lent: Vec::new(), retries, claims: Vec::new() }
    }

    /// Lends the credit that settlements give back to the claims that go with them, where somebody waits for it. Where
    /// all have some, each goes by itself, so that neither spoils the other.
    pub(super) fn lend(&mut self, settler: &Settler, consumers: &mut Consumers) {
        if !consumers.all_have_room() && Joint::is_possible(&self.round.groups) {
            self.lent = settler.frees(&self.round);
        }
        for (consumer, credit) in &self.lent {
            consumers.give_back(*consumer, *credit);
        }
    }

    /// How many messages are settled, as far as that is lent.
    pub(super) fn lent(&self) -> usize {
        self.lent.iter().map(|(_, credit)| credit.messages).sum()
    }

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
        take_back(lent, consumers);
        let mut carried = applied?;
        let mut joint_failed = false;
        if let (Some(joint), Some(plan), Some(outcome)) = (joint, claims.first_mut(), carried.get(retries.len())) {
            joint.part(&mut round.groups, &mut plan.change);
            let outcome = *outcome;
            joint_failed = outcome != Outcome::Done;
            settled = round.groups.len();
            carried.splice(..0, repeat_n(outcome, settled));
        }
        let settled = settled.min(carried.len());
        let retried = (settled + retries.len()).min(carried.len());
        Ok(Answer { carried, settled, retried, joint_failed })
    }

    /// Gives back the credit that was planned, and takes back what was lent.
    pub(super) fn abandon(&mut self, consumers: &mut Consumers) {
        take_back(&mut self.lent, consumers);
        self.retries.iter().chain(&self.claims).for_each(|plan| plan.abandon(consumers));
    }
}

fn take_back(lent: &mut Credits, consumers: &mut Consumers) {
    for (consumer, credit) in lent.drain(..) {
        consumers.take_back(consumer, credit);
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
