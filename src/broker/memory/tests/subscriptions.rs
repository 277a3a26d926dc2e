//! What subscriptions hold of a log as time goes by, and of the broker's memory.

use super::*;
use crate::{
    broker::subscriptions::{
        Applied, BlockChange, Change, Claim, Created, Hold, Letter, LetterId, Look, New, Outcome, Place, Start,
        Unchanged, Waiting,
    },
    message::Position,
    subscription::{Attempts, Block, BlockId, Generation, SubscriptionName, Token},
};

const SHORT: Retention = Retention { max_messages: 10, max_age_ms: 1_000, ..RETENTION };
const HOLD: Hold = Hold { age: Duration::from_secs(5), bytes: 1 << 20 };

/// A subscription from the beginning, and its life.
struct Reader {
    set: Set,
    place: Place,
    generation: Generation,
}

fn place(channel: &str, subscription: &str) -> Place {
    let names = Names::new("tidings", "").expect("valid");
    Place { channel: name(channel), name: SubscriptionName::parse(subscription, &names).expect("valid") }
}

impl Reader {
    async fn new(retention: Retention) -> Self {
        let reader = Self { set: Set::new(retention), place: place("a", "mail"), generation: Generation::random() };
        assert_eq!(reader.create("mail", HOLD).await, Ok(Created::Done));
        reader
    }

    async fn create(&self, subscription: &str, hold: Hold) -> Result<Created, Error> {
        let (generation, settings) = (self.generation, Bytes::from_static(b"settings"));
        let new = New { generation, settings, start: Start::After(Position::START), hold };
        self.set.memory.subscriptions().create(&place("a", subscription), &new).await
    }

    async fn publish(&self, count: usize) {
        self.set.publish("a", (0..count).map(|_| draft(1)).collect()).await.expect("published");
    }

    async fn apply(&self, changes: &[Change]) -> Result<Vec<Outcome>, Error> {
        match self.set.memory.subscriptions().apply(&self.place, self.generation, changes).await? {
            Applied::Done(_, outcomes) => Ok(outcomes),
            other => panic!("there are books of this generation: {other:?}"),
        }
    }

    /// Takes all up to a message, all of them settled but some.
    async fn claim(&self, from: i64, to: i64, out: &[i64]) -> BlockChange {
        let end = self.set.head("a").await.expect("published");
        let id = BlockId { token: Token::random(), number: 1, own: 0 };
        let block = BlockChange { id, from: None, to: Block::new(START_MS, out) };
        let to = Position { epoch: end.epoch(), sequence: to };
        let claim = Some(Claim { from, to, revision: 1 });
        let change = Change { claim, blocks: vec![block.clone()], most_out: 100, ..Change::default() };
        assert_eq!(self.apply(&[change]).await, Ok(vec![Outcome::Done]));
        BlockChange { from: block.to, to: None, ..block }
    }

    /// The log's first and last sequence after a publish.
    async fn kept(&self) -> (i64, i64) {
        let head = self.set.head("a").await.expect("kept");
        (head.first, head.last)
    }
}

fn letter(sequence: i64, bytes: usize) -> Letter {
    let (epoch, json) = (Epoch::from_u64(1).expect("not 0"), Bytes::from(vec![b'x'; bytes]));
    Letter { epoch, sequence, attempts: Attempts::default(), reason: "bad".to_owned(), key: None, json }
}

#[tokio::test]
async fn what_is_not_settled_is_held_up_to_ten_times_the_messages() {
    let reader = Reader::new(SHORT).await;
    reader.publish(50).await;
    assert_eq!(reader.kept().await, (1, 50));
    let block = reader.claim(1, 40, &[31]).await;
    reader.publish(1).await;
    assert_eq!(reader.kept().await, (31, 51), "what is out is held, and all after it");
    let waiting = Waiting { sequence: 31, due_ms: START_MS, attempts: Attempts::default() };
    let retry = Change { blocks: vec![block], wait: vec![waiting], ..Change::default() };
    assert_eq!(reader.apply(&[retry]).await, Ok(vec![Outcome::Done]));
    reader.publish(1).await;
    assert_eq!(reader.kept().await, (31, 52), "what waits is held");
    assert_eq!(reader.apply(&[Change { take: vec![31], ..Change::default() }]).await, Ok(vec![Outcome::Done]));
    reader.publish(1).await;
    assert_eq!(reader.kept().await, (41, 53), "the rest is to be handed out");
    reader.publish(100).await;
    assert_eq!(reader.kept().await, (54, 153), "there is an end to it");
    reader.claim(41, 150, &[]).await;
    reader.publish(1).await;
    assert_eq!(reader.kept().await, (145, 154), "settled messages go by the history's own limits");
}

