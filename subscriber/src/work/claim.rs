//! What is handed out next: messages ahead, and those that are due for a retry, planned as changes of the books.
//!
//! Credit is taken when a message is planned, and given back where its change is not carried out.

use std::collections::HashSet;

use bytes::Bytes;
use tidings::{
    broker::subscriptions::{BlockChange, Change, Claim, Due, Keyed, Letter, State},
    limits::{PARKED_MESSAGES, UNSENT},
    message::Position,
    pb,
    subscription::{Attempts, Block, BlockId, OrderKey, Token},
};

use super::{
    ahead::{Ahead, Item},
    clock::ms,
    consumers::{Consumers, CreditLimit},
    contents::Found,
    delivery::Arrived,
    settings::Settings,
    settle::{letter, lost_one},
};

/// A change that hands messages out.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) change: Change,
    pub(super) out: Vec<Planned>,
    /// What is lost with it, to be reported once.
    pub(super) lost: Vec<pb::LostMessages>,
    /// How many items of what is ahead are done with it.
    pub(super) covers: usize,
}

/// A message for a consumer.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) consumer: u64,
    pub(super) message: Arrived,
    /// Deliveries before.
    pub(super) attempts: Attempts,
    pub(super) json: Option<Bytes>,
}

/// Names blocks: each once.
#[derive(Debug)]
pub(super) struct BlockIds {
    token: Token,
    numbered: u64,
}

impl BlockIds {
    pub(super) fn new() -> Self {
        Self { token: Token::random(), numbered: 0 }
    }

    pub(super) fn next(&mut self) -> BlockId {
        self.numbered += 1;
        BlockId { token: self.token, number: self.numbered, own: 0 }
    }

    /// How many were named so far.
    pub(super) fn numbered(&self) -> u64 {
        self.numbered
    }

    /// Those that were named after so many.
    pub(super) fn after(&self, numbered: u64) -> Vec<BlockId> {
        let id = |number| BlockId { token: self.token, number, own: 0 };
        (numbered + 1..=self.numbered).map(id).collect()
    }
}

/// The ordering keys of what is ahead that are closed, as far as that matters.
#[derive(Debug)]
pub(super) struct Keys {
    closed: HashSet<OrderKey>,
    /// How many messages more may wait for theirs.
    room: u64,
    /// Of how many items they are known.
    items: usize,
}

impl Keys {
    /// Those that are closed now of so many items, and how many messages wait for keys.
    pub(super) fn new(closed: HashSet<OrderKey>, parked: u64, items: usize) -> Self {
        Self { closed, room: PARKED_MESSAGES.saturating_sub(parked), items }
    }

    /// So many items have none.
    pub(super) fn none(items: usize) -> Self {
        Self { closed: HashSet::new(), room: 0, items }
    }
}

/// What plans are made by.
pub(super) struct Terms<'a> {
    pub(super) settings: &'a Settings,
    /// What the broker's clock shows now, at most: a lease must not end there before it does here.
    pub(super) now_ms: i64,
    pub(super) ids: &'a mut BlockIds,
    pub(super) consumers: &'a mut Consumers,
}

impl Plan {
    /// Gives back the credit that it took.
    pub(super) fn abandon(&self, consumers: &mut Consumers) {
        for planned in &self.out {
            consumers.give_back(planned.consumer, CreditLimit { messages: 1, bytes: planned.message.message.len() });
        }
    }

    /// Leases what was planned. The leases end on the broker so that what is sent at the last moment has its whole
    /// time.
    fn lease(&mut self, terms: &mut Terms<'_>) {
        let sequences: Vec<_> = self.out.iter().map(|planned| planned.message.sequence).collect();
        let own = |planned: &Planned| terms.consumers.get(planned.consumer).and_then(|entry| entry.ack_deadline);
        let deadlines = self.out.iter().map(|planned| own(planned).unwrap_or(terms.settings.ack_deadline));
        let lasts = deadlines.max().unwrap_or_default() + UNSENT;
        if let Some(block) = Block::new(terms.now_ms.saturating_add(ms(lasts)), &sequences) {
            self.change.blocks.push(BlockChange { id: terms.ids.next(), from: None, to: Some(block) });
        }
        self.change.most_out = terms.settings.max_outstanding;
    }

