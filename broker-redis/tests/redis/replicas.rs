//! Publishes that wait for replicas.

use std::time::{Duration, Instant};

use tidings::broker::{Error, Published, Shared};
use tidings_testing::{Proxy, RedisServer};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::fixture::{TIMEOUT, broker, connect, head, name, publish, settings, signal, texts, until, with_id, within};

/// A primary, its replica, and a broker on the primary.
async fn start() -> (RedisServer, RedisServer, Shared) {
    let primary = RedisServer::start();
    let replica = RedisServer::replica_of(&primary);
    until("the replica is online", || primary.command(&["INFO", "replication"]).contains("state=online")).await;
    let broker = broker(&primary).await;
    (primary, replica, broker)
}

/// Publishes what the replica, which hangs, can't have; answers when the publish waits for it.
async fn wait_in_vain(primary: &RedisServer, replica: &RedisServer, broker: &Shared) -> JoinHandle<Published> {
    signal(replica, "STOP");
    let waits = tokio::spawn(broker.publish(&name("orders"), texts(1), 1));
    until("a client waits", || primary.command(&["CLIENT", "LIST"]).contains("cmd=wait")).await;
    waits
}

/// The publish ends: it is in the log, and the replica has not confirmed it.
async fn is_not_reached(waits: JoinHandle<Published>) {
    let short = within(waits, "the wait ends").await.expect("no panic");
    assert!(matches!(short, Err(Error::ReplicasNotReached { wanted: 1, reached: 0, .. })), "{short:?}");
}

#[tokio::test]
async fn a_receipt_counts_the_replicas_that_have_the_message() {
    let (_primary, replica, broker) = start().await;
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
    let (primary, replica, broker) = start().await;
    publish(&broker, &name("orders"), texts(1)).await;
    signal(&replica, "STOP");
    let waits = tokio::spawn(broker.publish(&name("orders"), texts(1), 1));
    until("the script has run", || primary.command(&["XLEN", "tidings:{orders}:log"]) == ":2").await;
    // The channel's next publish does not wait for WAIT.
    assert_eq!(publish(&broker, &name("orders"), texts(1)).await[0].sequence, 3);
    assert!(!waits.is_finished());
    is_not_reached(waits).await;
    signal(&replica, "CONT");
    broker.close().await;
}

/// Neither a publish that wants replicas nor one after it waits longer for a primary that hangs than any other.
#[tokio::test]
async fn a_primary_that_hangs_holds_nobody_up_for_longer_than_the_timeout() {
    let (primary, _replica, broker) = start().await;
    // From now on a connection waits in the pool.
    within(broker.publish(&name("orders"), texts(1), 1), "a receipt").await.expect("published");
    signal(&primary, "STOP");
    let began = Instant::now();
    let publishes = [1, 0].map(|replicas| tokio::spawn(broker.publish(&name("orders"), texts(1), replicas)));
    for publish in publishes {
        let refused = within(publish, "an answer").await.expect("no panic");
        assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    }
    assert!(began.elapsed() < TIMEOUT * 3 / 2, "{:?}", began.elapsed());
    signal(&primary, "CONT");
    broker.close().await;
}

#[tokio::test]
async fn a_connection_lost_before_wait_has_answered_is_replicas_not_reached() {
    let (primary, replica, broker) = start().await;
    let waits = wait_in_vain(&primary, &replica, &broker).await;
    primary.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    is_not_reached(waits).await;
    signal(&replica, "CONT");
    broker.close().await;
}

#[tokio::test]
async fn a_broker_that_closes_does_not_wait_for_a_replica_that_hangs() {
    let (primary, replica, broker) = start().await;
    let waits = wait_in_vain(&primary, &replica, &broker).await;
    let begun = Instant::now();
    within(broker.close(), "the broker closes").await;
    assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
    is_not_reached(waits).await;
    signal(&replica, "CONT");
}

/// One that is no primary any more, though it does not know: its replicas say nothing of where messages are kept.
#[tokio::test]
async fn an_old_primary_is_not_written_to() {
    let (old, new) = (RedisServer::start(), RedisServer::start());
    let _replicas = [&old, &new].map(RedisServer::replica_of);
    let proxy = Proxy::to(&old).await;
    let broker = connect(settings(&proxy.url())).await;
    let publish = || within(broker.publish(&name("orders"), texts(1), 1), "a receipt");
    publish().await.expect("published");
    proxy.retarget(&new);
    let list = old.command(&["CLIENT", "LIST"]);
    let ids = list.lines().filter(|line| line.contains(" name=tidings-command "));
    for id in ids.filter_map(|line| line.split_once("id=")?.1.split(' ').next()) {
        old.command(&["CLIENT", "KILL", "ID", id]);
    }
    until("it has the new primary", || new.command(&["CLIENT", "LIST"]).contains(" name=tidings-command ")).await;
    assert_eq!(old.command(&["CLIENT", "LIST"]).matches(" name=tidings-wait ").count(), 1, "it stays there");
    publish().await.expect("published");
    assert_eq!([&old, &new].map(|server| server.command(&["XLEN", "tidings:{orders}:log"])), [":1", ":1"]);
    assert_eq!(old.command(&["CLIENT", "LIST"]).matches(" name=tidings-wait ").count(), 0);
    broker.close().await;
}
