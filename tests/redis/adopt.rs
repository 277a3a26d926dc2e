//! Adoption: what plain programs published is taken into the log, once, whoever calls how often.

use std::sync::Arc;

use futures_util::StreamExt as _;
use tidings::{
    broker::{
        Error, From, PageLimit, Retention, Shared, Stored,
        adopt::{Adopt, Adoption, Raw},
        redis::Settings,
    },
    envelope,
    limits::{LEASE, MESSAGE_BYTES},
    message::{Payload, Position},
};
use tidings_testing::RedisServer;
use uuid::Uuid;

use crate::fixture::{KEEP_ALL, broker, connect, down, head, name, publish, settings, texts, up, within};

const HEAD: &str = "tidings:{orders}:head";
const LOG: &str = "tidings:{orders}:log";
const LEASE_KEY: &str = "tidings:{orders}:lease";
const NOTICES: &str = "tidings:{orders}:adopted";
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

    /// Adopts, and answers the last message's place.
    async fn done(&self, adopted: Position, messages: Vec<Arc<Raw>>) -> Position {
        match self.adopt(adopted, messages).await {
            Ok(Adoption::Done { last, given_up: false }) => last,
            other => panic!("it should be done: {other:?}"),
        }
    }
}

async fn log(broker: &Shared) -> Vec<Stored> {
    let page = within(broker.read(&name("orders"), From::After(0), ALL), "a page").await.expect("read");
    assert!(page.is_last);
    page.messages
}

/// A plain Redis client that listens to two channels.
async fn listen(server: &RedisServer) -> redis::aio::PubSub {
    let client = redis::Client::open(server.url()).expect("a valid URL");
    let mut listening = client.get_async_pubsub().await.expect("connected");
    listening.subscribe(&["orders", NOTICES]).await.expect("subscribed");
    listening
}

#[tokio::test]
async fn adopted_messages_are_numbered_with_the_others() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let replica = Replica::new(&broker);
    let before = publish(&broker, &name("orders"), texts(2)).await;
    let odd = br#"{"id": 7, "date": "10/11/2023", "message": {"b": 1.10}}"#;
    let own = br#"{"id":"0192a1b2-0000-7000-8000-000000000001","date":"2024-05-06T07:08:09.1+02:00","message":"hi"}"#;
    let payloads: [&[u8]; 4] = [odd, own, b"plain", b"\xff\x00"];
    let last = replica.done(Position::START, payloads.map(raw).to_vec()).await;
    assert_eq!(last, Position::new(before[0].epoch, 6));
    assert_eq!(publish(&broker, &name("orders"), texts(1)).await[0].sequence, 7);
    let log = log(&broker).await;
    assert_eq!(log.iter().map(|stored| stored.sequence).collect::<Vec<_>>(), (1..=7).collect::<Vec<_>>());
    let adopted: Vec<_> = log.iter().map(|stored| stored.adopted.map(|adopted| adopted.hash)).collect();
    let hashes = payloads.map(|payload| Some(raw(payload).hash));
    assert_eq!(adopted, [&[None, None], &hashes[..], &[None]].concat());
    let log_time_ms = log[2].adopted.expect("adopted").time_ms;
    assert!((before[0].time_ms..before[0].time_ms + 60_000).contains(&log_time_ms), "log time, not its own");
    let read: Vec<_> = log.iter().map(|stored| envelope::decode(&stored.json, 0)).collect();
    for (envelope, stored) in read.iter().zip(&log) {
        let claim = envelope.claim.expect("numbered");
        assert_eq!((claim.epoch, claim.sequence), (before[0].epoch, stored.sequence));
    }
    assert_eq!(read[2].payload, Payload::Json("{\"b\": 1.10}".to_owned()));
    let originals = [("tidings-original-date", "10/11/2023"), ("tidings-original-id", "7")];
    assert_eq!(read[2].attributes, originals.map(|(key, value)| (key.to_owned(), value.to_owned())));
    assert_eq!(read[2].time_ms, 1_700_000_000_000, "the time of arrival");
    assert_eq!(read[3].id.to_string(), "0192a1b2-0000-7000-8000-000000000001");
    assert_eq!(envelope::format_time(read[3].time_ms), "2024-05-06T05:08:09.100Z");
    assert_eq!(read[4].payload, Payload::Text("plain".to_owned()));
    assert_eq!(read[5].payload, Payload::Data(vec![0xff, 0].into()));
    assert_eq!(head(&broker, &name("orders")).await.expect("there").adopted, last);
    broker.close().await;
}

