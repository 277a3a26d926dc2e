//! A service that sentinels watch: failovers of all kinds are followed, and every acknowledged message is delivered or
//! lies inside a gap.

mod behind;
mod choice;

use std::time::{Duration, Instant};

use tidings::pb::{GapReason, PublishResponse};
use tidings_testing::{Process, RedisServer, Sentinels};

use super::rig::{Crowd, Named, Rig, Watch, check, until};
use crate::harness::text;

/// How soon nobody is left on a server that was replaced; it is demoted after some nine seconds.
const LEFT_WITHIN: Duration = Duration::from_secs(4);

/// Lines of a log that say so.
fn said(process: &Process, words: &str) -> usize {
    process.output().lines().filter(|line| line.contains(words)).count()
}

/// What a server answers. Sentinels end its connections, a test's as well, when they promote or demote it.
fn ask(server: &RedisServer, words: &[&str]) -> String {
    (0..10).find_map(|_| server.try_command(words)).expect("an answer")
}

/// Whether a program of ours has a connection to this server.
fn is_used(server: &RedisServer) -> bool {
    ask(server, &["CLIENT", "LIST"]).contains("name=tidings-")
}

fn is_primary(server: &RedisServer) -> bool {
    ask(server, &["INFO", "replication"]).contains("role:master")
}

fn announced(server: &RedisServer) -> String {
    format!("the primary is now 127.0.0.1:{}", server.port())
}

/// All that was acknowledged was delivered, or was lost by Redis and is named. Answers what was lost.
async fn is_whole(streams: &[Watch], channel: &str, receipts: &[PublishResponse]) -> Vec<Named> {
    let mut lost = Vec::new();
    for stream in streams {
        lost = check(stream, channel, receipts).await;
        assert!(lost.iter().all(|(_, _, why)| *why == GapReason::EpochChanged), "{lost:?}");
        // A stream may have received what Redis then lost; otherwise nothing comes twice.
        let messages = stream.messages(channel).len();
        assert!(
            messages >= receipts.len() - lost.iter().map(|(first, last, _)| last - first + 1).sum::<i64>() as usize
        );
    }
    lost
}

/// The old primary goes on acknowledging for ten seconds: nobody may be there to hear it.
#[tokio::test(flavor = "multi_thread")]
async fn a_planned_sentinel_failover() {
    let set = Sentinels::start();
    // Whatever else would notice that a connection leads to the wrong server takes longer than the demotion.
    let rig = Rig::at(&set.url(""), &["--redis-timeout=30s"]).await;
    let streams = rig.watch_both("p.plan", "p.*").await;
    let crowd = Crowd::start(&rig.publisher, &["p.plan"]);
    crowd.until_more(30).await;
    let new = set.fail_over(0);
    let announced_at = Instant::now();
    until("both have left the old primary", || !is_used(&set.servers[0])).await;
    assert!(announced_at.elapsed() < LEFT_WITHIN, "{:?}", announced_at.elapsed());
    assert!(is_primary(&set.servers[0]), "it would acknowledge what they sent there");
    crowd.until_more(30).await;
    let receipts = crowd.stop().await;
    is_whole(&streams, "p.plan", &receipts["p.plan"]).await;
    for process in [&rig.publisher.process, &rig.subscriber.process] {
        assert_eq!(said(process, &announced(&set.servers[new])), 1, "{}", process.output());
        for outage in ["can't be used now", "only the live connection", "a sentinel can't be asked"] {
            assert_eq!(said(process, outage), 0, "a planned failover is no outage: {}", process.output());
        }
    }
    drop(streams);
    rig.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_killed_under_load() {
    let mut set = Sentinels::start();
    let rig = Rig::at(&set.url(""), &[]).await;
    let streams = rig.watch_both("k.dead", "k.*").await;
    let crowd = Crowd::start(&rig.publisher, &["k.dead"]);
    crowd.until_more(30).await;
    set.servers[0].kill();
    let new = set.replaced(0, 0);
    crowd.until_more(30).await;
    // It comes back as a replica, and nobody goes there.
    set.servers[0].run();
    crowd.until_more(30).await;
    let receipts = crowd.stop().await;
    is_whole(&streams, "k.dead", &receipts["k.dead"]).await;
    assert!(is_used(&set.servers[new]) && !is_used(&set.servers[0]));
    drop(streams);
    rig.stop();
}

/// It was stopped, not dead: when it wakes it carries out and acknowledges what waits in its sockets, for a moment more
/// a primary. Nobody may take that for a receipt.
#[tokio::test(flavor = "multi_thread")]
async fn a_paused_primary_wakes() {
    const CHANNELS: [&str; 4] = ["w.1", "w.2", "w.3", "w.4"];
    let set = Sentinels::start();
    // Longer than the failover takes: publishes that wait are not given up meanwhile.
    let rig = Rig::at(&set.url(""), &["--redis-timeout=10s"]).await;
    let mut streams = Vec::new();
    let mut receipts = Vec::new();
    for name in CHANNELS {
        streams.push(rig.watch_both(name, &format!("{name}*")).await);
        receipts.push(rig.publish(name, 1..=3).await);
    }
    set.servers[1].catch_up_with(&set.servers[0]);
    set.servers[2].catch_up_with(&set.servers[0]);
    set.servers[0].pause();
    let waiting = CHANNELS.map(|name| {
        let mut client = rig.publisher.client();
        tokio::spawn(async move { client.publish(text(name, "waits in a socket")).await })
    });
    let new = set.replaced(0, 0);
    for waiting in waiting {
        let refused = waiting.await.expect("no panic").expect_err("the server that has it is the primary no more");
        assert_eq!(crate::harness::reason(&refused), "OUTCOME_UNKNOWN", "{refused:?}");
    }
    for (name, receipts) in CHANNELS.iter().zip(&mut receipts) {
        receipts.extend(rig.publish(name, 4..=5).await);
    }
    set.servers[0].resume();
    let has = |words: &[&str], text: &str| ask(&set.servers[0], words).contains(text);
    for name in CHANNELS {
        let log = format!("tidings:{{{name}}}:log");
        until("it has carried out what waited, or was demoted", || {
            has(&["XREVRANGE", &log, "+", "-", "COUNT", "1"], "waits in a socket")
                || has(&["INFO", "replication"], "role:slave")
        })
        .await;
    }
    for ((name, receipts), streams) in CHANNELS.iter().zip(&mut receipts).zip(&streams) {
        receipts.extend(rig.publish(name, 6..=7).await);
        assert_eq!(is_whole(streams, name, receipts).await, []);
        let is_ghost = |message: &tidings::pb::Message| crate::harness::text_of(message) == "waits in a socket";
        assert!(!streams.iter().any(|stream| stream.messages(name).iter().any(is_ghost)), "nobody listens there");
    }
    assert!(is_used(&set.servers[new]) && !is_used(&set.servers[0]));
    drop(streams);
    rig.stop();
}
