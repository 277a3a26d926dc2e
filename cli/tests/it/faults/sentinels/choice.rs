//! Which primary is followed where sentinels contradict each other, say nothing, or are gone; and what can't be used at
//! all is said in words.

use std::slice;

use tidings_testing::{
    Monitored, RedisServer, SERVICE, Sentinels, certificates::Files, free_port, sentinel_of, sentinel_url,
};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use super::{
    super::rig::{Crowd, Rig, check, until},
    announced, is_used, is_whole, said,
};
use crate::harness::{Publisher, channel, reason, text};

/// Most sentinels of the URL were never told of anything, and lead to a server that says it is a primary; another one
/// hangs.
#[tokio::test(flavor = "multi_thread")]
async fn a_stale_sentinel() {
    let set = Sentinels::start();
    let lone = RedisServer::start();
    let stale = [(); 4].map(|()| sentinel_of(Monitored { port: lone.port(), epoch: 0 }, 1));
    set.sentinels[2].pause();
    // The other one is found through one of them.
    let told = [&set.sentinels[2], &set.sentinels[1]];
    let url = sentinel_url("", &stale.iter().chain(told).collect::<Vec<_>>());
    let rig = Rig::at(&url, &[]).await;
    for process in [&rig.publisher.process, &rig.subscriber.process] {
        assert_eq!(said(process, &announced(&set.servers[0])), 1, "{}", process.output());
        process.wait_for_output("a sentinel can't be asked for the primary");
    }
    let streams = rig.watch_both("s.stale", "s.*").await;
    let crowd = Crowd::start(&rig.publisher, &["s.stale"]);
    crowd.until_more(20).await;
    // One of which they were not told.
    let new = set.fail_over(0);
    until("they follow it", || is_used(&set.servers[new]) && !is_used(&set.servers[0])).await;
    crowd.until_more(20).await;
    set.sentinels[2].resume();
    crowd.until_more(20).await;
    let receipts = crowd.stop().await;
    is_whole(&streams, "s.stale", &receipts["s.stale"]).await;
    assert_eq!(lone.command(&["DBSIZE"]), ":0");
    assert!(!is_used(&lone));
    drop(streams);
    rig.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn losing_all_sentinels_stops_nothing() {
    let mut set = Sentinels::start();
    let rig = Rig::at(&set.url(""), &[]).await;
    let streams = rig.watch_both("n.none", "n.*").await;
    let mut receipts = rig.publish("n.none", 1..=3).await;
    set.sentinels.iter_mut().for_each(RedisServer::kill);
    for process in [&rig.publisher.process, &rig.subscriber.process] {
        process.wait_for_output("no sentinel can be asked; the primary that was known last goes on being used");
    }
    receipts.extend(rig.publish("n.none", 4..=6).await);
    rig.publisher.becomes(ServingStatus::Serving).await;
    rig.subscriber.becomes(ServingStatus::Serving).await;
    // Also for connections that are made now.
    set.servers[0].command(&["CLIENT", "KILL", "TYPE", "normal"]);
    set.servers[0].command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    receipts.push(rig.publish_stubbornly("n.none", 7).await);
    for stream in &streams {
        assert_eq!(check(stream, "n.none", &receipts).await, []);
    }
    set.sentinels[0].run();
    for process in [&rig.publisher.process, &rig.subscriber.process] {
        process.wait_for_output("the sentinels can be asked for the primary again");
        assert_eq!(said(process, "no sentinel can be asked"), 1, "{}", process.output());
    }
    drop(streams);
    rig.stop();
}

/// A publisher says in its log and in every status why it has no Redis.
async fn is_refused(url: &str, words: &[&str]) {
    is_refused_with(url, &[], words).await;
}

async fn is_refused_with(url: &str, args: &[&str], words: &[&str]) {
    let publisher = Publisher::start_alone(url, &[&["--redis-timeout=1s"], args].concat()).await;
    words.iter().for_each(|words| publisher.process.wait_for_output(words));
    publisher.becomes(ServingStatus::NotServing).await;
    let refused = publisher.client().publish(text("a", "x")).await.expect_err("there is no Redis");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "NOT_PUBLISHED"), "{refused:?}");
    assert!(words.iter().all(|words| refused.message().contains(words)), "{refused:?}");
    publisher.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_used_is_said_in_words() {
    let redis = RedisServer::start();
    let sentinel = sentinel_of(Monitored { port: redis.port(), epoch: 0 }, 1);
    let url = sentinel_url("", &[&sentinel]);
    let other = url.replace(SERVICE, "other");
    is_refused(&other, &["no sentinel knows other; they know: mymaster"]).await;
    let of_redis = sentinel_url("", &[&redis]);
    is_refused(
        &of_redis,
        &["no sentinel can be asked where the primary of mymaster is", "it is a Redis and no sentinel"],
    )
    .await;
    let of_sentinel = format!("redis://127.0.0.1:{}", sentinel.port());
    is_refused(&of_sentinel, &["it is a sentinel and no Redis: write redis+sentinel://HOST:PORT/SERVICE"]).await;
    let nobody = free_port();
    let lost = sentinel_of(Monitored { port: nobody, epoch: 0 }, 1);
    let announced = format!("(the sentinels announce 127.0.0.1:{nobody} as the primary of mymaster)");
    is_refused(&sentinel_url("", slice::from_ref(&&lost)), &["refuses connections", &announced]).await;
    assert_eq!(sentinel.command(&["ACL", "SETUSER", "eve", "on", ">sesame", "&*", "-@all"]), "+OK");
    let files = Files::new();
    let password = format!("--sentinel-password-file={}", files.write("password", "sesame").display());
    let words = "the user of the sentinel may not do this (--sentinel-user); see its ACL";
    is_refused_with(&url, &["--sentinel-user=eve", &password], &[words, "sentinel|master"]).await;
    assert_eq!(sentinel.command(&["ACL", "SETUSER", "default", "resetpass", ">sesame"]), "+OK");
    is_refused(&url, &["the sentinel needs a password: set --sentinel-password-file"]).await;
}

/// The same words as at a demoted server of a single address would send people to the wrong flag.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_announced_is_not_used() {
    let set = Sentinels::start();
    // Not one of theirs: there it would hear of them.
    let other = RedisServer::start();
    let replica = RedisServer::replica_of(&other);
    let stale = sentinel_of(Monitored { port: replica.port(), epoch: 0 }, 1);
    let words = "it is a read-only replica, though the sentinels announce it";
    is_refused(&sentinel_url("", &[&stale]), &[words]).await;
    let rig = Rig::at(&sentinel_url("", &[&stale, &set.sentinels[0]]), &[]).await;
    let stream = rig.watch(channel("r.one")).await;
    let receipts = rig.publish("r.one", 1..=3).await;
    assert_eq!(check(&stream, "r.one", &receipts).await, []);
    drop(stream);
    rig.stop();
}
