//! Adoption: what plain programs published is taken into the log, once, by any number of calls.

use std::sync::Arc;

use tidings::{
    broker::{
        Error, From, PageLimit, Shared, Stored,
        adopt::{Adopt, Adoption, Raw},
    },
    envelope,
    limits::LEASE,
    message::Position,
};
use tidings_testing::RedisServer;
use uuid::Uuid;

use crate::fixture::{broker, down, head, name, publish, texts, up, within};

mod log;
mod refusals;

const HEAD: &str = "tidings:{orders}:head";
const LOG: &str = "tidings:{orders}:log";
const LEASE_KEY: &str = "tidings:{orders}:lease";
const ALL: PageLimit = PageLimit { messages: 10_000, bytes: 16 << 20 };

fn raw(payload: &[u8]) -> Arc<Raw> {
    Arc::new(Raw::new(payload, &envelope::decode(payload, 1_700_000_000_000)).expect("small enough"))
}

fn raws(count: usize) -> Vec<Arc<Raw>> {
    (0..count).map(|i| raw(format!("message {i}").as_bytes())).collect()
}

/// A process that adopts.
struct Replica {
    broker: Shared,
    token: Uuid,
}

impl Replica {
    fn new(broker: &Shared) -> Self {
        Self { broker: Arc::clone(broker), token: Uuid::new_v4() }
    }

    async fn adopt(&self, adopted: Position, messages: Vec<Arc<Raw>>) -> Result<Adoption, Error> {
        self.call(false, adopted, messages).await
    }

    async fn call(&self, ask: bool, adopted: Position, messages: Vec<Arc<Raw>>) -> Result<Adoption, Error> {
        let adopt = Adopt { token: self.token, ask, adopted, seen: adopted, messages };
        let adopter = self.broker.adopter().expect("Redis adopts");
        within(adopter.adopt(&name("orders"), &adopt), "an adoption").await
    }

    /// Adopts, and returns the last message's position.
    async fn done(&self, adopted: Position, messages: Vec<Arc<Raw>>) -> Position {
        match self.adopt(adopted, messages).await {
            Ok(Adoption::Done { last, given_up: false }) => last,
            other => panic!("it should be done: {other:?}"),
        }
    }
}

async fn retained(broker: &Shared) -> Vec<Stored> {
    let page = within(broker.read(&name("orders"), From::After(0), ALL), "a page").await.expect("read");
    assert!(page.is_last);
    page.messages
}

/// A server, a broker on it, and a process that adopts.
async fn start() -> (RedisServer, Shared, Replica) {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let replica = Replica::new(&broker);
    (server, broker, replica)
}

#[tokio::test]
async fn a_replica_that_missed_an_adoption_adopts_nothing() {
    let (server, broker, replica) = start().await;
    let first = replica.done(Position::START, raws(3)).await;
    // The same call again, as after an answer that was lost.
    assert_eq!(replica.adopt(Position::START, raws(3)).await, Ok(Adoption::Behind));
    let before = server.command(&["HGETALL", HEAD]);
    server.command(&["PERSIST", LEASE_KEY]);
    for wrong in [Position::START, Position { sequence: 2, ..first }, Position::new(other_epoch(first), 3)] {
        assert_eq!(replica.adopt(wrong, raws(1)).await, Ok(Adoption::Behind), "{wrong:?}");
    }
    assert_eq!(server.command(&["HGETALL", HEAD]), before);
    assert_eq!(server.command(&["PTTL", LEASE_KEY]), ":-1", "the lease was not touched either");
    assert_eq!(retained(&broker).await.len(), 3);
    // What others publish is no adoption.
    publish(&broker, &name("orders"), texts(2)).await;
    assert_eq!(replica.done(first, raws(1)).await.sequence, 6);
    broker.close().await;
}

fn other_epoch(position: Position) -> tidings::message::Epoch {
    let epoch = position.epoch.expect("there is one").as_u64();
    tidings::message::Epoch::from_u64(epoch ^ 1).unwrap_or_else(tidings::message::Epoch::random)
}