#[tokio::test]
async fn a_notice_tells_hash_and_json_and_the_channel_stays_quiet() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let mut listening = listen(&server).await;
    let messages = raws(300);
    Replica::new(&broker).done(Position::START, messages.clone()).await;
    let log = log(&broker).await;
    let mut told = listening.on_message();
    for (message, stored) in messages.iter().zip(&log) {
        let notice = within(told.next(), "a notice").await.expect("connected");
        assert_eq!(notice.get_channel_name(), NOTICES);
        let (hash, json) = notice.get_payload_bytes().split_at(Raw::HASH_BYTES);
        assert_eq!(hash, message.hash);
        assert_eq!(json, stored.json);
    }
    let entries = server.command(&["XRANGE", LOG, "-", "+"]);
    for id in ["128-128", "256-128", "300-44"] {
        assert!(entries.contains(&format!("\r\n{id}\r\n")), "{id}");
    }
    // The next thing heard on the channel is this: nothing of the three hundred was published there.
    publish(&broker, &name("orders"), texts(1)).await;
    let next = within(told.next(), "a push").await.expect("connected");
    assert_eq!(next.get_channel_name(), "orders");
    assert_eq!(envelope::decode(next.get_payload_bytes(), 0).claim.expect("ours").sequence, 301);
    assert_ne!(server.command(&["ZSCORE", "tidings:channels", "orders"]), "$-1");
    broker.close().await;
}

#[tokio::test]
async fn pages_tell_adopted_messages_in_both_directions() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    Replica::new(&broker).done(Position::START, raws(5)).await;
    let page = broker.read(&name("orders"), From::Before(5), ALL).await.expect("read");
    let expected: Vec<_> = (0..4).rev().map(|i| Some(raw(format!("message {i}").as_bytes()).hash)).collect();
    assert_eq!(
        page.messages.iter().map(|stored| stored.adopted.map(|adopted| adopted.hash)).collect::<Vec<_>>(),
        expected
    );
    broker.close().await;
}

#[tokio::test]
async fn whoever_has_missed_an_adoption_adopts_nothing() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let replica = Replica::new(&broker);
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
    assert_eq!(log(&broker).await.len(), 3);
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
    assert!((1..=LEASE.as_millis() as u64).contains(&left), "each adoption sets the time anew: {left}");
    server.command(&["DEL", LEASE_KEY]);
    let adopted = second.done(adopted, raws(1)).await;
    assert!(matches!(first.adopt(adopted, raws(1)).await, Ok(Adoption::Other { .. })));
    assert_eq!(log(&broker).await.len(), 3);
    broker.close().await;
}

#[tokio::test]
async fn a_lease_is_given_to_whoever_asks() {
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
    // Nor is a place of the lost history taken for one of the new.
    assert_eq!(replica.adopt(Position { sequence: 4, ..first }, raws(1)).await, Ok(Adoption::Behind));
    broker.close().await;
}

#[tokio::test]
async fn a_lost_head_forgets_what_was_adopted_and_drops_nothing() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let replica = Replica::new(&broker);
    let adopted = replica.done(Position::START, raws(3)).await;
    server.command(&["DEL", HEAD]);
    assert_eq!(head(&broker, &name("orders")).await.expect("the log lives").adopted, Position::START);
    assert_eq!(replica.adopt(adopted, raws(1)).await, Ok(Adoption::Behind));
    let adopted = replica.done(Position::START, raws(1)).await;
    assert_eq!(adopted.sequence, 4);
    assert_eq!(log(&broker).await.len(), 4);
    server.command(&["HSET", HEAD, "s", "2"]);
    assert_eq!(replica.done(adopted, raws(1)).await.sequence, 5, "behind the log, not behind its head");
    broker.close().await;
}

