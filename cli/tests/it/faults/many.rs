//! Patterns over many channels: what looking after them costs Redis.

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
    // When it is opened, once to see that there is news, with the page that brings it, and with the one that shows that there is no
    // more. Each read of a head is one call.
    let heads = calls(&redis, "hmget");
    assert!(heads <= 5 * CHANNELS as i64, "{heads} reads of {CHANNELS} heads");
    drop(stream);
    rig.stop();
}