    fn has_room_for(&self, sequence: i64) -> bool {
        self.out.first().is_none_or(|first| sequence - first.message.sequence < Block::SPAN)
    }
}

/// Claims in their order, each of one block, of what is ahead.
pub(super) struct Claims<'a> {
    terms: Terms<'a>,
    revision: u64,
    /// What is handed out next, before the open plan and after it.
    from: i64,
    next: i64,
    room: u64,
    keys: Keys,
    plans: Vec<Plan>,
    open: Plan,
    to: Option<Position>,
    /// What is reported with the next message.
    lost: Vec<pb::LostMessages>,
    /// Items that were looked at, and those of them that earlier plans cover.
    seen: usize,
    covered: usize,
}

/// Plans claims of what is ahead, as far as there is credit. They are to be carried out in their order, each only if
/// the one before it was.
pub(super) fn claims(ahead: &Ahead, state: &State, keys: Keys, terms: Terms<'_>) -> Vec<Plan> {
    let room = terms.settings.max_outstanding.saturating_sub(state.out);
    let mut claims = Claims {
        terms,
        revision: state.revision,
        from: state.next,
        next: state.next,
        room,
        keys,
        plans: Vec::new(),
        open: Plan::default(),
        to: None,
        lost: Vec::new(),
        seen: 0,
        covered: 0,
    };
    for (index, item) in ahead.items().take(claims.keys.items).enumerate() {
        if !claims.add(item) {
            break;
        }
        // A loss that is reported with a message stays until that comes.
        if claims.lost.is_empty() {
            claims.seen = index + 1;
        }
    }
    claims.seal();
    claims.plans
}

impl Claims<'_> {
    /// Plans one item more; false where there is no credit for it.
    fn add(&mut self, item: &Item) -> bool {
        match item {
            Item::Message(message) => self.message(message),
            Item::Lost(gap, resume) => {
                self.gap(gap, *resume);
                true
            }
        }
    }

    fn message(&mut self, message: &Arrived) -> bool {
        let sequence = message.sequence;
        if sequence < self.next {
            return true;
        }
        let other_epoch = self.to.is_some_and(|to| to.epoch != Some(message.epoch));
        if other_epoch || !self.open.has_room_for(sequence) {
            self.seal();
        }
        if self.terms.settings.filter.as_ref().is_none_or(|filter| message.matches(filter)) {
            let keyed = message.key.map(|key| Keyed { key, sequence });
            let is_planned = match keyed.filter(|keyed| self.keys.closed.contains(&keyed.key)) {
                Some(keyed) => self.park(keyed),
                None => self.hand_out(message, keyed),
            };
            if !is_planned {
                return false;
            }
        }
        let lost: i64 = self.lost.iter().map(|lost| lost.count).sum();
        self.open.change.lost += lost.unsigned_abs();
        self.open.lost.append(&mut self.lost);
        (self.to, self.next) = (Some(Position::new(message.epoch, sequence)), sequence + 1);
        true
    }

    /// Plans that a message is delivered; false where there is no credit for it.
    fn hand_out(&mut self, message: &Arrived, keyed: Option<Keyed>) -> bool {
        if self.room == 0 {
            return false;
        }
        let Some(consumer) = self.terms.consumers.take(message.message.len()) else { return false };
        self.room -= 1;
        let (attempts, json) = (Attempts::default(), None);
        self.open.out.push(Planned { consumer, message: message.clone(), attempts, json });
        if let Some(keyed) = keyed {
            self.keys.closed.insert(keyed.key);
            self.open.change.close.push(keyed);
        }
        true
    }

    /// Plans that a message waits for its key; false where too many do.
    fn park(&mut self, keyed: Keyed) -> bool {
        let has_room = self.keys.room > 0;
        if has_room {
            self.keys.room -= 1;
            self.open.change.park.push(keyed);
        }
        has_room
    }

    /// What was trimmed is passed over at once; what another epoch lost is reported with the first message after it.
    /// What was trimmed may begin in one epoch and end in another: the claim is up to its end.
    fn gap(&mut self, gap: &pb::Gap, resume: Option<Position>) {
        let first = gap.first_missing.max(self.next);
        let is_trimmed = gap.reason != i32::from(pb::GapReason::EpochChanged);
        let known = gap.last_missing > 0;
        // Whoever handed out what comes after it has counted it.
        let is_passed = resume.is_some_and(|resume| resume.sequence + 1 < self.next);
        if is_trimmed && known && gap.last_missing < self.next || is_passed {
            return;
        }
        let first = if is_trimmed { first } else { gap.first_missing };
        let count = if known { gap.last_missing.saturating_sub(first).saturating_add(1).max(0) } else { 0 };
        let lost = pb::LostMessages {
            count,
            first_sequence: first,
            last_sequence: gap.last_missing,
            epoch: gap.epoch.clone(),
        };
        match resume.filter(|resume| resume.sequence == gap.last_missing && resume.epoch.is_some()) {
            Some(end) if is_trimmed && known => {
                self.seal();
                self.open.change.lost = count.unsigned_abs();
                self.open.lost.push(lost);
                (self.to, self.next) = (Some(end), gap.last_missing + 1);
                self.seal();
            }
            _ => self.lost.push(lost),
        }
    }

    /// Ends the plan that is open.
    fn seal(&mut self) {
        let Some(to) = self.to.take() else { return };
        let mut plan = std::mem::take(&mut self.open);
        plan.change.claim = Some(Claim { from: self.from, to, revision: self.revision });
        (plan.covers, self.covered) = (self.seen - self.covered, self.seen);
        self.from = self.next;
        plan.lease(&mut self.terms);
        self.plans.push(plan);
    }
}