#[tokio::test]
async fn adopted_messages_are_trimmed_with_the_others() {
    let server = RedisServer::start();
    let retention = Retention { max_messages: 10, ..KEEP_ALL };
    let broker = connect(Settings { retention, ..settings(&server.url()) }).await;
    let replica = Replica::new(&broker);
    let mut adopted = Position::START;
    for _ in 0..10 {
        adopted = replica.done(adopted, raws(2)).await;
        publish(&broker, &name("orders"), texts(2)).await;
    }
    assert_eq!(head(&broker, &name("orders")).await.expect("there").first, 31);
    assert_eq!(log(&broker).await.len(), 10);
    broker.close().await;
}

#[tokio::test]
async fn without_history_messages_are_numbered_and_told() {
    let server = RedisServer::start();
    let retention = Retention { max_messages: 0, ..KEEP_ALL };
    let broker = connect(Settings { retention, ..settings(&server.url()) }).await;
    let mut listening = listen(&server).await;
    let replica = Replica::new(&broker);
    let adopted = replica.done(Position::START, raws(2)).await;
    assert_eq!(replica.done(adopted, raws(1)).await.sequence, 3);
    assert_eq!(server.command(&["EXISTS", LOG]), ":0");
    let told: Vec<_> = within(listening.on_message().take(3).collect::<Vec<_>>(), "three notices").await;
    let third = envelope::decode(&told[2].get_payload_bytes()[Raw::HASH_BYTES..], 0);
    assert_eq!(third.claim.expect("numbered").sequence, 3);
    broker.close().await;
}

#[tokio::test]
async fn the_largest_batch_is_adopted_in_one_call() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let replica = Replica::new(&broker);
    let adopted = replica.done(Position::START, (0..1_000).map(|i| raw(&[b'x'; 4_000 - 1_000][i..])).collect()).await;
    assert_eq!(adopted.sequence, 1_000);
    let largest = (0..1_000).find_map(|less| {
        let payload = vec![b'x'; MESSAGE_BYTES - less];
        Raw::new(&payload, &envelope::decode(&payload, 0))
    });
    let adopted = replica.done(adopted, vec![Arc::new(largest.expect("one fits"))]).await;
    assert_eq!(adopted.sequence, 1_001);
    broker.close().await;
}

#[tokio::test]
async fn a_redis_that_refuses_adopts_nothing() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let replica = Replica::new(&broker);
    let adopted = replica.done(Position::START, raws(1)).await;
    server.command(&["SCRIPT", "FLUSH"]);
    let adopted = replica.done(adopted, raws(1)).await;
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(replica.adopt(adopted, raws(1)).await, Err(Error::OutOfMemory));
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    server.command(&["HSET", HEAD, "v", "2"]);
    let refused = replica.adopt(adopted, raws(1)).await;
    assert!(matches!(&refused, Err(Error::Unavailable(text)) if text.contains("newer")), "{refused:?}");
    assert_eq!(server.command(&["XLEN", LOG]), ":2");
    broker.close().await;
}

#[tokio::test]
async fn a_user_without_a_right_that_adoption_needs_writes_nothing() {
    let rights = ["-xadd", "-xtrim", "-xrange", "-hset", "-hdel", "-pexpire", "-publish", "resetchannels &orders"];
    let server = RedisServer::start();
    for missing in rights {
        let words = ["ACL", "SETUSER", "bob", "reset", "on", ">pw", "~*", "&*", "+@all"];
        server.command(&words.into_iter().chain(missing.split(' ')).collect::<Vec<_>>());
        let broker = connect(settings(&format!("redis://bob:pw@127.0.0.1:{}", server.port()))).await;
        let refused = Replica::new(&broker).adopt(Position::START, raws(1)).await;
        assert!(matches!(&refused, Err(Error::Unavailable(_))), "{missing}: {refused:?}");
        assert_eq!(server.command(&["EXISTS", LOG, HEAD, LEASE_KEY]), ":0", "{missing}");
        broker.close().await;
    }
}
