//! The books of subscriptions, as they are on Redis: the keys of each step, what is repaired, and what is refused. What
//! both brokers promise is in the conformance suite.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tidings::{
    broker::{
        Error, Shared, Subscriptions,
        subscriptions::{
            Applied, BlockChange, Books, Change, Claim, Created, Fate, Hold, Letter, LetterId, Look, New, Outcome,
            Place, Set, Start, Unchanged, Waiting,
        },
    },
    channel::Names,
    limits::{CHANNEL_SUBSCRIPTIONS, CONSUMERS_KEPT, RESERVATION},
    message::Position,
    subscription::{Attempts, Block, BlockId, Generation, SubscriptionName, Token},
};
use tidings_testing::RedisServer;

use crate::fixture::{broker, connect, name, publish, settings, texts};

mod holds;
mod rights;

const INDEX: &str = "tidings:{subscriptions}:index";
const NAMES: &str = "tidings:{subscriptions}:names";
const BOOKS: &str = "tidings:{orders}:sub:mail";

fn place(channel: &str, subscription: &str) -> Place {
    let names = Names::new("tidings", "").expect("valid");
    Place { channel: name(channel), name: SubscriptionName::parse(subscription, &names).expect("valid") }
}

fn new(start: Start) -> New {
    let hold = Hold { age: Duration::from_secs(60), bytes: 1 << 20 };
    New { generation: Generation::random(), settings: Bytes::from_static(b"settings"), start, hold }
}

fn id(number: u64) -> BlockId {
    BlockId { token: Token::from_u64(7).expect("not 0"), number, own: 0 }
}

fn block(sequences: &[i64]) -> Option<Block> {
    Some(Block::new(4_000_000_000_000, sequences).expect("a block"))
}

/// A subscription, and what is used of it.
struct Used {
    broker: Shared,
    subscriptions: Arc<dyn Subscriptions>,
    place: Place,
    generation: Generation,
}

impl Used {
    /// `mail` on `orders`, where so many messages are, from the first one on.
    async fn with(server: &RedisServer, messages: usize) -> Self {
        Self::of(broker(server).await, messages).await
    }

    async fn of(broker: Shared, messages: usize) -> Self {
        let (subscriptions, place) = (broker.subscriptions(), place("orders", "mail"));
        if messages > 0 {
            publish(&broker, &place.channel, texts(messages)).await;
        }
        let new = new(Start::After(Position::START));
        assert_eq!(subscriptions.create(&place, &new).await, Ok(Created::Done));
        Self { broker, subscriptions, place, generation: new.generation }
    }

    async fn look(&self, look: Look) -> Books {
        self.subscriptions.look(&self.place, look).await.expect("read").expect("there are books")
    }

    async fn apply(&self, changes: &[Change]) -> Vec<Outcome> {
        match self.subscriptions.apply(&self.place, self.generation, changes).await.expect("applied") {
            Applied::Done(_, outcomes) => outcomes,
            other => panic!("{other:?}"),
        }
    }

    /// Claims all messages up to one, in one block.
    async fn claim(&self, to: i64, number: u64) -> Block {
        let state = self.look(Look::default()).await.state;
        let sequences: Vec<_> = (state.next..=to).collect();
        let change = Change {
            claim: Some(Claim {
                from: state.next,
                to: Position { sequence: to, ..state.end },
                revision: state.revision,
            }),
            blocks: vec![BlockChange { id: id(number), from: None, to: block(&sequences) }],
            most_out: 1_000,
            ..Change::default()
        };
        assert_eq!(self.apply(&[change]).await, [Outcome::Done]);
        block(&sequences).expect("a block")
    }

    /// One message of a block goes, and with it what else the change says.
    async fn settle(&self, number: u64, from: &mut Block, sequence: i64, change: Change) {
        let before = from.clone();
        assert!(from.remove(sequence));
        let to = Some(from.clone()).filter(|block| !block.is_empty());
        let blocks = vec![BlockChange { id: id(number), from: Some(before), to }];
        assert_eq!(self.apply(&[Change { blocks, ..change }]).await, [Outcome::Done]);
    }

    async fn end(self) {
        self.broker.close().await;
    }
}

