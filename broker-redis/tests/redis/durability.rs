//! What is left of receipts when Redis dies, for each way that it can keep them, and which gaps a reader gets: the
//! table in `docs/durability.md`.

use std::{
    fs::{self, OpenOptions},
    path::PathBuf,
    time::Duration,
};

use tidings::{
    broker::{
        Error, GapReason, Receipt, Shared,
        history::{Next, Reader},
    },
    message::Position,
};
use tidings_testing::{DURABLE, RedisServer};

use crate::fixture::{broker, down, head, name, publish, texts, until, up};

const LOG: &str = "tidings:{orders}:log";

/// The gaps of a reader that has all up to a receipt: first, last, reason.
async fn gaps(broker: &Shared, receipt: Receipt) -> Vec<(i64, i64, GapReason)> {
    let head = head(broker, &name("orders")).await;
    let mut reader = Reader::new(Position::new(receipt.epoch, receipt.sequence));
    let mut gaps = Vec::new();
    loop {
        match reader.next(head.as_ref(), Default::default()) {
            Next::End => return gaps,
            Next::Read { to } => reader.advance(to),
            Next::Gap(gap) => gaps.push((gap.first_missing, gap.last_missing, gap.reason)),
            Next::Unlisted => panic!("the list of epochs is long enough"),
        }
    }
}

async fn restart(server: &mut RedisServer, broker: &Shared) {
    server.kill();
    down(broker).await;
    server.run();
    up(broker).await;
}

/// Publishes three messages, lets Redis come to rest, publishes two more and kills it the moment they are receipted.
/// Answers their last receipt, and how many of the five are left.
async fn die(arguments: &[&str]) -> (RedisServer, Shared, Receipt, i64) {
    let mut server = RedisServer::start_with(arguments);
    let broker = broker(&server).await;
    publish(&broker, &name("orders"), texts(3)).await;
    if arguments.contains(&"3600 1") {
        assert_eq!(server.command(&["SAVE"]), "+OK");
    }
    // A file that is synced in the background takes nothing meanwhile: that is what "up to two seconds" is about.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    until("nothing is being synced", || !server.command(&["INFO", "persistence"]).contains("aof_pending_bio_fsync:1"))
        .await;
    let last = publish(&broker, &name("orders"), texts(2)).await[1];
    restart(&mut server, &broker).await;
    let left = head(&broker, &name("orders")).await.map_or(0, |head| head.last);
    (server, broker, last, left)
}

#[tokio::test]
async fn a_killed_redis_without_persistence_forgets_everything_and_says_so() {
    let (_server, broker, last, left) = die(&["--save", "", "--appendonly", "no"]).await;
    assert_eq!(left, 0);
    // How far it would have gone nobody knows.
    assert_eq!(gaps(&broker, last).await, [(6, 0, GapReason::EpochChanged)]);
    assert_eq!(publish(&broker, &name("orders"), texts(1)).await[0].sequence, 1);
    broker.close().await;
}

#[tokio::test]
async fn a_killed_redis_with_snapshots_forgets_what_came_after_the_last_and_says_so() {
    let (_server, broker, last, left) = die(&["--save", "3600 1", "--appendonly", "no"]).await;
    assert_eq!(left, 3);
    assert_eq!(gaps(&broker, last).await, [(4, 5, GapReason::EpochChanged)]);
    let first = Receipt { sequence: 1, ..last };
    // The publisher knew, and says so without publishing anything.
    while gaps(&broker, first).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(gaps(&broker, first).await, [(4, 5, GapReason::EpochChanged)]);
    assert_eq!(publish(&broker, &name("orders"), texts(1)).await[0].sequence, 4);
    assert_eq!(gaps(&broker, first).await, [(4, 5, GapReason::EpochChanged)], "once");
    broker.close().await;
}

#[tokio::test]
async fn a_killed_redis_with_a_file_forgets_nothing_whenever_it_syncs() {
    for policy in ["always", "everysec", "no"] {
        let (_server, broker, last, left) = die(&["--save", "", "--appendonly", "yes", "--appendfsync", policy]).await;
        assert_eq!(left, 5, "{policy}");
        assert_eq!(gaps(&broker, last).await, [], "{policy}");
        let next = publish(&broker, &name("orders"), texts(1)).await[0];
        assert_eq!((next.sequence, gaps(&broker, last).await), (6, vec![]), "{policy}");
        broker.close().await;
    }
}

