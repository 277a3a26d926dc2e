//! Redis is out of memory (`noeviction`): publishes are refused in words, nothing is half-written, reading continues,
//! and with memory all is as before.

use tidings::pb::{PublishResponse, StreamMessagesRequest};
use tidings_testing::RedisServer;
use tonic::Code;
use uuid::Uuid;

use super::rig::{Rig, check, until};
use crate::harness::{channel, reason, sequences, text};

fn limit(redis: &RedisServer, bytes: u64) {
    assert_eq!(redis.command(&["CONFIG", "SET", "maxmemory", &bytes.to_string()]), "+OK");
}

fn number(reply: &str, name: &str) -> u64 {
    let value = reply.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.and_then(|value| value.trim().parse().ok()).expect("a number")
}

/// Publishes large messages, each with an id, until Redis is full; several at a time, so that some travel in one call.
async fn fill(rig: &Rig) -> (Vec<PublishResponse>, Vec<tidings::pb::PublishRequest>) {
    let (mut receipts, mut refused) = (Vec::new(), Vec::new());
    while refused.is_empty() {
        let publishes: Vec<_> = (0..8)
            .map(|n| {
                let mut request = text("full", format!("{n:020000}"));
                request.message_id = Uuid::now_v7().to_string();
                let mut client = rig.publisher.client();
                tokio::spawn(async move { (client.publish(request.clone()).await, request) })
            })
            .collect();
        for publish in publishes {
            match publish.await.expect("no panic") {
                (Ok(receipt), _) => receipts.push(receipt.into_inner()),
                (Err(status), request) => {
                    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "OUT_OF_MEMORY"));
                    assert!(status.message().contains("maxmemory"), "{status:?}");
                    refused.push(request);
                }
            }
        }
    }
    receipts.sort_by_key(|receipt| receipt.sequence);
    (receipts, refused)
}

/// Head, log and ids say the same.
fn is_consistent(redis: &RedisServer, last: i64) {
    let head = redis.command(&["HGET", "tidings:{full}:head", "s"]);
    assert!(head.ends_with(&format!("\n{last}")), "{head}");
    let newest = redis.command(&["XREVRANGE", "tidings:{full}:log", "+", "-", "COUNT", "1"]);
    assert!(newest.contains(&format!("\n{last}-")), "the log ends elsewhere than at {last}: {}", &newest[..40]);
    let tables = redis.command(&["KEYS", "tidings:{full}:ids:*"]);
    let tables = tables.lines().filter(|line| line.contains(":ids:"));
    let ids: i64 = tables.map(|table| redis.command(&["HLEN", table])[1..].parse::<i64>().expect("a count")).sum();
    assert_eq!(ids, last, "an id for each message, and for no other");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_refuses_in_words_and_writes_nothing_by_half() {
    let redis = RedisServer::start();
    let rig = Rig::at(&redis.url(), &["--dedup-window=1h"]).await;
    let streams = rig.watch_both("full", "f*").await;
    let used = number(&redis.command(&["INFO", "memory"]), "used_memory");
    limit(&redis, used + (4 << 20));
    let (mut receipts, refused) = fill(&rig).await;
    let last = receipts.len() as i64;
    assert_eq!(receipts.iter().map(|receipt| receipt.sequence).collect::<Vec<_>>(), (1..=last).collect::<Vec<_>>());
    is_consistent(&redis, last);
    for stream in &streams {
        assert_eq!(check(stream, "full", &receipts).await, []);
    }

    // So far the little that was freed since may do for a small message; from here on nothing does.
    limit(&redis, used);
    // Still refused, and so is a channel that nobody has published on; what is there can be read.
    let other = rig.publisher.client().publish(text("fresh", "x")).await.expect_err("full");
    assert_eq!((other.code(), reason(&other).as_str()), (Code::ResourceExhausted, "OUT_OF_MEMORY"), "{other:?}");
    assert_eq!(redis.command(&["EXISTS", "tidings:{fresh}:head", "tidings:{fresh}:log"]), ":0");
    assert_eq!(sequences(&rig.subscriber.list("full").await), (1..=last).collect::<Vec<_>>());
    let after = vec![receipts[0].cursor.clone()];
    let resumed = rig.watch(StreamMessagesRequest { after, ..channel("full") }).await;
    assert_eq!(sequences(&resumed.messages("full")), (2..=last).collect::<Vec<_>>());

    // With memory what was refused is published, as the new messages that they are.
    limit(&redis, 0);
    for request in refused {
        let receipt = rig.publisher.client().publish(request).await.expect("published").into_inner();
        assert!(!receipt.duplicate, "{receipt:?}");
        receipts.push(receipt);
    }
    is_consistent(&redis, receipts.len() as i64);
    for stream in &streams {
        assert_eq!(check(stream, "full", &receipts).await, []);
    }
    until("the health is as it was", || rig.publisher.process.output().matches("can't be used").count() == 0).await;
    drop((streams, resumed));
    rig.stop();
}