/// All keys of subscriptions.
fn keys(server: &RedisServer) -> Vec<String> {
    let reply = server.command(&["KEYS", "tidings:*sub*"]);
    let mut keys: Vec<_> = reply.lines().filter(|line| line.starts_with("tidings:")).map(str::to_owned).collect();
    keys.sort();
    keys
}

fn waiting(sequence: i64, due_ms: i64) -> Change {
    let attempts = Attempts { count: 1, first_ms: 5, redrives: 0 };
    Change { wait: vec![Waiting { sequence, due_ms, attempts }], ..Change::default() }
}

#[tokio::test]
async fn each_step_has_its_keys_and_the_last_leaves_none() {
    let server = RedisServer::start();
    let used = Used::with(&server, 3).await;
    let created = ["tidings:{orders}:sub:mail", "tidings:{orders}:subs", INDEX, NAMES];
    assert_eq!(keys(&server), created);
    assert_eq!(server.command(&["HGET", BOOKS, "n"]), "$1\r\n1");
    let mut out = used.claim(3, 1).await;
    assert_eq!(server.command(&["HGET", "tidings:{orders}:sub-out:mail", "0000000000000007.1"]).len(), 5 + 2 + 29);
    assert_eq!(server.command(&["HMGET", BOOKS, "n", "o"]), "*2\r\n$1\r\n4\r\n$1\r\n3");
    used.settle(1, &mut out, 1, waiting(1, 5)).await;
    let member = "0000000000000001";
    assert_eq!(server.command(&["ZSCORE", "tidings:{orders}:sub-wait:mail", member]), "$1\r\n5");
    assert_eq!(server.command(&["ZSCORE", "tidings:{orders}:sub-order:mail", member]), "$1\r\n1");
    assert_eq!(server.command(&["HGET", "tidings:{orders}:sub-tries:mail", member]), "$5\r\n1,5,0");
    let epoch = used.look(Look::default()).await.state.end.epoch.expect("an epoch");
    let letter = |sequence| Letter {
        epoch,
        sequence,
        attempts: Attempts::default(),
        reason: "bad".to_owned(),
        key: None,
        json: Bytes::from_static(b"{}"),
    };
    used.settle(1, &mut out, 2, Change { dead: vec![letter(2)], ..Change::default() }).await;
    let record = server.command(&["HGET", "tidings:{orders}:sub-letters:mail", &format!("0000000000000002.{epoch}")]);
    assert_eq!(record, "$13\r\n0,0,0;3;bad{}");
    assert_eq!(server.command(&["HGET", BOOKS, "db"]), "$2\r\n13");
    used.settle(1, &mut out, 3, Change::default()).await;
    assert_eq!(server.command(&["EXISTS", "tidings:{orders}:sub-out:mail"]), ":0");
    // The dead one comes back; both are taken and settled.
    let letters = used.subscriptions.dead_letters(&used.place, None, 10, 1 << 20).await.expect("read");
    let ids: Vec<LetterId> = letters.into_iter().map(|(id, _)| id).collect();
    let redriven = used.subscriptions.redrive(&used.place, &ids, Duration::ZERO, Duration::ZERO).await;
    assert_eq!(redriven, Ok(1));
    assert_eq!(server.command(&["HGET", "tidings:{orders}:sub-kept:mail", "0000000000000002"]), "$2\r\n{}");
    let due = used.subscriptions.due(&used.place, used.generation, 10).await.expect("read");
    assert_eq!(due.iter().map(|due| due.sequence).collect::<Vec<_>>(), [1, 2]);
    let taken = Change {
        take: vec![1, 2],
        blocks: vec![BlockChange { id: id(2), from: None, to: block(&[1, 2]) }],
        most_out: 10,
        ..Change::default()
    };
    let settled = Change {
        blocks: vec![BlockChange { id: id(2), from: block(&[1, 2]), to: None }],
        forget: vec![1, 2],
        ..Change::default()
    };
    assert_eq!(used.apply(&[taken, settled]).await, [Outcome::Done, Outcome::Done]);
    assert_eq!(keys(&server), created, "all is settled");
    assert_eq!(server.command(&["HMGET", BOOKS, "o", "db"]), "*2\r\n$1\r\n0\r\n$1\r\n0");
    assert_eq!(used.subscriptions.delete(&used.place, None).await, Ok(Set::Done));
    assert_eq!(keys(&server), [""; 0]);
    used.end().await;
}

