//! One channel among many whose keys on Redis are damaged: it is named, and the others continue as if nothing were.

use tidings::pb::{ListChannelsRequest, PublishResponse, StreamMessagesRequest};
use tidings_testing::RedisServer;
use tonic::{Code, Status};

use super::rig::{Rig, Watch, check, until};
use crate::harness::{Admin, Publisher, Subscriber, TEST_TIMEOUT, channel, pattern, reason, text};

const BAD: &str = "p.07";
const LOG: &str = "tidings:{p.07}:log";
const HEAD: &str = "tidings:{p.07}:head";
const WARNING: &str = "a channel can't be read";

fn all() -> Vec<String> {
    (0..20).map(|n| format!("p.{n:02}")).collect()
}

fn says(refused: &Status, why: &str) {
    assert_eq!((refused.code(), reason(refused).as_str()), (Code::Unavailable, why), "{refused:?}");
    let text = refused.message();
    assert!(text.contains("not written by Tidings") && !text.contains("script") && !text.contains("Index"), "{text}");
}

async fn publish_on(rig: &Rig, channels: impl IntoIterator<Item = &String>) -> Vec<(String, PublishResponse)> {
    let mut receipts = Vec::new();
    for name in channels {
        receipts.push((name.clone(), rig.publish(name, [1]).await.remove(0)));
    }
    receipts
}

async fn has_all(stream: &Watch, receipts: &[(String, PublishResponse)]) {
    for (_, receipt) in receipts {
        stream.until_message(&receipt.message_id).await;
    }
}

/// Under a stream of all, opened before, and one opened after.
async fn one_is_damaged(damage: &[&[&str]], mend: &[&[&str]]) {
    let redis = RedisServer::start();
    let admin = Admin::choose();
    let rig = Rig {
        publisher: Publisher::start(&redis.url(), &["--redis-timeout=1s"]).await,
        subscriber: Subscriber::start(&redis.url(), &["--redis-timeout=1s", &admin.flag()]).await,
    };
    let names = all();
    let before = rig.watch(pattern("p.*")).await;
    let mut receipts = publish_on(&rig, &names).await;
    has_all(&before, &receipts).await;

    for command in damage {
        let reply = redis.command(command);
        assert!(!reply.starts_with('-'), "{command:?}: {reply}");
    }
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    let others = || names.iter().filter(|name| *name != BAD);
    receipts.extend(publish_on(&rig, others()).await);
    has_all(&before, &receipts).await;
    until("it is named", || rig.subscriber.process.output().contains(WARNING)).await;
    admin.shows("it is counted", |scraped| scraped.value("tidings_unreadable_channels") == 1.0).await;
    assert_eq!(admin.get("/readyz").code, 200);

    // A new stream gets the others as well, and a request for this one gets the reason.
    let earliest = StreamMessagesRequest { earliest: true, ..pattern("p.*") };
    let (after, now) = (rig.watch(earliest).await, rig.watch(pattern("p.*")).await);
    has_all(&after, &receipts.iter().filter(|(name, _)| name != BAD).cloned().collect::<Vec<_>>()).await;
    for request in [channel(BAD), StreamMessagesRequest { earliest: true, ..channel(BAD) }] {
        says(&rig.subscriber.client().stream_messages(request).await.expect_err("damaged"), "BROKER_UNAVAILABLE");
    }
    says(&rig.publisher.client().publish(text(BAD, "x")).await.expect_err("damaged"), "NOT_PUBLISHED");
    let listed = rig.subscriber.client().list_channels(ListChannelsRequest::default()).await.expect("a list");
    let listed = listed.into_inner().channels;
    assert_eq!(listed.iter().map(|channel| channel.name.clone()).collect::<Vec<_>>(), names);
    for one in &listed {
        assert_eq!(one.last_sequence, if one.name == BAD { 0 } else { 2 }, "{one:?}");
        assert_eq!(one.subscriber_count, 3, "{one:?}");
    }

    for command in mend {
        let reply = redis.command(command);
        assert!(!reply.starts_with('-'), "{command:?}: {reply}");
    }
    receipts.extend(publish_on(&rig, &names).await);
    for stream in [&before, &after, &now] {
        has_all(stream, &receipts[receipts.len() - names.len()..]).await;
        assert!(names.iter().all(|name| stream.gaps(name).is_empty()));
    }
    for name in &names {
        let of_it: Vec<_> = receipts.iter().filter(|(of, _)| of == name).map(|(_, receipt)| receipt.clone()).collect();
        for stream in [&before, &after] {
            assert_eq!(check(stream, name, &of_it).await, [], "{name}");
        }
        assert_eq!(now.messages(name).len(), 1, "{name}: only what is new");
    }
    admin.shows("it is well", |scraped| scraped.value("tidings_unreadable_channels") == 0.0).await;
    let output = rig.subscriber.process.output();
    let lines: Vec<&str> = output.lines().filter(|line| line.contains(WARNING)).collect();
    assert!(lines.len() == 1 && lines[0].contains(BAD), "{lines:?}");
    drop((before, after, now));
    rig.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_another_type() {
    let damage: &[&[&str]] = &[&["RENAME", LOG, "away"], &["SET", LOG, "x"]];
    one_is_damaged(damage, &[&["DEL", LOG], &["RENAME", "away", LOG]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_another_type() {
    let damage: &[&[&str]] = &[&["RENAME", HEAD, "away"], &["SET", HEAD, "x"]];
    one_is_damaged(damage, &[&["DEL", HEAD], &["RENAME", "away", HEAD]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_means_nothing() {
    one_is_damaged(&[&["HSET", HEAD, "s", "many"]], &[&["HSET", HEAD, "s", "1"]]).await;
}

/// The streams have its messages, which no head knows any more.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_a_strangers_in_the_log() {
    let redis = RedisServer::start();
    let rig = Rig::on(&redis).await;
    let names = all();
    let stream = rig.watch(pattern("p.*")).await;
    let mut receipts = publish_on(&rig, &names).await;
    has_all(&stream, &receipts).await;
    assert!(redis.command(&["XADD", LOG, "*", "a stranger's", "x"]).starts_with('$'));
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    says(&rig.publisher.client().publish(text(BAD, "x")).await.expect_err("damaged"), "NOT_PUBLISHED");
    receipts.extend(publish_on(&rig, names.iter().filter(|name| *name != BAD)).await);
    has_all(&stream, &receipts).await;
    // What is ours in that log can still be read.
    assert_eq!(tokio::time::timeout(TEST_TIMEOUT, rig.subscriber.list(BAD)).await.expect("in time").len(), 1);
    until("the publisher names it", || rig.publisher.process.output().contains("log of p.07")).await;
    for name in &names {
        assert!(stream.gaps(name).is_empty(), "{name}");
    }
    drop(stream);
    rig.stop();
}
