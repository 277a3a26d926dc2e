use std::time::Duration;

use bytes::Bytes;
use tidings::{
    access::Rights,
    broker::{
        Retention, Stored,
        memory::Memory,
        subscriptions::{Applied, Change, Hold, Look, New, Start},
    },
    channel::Names,
    limits::DEAD_LETTER_HOPS,
    message::{Draft, Epoch, Payload},
    pb,
    subscription::{Attempts, Generation, SubscriptionName},
};
use tokio::{sync::Semaphore, time::sleep};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    capture::Capture,
    hub::Hub,
    pages::Pages,
    stream::Source,
    work::{Desk, Given, HoldLimits, Holds, StartAt},
};

fn names() -> Names {
    Names::new("tidings", "").expect("names")
}

fn channel(name: &str) -> ChannelName {
    names().parse(name).expect("a name")
}

fn place() -> Place {
    Place { channel: channel("orders"), name: SubscriptionName::parse("mail", &names()).expect("a name") }
}

/// A broker that remembers ids for so long.
fn broker(dedup_window_ms: u64) -> Shared {
    Memory::new(Retention {
        max_messages: 1_000,
        max_bytes: 64 << 20,
        max_age_ms: 3_600_000,
        dedup_window_ms,
        dedup_max_ids: 1_000,
    })
}

const MINUTE_MS: u64 = 60_000;

/// Letters of these sequences in the outbox of a subscription that is there.
async fn put(broker: &Shared, letters: Vec<Letter>) {
    let store = broker.subscriptions();
    let books = store.look(&place(), Look::default()).await.expect("read").expect("there are books");
    let change = Change { dead: letters, ..Change::default() };
    let applied = store.apply(&place(), books.state.generation, &[change]).await.expect("carried out");
    assert!(matches!(applied, Applied::Done(..)), "{applied:?}");
}

async fn create(broker: &Shared) {
    let hold = Hold { age: Duration::from_secs(60), bytes: 1 << 20 };
    let new = New { generation: Generation::random(), settings: Bytes::new(), start: Start::End, hold };
    broker.subscriptions().create(&place(), &new).await.expect("created");
}

fn letter(sequence: i64, hops: u32) -> Letter {
    let epoch = Epoch::from_u64(1).expect("not 0");
    let attributes = match hops {
        0 => Vec::new(),
        hops => vec![("tidings-dead-letter-hops".to_owned(), hops.to_string())],
    };
    let (id, payload) = (Uuid::now_v7(), Payload::Text(sequence.to_string()));
    let draft = Draft { id, dedup: None, payload, attributes, ordering_key: String::new() };
    let json = Bytes::from(envelope::encode(&draft).stamp(1_700_000_000_000, sequence, epoch));
    Letter {
        epoch,
        sequence,
        attempts: Attempts { count: 1, first_ms: 1, redrives: 0 },
        reason: "bad".to_owned(),
        key: None,
        json,
    }
}

fn post(broker: &Shared) -> Post {
    Post::new(Arc::clone(broker), broker.subscriptions(), place(), channel("dead"))
}

async fn unsent(broker: &Shared) -> u64 {
    let books = broker.subscriptions().look(&place(), Look::default()).await.expect("read");
    books.expect("there are books").unsent
}

async fn now_ms(broker: &Shared) -> i64 {
    broker.data_set().await.expect("read").time_ms
}

async fn published(broker: &Shared, name: &str) -> Vec<Stored> {
    let limit = PageLimit { messages: 1_000, bytes: 64 << 20 };
    broker.read(&channel(name), From::After(0), limit).await.expect("read").messages
}

fn texts(messages: &[Stored]) -> Vec<String> {
    let text = |stored: &Stored| match envelope::decode(&stored.json, 0).payload {
        Payload::Text(text) => text,
        other => panic!("a text: {other:?}"),
    };
    messages.iter().map(text).collect()
}

#[tokio::test]
async fn the_outbox_is_published_once_in_its_order() {
    let broker = broker(MINUTE_MS);
    create(&broker).await;
    let letters: Vec<Letter> = (1..=OUTBOX_LETTERS as i64 + 3).map(|sequence| letter(sequence, 0)).collect();
    put(&broker, letters.clone()).await;
    let (first, second) = (post(&broker), post(&broker));
    let now_ms = now_ms(&broker).await;
    assert_eq!(first.round(now_ms).await, Ok(OUTBOX_LETTERS));
    assert_eq!((second.round(now_ms).await, first.round(now_ms).await), (Ok(3), Ok(0)));
    let expected: Vec<String> = letters.iter().map(|letter| letter.sequence.to_string()).collect();
    assert_eq!(texts(&published(&broker, "dead").await), expected);
    assert_eq!(unsent(&broker).await, 0);
    broker.close().await;
}

