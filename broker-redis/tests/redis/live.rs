//! The live connection: what one socket carries, and how it is replaced.

use std::{collections::BTreeSet, time::Duration};

use tidings::{
    broker::{LiveCommand, LiveEvent, Shared},
    channel::Pattern,
    limits::MESSAGE_BYTES,
};
use tidings_redis::{Redis, Settings};
use tidings_testing::RedisServer;

use crate::fixture::{Live, broker, channel, connect, head, name, pattern, publish, settings, texts, until, up};

#[tokio::test]
async fn what_plain_programs_publish_arrives_as_it_is() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let mut live = Live::open(&broker);
    live.subscribe(channel("o.1")).await;
    live.subscribe(pattern("o.*")).await;
    server.command(&["PUBLISH", "o.1", "{\"id\":1}\r\n$5\r\n"]);
    for topic in [channel("o.1"), pattern("o.*")] {
        assert_eq!(live.push().await, (topic, "o.1".to_owned(), "{\"id\":1}\r\n$5\r\n".to_owned()));
    }
    server.command(&["PUBLISH", "o.with space", ""]);
    assert_eq!(live.push().await, (pattern("o.*"), "o.with space".to_owned(), String::new()));
    broker.close().await;
}

#[tokio::test]
async fn what_is_larger_than_a_message_is_passed_over() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let mut live = Live::open(&broker);
    live.subscribe(channel("a")).await;
    server.command(&["PUBLISH", "a", &"x".repeat(MESSAGE_BYTES)]);
    server.command(&["PUBLISH", "a", &"y".repeat(5 * MESSAGE_BYTES)]);
    server.command(&["PUBLISH", "a", "after"]);
    assert_eq!(live.push().await.2.len(), MESSAGE_BYTES);
    let event = live.next().await;
    let expected = channel("a");
    assert!(
        matches!(&event, LiveEvent::Oversized { topic, bytes } if *topic == expected && *bytes == 5 * MESSAGE_BYTES)
    );
    assert_eq!(live.push().await.2, "after");
    broker.close().await;
}

#[tokio::test]
async fn a_lost_link_is_reported_and_all_its_topics_are_subscribed_again() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let mut live = Live::open(&broker);
    let topics = [channel("a"), channel("b"), pattern("c.*")];
    for topic in &topics {
        live.subscribe(topic.clone()).await;
    }
    for _ in 0..3 {
        assert_ne!(server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]), ":0");
        assert_eq!(live.restored().await, 1);
        for channel in ["a", "b", "c.1"] {
            assert_eq!(server.command(&["PUBLISH", channel, "x"]), ":1");
            assert_eq!(live.push().await.1, channel);
        }
    }
    live.send(LiveCommand::Check(name("a"))).await;
    assert!(matches!(live.next().await, LiveEvent::Head(_, None)));
    broker.close().await;
}

#[tokio::test]
async fn topics_asked_for_while_redis_is_away_are_confirmed_when_it_is_back() {
    let mut server = RedisServer::prepare(&["--save", ""]);
    let broker: Shared = Redis::start(settings(&server.url()));
    let mut live = Live::open(&broker);
    live.send(LiveCommand::Subscribe(channel("a"))).await;
    live.send(LiveCommand::Subscribe(channel("b"))).await;
    live.send(LiveCommand::Unsubscribe(channel("b"))).await;
    server.run();
    up(&broker).await;
    loop {
        match live.next().await {
            LiveEvent::Subscribed(topic) if topic == channel("a") => break,
            LiveEvent::Push { .. } | LiveEvent::Oversized { .. } => panic!("nothing was published"),
            _ => {}
        }
    }
    publish(&broker, &name("a"), texts(1)).await;
    loop {
        match live.next().await {
            LiveEvent::Push { .. } => break,
            LiveEvent::Lost(reason) => panic!("{reason}"),
            _ => {}
        }
    }
    broker.close().await;
}

#[tokio::test]
async fn a_check_survives_forgotten_scripts() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    publish(&broker, &name("a"), texts(7)).await;
    let mut live = Live::open(&broker);
    live.subscribe(channel("a")).await;
    server.command(&["SCRIPT", "FLUSH"]);
    live.send(LiveCommand::Check(name("a"))).await;
    let expected = head(&broker, &name("a")).await;
    let event = live.next().await;
    assert!(matches!(&event, LiveEvent::Head(_, head) if *head == expected && head.is_some()), "{event:?}");
    broker.close().await;
}