#[tokio::test]
async fn the_age_and_the_bytes_of_a_hold_are_bounds() {
    let reader = Reader::new(Retention { max_bytes: 1_000, ..SHORT }).await;
    reader.publish(2).await;
    reader.set.at(START_MS + 1_001);
    assert_eq!(reader.kept().await, (1, 2), "a quiet log is held");
    reader.set.publish("a", vec![draft(10_000)]).await.expect("published");
    assert_eq!(reader.kept().await, (1, 3), "the bytes of the hold count");
    reader.set.at(START_MS + 5_001);
    reader.publish(1).await;
    assert_eq!(reader.kept().await, (3, 4), "the age of the hold counts");
    reader.set.at(START_MS + 10_002);
    assert_eq!(reader.kept().await, (5, 4), "the whole log goes one age after its last message");
    reader.claim(1, 4, &[]).await;
    reader.publish(1).await;
    reader.claim(5, 5, &[]).await;
    reader.set.at(START_MS + 11_003);
    assert_eq!(reader.kept().await, (6, 5), "a log that is settled goes as any other");
}

#[tokio::test]
async fn a_channel_with_subscriptions_keeps_its_head() {
    let reader = Reader::new(SHORT).await;
    reader.publish(3).await;
    let epoch = reader.set.head("a").await.expect("kept").epoch();
    reader.set.at(START_MS + 100 * HEAD_LINGER.as_millis() as i64);
    assert_eq!(reader.set.head("a").await.expect("kept").epoch(), epoch);
    let books = reader.set.memory.subscriptions();
    books.delete(&reader.place, None).await.expect("open");
    assert_eq!(reader.set.head("a").await, None);
    reader.set.cost();
}

#[tokio::test]
async fn the_largest_hold_of_all_subscriptions_counts() {
    let reader = Reader::new(SHORT).await;
    let books = reader.set.memory.subscriptions();
    reader.create("long", Hold { age: Duration::from_secs(60), bytes: 1 }).await.expect("room");
    reader.publish(5).await;
    reader.claim(1, 5, &[]).await;
    reader.set.at(START_MS + 50_000);
    reader.publish(1).await;
    assert_eq!(reader.kept().await, (1, 6), "another one has settled nothing");
    let look = Look { hold: Some(Hold { age: Duration::from_secs(1), bytes: 1 }), ..Look::default() };
    books.look(&place("a", "long"), look).await.expect("open");
    reader.publish(1).await;
    assert_eq!(reader.kept().await, (6, 7), "a hold is renewed by what looks");
    reader.set.at(START_MS + 52_000);
    books.delete(&reader.place, None).await.expect("open");
    assert_eq!(reader.kept().await, (8, 7), "a deleted subscription holds nothing");
}

#[tokio::test]
async fn dead_letters_are_refused_by_a_full_broker_and_settling_is_not() {
    let reader = Reader::new(RETENTION).await;
    reader.publish(9).await;
    let block = reader.claim(1, 9, &[1, 2, 3]).await;
    let dead = |sequence| Change { dead: vec![letter(sequence, 40_000)], ..Change::default() };
    assert_eq!(reader.apply(&[dead(1)]).await, Ok(vec![Outcome::Done]));
    // Publishes fill the rest; what settles still passes, also in the call of what is refused.
    while reader.set.publish("b", vec![draft(1_000)]).await.is_ok() {}
    assert!(matches!(reader.create("new", HOLD).await, Err(Error::Full(_))));
    let before = reader.set.cost();
    let settle = Change { blocks: vec![block], ..Change::default() };
    assert_eq!(reader.apply(&[dead(2), settle]).await, Ok(vec![Outcome::Full, Outcome::Done]));
    assert!(reader.set.cost() <= before);
    let books = reader.set.memory.subscriptions();
    let epoch = Epoch::from_u64(1).expect("not 0");
    let id = LetterId { dead_ms: START_MS, sequence: 1, epoch };
    assert_eq!(books.redrive(&reader.place, &[id], Duration::ZERO, Duration::ZERO).await, Ok(1));
    assert!(reader.set.cost() <= BOUNDS.bytes);
    let done = Change { take: vec![1], forget: vec![1], ..Change::default() };
    assert_eq!(reader.apply(&[done]).await, Ok(vec![Outcome::Done]));
    assert!(reader.set.cost() + 37_000 < BOUNDS.bytes, "its JSON is gone");
    reader.create("new", HOLD).await.expect("room again");
}

#[tokio::test]
async fn settings_count_for_the_memory() {
    let reader = Reader::new(RETENTION).await;
    let books = reader.set.memory.subscriptions();
    let before = reader.set.cost();
    let large = Bytes::from(vec![b'x'; BOUNDS.bytes]);
    assert!(matches!(books.set(&reader.place, 1, &large).await, Err(Error::Full(_))));
    books.set(&reader.place, 1, &large.slice(..1_000)).await.expect("room");
    assert_eq!(reader.set.cost(), before + 1_000 - b"settings".len());
    books.delete(&reader.place, Some(Unchanged::settings(2))).await.expect("open");
    assert_eq!(reader.set.cost(), 0);
}