#[tokio::test]
async fn deleting_leaves_nothing_of_what_is_out_waits_or_is_dead() {
    let server = RedisServer::start();
    let used = Used::with(&server, 3).await;
    let mut out = used.claim(3, 1).await;
    used.settle(1, &mut out, 1, waiting(1, 5)).await;
    for (revision, set) in [(2, Set::Differs), (1, Set::Done)] {
        let only = Some(Unchanged::settings(revision));
        assert_eq!(used.subscriptions.delete(&used.place, only).await, Ok(set));
    }
    assert_eq!(keys(&server), [""; 0]);
    assert_eq!(used.subscriptions.delete(&used.place, None).await, Ok(Set::Missing));
    used.end().await;
}

#[tokio::test]
async fn a_creation_that_ended_in_the_middle_is_completed() {
    let server = RedisServer::start();
    let used = Used::with(&server, 1).await;
    // The name is there, and no books; what is left of others is not taken over.
    server.command(&["DEL", BOOKS]);
    server.command(&["HSET", "tidings:{orders}:sub-out:mail", "x", "y"]);
    assert_eq!(used.subscriptions.look(&used.place, Look::default()).await, Ok(None));
    assert_eq!(used.subscriptions.create(&used.place, &new(Start::End)).await, Ok(Created::Done));
    assert_eq!(server.command(&["EXISTS", "tidings:{orders}:sub-out:mail"]), ":0");
    // The books are there, and no name.
    server.command(&["DEL", INDEX, NAMES]);
    assert_eq!(used.subscriptions.channel_of(&used.place.name).await, Ok(None));
    assert_eq!(used.subscriptions.create(&used.place, &new(Start::End)).await, Ok(Created::Exists));
    assert_eq!(used.subscriptions.channel_of(&used.place.name).await, Ok(Some(name("orders"))));
    used.end().await;
}

/// Sets back the time at which the name was reserved, by a time and a second.
fn set_back(server: &RedisServer, by: Duration, channel: &str) {
    let reply = server.command(&["TIME"]);
    let seconds: u64 = reply.lines().nth(2).and_then(|text| text.parse().ok()).expect("a time");
    let entry = format!("{},{channel}", (seconds - by.as_secs() - 1) * 1_000);
    server.command(&["HSET", INDEX, "mail", &entry]);
}

#[tokio::test]
async fn a_name_without_books_is_taken_over_after_its_time() {
    let server = RedisServer::start();
    let used = Used::with(&server, 1).await;
    let other = place("others", "mail");
    let create = || async { used.subscriptions.create(&other, &new(Start::End)).await };
    assert_eq!(create().await, Ok(Created::Exists));
    set_back(&server, RESERVATION, "orders");
    assert_eq!(create().await, Ok(Created::Exists), "it has books, however old its name is");
    server.command(&["DEL", BOOKS]);
    set_back(&server, Duration::ZERO, "orders");
    assert_eq!(create().await, Ok(Created::Busy));
    assert_eq!(used.subscriptions.delete(&used.place, None).await, Ok(Set::Missing));
    assert_eq!(create().await, Ok(Created::Busy), "who deletes nothing gives no reservation up");
    set_back(&server, RESERVATION, "orders");
    assert_eq!(create().await, Ok(Created::Done));
    assert_eq!(used.subscriptions.channel_of(&other.name).await, Ok(Some(name("others"))));
    assert_eq!(used.subscriptions.delete(&used.place, None).await, Ok(Set::Missing));
    assert_eq!(used.subscriptions.channel_of(&other.name).await, Ok(Some(name("others"))), "it is not his");
    used.end().await;
}

#[tokio::test]
async fn a_name_that_is_left_over_goes_when_it_is_deleted() {
    let server = RedisServer::start();
    let used = Used::with(&server, 1).await;
    server.command(&["DEL", BOOKS, "tidings:{orders}:subs"]);
    set_back(&server, RESERVATION, "orders");
    assert_eq!(used.subscriptions.delete(&used.place, None).await, Ok(Set::Missing));
    assert_eq!(keys(&server), [""; 0]);
    used.end().await;
}

