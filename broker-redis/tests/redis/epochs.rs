//! What Redis lost, and how the next publish says so.

use std::time::{Duration, Instant};

use tidings::{
    broker::{Error, Shared},
    limits::FULL_CALL_INTERVAL,
};
use tidings_testing::{DURABLE, RedisServer};
use uuid::Uuid;

use crate::fixture::{broker, down, head, name, publish, texts, up, with_id};

const HEAD: &str = "tidings:{orders}:head";
const LOG: &str = "tidings:{orders}:log";

async fn restart(server: &mut RedisServer, broker: &Shared) {
    server.kill();
    down(broker).await;
    server.run();
    up(broker).await;
}

#[tokio::test]
async fn a_restart_that_loses_nothing_begins_an_epoch_without_a_loss() {
    let mut server = RedisServer::start_with(&DURABLE);
    let broker = broker(&server).await;
    let before = publish(&broker, &name("orders"), texts(3)).await[2];
    restart(&mut server, &broker).await;
    let after = publish(&broker, &name("orders"), texts(1)).await[0];
    assert_eq!(after.sequence, 4);
    assert_ne!(after.epoch, before.epoch);
    let head = head(&broker, &name("orders")).await.expect("published");
    let starts: Vec<_> = head.epochs.iter().map(|start| (start.epoch, start.first, start.previous_end)).collect();
    assert_eq!(starts, [(before.epoch, 1, 0), (after.epoch, 4, 3)]);
    assert_eq!((head.first, head.last), (1, 4));
    broker.close().await;
}

#[tokio::test]
async fn a_restart_from_an_older_snapshot_names_what_was_lost() {
    let mut server = RedisServer::start();
    let broker = broker(&server).await;
    publish(&broker, &name("orders"), texts(5)).await;
    assert_eq!(server.command(&["SAVE"]), "+OK");
    let before = publish(&broker, &name("orders"), texts(3)).await[2];
    restart(&mut server, &broker).await;
    assert_eq!(head(&broker, &name("orders")).await.expect("restored").last, 5);
    let after = publish(&broker, &name("orders"), texts(1)).await[0];
    assert_eq!(after.sequence, 6);
    assert_ne!(after.epoch, before.epoch);
    let start = *head(&broker, &name("orders")).await.expect("published").epochs.last().expect("an epoch");
    assert_eq!((start.epoch, start.first, start.previous_end), (after.epoch, 6, before.sequence));
    broker.close().await;
}

#[tokio::test]
async fn a_flushed_redis_begins_again() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let before = publish(&broker, &name("orders"), texts(3)).await[0];
    server.command(&["FLUSHALL"]);
    assert_eq!(head(&broker, &name("orders")).await, None);
    let after = publish(&broker, &name("orders"), texts(1)).await[0];
    assert_eq!(after.sequence, 1);
    assert_ne!(after.epoch, before.epoch);
    // The registry was flushed as well, and the new epoch makes the publisher write it again.
    assert_eq!(broker.channels(None, "", 10).await.expect("listed"), [name("orders")]);
    broker.close().await;
}

#[tokio::test]
async fn a_lost_head_over_a_living_log_drops_nothing() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let before = publish(&broker, &name("orders"), texts(3)).await[2];
    server.command(&["DEL", HEAD]);
    let without = head(&broker, &name("orders")).await.expect("the log lives");
    assert_eq!((without.first, without.last, without.epochs.len()), (1, 3, 0));
    assert_eq!(without.time_ms, before.time_ms);
    let after = publish(&broker, &name("orders"), texts(1)).await[0];
    assert_eq!(after.sequence, 4);
    assert_ne!(after.epoch, before.epoch);
    assert!(after.time_ms >= before.time_ms);
    let with = head(&broker, &name("orders")).await.expect("published");
    assert_eq!((with.first, with.last, with.epochs.len(), with.epochs[0].first), (1, 4, 1, 4));
    broker.close().await;
}

#[tokio::test]
async fn an_emptied_log_without_a_head_continues_after_its_last_id() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    publish(&broker, &name("orders"), texts(3)).await;
    server.command(&["XTRIM", LOG, "MAXLEN", "0"]);
    server.command(&["DEL", HEAD]);
    assert_eq!(publish(&broker, &name("orders"), texts(1)).await[0].sequence, 4);
    broker.close().await;
}