/// The file that commands are appended to.
fn appended(server: &RedisServer) -> PathBuf {
    let files = fs::read_dir(server.folder().join("appendonlydir")).expect("a folder of its files");
    let paths = files.map(|file| file.expect("a file").path());
    paths.into_iter().find(|path| path.to_string_lossy().ends_with(".incr.aof")).expect("it appends")
}

/// A machine that lost its power leaves the file's beginning. Wherever it is cut within a call, the whole call is gone:
/// head, log and ids never part.
#[tokio::test]
async fn a_file_cut_by_a_power_loss_loses_whole_calls_and_says_which() {
    let mut server = RedisServer::start_with(&DURABLE);
    let broker = broker(&server).await;
    publish(&broker, &name("orders"), texts(3)).await;
    let whole = fs::metadata(appended(&server)).expect("a file").len();
    let last = publish(&broker, &name("orders"), texts(5)).await[4];
    let end = fs::metadata(appended(&server)).expect("a file").len();
    let snapshot = server.snapshot();
    for cut in [whole + 1, whole + 20, whole + (end - whole) / 2, end - 1] {
        server.restart_from(&snapshot);
        server.kill();
        let file = OpenOptions::new().write(true).open(appended(&server)).expect("a file");
        file.set_len(cut).expect("it can be cut");
        server.run();
        let broker = crate::fixture::broker(&server).await;
        let left = head(&broker, &name("orders")).await.expect("three are left");
        assert_eq!((left.first, left.last), (1, 3), "cut at {cut} of {whole} to {end}");
        assert_eq!(server.command(&["XLEN", LOG]), ":1");
        assert_eq!(gaps(&broker, last).await, [(4, 8, GapReason::EpochChanged)]);
        assert_eq!(publish(&broker, &name("orders"), texts(1)).await[0].sequence, 4);
        assert_eq!(gaps(&broker, last).await, [(4, 8, GapReason::EpochChanged)]);
        broker.close().await;
    }
    broker.close().await;
}

/// Redis's documentation warns of it: restarting an empty primary loses its replicas' copies as well.
#[tokio::test]
async fn a_primary_that_forgets_empties_its_replicas() {
    let mut primary = RedisServer::start();
    let replica = RedisServer::replica_of(&primary);
    let broker = broker(&primary).await;
    let last = publish(&broker, &name("orders"), texts(3)).await[2];
    replica.catch_up_with(&primary);
    assert_eq!(replica.command(&["XLEN", LOG]), ":1");
    restart(&mut primary, &broker).await;
    until("the replica follows", || replica.command(&["EXISTS", LOG]) == ":0").await;
    assert_eq!(gaps(&broker, last).await, [(4, 0, GapReason::EpochChanged)]);
    broker.close().await;
}

#[tokio::test]
async fn without_the_replicas_redis_wants_nothing_is_published() {
    let server = RedisServer::start_with(&["--save", "", "--min-replicas-to-write", "1"]);
    let broker = broker(&server).await;
    let refused = broker.publish(&name("orders"), texts(1), 0).await;
    assert!(matches!(&refused, Err(Error::Unavailable(text)) if text.contains("min-replicas-to-write")), "{refused:?}");
    assert_eq!(head(&broker, &name("orders")).await, None);
    let replica = RedisServer::replica_of(&server);
    let receipt = publish(&broker, &name("orders"), texts(1)).await[0];
    assert_eq!((receipt.sequence, receipt.replicas), (1, 0), "Redis did not wait for it");
    drop(replica);
    broker.close().await;
}

#[tokio::test]
async fn a_flush_is_in_the_file_as_well() {
    let mut server = RedisServer::start_with(&DURABLE);
    let broker = broker(&server).await;
    let last = publish(&broker, &name("orders"), texts(3)).await[2];
    assert_eq!(server.command(&["FLUSHALL"]), "+OK");
    restart(&mut server, &broker).await;
    assert_eq!(gaps(&broker, last).await, [(4, 0, GapReason::EpochChanged)]);
    broker.close().await;
}