#[tokio::test]
async fn a_primary_that_was_demoted_is_not_believed() {
    let other = RedisServer::start();
    let server = RedisServer::start();
    let broker = broker(&server).await;
    publish(&broker, &name("a"), texts(1)).await;
    let mut live = Live::open(&broker);
    live.subscribe(channel("a")).await;
    assert_eq!(server.command(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]), "+OK");
    live.send(LiveCommand::Check(name("a"))).await;
    let event = live.next().await;
    assert!(matches!(&event, LiveEvent::Lost(_)), "{event:?}");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_pauses_for_longer_than_the_timeout_loses_nothing() {
    let server = RedisServer::start();
    let timeout = Duration::from_millis(300);
    let broker: Shared = Redis::start(Settings { timeout, ..settings(&server.url()) });
    up(&broker).await;
    for round in 0..5 {
        let mut live = Live::open(&broker);
        live.subscribe(channel("a")).await;
        for _ in 0..100 {
            server.command(&["PUBLISH", "a", "x"]);
        }
        tokio::time::sleep(4 * timeout).await;
        for i in 0..100 {
            let event = live.next().await;
            assert!(matches!(&event, LiveEvent::Push { .. }), "round {round}, push {i}: {event:?}");
        }
        live.send(LiveCommand::Check(name("a"))).await;
        let event = live.next().await;
        assert!(matches!(&event, LiveEvent::Head(..)), "round {round}: {event:?}");
    }
    broker.close().await;
}

#[tokio::test]
async fn a_subscription_that_redis_takes_back_is_reported_and_hurts_no_other() {
    let server = RedisServer::start();
    server.command(&["ACL", "SETUSER", "bob", "on", ">pw", "~*", "&*", "+@all"]);
    let url = format!("redis://bob:pw@127.0.0.1:{}", server.port());
    let broker: Shared = Redis::start(settings(&url));
    up(&broker).await;
    let mut live = Live::open(&broker);
    live.subscribe(channel("a")).await;
    live.subscribe(channel("b")).await;
    // Redis ends the connections of a user who loses a channel.
    server.command(&["ACL", "SETUSER", "bob", "resetchannels", "&b"]);
    let (mut lost, mut refused, mut confirmed) = (0, 0, 0);
    loop {
        match live.next().await {
            LiveEvent::Lost(_) => lost += 1,
            LiveEvent::Refused(topic, reason) => {
                assert_eq!(topic, channel("a"));
                assert!(reason.contains("ACL"), "{reason}");
                refused += 1;
            }
            LiveEvent::Subscribed(topic) => {
                assert_eq!(topic, channel("b"));
                confirmed += 1;
            }
            LiveEvent::Restored => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((lost, refused, confirmed), (1, 1, 1));
    assert_eq!(server.command(&["PUBLISH", "b", "x"]), ":1");
    assert_eq!(live.push().await.2, "x");
    broker.close().await;
}

#[tokio::test]
async fn a_head_that_cannot_be_read_is_reported_and_hurts_no_other() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    publish(&broker, &name("newer"), texts(1)).await;
    publish(&broker, &name("good"), texts(1)).await;
    server.command(&["HSET", "tidings:{newer}:head", "v", "3"]);
    server.command(&["SET", "tidings:{odd}:head", "no hash"]);
    let mut live = Live::open(&broker);
    for (channel, words) in [("newer", "newer version"), ("odd", "not written by Tidings")] {
        live.send(LiveCommand::Check(name(channel))).await;
        let event = live.next().await;
        assert!(matches!(&event, LiveEvent::NoHead(_, error) if error.to_string().contains(words)), "{event:?}");
    }
    live.send(LiveCommand::Check(name("good"))).await;
    assert!(matches!(live.next().await, LiveEvent::Head(_, Some(_))));
    broker.close().await;
}

/// As long as the address leads to a replica only, nothing is subscribed to there, and it is not asked again and again.
#[tokio::test]
async fn a_replica_gets_no_subscriptions() {
    let primary = RedisServer::start();
    let replica = RedisServer::replica_of(&primary);
    let broker: Shared = Redis::start(settings(&replica.url()));
    let (control, mut events) = broker.live();
    control.send(LiveCommand::Subscribe(channel("c"))).await.expect("taken");
    let accepted = || {
        let stats = replica.command(&["INFO", "stats"]);
        let count = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        count.and_then(|count| count.trim().parse::<u64>().ok()).expect("a count")
    };
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = accepted();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let tried = accepted() - before;
    assert!((2..30).contains(&tried), "{tried} connections in two seconds");
    assert!(!replica.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).contains("tidings-live"));
    while let Ok(batch) = events.try_recv() {
        assert!(batch.iter().all(|event| matches!(event, LiveEvent::Lost(_))), "{batch:?}");
    }
    broker.close().await;
}