/// Plans messages that are due for another delivery. Those that have none left are put aside, those whose message is
/// gone are lost.
pub(super) fn retries(found: Vec<Found>, terms: &mut Terms<'_>) -> Vec<Plan> {
    let is_ordered = terms.settings.is_ordered();
    let mut plans: Vec<Plan> = Vec::new();
    let mut open = Plan::default();
    for Found { due, message, json } in found {
        let Due { sequence, attempts, .. } = due;
        if terms.settings.retry.is_used_up(attempts) {
            let reason = format!("all {} deliveries were used up", attempts.count);
            let letter = json.as_ref().and_then(|json| letter(sequence, attempts, &reason, json, is_ordered));
            plans.push(Plan::end(sequence, attempts, letter, is_ordered));
            continue;
        }
        let Some(message) = message else {
            plans.push(Plan::end(sequence, attempts, None, is_ordered));
            continue;
        };
        let Some(consumer) = terms.consumers.take(message.message.len()) else { break };
        if !open.has_room_for(sequence) {
            let mut full = std::mem::take(&mut open);
            full.lease(terms);
            plans.push(full);
        }
        open.take(sequence, attempts);
        // What was put back from the dead letters may not be in the log any more.
        let json = due.json;
        open.out.push(Planned { consumer, message, attempts, json });
    }
    if !open.out.is_empty() {
        open.lease(terms);
        plans.push(open);
    }
    plans
}

impl Plan {
    fn take(&mut self, sequence: i64, attempts: Attempts) {
        self.change.take.push(sequence);
        self.change.taken.push(attempts);
    }

    /// Of a message that waits no more: it is dead, or without a letter lost.
    fn end(sequence: i64, attempts: Attempts, letter: Option<Letter>, is_ordered: bool) -> Self {
        let mut plan = Self::default();
        plan.take(sequence, attempts);
        match letter {
            Some(letter) => plan.change.dead.push(letter),
            None => {
                plan.change.forget.push(sequence);
                plan.change.lost += 1;
                plan.lost.push(lost_one(sequence));
            }
        }
        if is_ordered {
            plan.change.open.push(sequence);
        }
        plan
    }
}