#[tokio::test]
async fn what_was_published_and_not_taken_out_is_not_published_again() {
    for (window_ms, later_ms) in [(MINUTE_MS, 0), (1, i64::try_from(MINUTE_MS).expect("small"))] {
        let broker = broker(window_ms);
        create(&broker).await;
        put(&broker, vec![letter(1, 0), letter(2, 0)]).await;
        // Another has published the first of them, and died.
        let (id, first) = broker.subscriptions().outbox(&place(), 1).await.expect("read").remove(0);
        let draft = draft::make(&place(), &id, &first).expect("it fits");
        broker.publish(&channel("dead"), vec![draft], 0).await.expect("published");
        sleep(Duration::from_millis(20)).await;
        let now_ms = now_ms(&broker).await + later_ms;
        assert_eq!(post(&broker).round(now_ms).await, Ok(2));
        assert_eq!(texts(&published(&broker, "dead").await), ["1", "2"], "{window_ms}");
        assert_eq!(unsent(&broker).await, 0);
        broker.close().await;
    }
}

#[tokio::test]
async fn nobody_elses_message_stands_for_a_dead_letter() {
    let broker = broker(1);
    create(&broker).await;
    put(&broker, vec![letter(1, 0)]).await;
    let (id, first) = broker.subscriptions().outbox(&place(), 1).await.expect("read").remove(0);
    let forged = Draft { attributes: Vec::new(), ..draft::make(&place(), &id, &first).expect("it fits") };
    broker.publish(&channel("dead"), vec![forged], 0).await.expect("published");
    sleep(Duration::from_millis(20)).await;
    let later_ms = now_ms(&broker).await + i64::try_from(MINUTE_MS).expect("small");
    assert_eq!(post(&broker).round(later_ms).await, Ok(1));
    assert_eq!(published(&broker, "dead").await.len(), 2);
    broker.close().await;
}

#[tokio::test]
async fn what_was_published_too_often_stays_a_dead_letter_and_holds_up_no_other() {
    let broker = broker(MINUTE_MS);
    create(&broker).await;
    put(&broker, vec![letter(1, DEAD_LETTER_HOPS), letter(2, DEAD_LETTER_HOPS - 1)]).await;
    assert_eq!(post(&broker).round(now_ms(&broker).await).await, Ok(2));
    assert_eq!(texts(&published(&broker, "dead").await), ["2"]);
    let letters = broker.subscriptions().dead_letters(&place(), None, 10, 1 << 20).await.expect("read");
    assert_eq!((letters.len(), unsent(&broker).await), (2, 0));
    broker.close().await;
}

/// A replica, as far as subscriptions go.
fn replica(broker: &Shared) -> (Arc<Desk>, Arc<Hub>) {
    let (names, pages) = (Arc::new(names()), Pages::new(Arc::clone(broker)));
    let capture = Capture::new(Vec::new());
    let hub = Hub::start(broker, Arc::clone(&pages), Arc::clone(&names), capture, Duration::from_secs(20));
    let wide = Arc::new(Semaphore::new(1));
    let source = Source { broker: Arc::clone(broker), hub: Arc::clone(&hub), pages, lifetime_ms: 1_000, wide };
    let holds = Arc::new(Holds::new(HoldLimits { channel: 1 << 20, total: 1 << 20 }));
    (Desk::new(Given { source, names, holds, keeps_history: true }), hub)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dispatchers_publish_what_a_dead_one_has_left() {
    let (broker, server) = (broker(MINUTE_MS), CancellationToken::new());
    let replicas = [replica(&broker), replica(&broker)];
    let rights = Rights::all();
    let manage = rights.manage(place().name).expect("all is allowed");
    let read = rights.read(place().channel).expect("all is allowed");
    let dead_letters = rights.publish(channel("dead")).expect("all is allowed");
    let (given, start) = (pb::Subscription::default(), StartAt::Latest);
    let created = replicas[0].0.create(manage, read, &dead_letters, given, &start, None);
    assert_eq!(created.await.expect("created").dead_letter_channel, "dead");
    for round in 1..=2_i64 {
        put(&broker, (1..=100).map(|n| letter(1_000 * round + n, 0)).collect()).await;
        for (desk, _) in &replicas {
            desk.send_unsent(&place().name).await;
        }
        // The second time they are there already, and nobody uses the subscription: another finds what is left.
        let third = replica(&broker);
        third.0.send_unsent(&place().name).await;
        let is_empty = async {
            while unsent(&broker).await > 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), is_empty).await.expect("all are published");
        third.1.close().await;
    }
    sleep(Duration::from_millis(50)).await;
    let messages = published(&broker, "dead").await;
    let mut texts = texts(&messages);
    texts.sort();
    texts.dedup();
    assert_eq!((texts.len(), messages.len()), (200, 200));
    server.cancel();
    for (desk, hub) in replicas {
        desk.close().await;
        hub.close().await;
    }
    broker.close().await;
}
