//! Settles deliveries: what consumers decide about them, and the leases that this process gives back.
//!
//! A decision is first tried on what this process remembers of the block. Where the books have it otherwise, or another
//! replica has leased the message, the block is looked up, and the decision is tried on that, some times. So one bad
//! ack id spoils no other, and a decision may come to any replica.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tidings::{
    broker::{
        Error,
        subscriptions::{Fate, Outcome as Carried},
    },
    limits::SETTLE_ROUNDS,
    pb,
    subscription::{Block, BlockId},
};
use tokio::time::Instant;

use super::{
    super::{
        consumers::CreditLimit,
        contents::Contents,
        leases::{Lease, LeaseState, Leases},
        outbox::LeaseKey,
        outcome::{Decision, Outcome},
        retry::Failure,
        settle::{Deed, Group, Located, lost_one},
    },
    batches::Batches,
    ledger::{Ledger, Stop},
    round::{Out, Round},
    want::{By, GivenBack, Want},
};

/// Credit that was given back: of a consumer, so many bytes.
type Freed = (u64, usize);

/// What decides about deliveries.
pub(super) struct Settler {
    contents: Contents,
    leases: Leases,
    batches: Batches,
    /// Leases that are given back, each once, and how.
    given_back: BTreeMap<LeaseKey, GivenBack>,
    freed: Vec<Freed>,
    /// Blocks that were to be written, by calls that were not answered: their messages were never sent.
    doubtful: Vec<BlockId>,
    lost: Vec<pb::LostMessages>,
}

impl Settler {
    pub(super) fn new(contents: Contents) -> Self {
        let (leases, batches, given_back) = (Leases::default(), Batches::default(), BTreeMap::new());
        let (freed, doubtful, lost) = (Vec::new(), Vec::new(), Vec::new());
        Self { contents, leases, batches, given_back, freed, doubtful, lost }
    }

    pub(super) fn batches(&mut self) -> &mut Batches {
        &mut self.batches
    }

    pub(super) fn leases(&mut self) -> &mut Leases {
        &mut self.leases
    }

    pub(super) fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Whether nothing is out or to be settled.
    pub(super) fn is_idle(&self) -> bool {
        self.leases.is_empty() && self.batches.is_empty()
    }

    /// The credit that was given back since this was asked last, together by consumer.
    pub(super) fn take_freed(&mut self) -> Vec<(u64, CreditLimit)> {
        by_consumer(std::mem::take(&mut self.freed))
    }

    /// The credit that a round gives back where it is carried out, together by consumer.
    pub(super) fn frees(&self, round: &Round) -> Vec<(u64, CreditLimit)> {
        let members = round.groups.iter().flat_map(|group| &group.members);
        let ending = members.filter(|member| !matches!(member.deed, Deed::Extend(_)));
        let freed = ending.filter_map(|Located { key, .. }| {
            let (.., lease) = self.leases.find(key.block, key.sequence)?;
            lease.consumer.map(|consumer| (consumer, lease.bytes))
        });
        by_consumer(freed.collect())
    }

    /// Since when a stream's decisions wait; `None` where there are none, or something is to be settled at once.
    pub(super) fn patient_since(&self) -> Option<Instant> {
        self.batches.patient_since().filter(|_| self.given_back.is_empty())
    }

    /// What was lost since this was asked last.
    pub(super) fn take_lost(&mut self) -> Vec<pb::LostMessages> {
        std::mem::take(&mut self.lost)
    }

    /// Whether nothing is to be settled: what is out is out elsewhere.
    pub(super) fn is_done(&self) -> bool {
        self.batches.is_empty() && self.given_back.is_empty()
    }

    /// When a lease is over.
    pub(super) fn next_over(&mut self) -> Option<Instant> {
        self.leases.next_over()
    }

    /// Gives a lease back with the next round.
    pub(super) fn give_back(&mut self, key: LeaseKey, given_back: GivenBack) {
        self.given_back.entry(key).or_insert(given_back);
    }

    /// All leases are over.
    pub(super) fn forget_all(&mut self) {
        self.leases.clear();
        self.given_back.clear();
        // Nothing is out any more, and so no credit is taken.
        self.freed.clear();
        self.doubtful.clear();
        self.batches.begin_again();
    }

