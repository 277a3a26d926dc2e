//! Redis refuses: each reason is told in words that name the remedy, and nothing is half-written.

use std::time::Duration;

use tidings::broker::{Broker as _, Error};
use tidings_testing::RedisServer;

use crate::support::{RETENTION, becomes_down, broker, draft, head, name, publish, start, try_publish, unavailable};

#[tokio::test(flavor = "multi_thread")]
async fn out_of_memory_writes_nothing() {
    let redis = RedisServer::start();
    let broker = broker(&redis).await;
    let channel = name("full");
    publish(&broker, &channel, "x").await;
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let refused = try_publish(&broker, &channel, vec![draft("y")]).await;
    assert_eq!(refused, Err(Error::OutOfMemory));
    assert_eq!(head(&broker, &channel).await.expect("reads go on").last, 1);
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(publish(&broker, &channel, "z").await.sequence, 2);
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_format_is_refused() {
    let redis = RedisServer::start();
    let broker = broker(&redis).await;
    let channel = name("newer");
    publish(&broker, &channel, "x").await;
    redis.command(&["HSET", "tidings:{newer}:head", "v", "2"]);
    let refused = unavailable(try_publish(&broker, &channel, vec![draft("y")]).await);
    assert!(refused.contains("newer version"), "{refused}");
    assert!(matches!(broker.heads(&[channel]).await, Err(Error::Unavailable(text)) if text.contains("newer version")));
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_the_right_writes_nothing() {
    let redis = RedisServer::start();
    let rules = ["on", ">pw", "~*", "resetchannels", "&allowed", "+@all"];
    redis.command(&[&["ACL", "SETUSER", "bob"], &rules[..]].concat());
    let broker = start(&format!("redis://bob:pw@127.0.0.1:{}", redis.port()), Duration::from_secs(5), RETENTION);
    assert_eq!(publish(&broker, &name("allowed"), "x").await.sequence, 1);
    let refused = unavailable(try_publish(&broker, &name("other"), vec![draft("x")]).await);
    assert!(refused.contains("ACL"), "{refused}");
    assert_eq!(redis.command(&["EXISTS", "tidings:{other}:log", "tidings:{other}:head"]), ":0");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_a_replica_are_told() {
    let redis = RedisServer::start_with(&["--save", "", "--requirepass", "right"]);
    let url = format!("redis://:wrong@127.0.0.1:{}", redis.port());
    let broker = start(&url, Duration::from_millis(300), RETENTION);
    becomes_down(&broker, "password").await;
    let refused = unavailable(try_publish(&broker, &name("c"), vec![draft("x")]).await);
    assert!(refused.contains("password") && !refused.contains("wrong@"), "{refused}");
    broker.close().await;

    let primary = RedisServer::start();
    let replica = RedisServer::replica_of(&primary);
    let broker = start(&replica.url(), Duration::from_millis(300), RETENTION);
    becomes_down(&broker, "replica").await;
    broker.close().await;
}
