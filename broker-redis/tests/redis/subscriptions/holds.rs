//! What subscriptions hold of a log, as the channel's head has it. What that does to the log is in the conformance
//! suite.

use std::time::Duration;

use tidings::{
    broker::{
        Retention,
        subscriptions::{Change, Created, Hold, Look, Set, Start},
    },
    limits::{EXPIRE_MAX, HEAD_LINGER},
    message::Position,
    subscription::Generation,
};
use tidings_redis::Settings;
use tidings_testing::RedisServer;

use super::{Used, new, place};
use crate::fixture::{KEEP_ALL, broker, connect, name, publish, settings, texts};

const HEAD: &str = "tidings:{orders}:head";
const LOG: &str = "tidings:{orders}:log";

/// What a new subscription of these tests holds.
const HELD: &str = "60000,1048576";

/// A field of the head; '' for none.
fn head(server: &RedisServer, field: &str) -> String {
    server.command(&["HGET", HEAD, field]).lines().nth(1).unwrap_or_default().to_owned()
}

/// How long a key still lives.
fn lives(server: &RedisServer, key: &str) -> Duration {
    let reply = server.command(&["PTTL", key]);
    Duration::from_millis(reply.trim_start_matches(':').parse().expect("it expires"))
}

/// How many scripts were called.
fn calls(server: &RedisServer) -> u64 {
    let stats = server.command(&["INFO", "commandstats"]);
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")).expect("some");
    line.split(',').next().and_then(|calls| calls.parse().ok()).expect("a number")
}

fn hold(seconds: u64, bytes: u64) -> Hold {
    Hold { age: Duration::from_secs(seconds), bytes }
}

#[tokio::test]
async fn the_head_says_what_is_held_while_something_is() {
    let server = RedisServer::start();
    let used = Used::with(&server, 3).await;
    assert_eq!((head(&server, "v"), head(&server, "hd")), ("2".to_owned(), format!("1,{HELD}")));
    // Versions that know of no holds compare the format, and refuse the channel.
    publish(&used.broker, &used.place.channel, texts(1)).await;
    publish(&used.broker, &used.place.channel, texts(200)).await;
    assert_eq!(head(&server, "v"), "2");
    assert!(lives(&server, HEAD) > EXPIRE_MAX / 2, "what it counts is needed as long as there are subscriptions");
    assert_eq!(used.subscriptions.delete(&used.place, None).await, Ok(Set::Done));
    assert_eq!((head(&server, "v"), head(&server, "hd")), ("1".to_owned(), String::new()));
    let (log, lived) = (lives(&server, LOG), lives(&server, HEAD));
    assert!(lived >= log && lived <= log + HEAD_LINGER, "{lived:?} {log:?}");
    publish(&used.broker, &used.place.channel, texts(1)).await;
    assert_eq!(head(&server, "v"), "1");
    used.end().await;
}

#[tokio::test]
async fn a_head_that_is_new_learns_what_is_held() {
    let server = RedisServer::start();
    let used = Used::with(&server, 0).await;
    assert_eq!(server.command(&["EXISTS", HEAD]), ":0", "a subscription makes no head");
    publish(&used.broker, &used.place.channel, texts(1)).await;
    assert_eq!((head(&server, "v"), head(&server, "hd")), ("2".to_owned(), format!("1,{HELD}")));
    // All is lost but the subscription, which is ahead of what comes now.
    used.claim(1, 1).await;
    publish(&used.broker, &used.place.channel, texts(899)).await;
    let other = new(Start::End);
    assert_eq!(used.subscriptions.create(&place("orders", "other"), &other).await, Ok(Created::Done));
    assert_eq!(used.subscriptions.delete(&used.place, None).await, Ok(Set::Done));
    assert_eq!(head(&server, "hd"), format!("901,{HELD}"));
    server.command(&["DEL", HEAD, LOG]);
    publish(&used.broker, &used.place.channel, texts(1)).await;
    assert_eq!(head(&server, "hd"), format!("1,{HELD}"));
    used.end().await;
}

