//! Publishes that wait for replicas.

use std::time::{Duration, Instant};

use tidings::broker::Error;
use tidings_testing::RedisServer;
use uuid::Uuid;

use crate::fixture::{broker, head, name, publish, signal, texts, until, with_id, within};

fn online(primary: &RedisServer) -> bool {
    primary.command(&["INFO", "replication"]).contains("state=online")
}

#[tokio::test]
async fn a_receipt_tells_the_replicas_that_have_the_message() {
    let primary = RedisServer::start();
    let replica = RedisServer::replica_of(&primary);
    until("the replica is online", || online(&primary)).await;
    let broker = broker(&primary).await;
    let id = Uuid::now_v7();
    for duplicate in [false, true] {
        let receipts = within(broker.publish(&name("orders"), vec![with_id(id)], 1), "a receipt").await;
        let receipt = receipts.expect("published")[0];
        assert_eq!((receipt.sequence, receipt.replicas, receipt.duplicate), (1, 1, duplicate));
    }
    assert_eq!(replica.command(&["XLEN", "tidings:{orders}:log"]), ":1");
    let refused = broker.publish(&name("orders"), texts(1), 2).await;
    assert!(matches!(&refused, Err(Error::Unavailable(text)) if text.contains("min_replicas")), "{refused:?}");
    assert_eq!(head(&broker, &name("orders")).await.expect("published").last, 1);
    broker.close().await;
}

#[tokio::test]
async fn a_replica_that_hangs_is_not_reached_and_holds_up_nobody_else() {
    let primary = RedisServer::start();
    let replica = RedisServer::replica_of(&primary);
    until("the replica is online", || online(&primary)).await;
    let broker = broker(&primary).await;
    publish(&broker, &name("orders"), texts(1)).await;
    signal(&replica, "STOP");
    let waits = tokio::spawn(broker.publish(&name("orders"), texts(1), 1));
    until("the script has run", || primary.command(&["XLEN", "tidings:{orders}:log"]) == ":2").await;
    // The channel's next publish does not wait behind WAIT.
    assert_eq!(publish(&broker, &name("orders"), texts(1)).await[0].sequence, 3);
    assert!(!waits.is_finished());
    let short = within(waits, "the wait ends").await.expect("no panic");
    assert!(matches!(short, Err(Error::ReplicasNotReached { wanted: 1, reached: 0, .. })), "{short:?}");
    signal(&replica, "CONT");
    broker.close().await;
}

#[tokio::test]
async fn a_connection_lost_before_wait_has_answered_is_replicas_not_reached() {
    let primary = RedisServer::start();
    let replica = RedisServer::replica_of(&primary);
    until("the replica is online", || online(&primary)).await;
    let broker = broker(&primary).await;
    signal(&replica, "STOP");
    let waits = tokio::spawn(broker.publish(&name("orders"), texts(1), 1));
    until("a client waits", || primary.command(&["CLIENT", "LIST"]).contains("cmd=wait")).await;
    primary.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    let short = within(waits, "the wait ends").await.expect("no panic");
    assert!(matches!(short, Err(Error::ReplicasNotReached { wanted: 1, reached: 0, .. })), "{short:?}");
    signal(&replica, "CONT");
    broker.close().await;
}

#[tokio::test]
async fn a_broker_that_closes_does_not_wait_for_a_replica_that_hangs() {
    let primary = RedisServer::start();
    let replica = RedisServer::replica_of(&primary);
    until("the replica is online", || online(&primary)).await;
    let broker = broker(&primary).await;
    signal(&replica, "STOP");
    let waits = tokio::spawn(broker.publish(&name("orders"), texts(1), 1));
    until("a client waits", || primary.command(&["CLIENT", "LIST"]).contains("cmd=wait")).await;
    let begun = Instant::now();
    within(broker.close(), "the broker closes").await;
    assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
    let short = within(waits, "the wait ends").await.expect("no panic");
    assert!(matches!(short, Err(Error::ReplicasNotReached { wanted: 1, reached: 0, .. })), "{short:?}");
    signal(&replica, "CONT");
}
