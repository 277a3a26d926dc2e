//! What adopted messages become in the log, and what is announced of them.

use futures_util::StreamExt as _;
use tidings::{broker::Retention, limits::MESSAGE_BYTES, message::Payload};
use tidings_redis::Settings;

use super::*;
use crate::fixture::{KEEP_ALL, connect, settings};

const NOTICES: &str = "tidings:{orders}:adopted";

/// A plain Redis client that listens to two channels.
async fn listen(server: &RedisServer) -> redis::aio::PubSub {
    let client = redis::Client::open(server.url()).expect("a valid URL");
    let mut listening = client.get_async_pubsub().await.expect("connected");
    listening.subscribe(&["orders", NOTICES]).await.expect("subscribed");
    listening
}

#[tokio::test]
async fn adopted_messages_are_numbered_with_the_others() {
    let (_server, broker, replica) = start().await;
    let before = publish(&broker, &name("orders"), texts(2)).await;
    let odd = br#"{"id": 7, "date": "10/11/2023", "message": {"b": 1.10}}"#;
    let own = br#"{"id":"0192a1b2-0000-7000-8000-000000000001","date":"2024-05-06T07:08:09.1+02:00","message":"hi"}"#;
    let payloads: [&[u8]; 4] = [odd, own, b"plain", b"\xff\x00"];
    let last = replica.done(Position::START, payloads.map(raw).to_vec()).await;
    assert_eq!(last, Position::new(before[0].epoch, 6));
    assert_eq!(publish(&broker, &name("orders"), texts(1)).await[0].sequence, 7);
    let log = retained(&broker).await;
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
async fn a_notice_holds_hash_and_json_and_the_channel_stays_quiet() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let mut listening = listen(&server).await;
    let messages = raws(300);
    Replica::new(&broker).done(Position::START, messages.clone()).await;
    let log = retained(&broker).await;
    let mut notices = listening.on_message();
    for (message, stored) in messages.iter().zip(&log) {
        let notice = within(notices.next(), "a notice").await.expect("connected");
        assert_eq!(notice.get_channel_name(), NOTICES);
        let (hash, json) = notice.get_payload_bytes().split_at(Raw::HASH_BYTES);
        assert_eq!(hash, message.hash);
        assert_eq!(json, stored.json);
    }
    let entries = server.command(&["XRANGE", LOG, "-", "+"]);
    for id in ["128-128", "256-128", "300-44"] {
        assert!(entries.contains(&format!("\r\n{id}\r\n")), "{id}");
    }
    // The next push on the channel is this: nothing of the three hundred was published there.
    publish(&broker, &name("orders"), texts(1)).await;
    let next = within(notices.next(), "a push").await.expect("connected");
    assert_eq!(next.get_channel_name(), "orders");
    assert_eq!(envelope::decode(next.get_payload_bytes(), 0).claim.expect("ours").sequence, 301);
    assert_ne!(server.command(&["ZSCORE", "tidings:channels", "orders"]), "$-1");
    broker.close().await;
}

#[tokio::test]
async fn pages_mark_adopted_messages_in_both_directions() {
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
    assert_eq!(retained(&broker).await.len(), 10);
    broker.close().await;
}

#[tokio::test]
async fn without_history_messages_are_numbered_and_reported() {
    let server = RedisServer::start();
    let retention = Retention { max_messages: 0, ..KEEP_ALL };
    let broker = connect(Settings { retention, ..settings(&server.url()) }).await;
    let mut listening = listen(&server).await;
    let replica = Replica::new(&broker);
    let adopted = replica.done(Position::START, raws(2)).await;
    assert_eq!(replica.done(adopted, raws(1)).await.sequence, 3);
    assert_eq!(server.command(&["EXISTS", LOG]), ":0");
    let notices: Vec<_> = within(listening.on_message().take(3).collect::<Vec<_>>(), "three notices").await;
    let third = envelope::decode(&notices[2].get_payload_bytes()[Raw::HASH_BYTES..], 0);
    assert_eq!(third.claim.expect("numbered").sequence, 3);
    broker.close().await;
}

#[tokio::test]
async fn the_largest_batch_is_adopted_in_one_call() {
    let (_server, broker, replica) = start().await;
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