    /// What is to be settled now, on what is remembered of the blocks.
    pub(super) async fn begin(&mut self, ledger: &Ledger) -> Result<Round, Stop> {
        let mut wants = self.batches.take(ledger.state().generation);
        let own = std::mem::take(&mut self.given_back);
        let given = if own.is_empty() { &[][..] } else { &wants };
        let decided: BTreeSet<_> = given.iter().map(|want| (want.key.base(), want.key.sequence)).collect();
        // What a consumer decides about a lease that is over comes first.
        let left = own.iter().filter(|(key, back)| !(back.is_over && decided.contains(&(key.base(), key.sequence))));
        wants.extend(left.map(|(key, GivenBack { failure, is_over })| {
            let by = if *is_over { By::Over(0) } else { By::Closed };
            Want { by, key: *key, epoch: None, decision: Decision::Reject(failure.clone()) }
        }));
        let (mut out, mut rest) = (Vec::new(), Vec::new());
        for mut want in wants {
            match self.leases.find(want.key.base(), want.key.sequence) {
                Some((block, held, lease)) => {
                    want.key.block = block;
                    if let By::Over(_) = want.by {
                        want.by = By::Over(held.deadline_ms);
                    }
                    let (attempts, json) = (Some(lease.attempts), lease.json.clone());
                    out.push(Out { want, block: Arc::clone(held), attempts, json });
                }
                None if matches!(want.by, By::Consumer(_)) => rest.push(want),
                None => {}
            }
        }
        let round = Round::of(out, rest, &self.contents, ledger).await;
        if round.is_err() {
            self.given_back.extend(own);
        }
        round
    }

