//! A subscription to test, and helpers to use it. Every wait has an end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tidings::{
    broker::{
        Retention, Shared, Subscriptions,
        subscriptions::{
            Applied, BlockChange, Books, Change, Claim, Created, Due, Hold, Letter, LetterId, Look, New, Outcome,
            Place, Start, State, Waiting,
        },
    },
    channel::Names,
    message::{Epoch, Position},
    subscription::{Attempts, Block, BlockId, Generation, SubscriptionName, Token},
};

use crate::fixture::{Fixture, KEEP_ALL, head, name, publish, text, within};

/// Longer than any test takes.
pub(super) const HOUR: Duration = Duration::from_secs(3_600);
pub(super) const HOUR_MS: i64 = 3_600_000;
pub(super) const HOLD: Hold = Hold { age: HOUR, bytes: 64 << 20 };
pub(super) const SETTINGS: Bytes = Bytes::from_static(b"the settings\0as they are\xff");

/// One process's view of a subscription.
pub(super) struct Rig {
    pub(super) broker: Shared,
    pub(super) books: Arc<dyn Subscriptions>,
    pub(super) place: Place,
    pub(super) generation: Generation,
    token: Token,
    blocks: AtomicU64,
}

pub(super) fn subscription(text: &str) -> SubscriptionName {
    let names = Names::new("tidings", "").expect("valid");
    SubscriptionName::parse(text, &names).expect("valid")
}

pub(super) fn place(channel: &str, text: &str) -> Place {
    Place { channel: name(channel), name: subscription(text) }
}

pub(super) fn new(generation: Generation, start: Start) -> New {
    New { generation, settings: SETTINGS, start, hold: HOLD }
}

impl Rig {
    /// A subscription of a channel on which nobody has published yet.
    pub(super) async fn new(fixture: &Fixture) -> Self {
        Self::with(fixture, KEEP_ALL, HOLD).await
    }

    pub(super) async fn with(fixture: &Fixture, retention: Retention, hold: Hold) -> Self {
        let rig = Self::of(fixture.broker(retention).await, Generation::random());
        let new = New { hold, ..new(rig.generation, Start::End) };
        assert_eq!(within(rig.books.create(&rig.place, &new), "a subscription").await, Ok(Created::Done));
        rig
    }

    /// Two processes that share one subscription.
    pub(super) async fn two(fixture: &Fixture) -> [Self; 2] {
        let brokers = fixture.brokers(KEEP_ALL, 2).await;
        let generation = Generation::random();
        let rigs = [0, 1].map(|index: usize| Self::of(brokers[index].clone(), generation));
        let new = new(generation, Start::End);
        let created = rigs[0].books.create(&rigs[0].place, &new);
        assert_eq!(within(created, "a subscription").await, Ok(Created::Done));
        rigs
    }

    fn of(broker: Shared, generation: Generation) -> Self {
        let (books, place) = (broker.subscriptions(), place("orders", "mail"));
        Self { broker, books, place, generation, token: Token::random(), blocks: AtomicU64::new(0) }
    }

    /// The same, which knows of a seek.
    pub(super) fn after_seek(self, generation: Generation) -> Self {
        Self { generation, ..self }
    }

    /// Publishes some messages. Answers the channel's epoch and last sequence.
    pub(super) async fn publish(&self, count: usize) -> Position {
        let drafts = (0..count).map(|index| text(&index.to_string())).collect();
        let receipts = publish(&self.broker, &self.place.channel, drafts).await;
        let last = receipts.last().expect("some were published");
        Position { epoch: Some(last.epoch), sequence: last.sequence }
    }

    pub(super) async fn epoch(&self) -> Epoch {
        let head = head(&self.broker, &self.place.channel).await;
        head.and_then(|head| head.epoch()).expect("something was published")
    }

    pub(super) async fn look_with(&self, look: Look) -> Option<Books> {
        within(self.books.look(&self.place, look), "books").await.expect("they can be read")
    }

    pub(super) async fn look(&self) -> Books {
        self.look_with(Look { oldest: true, ..Look::default() }).await.expect("there are books")
    }

    pub(super) async fn now_ms(&self) -> i64 {
        self.look().await.state.now_ms
    }

    pub(super) async fn applied(&self, changes: &[Change]) -> Applied {
        let applied = self.books.apply(&self.place, self.generation, changes);
        within(applied, "changes").await.expect("they can be carried out")
    }

    pub(super) async fn apply(&self, changes: &[Change]) -> (State, Vec<Outcome>) {
        match self.applied(changes).await {
            Applied::Done(state, outcomes) => (state, outcomes),
            other => panic!("there are books of this generation: {other:?}"),
        }
    }

    pub(super) async fn one(&self, change: Change) -> Outcome {
        let (_, outcomes) = self.apply(&[change]).await;
        assert_eq!(outcomes.len(), 1);
        outcomes[0]
    }

    /// Carries out what must be possible.
    pub(super) async fn done(&self, change: Change) {
        assert_eq!(self.one(change).await, Outcome::Done);
    }