#[tokio::test]
async fn the_lease_is_one_replicas_at_a_time() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let (first, second) = (Replica::new(&broker), Replica::new(&broker));
    let adopted = first.done(Position::START, raws(1)).await;
    let Ok(Adoption::Other { for_ms }) = second.adopt(adopted, raws(1)).await else { panic!("it is the first's") };
    assert!((1..=LEASE.as_millis() as u64).contains(&for_ms), "{for_ms}");
    server.command(&["PEXPIRE", LEASE_KEY, "100000"]);
    let adopted = first.done(adopted, raws(1)).await;
    let left: u64 = server.command(&["PTTL", LEASE_KEY])[1..].parse().expect("a time");
    assert!((1..=LEASE.as_millis() as u64).contains(&left), "each adoption sets the time again: {left}");
    server.command(&["DEL", LEASE_KEY]);
    let adopted = second.done(adopted, raws(1)).await;
    assert!(matches!(first.adopt(adopted, raws(1)).await, Ok(Adoption::Other { .. })));
    assert_eq!(retained(&broker).await.len(), 3);
    broker.close().await;
}

#[tokio::test]
async fn a_lease_is_given_to_the_replica_that_asks() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let (first, second, third) = (Replica::new(&broker), Replica::new(&broker), Replica::new(&broker));
    let adopted = first.done(Position::START, raws(1)).await;
    assert!(matches!(second.call(true, adopted, raws(1)).await, Ok(Adoption::Other { .. })));
    // The holder itself may ask as well; that gives nothing away.
    let given = first.call(true, adopted, raws(2)).await;
    let Ok(Adoption::Done { last, given_up: true }) = given else { panic!("{given:?}") };
    assert_eq!(last.sequence, 3, "what the holder brought was adopted");
    assert!(matches!(first.adopt(last, raws(1)).await, Ok(Adoption::Other { .. })));
    assert!(matches!(third.adopt(last, raws(1)).await, Ok(Adoption::Other { .. })));
    let last = second.done(last, raws(1)).await;
    assert_eq!(second.done(last, raws(1)).await.sequence, 5, "it was given once, and stays");
    broker.close().await;
}

#[tokio::test]
async fn a_new_history_begins_as_for_publishes() {
    let mut server = RedisServer::start();
    let broker = broker(&server).await;
    let replica = Replica::new(&broker);
    let first = replica.done(Position::START, raws(3)).await;
    server.command(&["SAVE"]);
    let lost = replica.done(first, raws(2)).await;
    server.kill();
    down(&broker).await;
    server.run();
    up(&broker).await;
    server.command(&["DEL", LEASE_KEY]);
    assert_eq!(replica.adopt(lost, raws(1)).await, Ok(Adoption::Behind));
    // It had seen what Redis lost.
    let adopt =
        Adopt { token: replica.token, ask: false, adopted: first, seen: lost, messages: vec![raw(b"found again")] };
    let adopted = broker.adopter().expect("there").adopt(&name("orders"), &adopt).await.expect("adopted");
    let Adoption::Done { last, given_up: false } = adopted else { panic!("{adopted:?}") };
    assert_eq!(last.sequence, 4);
    assert_ne!(last.epoch, first.epoch);
    let now = head(&broker, &name("orders")).await.expect("there");
    assert_eq!((now.epochs[1].first, now.epochs[1].previous_end), (4, 5));
    assert_eq!(now.adopted, last);
    // Nor is a position of the lost history taken for one of the new.
    assert_eq!(replica.adopt(Position { sequence: 4, ..first }, raws(1)).await, Ok(Adoption::Behind));
    broker.close().await;
}

#[tokio::test]
async fn a_lost_head_forgets_what_was_adopted_and_drops_nothing() {
    let (server, broker, replica) = start().await;
    let adopted = replica.done(Position::START, raws(3)).await;
    server.command(&["DEL", HEAD]);
    assert_eq!(head(&broker, &name("orders")).await.expect("the log lives").adopted, Position::START);
    assert_eq!(replica.adopt(adopted, raws(1)).await, Ok(Adoption::Behind));
    let adopted = replica.done(Position::START, raws(1)).await;
    assert_eq!(adopted.sequence, 4);
    assert_eq!(retained(&broker).await.len(), 4);
    server.command(&["HSET", HEAD, "s", "2"]);
    assert_eq!(replica.done(adopted, raws(1)).await.sequence, 5, "after the log, not after its head");
    broker.close().await;
}
