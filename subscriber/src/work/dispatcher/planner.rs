//! Plans what is handed out next: what is due for a retry, and what is ahead.

use std::{
    collections::BTreeSet,
    task::{Context, Poll},
    time::Duration,
};

use tidings::{
    broker::{
        Error, Head,
        subscriptions::{Closed, State},
    },
    limits::CLAIM_MESSAGES,
    message::Position,
    subscription::{BlockId, OrderKey},
};
use tonic::Status;

use super::{
    super::{
        ahead::{Ahead, Item},
        claim::{self, BlockIds, Plan},
        consumers::Consumers,
        contents::Found,
        settings::Settings,
    },
    ledger::{Ledger, Stop},
};

pub(super) struct Planner {
    ahead: Ahead,
    ids: BlockIds,
    /// How many blocks were named before this round.
    named: u64,
}

impl Planner {
    pub(super) fn new(ahead: Ahead) -> Self {
        Self { ahead, ids: BlockIds::new(), named: 0 }
    }

    /// A round begins.
    pub(super) fn begin(&mut self) {
        self.named = self.ids.numbered();
    }

    /// The blocks that were planned in this round.
    pub(super) fn blocks(&self) -> Vec<BlockId> {
        self.ids.after(self.named)
    }

    pub(super) fn ahead(&mut self) -> &mut Ahead {
        &mut self.ahead
    }

    /// Opens the stream of what is ahead after a position, where it is not open and messages are handed out.
    pub(super) async fn open(&mut self, after: Position, settings: &Settings) -> Result<(), Stop> {
        if self.ahead.is_open() || settings.is_paused() {
            return Ok(());
        }
        let opened = self.ahead.open(after, settings.is_ordered()).await;
        opened.map_err(|status| Error::Unavailable(status.message().to_owned()).into())
    }

    /// Takes in what has come, where the stream is open. Ready where there is something new, or it has ended.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        if self.ahead.is_open() { self.ahead.poll_fill(cx) } else { Poll::Pending }
    }

    /// Whether the message of a sequence is the first ahead. Those before it are dropped.
    pub(super) fn follows(&mut self, next: i64) -> bool {
        self.ahead.skip_to(next);
        matches!(self.ahead.first(), Some(Item::Message(message)) if message.sequence == next)
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
