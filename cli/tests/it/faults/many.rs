//! Patterns over many channels: what looking after them costs Redis.

use std::time::Duration;

use futures_util::future::join_all;
use tidings::pb::StreamMessagesRequest;
use tidings_testing::RedisServer;

use super::rig::Rig;
use crate::harness::{pattern, text};

/// More than two groups of heads.
const CHANNELS: usize = 600;

/// How often a command was called, as Redis counts.
fn calls(redis: &RedisServer, command: &str) -> i64 {
    let stats = redis.command(&["INFO", "commandstats"]);
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.and_then(|line| line.split(',').next()).map_or(0, |calls| calls.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_that_catches_up_reads_each_head_a_few_times() {
    let redis = RedisServer::start();
    let rig = Rig::on(&redis).await;
    let publish = |n: usize| {
        let mut client = rig.publisher.client();
        async move { client.publish(text(&format!("many.{n}"), "x")).await.expect("published").into_inner() }
    };
    let receipts = join_all((0..CHANNELS).map(publish)).await;
    redis.command(&["CONFIG", "RESETSTAT"]);
    let stream = rig.watch(StreamMessagesRequest { earliest: true, ..pattern("many.*") }).await;
    for receipt in &receipts {
        stream.until_message(&receipt.message_id).await;
    }
    // When it is opened, once to see that there is news, with the page that brings it, and with the one that shows that
    // there is no more. Each read of a head is one call.
    let heads = calls(&redis, "hmget");
    assert!(heads <= 5 * CHANNELS as i64, "{heads} reads of {CHANNELS} heads");
    drop(stream);
    rig.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_new_names_are_read_a_page_at_a_time() {
    let redis = RedisServer::start();
    let rig = Rig::on(&redis).await;
    let stream = rig.watch(pattern("few.*")).await;
    let fill = "for i = 1, 40000 do redis.call('ZADD', KEYS[1], ARGV[1], 'new.' .. i) end";
    redis.command(&["EVAL", fill, "1", "tidings:channels", &chrono::Utc::now().timestamp_millis().to_string()]);
    redis.command(&["CONFIG", "RESETSTAT"]);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let pages = calls(&redis, "zrange");
    assert!((1..=6).contains(&pages), "{pages} pages in 5 s");
    let receipts = rig.publish("few.1", [1]).await;
    stream.until_message(&receipts[0].message_id).await;
    drop(stream);
    rig.stop();
}