#[tokio::test]
async fn what_is_held_follows_what_is_settled() {
    let server = RedisServer::start();
    let used = Used::with(&server, 6).await;
    let renew = async |hold| used.look(Look { hold: Some(hold), ..Look::default() }).await;
    let mut out = used.claim(4, 1).await;
    renew(hold(60, 5)).await;
    assert_eq!(head(&server, "hd"), "1,60000,5");
    used.settle(1, &mut out, 1, super::waiting(1, 5)).await;
    renew(hold(60, 5)).await;
    assert_eq!(head(&server, "hd"), "1,60000,5", "it waits");
    let taken = Change { take: vec![1], forget: vec![1], ..Change::default() };
    used.apply(&[taken]).await;
    for sequence in 2..=4 {
        used.settle(1, &mut out, sequence, Change::default()).await;
    }
    renew(hold(60, 5)).await;
    assert_eq!(head(&server, "hd"), "5,60000,5");
    // Another that holds more, and longer.
    let other = place("orders", "other");
    assert_eq!(used.subscriptions.create(&other, &new(Start::After(Position::START))).await, Ok(Created::Done));
    renew(hold(90, 5)).await;
    assert_eq!(head(&server, "hd"), "1,90000,1048576");
    assert!(used.subscriptions.seek(&other, Start::End, Generation::random(), hold(1, 1)).await.expect("done"));
    assert_eq!(head(&server, "hd"), "5,90000,5");
    assert_eq!(used.subscriptions.delete(&used.place, None).await, Ok(Set::Done));
    assert_eq!(head(&server, "hd"), "7,1000,1");
    used.end().await;
}

#[tokio::test]
async fn what_is_held_lives_as_long_as_the_hold() {
    let server = RedisServer::start();
    let retention = Retention { max_age_ms: 5_000, ..KEEP_ALL };
    let used = Used::of(connect(Settings { retention, ..settings(&server.url()) }).await, 3).await;
    assert!(lives(&server, LOG) > Duration::from_secs(50), "the subscription has it live longer");
    // A lone message, as the optimistic script writes it, and some as the other does.
    for _ in 0..3 {
        server.command(&["PEXPIRE", LOG, "5000"]);
        tokio::time::sleep(Duration::from_millis(200)).await;
        publish(&used.broker, &used.place.channel, texts(1)).await;
    }
    assert!(lives(&server, LOG) > Duration::from_secs(50));
    let other = connect(Settings { retention, ..settings(&server.url()) }).await;
    server.command(&["PEXPIRE", LOG, "5000"]);
    publish(&other, &used.place.channel, texts(3)).await;
    assert!(lives(&server, LOG) > Duration::from_secs(50));
    other.close().await;
    used.end().await;
}

#[tokio::test]
async fn optimistic_publishes_go_on_beside_holds() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    publish(&broker, &name("orders"), texts(1)).await;
    let once = async |what: &str| {
        let before = calls(&server);
        publish(&broker, &name("orders"), texts(1)).await;
        assert_eq!(calls(&server) - before, 1, "{what}");
    };
    once("at first").await;
    let (subscriptions, mail) = (broker.subscriptions(), place("orders", "mail"));
    assert_eq!(subscriptions.create(&mail, &new(Start::End)).await, Ok(Created::Done));
    once("with a subscription").await;
    assert_eq!(subscriptions.delete(&mail, None).await, Ok(Set::Done));
    once("without it").await;
    broker.close().await;
}

/// A log that is held has more than the history keeps, at each publish.
#[tokio::test]
async fn lone_messages_trim_what_is_held_no_more() {
    let server = RedisServer::start();
    let retention = Retention { max_messages: 10, ..KEEP_ALL };
    let used = Used::of(connect(Settings { retention, ..settings(&server.url()) }).await, 1).await;
    for _ in 0..59 {
        publish(&used.broker, &used.place.channel, texts(1)).await;
    }
    assert_eq!(server.command(&["XLEN", LOG]), ":60");
    for _ in 0..60 {
        publish(&used.broker, &used.place.channel, texts(1)).await;
    }
    assert_eq!(server.command(&["XLEN", LOG]), ":100", "ten times as many");
    let mut out = used.claim(50, 1).await;
    for sequence in 1..=50 {
        used.settle(1, &mut out, sequence, Change::default()).await;
    }
    used.look(Look { hold: Some(hold(60, 1 << 20)), ..Look::default() }).await;
    publish(&used.broker, &used.place.channel, texts(1)).await;
    assert_eq!(server.command(&["XLEN", LOG]), ":71", "51 is the lowest that is not settled");
    used.end().await;
}