#[tokio::test]
async fn a_channel_has_so_many_subscriptions_and_no_more() {
    let server = RedisServer::start();
    let used = Used::with(&server, 1).await;
    for number in 1..CHANNEL_SUBSCRIPTIONS {
        server.command(&["HSET", "tidings:{orders}:subs", &format!("s{number}"), "1,1,1"]);
    }
    let one_more = used.subscriptions.create(&place("orders", "more"), &new(Start::End)).await;
    assert_eq!(one_more, Ok(Created::Full(CHANNEL_SUBSCRIPTIONS)));
    let names = used.subscriptions.names("", 10).await.expect("read");
    assert_eq!(names.len(), 1, "its name is free again");
    used.end().await;
}

#[tokio::test]
async fn keys_of_another_type_are_named_and_nothing_is_written() {
    for kind in ["sub", "sub-out", "sub-wait", "sub-order", "sub-tries", "sub-kept", "sub-dead", "sub-letters"] {
        let server = RedisServer::start();
        let used = Used::with(&server, 2).await;
        let key = format!("tidings:{{orders}}:{kind}:mail");
        server.command(&["SET", &key, "x"]);
        let before = server.command(&["DUMP", BOOKS]);
        let claim = Claim { from: 1, to: used.broker_end().await, revision: 1 };
        let blocks = vec![BlockChange { id: id(1), from: None, to: block(&[1]) }];
        let change = Change { claim: Some(claim), blocks, most_out: 9, forget: vec![1], ..waiting(1, 5) };
        let refused = used.subscriptions.apply(&used.place, used.generation, &[change]).await;
        assert!(matches!(&refused, Err(Error::Channel(text)) if text.contains("another type")), "{kind}: {refused:?}");
        assert_eq!(server.command(&["DUMP", BOOKS]), before, "{kind}");
        used.end().await;
    }
    let server = RedisServer::start();
    let used = Used::with(&server, 2).await;
    server.command(&["SET", INDEX, "x"]);
    for refused in [
        used.subscriptions.channel_of(&used.place.name).await.map(|_| ()),
        used.subscriptions.names("", 10).await.map(|_| ()),
        used.subscriptions.create(&used.place, &new(Start::End)).await.map(|_| ()),
    ] {
        assert!(matches!(&refused, Err(Error::Internal(text)) if text.contains("index")), "{refused:?}");
    }
    used.end().await;
}

impl Used {
    /// The channel's end as its head says.
    async fn broker_end(&self) -> Position {
        let head = crate::fixture::head(&self.broker, &self.place.channel).await.expect("published");
        Position { epoch: head.epoch(), sequence: head.last }
    }
}

#[tokio::test]
async fn what_tidings_did_not_write_is_an_error() {
    for (damage, word) in [
        (&["HSET", BOOKS, "v", "2"][..], "newer"),
        (&["HSET", BOOKS, "n", "x"], "damaged"),
        (&["HDEL", BOOKS, "o"], "damaged"),
        (&["HDEL", BOOKS, "v"], "damaged"),
        (&["HSET", BOOKS, "g", "x"], "damaged"),
        (&["HSET", "tidings:{orders}:sub-out:mail", "x", "y"], "damaged"),
        (&["HSET", "tidings:{orders}:head", "v", "9"], "newer"),
    ] {
        let server = RedisServer::start();
        let used = Used::with(&server, 1).await;
        server.command(damage);
        let look = Look { oldest: true, overdue: Some((10, Duration::ZERO)), ..Look::default() };
        let looked = used.subscriptions.look(&used.place, look).await;
        let text = match looked {
            Err(Error::Channel(text) | Error::Internal(text)) => text,
            other => panic!("{damage:?}: {other:?}"),
        };
        assert!(text.contains(word), "{damage:?}: {text}");
        used.end().await;
    }
}