/// Pub/Sub knows no prefixes and no databases.
#[tokio::test]
async fn probes_and_notices_of_another_deployment_are_nobodys_messages() {
    let server = RedisServer::start();
    let ours = broker(&server).await;
    let theirs = connect(Settings { key_prefix: "other".to_owned(), ..settings(&server.url()) }).await;
    let mut live = Live::open(&ours);
    live.subscribe(pattern("*")).await;
    let mut other = Live::open(&theirs);
    other.subscribe(channel("orders")).await;
    // Several probes.
    tokio::time::sleep(Duration::from_secs(3)).await;
    server.command(&["PUBLISH", "other:{orders}:adopted", "0123456789abcdef{}"]);
    publish(&ours, &name("orders"), texts(1)).await;
    let (_, channel, _) = live.push().await;
    assert_eq!(channel, "orders");
    ours.close().await;
    theirs.close().await;
}

/// Many patterns come through few subscriptions on Redis, and each message once for all of them.
#[tokio::test]
async fn many_patterns_are_one_subscription_and_each_brings_its_messages_once() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let mut live = Live::open(&broker);
    let patterns: Vec<String> = (0..100).map(|n| format!("m.{}*", "?".repeat(n % 50) + &"*".repeat(n / 50))).collect();
    let distinct: BTreeSet<&String> = patterns.iter().collect();
    let glob = |text: &str| Pattern::parse(text).expect("valid");
    for (count, text) in (1..).zip(&distinct) {
        live.subscribe(pattern(text)).await;
        // In the middle of their going over to another subscription as well.
        server.command(&["PUBLISH", "m.", "x"]);
        let matching = distinct.iter().take(count).filter(|text| glob(text).matches("m.")).count();
        for _ in 0..matching {
            assert_eq!(live.push().await.1, "m.");
        }
    }
    until("all come as one", || server.command(&["PUBSUB", "NUMPAT"]) == ":1").await;
    let name = format!("m.{}", "a".repeat(20));
    server.command(&["PUBLISH", &name, "once"]);
    let mut topics = BTreeSet::new();
    for _ in distinct.iter().filter(|text| glob(text).matches(&name)) {
        let (topic, channel, payload) = live.push().await;
        assert!(topics.insert(format!("{topic:?}")), "{topic:?} twice");
        assert_eq!((channel.as_str(), payload.as_str()), (name.as_str(), "once"));
    }
    // With few left they are subscribed to as they are.
    for text in distinct.iter().rev().skip(3) {
        live.send(LiveCommand::Unsubscribe(pattern(text))).await;
    }
    until("they are subscribed to as they are", || server.command(&["PUBSUB", "NUMPAT"]) == ":3").await;
    server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    assert_eq!(live.restored().await, 1);
    let long = format!("m.{}", "a".repeat(60));
    server.command(&["PUBLISH", &long, "x"]);
    assert_eq!(live.push().await.1, long);
    broker.close().await;
}

/// What Redis itself answers is over its limit: the connection is lost whenever all topics are subscribed again.
#[tokio::test]
async fn a_connection_that_is_ended_time_and_again_comes_back_less_and_less_often() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let mut live = Live::open(&broker);
    for n in 0..1_000 {
        live.subscribe(channel(&format!("channel.{n}"))).await;
    }
    server.command(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 16kb 16kb 1"]);
    let received = || {
        let stats = server.command(&["INFO", "stats"]);
        let field = stats.lines().find_map(|line| line.trim().strip_prefix("total_connections_received:"));
        field.and_then(|count| count.parse::<u64>().ok()).expect("a count")
    };
    let before = received();
    assert_ne!(server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]), ":0");
    tokio::time::sleep(Duration::from_secs(4)).await;
    let came = received() - before;
    assert!((4..=30).contains(&came), "{came} connections in 4 s");
    server.command(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 32mb 8mb 60"]);
    live.restored().await;
    broker.close().await;
}