    /// Has the leases of streams that have ended given back with the next round.
    fn keep<'a>(&mut self, wants: impl IntoIterator<Item = &'a Want>) {
        for Want { by, key, decision, .. } in wants {
            if let (By::Closed, Decision::Reject(failure)) = (by, decision) {
                self.given_back.insert(*key, GivenBack { failure: failure.clone(), is_over: false });
            }
        }
    }

    /// Finishes a round: the rest, and what was not carried out, is looked up and tried again.
    pub(super) async fn finish(&mut self, round: Round, carried: &[Carried], ledger: &mut Ledger) -> Result<(), Stop> {
        let mut rest = round.rest;
        rest.extend(self.conclude(round.groups, carried, ledger));
        // Dead letters come some at a time: only rounds in which nothing was done are counted.
        let mut rounds = 0;
        while !rest.is_empty() && rounds < SETTLE_ROUNDS {
            match self.try_again(&rest, ledger).await {
                Ok(left) => {
                    rounds += usize::from(left.len() >= rest.len());
                    rest = left;
                }
                Err(stop) => {
                    self.unknown(&rest, &stop);
                    return Err(stop);
                }
            }
        }
        self.keep(&rest);
        for want in rest {
            self.batches.note(want.by, Outcome::Unknown);
        }
        self.batches.answer();
        Ok(())
    }

    /// Has a round carried out by itself, and finishes it.
    pub(super) async fn settle(&mut self, mut round: Round, ledger: &mut Ledger) -> Result<(), Stop> {
        match ledger.apply(round.changes()).await {
            Ok(carried) => self.finish(round, &carried, ledger).await,
            Err(stop) => {
                self.failed(round, &stop);
                Err(stop)
            }
        }
    }

    /// The call failed that was to carry out a round.
    pub(super) fn failed(&mut self, round: Round, stop: &Stop) {
        let members = round.groups.into_iter().flat_map(|group| group.members).map(|member| member.by);
        let wants: Vec<_> = members.chain(round.rest).collect();
        self.unknown(&wants, stop);
    }

    fn unknown(&mut self, wants: &[Want], stop: &Stop) {
        // Where the subscription was moved, nothing was done, and nothing can be.
        let outcome = if matches!(stop, Stop::Moved) { Outcome::Stale } else { Outcome::Unknown };
        self.keep(wants);
        for want in wants {
            self.batches.note(want.by, outcome);
        }
        if let Stop::Broker(error) = stop {
            self.batches.fail(error);
        }
        self.batches.answer();
    }

    async fn try_again(&mut self, wants: &[Want], ledger: &mut Ledger) -> Result<Vec<Want>, Stop> {
        let mut round = self.look_up(wants, ledger).await?;
        let carried = ledger.apply(round.changes()).await?;
        let mut left = round.rest;
        left.extend(self.conclude(round.groups, &carried, ledger));
        Ok(left)
    }

    /// Looks up the blocks of messages. What is in none is answered.
    async fn look_up(&mut self, wants: &[Want], ledger: &Ledger) -> Result<Round, Stop> {
        let both = |want: &Want| [want.key.base(), want.key.base().of_one(want.key.sequence)];
        let ids: BTreeSet<BlockId> = wants.iter().flat_map(both).collect();
        let mut blocks = read(ledger, ids.iter().copied().collect()).await?;
        // What is out no longer in the block that it was leased in may have been extended elsewhere.
        let strays = ids.iter().flat_map(|id| self.leases.strays(*id, blocks.get(id)));
        let strays: Vec<_> = strays.filter(|id| !ids.contains(id)).collect();
        blocks.extend(read(ledger, strays).await?);
        for id in &ids {
            self.freed.extend(self.leases.sync(*id, &blocks, |deadline_ms| ledger.when(deadline_ms)));
        }
        let (mut out, mut gone) = (Vec::new(), Vec::new());
        for want in wants {
            let sequence = want.key.sequence;
            let holder = both(want).into_iter().find(|id| blocks.get(id).is_some_and(|block| block.has(sequence)));
            match holder.and_then(|id| Some((id, blocks.get(&id)?))) {
                Some((id, block)) if want.is_extended(id, block) => {}
                Some((id, block)) => {
                    let mut want = want.clone();
                    want.key.block = id;
                    let lease = self.leases.find(want.key.base(), sequence).map(|(_, _, lease)| lease);
                    let (attempts, json) =
                        (lease.map(|lease| lease.attempts), lease.and_then(|lease| lease.json.clone()));
                    out.push(Out { want, block: Arc::new(block.clone()), attempts, json });
                }
                None => gone.push(want),
            }
        }
        self.tell_gone(&gone, ledger).await?;
        Round::of(out, Vec::new(), &self.contents, ledger).await
    }

    /// A message that is in no block: what was acknowledged before is acknowledged again, all else is stale.
    async fn tell_gone(&mut self, gone: &[&Want], ledger: &Ledger) -> Result<(), Stop> {
        let asked: Vec<_> = gone
            .iter()
            .filter(|want| want.decision == Decision::Acknowledge)
            .filter_map(|want| Some((*want, (want.epoch?, want.key.sequence))))
            .collect();
        let messages: Vec<_> = asked.iter().map(|(_, message)| *message).collect();
        let fates = ledger.fates(&messages).await?;
        for (want, fate) in asked.iter().map(|(want, _)| *want).zip(fates) {
            let outcome = if fate == Fate::Settled { Outcome::Done } else { Outcome::Stale };
            self.batches.note(want.by, outcome);
        }
        for want in gone {
            if want.decision != Decision::Acknowledge || want.epoch.is_none() {
                self.batches.note(want.by, Outcome::Stale);
            }
        }
        Ok(())
    }

    /// Notes what became of changes. Answers the decisions of those that were not carried out.
    fn conclude(&mut self, groups: Vec<Group<Want>>, carried: &[Carried], ledger: &Ledger) -> Vec<Want> {
        let mut rest = Vec::new();
        for (group, carried) in groups.into_iter().zip(carried) {
            if *carried != Carried::Done {
                rest.extend(group.members.into_iter().map(|member| member.by));
                continue;
            }
            let mut group = group;
            let (id, block) = (group.id(), group.take_block());
            for Located { key, deed, by, .. } in group.members {
                self.batches.note(by.by, Outcome::Done);
                by.count();
                if deed == Deed::Lose {
                    self.lost.push(lost_one(key.sequence));
                }
                let Some(lease) = self.leases.remove(key) else { continue };
                match deed {
                    Deed::Extend(deadline_ms) => self.extend(key, lease, deadline_ms, ledger),
                    _ => self.freed.extend(lease.consumer.map(|consumer| (consumer, lease.bytes))),
                }
            }
            // One of its own that is still there was extended, and noted.
            if let Some(id) = id.filter(|id| id.own == 0 || block.is_none()) {
                self.leases.written(id, block);
            }
        }
        rest
    }

    /// A lease has a block of its own now.
    fn extend(&mut self, key: LeaseKey, lease: Lease, deadline_ms: i64, ledger: &Ledger) {
        let state = LeaseState::Out(ledger.when(deadline_ms));
        let id = key.block.of_one(key.sequence);
        if let Some(block) = Block::new(deadline_ms, &[key.sequence]) {
            self.leases.add(id, block, [(key.sequence, Lease { state, ..lease })]);
        }
    }

    /// A call was not answered that was to write these blocks.
    pub(super) fn doubt(&mut self, blocks: Vec<BlockId>) {
        self.doubtful.extend(blocks);
    }

    /// Gives back what was leased by calls that were not answered: nobody has it, so it does not count.
    pub(super) async fn give_back_doubtful(&mut self, ledger: &mut Ledger) -> Result<(), Stop> {
        if self.doubtful.is_empty() {
            return Ok(());
        }
        let blocks = read(ledger, self.doubtful.clone()).await?;
        let failure = Failure { delay: Some(Duration::ZERO), is_uncounted: true, ..Failure::default() };
        let mut out = Vec::new();
        for (id, block) in blocks {
            let (by, block) = (By::Over(block.deadline_ms), Arc::new(block));
            for sequence in block.sequences() {
                let (key, decision) = (LeaseKey { block: id, sequence }, Decision::Reject(failure.clone()));
                let want = Want { by, key, epoch: None, decision };
                out.push(Out { want, block: Arc::clone(&block), attempts: None, json: None });
            }
        }
        let mut round = Round::of(out, Vec::new(), &self.contents, ledger).await?;
        let carried = ledger.apply(round.changes()).await?;
        self.doubtful.clear();
        let _done = self.conclude(round.groups, &carried, ledger);
        Ok(())
    }

    /// Gives back leases of other processes that are over.
    pub(super) async fn sweep(&mut self, overdue: &[(BlockId, Block)], ledger: &mut Ledger) -> Result<(), Stop> {
        let mut out = Vec::new();
        for (id, block) in overdue {
            let held = Arc::new(block.clone());
            for sequence in block.sequences() {
                let key = LeaseKey { block: *id, sequence };
                let decision = Decision::Reject(Failure::default());
                // One that is known otherwise here was extended elsewhere since.
                let found = self.leases.find(key.base(), sequence);
                let is_own = found.is_some_and(|(own, known, _)| own == *id && known.deadline_ms == block.deadline_ms);
                if !is_own {
                    let want = Want { by: By::Swept, key, epoch: None, decision };
                    out.push(Out { want, block: Arc::clone(&held), attempts: None, json: None });
                }
            }
        }
        if out.is_empty() {
            return Ok(());
        }
        let mut round = Round::of(out, Vec::new(), &self.contents, ledger).await?;
        for group in &mut round.groups {
            // The books looked into their own clock when they said so; nobody has moved the lease since.
            group.change.not_before_ms =
                group.change.blocks.first().and_then(|block| block.from.as_ref()).map_or(0, |block| block.deadline_ms);
        }
        let carried = ledger.apply(round.changes()).await?;
        // Where others were faster, it is done.
        let _done = self.conclude(round.groups, &carried, ledger);
        Ok(())
    }
}

fn by_consumer(mut freed: Vec<Freed>) -> Vec<(u64, CreditLimit)> {
    freed.sort_unstable_by_key(|(consumer, _)| *consumer);
    let together = |freed: &[Freed]| {
        let bytes = freed.iter().map(|(_, bytes)| bytes).sum();
        freed.first().map(|(consumer, _)| (*consumer, CreditLimit { messages: freed.len(), bytes }))
    };
    freed.chunk_by(|one, next| one.0 == next.0).filter_map(together).collect()
}

/// Reads blocks; those that are not there are left out.
async fn read(ledger: &Ledger, ids: Vec<BlockId>) -> Result<HashMap<BlockId, Block>, Error> {
    let found = ledger.blocks(&ids).await?;
    Ok(ids.into_iter().zip(found).filter_map(|(id, block)| Some((id, block?))).collect())
}
