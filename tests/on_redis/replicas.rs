//! Publishes that wait for replicas.

use std::{process::Command, time::Duration};

use tidings::broker::{Broker as _, Error};
use tidings_testing::RedisServer;

use crate::support::{RETENTION, becomes_up, draft, draft_with_id, name, start, unavailable, within};

fn signal(server: &RedisServer, signal: &str) {
    let pid = server.pid().expect("it runs").to_string();
    let sent = Command::new("kill").args([signal, &pid]).status().expect("kill can be run");
    assert!(sent.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_waits_for_replicas_and_says_how_many() {
    let redis = RedisServer::start();
    let replica = RedisServer::replica_of(&redis);
    let broker = start(&redis.url(), Duration::from_secs(2), RETENTION);
    becomes_up(&broker).await;
    let channel = name("safe");
    let id = uuid::Uuid::now_v7();
    let receipt = within("a receipt", broker.publish(&channel, vec![draft_with_id("x", id)], 1)).await;
    assert_eq!(receipt.expect("published")[0].replicas, 1);
    // More than are connected: refused before anything is written.
    let refused = unavailable(within("an answer", broker.publish(&channel, vec![draft("x")], 2)).await);
    assert!(refused.contains("min_replicas"), "{refused}");

    // A replica that has stopped: published, but not confirmed; a repeat, on whatever connection, does not lie either.
    signal(&replica, "-STOP");
    for drafts in [vec![draft("y")], vec![draft_with_id("x", id)]] {
        let short = within("an answer", broker.publish(&channel, drafts, 1)).await;
        assert_eq!(short, Err(Error::ReplicasNotReached { wanted: 1, reached: 0, within_ms: 2_000 }));
    }
    // Others do not wait behind it.
    let waiting = broker.publish(&channel, vec![draft("slow")], 1);
    let quick = tokio::time::timeout(Duration::from_secs(1), broker.publish(&channel, vec![draft("quick")], 0)).await;
    assert_eq!(quick.expect("at once").expect("published")[0].replicas, 0);
    assert!(matches!(within("an answer", waiting).await, Err(Error::ReplicasNotReached { .. })));
    signal(&replica, "-CONT");
    let receipt = within("a receipt", broker.publish(&channel, vec![draft("z")], 1)).await;
    assert_eq!(receipt.expect("published")[0].replicas, 1);
    broker.close().await;
}
