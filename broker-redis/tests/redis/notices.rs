//! Notices of adopted messages on the live connection.

use std::sync::Arc;

use tidings::{
    broker::{
        LiveCommand, LiveEvent, Shared, Topic,
        adopt::{Adopt, Adoption, Raw},
    },
    envelope,
    limits::MESSAGE_BYTES,
    message::Position,
};
use tidings_testing::RedisServer;
use uuid::Uuid;

use crate::fixture::{Live, Monitor, broker, channel, connect, name, pattern, publish, settings, texts, within};

/// Adopts one message of a channel; answers its hash.
async fn adopt(broker: &Shared, channel: &str, adopted: Position, payload: &[u8]) -> (Position, [u8; 16]) {
    let raw = Raw::new(payload, &envelope::decode(payload, 0)).expect("small enough");
    let hash = raw.hash;
    let messages = vec![Arc::new(raw)];
    let adopt = Adopt { token: Uuid::nil(), ask: false, adopted, seen: adopted, messages };
    let adopter = broker.adopter().expect("Redis adopts");
    match within(adopter.adopt(&name(channel), &adopt), "an adoption").await {
        Ok(Adoption::Done { last, .. }) => (last, hash),
        other => panic!("it should be done: {other:?}"),
    }
}

async fn capture(live: &mut Live, topic: Topic) {
    live.send(LiveCommand::Capture(topic.clone())).await;
    let event = live.next().await;
    assert!(matches!(&event, LiveEvent::Subscribed(confirmed) if *confirmed == topic), "{event:?}");
    let event = live.next().await;
    assert!(matches!(&event, LiveEvent::Captured(confirmed) if *confirmed == topic), "{event:?}");
}

async fn expect_notice(live: &mut Live, expected: &Topic, of: &str, at: Position, hash: [u8; 16]) {
    match live.next().await {
        LiveEvent::Notice { topic, channel, hash: announced, json } => {
            assert_eq!((&topic, channel, announced), (expected, name(of), hash));
            let claim = envelope::decode(&json, 0).claim.expect("numbered");
            assert_eq!(Position::new(claim.epoch, claim.sequence), at);
        }
        other => panic!("a notice was expected: {other:?}"),
    }
}

#[tokio::test]
async fn notices_come_after_the_message_they_announce() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let mut live = Live::open(&broker);
    // `*` matches the channels of notices as well: they are no messages.
    let topics = [channel("o.1"), pattern("*")];
    for topic in &topics {
        capture(&mut live, topic.clone()).await;
    }
    let mut adopted = Position::START;
    for payload in ["first", "second"] {
        server.command(&["PUBLISH", "o.1", payload]);
        for topic in &topics {
            assert_eq!(live.push().await, (topic.clone(), "o.1".to_owned(), payload.to_owned()));
        }
        let (at, hash) = adopt(&broker, "o.1", adopted, payload.as_bytes()).await;
        adopted = at;
        for topic in &topics {
            expect_notice(&mut live, topic, "o.1", at, hash).await;
        }
    }
    publish(&broker, &name("o.1"), texts(1)).await;
    assert_eq!(live.push().await.0, channel("o.1"));
    broker.close().await;
}

#[tokio::test]
async fn notices_are_subscribed_again_before_their_topic_when_a_link_was_lost() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let mut live = Live::open(&broker);
    for topic in [channel("a"), pattern("b.*"), channel("c")] {
        live.subscribe(topic.clone()).await;
        live.send(LiveCommand::Capture(topic.clone())).await;
        assert!(matches!(live.next().await, LiveEvent::Subscribed(_)));
        assert!(matches!(live.next().await, LiveEvent::Captured(_)));
    }
    let mut monitor = Monitor::of(&server);
    server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    assert_eq!(live.restored().await, 1);
    let commands = monitor.commands();
    let index = |words: &str| commands.iter().position(|line| line.ends_with(words)).expect("it subscribes to all");
    for (notices, topic) in [
        (r#""SUBSCRIBE" "tidings:{a}:adopted""#, r#""SUBSCRIBE" "a""#),
        (r#""PSUBSCRIBE" "tidings:{b.*}:adopted""#, r#""PSUBSCRIBE" "b.*""#),
        (r#""SUBSCRIBE" "tidings:{c}:adopted""#, r#""SUBSCRIBE" "c""#),
    ] {
        assert!(index(notices) < index(topic), "{commands:?}");
    }
    for of in ["a", "b.1"] {
        let (at, hash) = adopt(&broker, of, Position::START, b"payload").await;
        let topic = if of == "a" { channel("a") } else { pattern("b.*") };
        expect_notice(&mut live, &topic, of, at, hash).await;
    }
    assert_eq!(server.command(&["PUBSUB", "NUMSUB", "tidings:{c}:adopted"]), "*2\r\n$19\r\ntidings:{c}:adopted\r\n:1");
    broker.close().await;
}

#[tokio::test]
async fn what_strangers_publish_as_notices_is_passed_over() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let mut live = Live::open(&broker);
    capture(&mut live, channel("a")).await;
    capture(&mut live, pattern("*")).await;
    server.command(&["PUBLISH", "tidings:{a}:adopted", "short"]);
    server.command(&["PUBLISH", "tidings:{a}:adopted", &"x".repeat(2 * MESSAGE_BYTES)]);
    server.command(&["PUBLISH", "tidings:{a b}:adopted", "0123456789abcdef{}"]);
    server.command(&["PUBLISH", "tidings:{a}:b}:adopted", "0123456789abcdef{}"]);
    let (at, hash) = adopt(&broker, "a", Position::START, &vec![b'x'; MESSAGE_BYTES - 500]).await;
    expect_notice(&mut live, &channel("a"), "a", at, hash).await;
    expect_notice(&mut live, &pattern("*"), "a", at, hash).await;
    broker.close().await;
}

#[tokio::test]
async fn notices_that_redis_refuses_are_reported_and_the_topic_continues() {
    let server = RedisServer::start();
    server.command(&["ACL", "SETUSER", "bob", "on", ">pw", "~*", "+@all", "resetchannels", "&a", "&tidings:probe:*"]);
    let broker = connect(settings(&format!("redis://bob:pw@127.0.0.1:{}", server.port()))).await;
    let mut live = Live::open(&broker);
    live.send(LiveCommand::Capture(channel("a"))).await;
    let event = live.next().await;
    assert!(matches!(&event, LiveEvent::NotCaptured(topic, text) if *topic == channel("a") && text.contains("ACL")));
    assert!(matches!(live.next().await, LiveEvent::Subscribed(_)));
    server.command(&["PUBLISH", "a", "1"]);
    assert_eq!(live.push().await.2, "1");
    broker.close().await;
}
