//! Connections that Redis ends: because nothing was said on them for a while, or because too much waits to be sent.

use std::time::Duration;

use tidings::pb::StreamMessagesRequest;
use tidings_testing::RedisServer;

use super::rig::{Rig, check};
use crate::harness::{Admin, Publisher, Subscriber, channel, text};

/// Several times what Redis allows here.
const IDLE: Duration = Duration::from_secs(8);
const RECONNECTS: &str = "tidings_redis_reconnects_total{connection=\"command\"}";

async fn start(redis: &RedisServer) -> (Rig, [Admin; 2]) {
    let admins = [Admin::choose(), Admin::choose()];
    let rig = Rig {
        publisher: Publisher::start(&redis.url(), &[&admins[0].flag()]).await,
        subscriber: Subscriber::start(&redis.url(), &[&admins[1].flag()]).await,
    };
    (rig, admins)
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_idle_stay() {
    let redis = RedisServer::start_with(&["--save", "", "--timeout", "2"]);
    let (rig, admins) = start(&redis).await;
    let stream = rig.watch(channel("a")).await;
    let mut receipts = rig.publish("a", 1..=3).await;
    tokio::time::sleep(IDLE).await;
    receipts.extend(rig.publish("a", 4..=6).await);
    stream.until_message(&receipts[5].message_id).await;
    assert_eq!(check(&stream, "a", &receipts).await, []);
    for admin in admins {
        assert_eq!(admin.scrape().sum("tidings_redis_reconnects_total"), 0.0);
    }
    for process in [&rig.publisher.process, &rig.subscriber.process] {
        assert!(!process.output().contains("WARN"), "{}", process.output());
    }
    drop(stream);
    rig.stop();
}

/// Over both paths by which pages are read: small runs and large ones. With Redis's word for its limit, and without.
async fn replays_under_a_small_output_buffer(may_ask: bool) {
    let buffer = ["--save", "", "--client-output-buffer-limit", "normal", "1mb", "0", "0"];
    let redis = RedisServer::start_with(&buffer);
    if !may_ask {
        redis.command(&["ACL", "SETUSER", "default", "-config"]);
    }
    let (rig, admins) = start(&redis).await;
    let mut receipts = Vec::new();
    for (name, bytes) in [("small", 4 << 10), ("large", 60 << 10)] {
        for n in 0..12 {
            let published = (0..(1 << 20) / bytes).map(|i| {
                let mut client = rig.publisher.client();
                let padded = format!("{n}.{i} {}", "x".repeat(bytes));
                async move { client.publish(text(name, padded)).await.expect("published").into_inner() }
            });
            receipts.push((name, futures_util::future::join_all(published).await));
        }
    }
    for name in ["small", "large"] {
        let stream = rig.watch(StreamMessagesRequest { earliest: true, ..channel(name) }).await;
        let of_it = receipts.iter().filter(|(of, _)| *of == name).flat_map(|(_, receipts)| receipts);
        for receipt in of_it {
            stream.until_message(&receipt.message_id).await;
        }
        assert!(stream.gaps(name).is_empty());
    }
    let cut = admins[1].scrape().value(RECONNECTS);
    assert!(cut <= if may_ask { 0.0 } else { 6.0 }, "cut {cut} times");
    let output = rig.subscriber.process.output();
    assert!(output.contains("client-output-buffer-limit normal") || !may_ask && cut < 2.0, "{output}");
    rig.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_keep_to_the_output_buffer_that_redis_reports() {
    replays_under_a_small_output_buffer(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_shrink_where_redis_cuts_connections_and_does_not_say_why() {
    replays_under_a_small_output_buffer(false).await;
}