#[tokio::test]
async fn forgotten_scripts_are_given_again() {
    let server = RedisServer::start();
    let used = Used::with(&server, 2).await;
    server.command(&["SCRIPT", "FLUSH"]);
    let mut out = used.claim(2, 1).await;
    server.command(&["SCRIPT", "FLUSH"]);
    used.settle(1, &mut out, 1, Change::default()).await;
    server.command(&["SCRIPT", "FLUSH"]);
    let hold = Hold { age: Duration::from_secs(60), bytes: 1 };
    let books = used.look(Look { used: true, hold: Some(hold), oldest: true, ..Look::default() }).await;
    assert_eq!(books.oldest, Some(2));
    used.end().await;
}

/// What a process that died has said of its streams is forgotten.
#[tokio::test]
async fn what_was_said_of_streams_counts_for_a_while() {
    let server = RedisServer::start();
    let used = Used::with(&server, 1).await;
    let say = async |number, streams| {
        let consumers = Token::from_u64(number).map(|token| (token, streams));
        used.look(Look { consumers, ..Look::default() }).await.consumers
    };
    assert_eq!((say(7, 2).await, say(8, 3).await), (2, 5));
    let now_ms = used.look(Look::default()).await.state.now_ms;
    let kept_ms = i64::try_from(CONSUMERS_KEPT.as_millis()).expect("a number");
    for (age_ms, both, rest) in [(kept_ms - 10_000, 5, 3), (kept_ms, 3, 1)] {
        // As if the first had said it so long ago.
        let old = format!("0000000000000007,2,{};0000000000000008,3,{now_ms};", now_ms - age_ms);
        server.command(&["HSET", BOOKS, "cc", &old]);
        assert_eq!(used.look(Look::default()).await.consumers, both);
        assert_eq!(say(8, 1).await, rest);
    }
    assert_eq!(say(8, 0).await, 0);
    assert_eq!(server.command(&["HSTRLEN", BOOKS, "cc"]), ":0");
    used.end().await;
}

/// What was claimed in an epoch that has ended since is still settled there.
#[tokio::test]
async fn an_ended_epoch_is_of_the_present_history_up_to_its_end() {
    let server = RedisServer::start();
    let used = Used::with(&server, 2).await;
    let first = used.broker_end().await;
    // As after a failover.
    server.command(&["HSET", "tidings:{orders}:head", "r", "another"]);
    let other = connect(settings(&server.url())).await;
    publish(&other, &used.place.channel, texts(2)).await;
    let second = used.broker_end().await;
    assert!(first.epoch != second.epoch && second.sequence == 4);
    let claim = |from, to| Change { claim: Some(Claim { from, to, revision: 1 }), ..Change::default() };
    let beyond = Position { sequence: 3, ..first };
    let unknown = Position { epoch: Some(tidings::message::Epoch::random()), sequence: 1 };
    let nowhere = Position { epoch: None, sequence: 1 };
    let refused = [beyond, unknown, nowhere].map(|to| claim(1, to));
    assert_eq!(used.apply(&refused).await, [Outcome::Differs; 3]);
    assert_eq!(used.apply(&[claim(1, first), claim(3, second)]).await, [Outcome::Done; 2]);
    let epochs = [first, second].map(|position| position.epoch.expect("an epoch"));
    let asked = [(epochs[0], 2), (epochs[0], 3), (epochs[1], 3), (epochs[1], 5)];
    let fates = used.subscriptions.fates(&used.place, used.generation, &asked).await;
    assert_eq!(fates, Ok(vec![Fate::Settled, Fate::Open, Fate::Settled, Fate::Open]));
    other.close().await;
    used.end().await;
}

#[tokio::test]
async fn what_is_settled_is_taken_where_memory_is_used_up() {
    let server = RedisServer::start();
    let used = Used::with(&server, 3).await;
    let mut out = used.claim(3, 1).await;
    server.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let refused = used.broker.publish(&used.place.channel, texts(1), 0).await;
    assert!(refused.is_err(), "there is no memory left");
    used.settle(1, &mut out, 1, Change::default()).await;
    used.settle(1, &mut out, 2, Change { wait: vec![waiting(2, 5).wait[0]], ..Change::default() }).await;
    let books = used.look(Look::default()).await;
    assert_eq!((books.state.out, books.waiting), (1, 1));
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    used.end().await;
}