#[tokio::test]
async fn a_head_older_than_its_log_continues_after_the_log_in_a_new_epoch() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let before = publish(&broker, &name("orders"), texts(5)).await[4];
    server.command(&["HSET", HEAD, "s", "2"]);
    let after = publish(&broker, &name("orders"), texts(2)).await;
    assert_eq!(after.iter().map(|receipt| receipt.sequence).collect::<Vec<_>>(), [6, 7]);
    assert_ne!(after[0].epoch, before.epoch);
    let head = head(&broker, &name("orders")).await.expect("published");
    assert_eq!((head.first, head.last, head.epochs.len()), (1, 7, 2));
    broker.close().await;
}

#[tokio::test]
async fn a_call_that_only_repeats_begins_no_epoch() {
    let mut server = RedisServer::start_with(&DURABLE);
    let broker = broker(&server).await;
    let id = Uuid::now_v7();
    let first = publish(&broker, &name("orders"), vec![with_id(id)]).await[0];
    restart(&mut server, &broker).await;
    let repeat = publish(&broker, &name("orders"), vec![with_id(id)]).await[0];
    assert_eq!((repeat.epoch, repeat.sequence, repeat.duplicate), (first.epoch, first.sequence, true));
    assert_eq!(head(&broker, &name("orders")).await.expect("published").epochs.len(), 1);
    broker.close().await;
}

#[tokio::test]
async fn a_head_lists_the_last_sixteen_epochs() {
    let server = RedisServer::start_with(&["--save", "", "--enable-debug-command", "yes"]);
    let broker = broker(&server).await;
    for _ in 0..20 {
        // What may be a repeat takes the full script, on which the id is compared each time.
        publish(&broker, &name("orders"), vec![with_id(Uuid::now_v7())]).await;
        assert_eq!(server.command(&["DEBUG", "CHANGE-REPL-ID"]), "+OK");
    }
    let epochs = head(&broker, &name("orders")).await.expect("published").epochs;
    assert_eq!(epochs.iter().map(|start| start.first).collect::<Vec<_>>(), (5..=20).collect::<Vec<_>>());
    assert!(epochs.iter().all(|start| start.previous_end == start.first - 1));
    broker.close().await;
}

#[tokio::test]
async fn an_epoch_that_ends_under_an_open_connection_is_noticed_within_the_interval_of_full_calls() {
    let server = RedisServer::start_with(&["--save", "", "--enable-debug-command", "yes"]);
    let broker = broker(&server).await;
    publish(&broker, &name("orders"), texts(1)).await;
    let before = publish(&broker, &name("orders"), texts(1)).await[0].epoch;
    assert_eq!(server.command(&["DEBUG", "CHANGE-REPL-ID"]), "+OK");
    let changed = Instant::now();
    while publish(&broker, &name("orders"), texts(1)).await[0].epoch == before {
        assert!(changed.elapsed() < FULL_CALL_INTERVAL + Duration::from_secs(2), "no call compares the id");
        // Often enough that every call is an optimistic one.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let head = head(&broker, &name("orders")).await.expect("published");
    assert_eq!(head.epochs.len(), 2);
    assert_eq!(head.epochs[1].previous_end, head.epochs[1].first - 1, "nothing was lost, and none is reported");
    broker.close().await;
}

#[tokio::test]
async fn a_newer_format_is_left_alone() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    publish(&broker, &name("orders"), texts(1)).await;
    server.command(&["HSET", HEAD, "v", "3"]);
    let refused = broker.publish(&name("orders"), texts(1), 0).await;
    assert!(matches!(&refused, Err(Error::Channel(text)) if text.contains("newer")), "{refused:?}");
    assert_eq!(server.command(&["XLEN", LOG]), ":1");
    let refused = broker.heads(&[name("orders")]).await.expect("answered").remove(0);
    assert!(matches!(&refused, Err(Error::Channel(text)) if text.contains("newer")), "{refused:?}");
    broker.close().await;
}