    /// Carries out what must not be possible, and changes nothing.
    pub(super) async fn refused(&self, change: Change, outcome: Outcome) {
        let before = self.look().await;
        assert_eq!(self.one(change).await, outcome);
        let mut after = self.look().await;
        after.state.now_ms = before.state.now_ms;
        assert_eq!(after, before);
    }

    /// A new block of these messages; of none, no block.
    pub(super) fn block(&self, deadline_ms: i64, sequences: &[i64]) -> Option<BlockChange> {
        let number = self.blocks.fetch_add(1, Ordering::Relaxed) + 1;
        let id = BlockId { token: self.token, number, own: 0 };
        Block::new(deadline_ms, sequences).map(|block| BlockChange { id, from: None, to: Some(block) })
    }

    /// Takes all up to a message, and leases some of them for an hour.
    pub(super) async fn claim(&self, to: i64, out: &[i64]) -> Change {
        let books = self.look().await;
        let to = Position { epoch: books.state.end.epoch, sequence: to };
        let claim = Claim { from: books.state.next, to, revision: books.state.revision };
        let blocks = self.block(books.state.now_ms + HOUR_MS, out).into_iter().collect();
        Change { claim: Some(claim), blocks, most_out: 10_000, ..Change::default() }
    }

    /// The same, carried out. Answers the block as it is now, and has it removed.
    pub(super) async fn lease(&self, to: i64, out: &[i64]) -> BlockChange {
        let change = self.claim(to, out).await;
        self.done(change.clone()).await;
        let BlockChange { id, to, .. } = change.blocks.into_iter().next().expect("some are out");
        BlockChange { id, from: to, to: None }
    }

    /// Leases these messages, and has each wait for a retry that is due at its time.
    pub(super) async fn retry(&self, to: i64, waiting: &[(i64, i64)]) {
        let mut out: Vec<i64> = waiting.iter().map(|(sequence, _)| *sequence).collect();
        out.sort_unstable();
        let block = self.lease(to, &out).await;
        let wait = waiting.iter().map(|(sequence, due_ms)| wait(*sequence, *due_ms)).collect();
        self.done(Change { blocks: vec![block], wait, ..Change::default() }).await;
    }

    /// Leases these messages, and has them die one after the other. Answers their letters.
    pub(super) async fn kill(&self, to: i64, sequences: &[i64]) -> Vec<(LetterId, Letter)> {
        let epoch = self.epoch().await;
        let block = self.lease(to, sequences).await;
        self.done(Change { blocks: vec![block], ..Change::default() }).await;
        for sequence in sequences {
            self.done(Change { dead: vec![letter(epoch, *sequence)], ..Change::default() }).await;
        }
        self.letters().await
    }

    pub(super) async fn letters(&self) -> Vec<(LetterId, Letter)> {
        let letters = self.books.dead_letters(&self.place, None, 1_000, 64 << 20);
        within(letters, "dead letters").await.expect("they can be read")
    }

    pub(super) async fn outbox(&self, limit: usize) -> Vec<(LetterId, Letter)> {
        let letters = self.books.outbox(&self.place, limit);
        within(letters, "the outbox").await.expect("it can be read")
    }

    pub(super) async fn sent(&self, letters: &[LetterId]) {
        let sent = self.books.sent(&self.place, letters);
        within(sent, "letters leave the outbox").await.expect("they can");
    }

    pub(super) async fn redrive(&self, letters: &[LetterId], first: Duration, apart: Duration) -> usize {
        let redriven = self.books.redrive(&self.place, letters, first, apart);
        within(redriven, "dead letters are put back").await.expect("they can be")
    }

    pub(super) async fn due(&self, limit: usize) -> Vec<Due> {
        let due = self.books.due(&self.place, self.generation, limit);
        within(due, "what is due").await.expect("it can be read")
    }

    pub(super) async fn due_sequences(&self, limit: usize) -> Vec<i64> {
        self.due(limit).await.into_iter().map(|due| due.sequence).collect()
    }

    pub(super) async fn blocks(&self, ids: &[BlockId]) -> Vec<Option<Block>> {
        within(self.books.blocks(&self.place, ids), "blocks").await.expect("they can be read")
    }

    /// Renews what is held of the log, as whoever hands out messages does from time to time.
    pub(super) async fn renew(&self, hold: Hold) {
        self.look_with(Look { hold: Some(hold), ..Look::default() }).await.expect("there are books");
    }
}

pub(super) fn wait(sequence: i64, due_ms: i64) -> Waiting {
    Waiting { sequence, due_ms, attempts: Attempts { count: 1, first_ms: 1_700_000_000_000, redrives: 0 } }
}

pub(super) fn letter(epoch: Epoch, sequence: i64) -> Letter {
    let attempts = Attempts { count: 3, first_ms: 1_700_000_000_000 + sequence, redrives: 1 };
    let json = Bytes::from(format!("{{\"number\":{sequence}}}"));
    Letter { epoch, sequence, attempts, reason: "\u{1F4A5} it\nbroke\0".to_owned(), key: None, json }
}
