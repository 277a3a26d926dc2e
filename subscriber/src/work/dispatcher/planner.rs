//! Plans what is handed out next: what is due for a retry, and what is ahead.

use std::{collections::BTreeSet, time::Duration};

use tidings::{
    broker::{
        Head,
        subscriptions::{Closed, State},
    },
    limits::CLAIM_MESSAGES,
    subscription::OrderKey,
};

use super::{
    super::{
        ahead::Ahead,
        claim::{self, BlockIds, Plan},
        consumers::Consumers,
        contents::Found,
    },
    ledger::{Ledger, Stop},
};

pub(super) struct Planner {
    ahead: Ahead,
    ids: BlockIds,
}

impl Planner {
    pub(super) fn new(ahead: Ahead) -> Self {
        Self { ahead, ids: BlockIds::new() }
    }

    pub(super) fn ahead(&mut self) -> &mut Ahead {
        &mut self.ahead
    }

    /// Whether there is something ahead.
    pub(super) fn has_more(&self) -> bool {
        self.ahead.first().is_some()
    }

    /// Plans messages that are due, as far as there is credit.
    pub(super) fn retries(&mut self, found: Vec<Found>, ledger: &Ledger, consumers: &mut Consumers) -> Vec<Plan> {
        claim::retries(found, &mut terms(&mut self.ids, ledger, consumers))
    }

    /// Plans claims of what is ahead, where there is credit; so many messages are settled before.
    pub(super) async fn claims(
        &mut self,
        settled: usize,
        ledger: &Ledger,
        consumers: &mut Consumers,
    ) -> Result<Vec<Plan>, Stop> {
        let state = ledger.state();
        let out = state.out.saturating_sub(settled as u64);
        let state = State { revision: ledger.revision(), out, ..*state };
        self.ahead.skip_to(state.next);
        let keys = self.closed_keys(ledger, consumers).await?;
        Ok(claim::claims(&self.ahead, &state, keys, terms(&mut self.ids, ledger, consumers)))
    }

    /// Which of the ordering keys of what is ahead are closed.
    async fn closed_keys(&mut self, ledger: &Ledger, consumers: &Consumers) -> Result<claim::Keys, Stop> {
        // Of a few more messages than can be handed out: some will wait for their keys.
        let items = if ledger.settings().is_ordered() {
            (4 * consumers.room()).clamp(32, CLAIM_MESSAGES)
        } else {
            CLAIM_MESSAGES
        };
        let keys: Vec<OrderKey> = self.ahead.keys(items).collect::<BTreeSet<_>>().into_iter().collect();
        if keys.is_empty() {
            return Ok(claim::Keys::none(items));
        }
        let Closed { keys: closed, parked } = ledger.closed(&keys).await?;
        let closed = keys.into_iter().zip(closed).filter_map(|(key, is_closed)| is_closed.then_some(key));
        Ok(claim::Keys::new(closed.collect(), parked, items))
    }

    /// Drops what is ahead and not in the channel's history any more. Whether there was any.
    pub(super) fn cut(&mut self, head: Option<&Head>) -> bool {
        self.ahead.retain(|epoch, sequence| {
            let is_older = |head: &Head| head.epochs.first().is_some_and(|oldest| sequence < oldest.first);
            head.is_some_and(|head| head.has_in(epoch, sequence) || is_older(head))
        })
    }
}

fn terms<'a>(ids: &'a mut BlockIds, ledger: &'a Ledger, consumers: &'a mut Consumers) -> claim::Terms<'a> {
    claim::Terms { settings: ledger.settings(), now_ms: ledger.after(Duration::ZERO), ids, consumers }
}
