//! Connections that Redis ends: because nothing was said on them for a while, or because too much waits to be sent.

use std::time::Duration;

use tidings::{
    limits::IDLE_CONNECTION_AGE,
    pb::{PublishRequest, StreamMessagesRequest},
};
use tidings_testing::{Direction, Flow, Proxy, RedisServer};
use tokio::time::Instant;

use super::rig::{Rig, check};
use crate::harness::{Admin, Publisher, Subscriber, channel, text};

/// Several times what Redis allows here.
const IDLE: Duration = Duration::from_secs(8);
const RECONNECTS: &str = "tidings_redis_reconnects_total{connection=\"command\"}";

async fn start(url: &str, args: &[&str]) -> (Rig, [Admin; 2]) {
    let admins = [Admin::choose(), Admin::choose()];
    let [publisher, subscriber] = admins.map(Admin::flag);
    let rig = Rig {
        publisher: Publisher::start(url, &[&[publisher.as_str()], args].concat()).await,
        subscriber: Subscriber::start(url, &[&[subscriber.as_str()], args].concat()).await,
    };
    (rig, admins)
}

/// Nothing was said of connections that were lost, and none was made again.
fn lost_nothing(rig: &Rig, admins: &[Admin]) {
    for admin in admins {
        assert_eq!(admin.scrape().sum("tidings_redis_reconnects_total"), 0.0);
    }
    for process in [&rig.publisher.process, &rig.subscriber.process] {
        let output = process.output();
        assert!(!output.contains("WARN") && !output.contains("ERROR"), "{output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_idle_stay() {
    let redis = RedisServer::start_with(&["--save", "", "--timeout", "2"]);
    let (rig, admins) = start(&redis.url(), &[]).await;
    let stream = rig.watch(channel("a")).await;
    let mut receipts = rig.publish("a", 1..=3).await;
    tokio::time::sleep(IDLE).await;
    receipts.extend(rig.publish("a", 4..=6).await);
    stream.until_message(&receipts[5].message_id).await;
    assert_eq!(check(&stream, "a", &receipts).await, []);
    lost_nothing(&rig, &admins);
    drop(stream);
    rig.stop();
}

/// How many connections of these names a server has: those that wait for replicas, and those for long pages.
fn used_now_and_then(redis: &RedisServer) -> [usize; 2] {
    let list = redis.command(&["CLIENT", "LIST"]);
    ["tidings-wait", "tidings-bulk"].map(|name| list.matches(&format!(" name={name} ")).count())
}

/// Publishes that wait for replicas, and replays of more than a page, with pauses between them: all succeed at once,
/// and during the pauses their connections end.
async fn pauses_between_uses(redis: &RedisServer, url: &str, pauses: [Duration; 2]) {
    /// Less than `--redis-timeout`, which is what a connection costs that is up and of no use; the rest is for a busy
    /// machine.
    const SOON: Duration = Duration::from_secs(10);
    let replica = RedisServer::replica_of(redis);
    let (rig, admins) = start(url, &["--redis-timeout=15s"]).await;
    let mut receipts = Vec::new();
    for (round, pause) in [Duration::ZERO].into_iter().chain(pauses).enumerate() {
        tokio::time::sleep(pause).await;
        assert_eq!(used_now_and_then(redis), [0, 0], "round {round}");
        let began = Instant::now();
        // At once, so that several connections are idle later.
        let published = (0..24).map(|n| {
            let request = text("a", format!("{round}.{n} {}", "x".repeat(60 << 10)));
            let (mut client, request) = (rig.publisher.client(), PublishRequest { min_replicas: 1, ..request });
            async move { client.publish(request).await.expect("published").into_inner() }
        });
        receipts.extend(futures_util::future::join_all(published).await);
        assert!(receipts.iter().all(|receipt| receipt.replicas == 1));
        assert!(began.elapsed() < SOON, "round {round}: published within {:?}", began.elapsed());
        let began = Instant::now();
        let stream = rig.watch(StreamMessagesRequest { earliest: true, ..channel("a") }).await;
        assert!(began.elapsed() < SOON, "round {round}: replayed within {:?}", began.elapsed());
        assert_eq!((stream.messages("a").len(), stream.gaps("a")), (receipts.len(), Vec::new()), "round {round}");
        let [waiting, bulk] = used_now_and_then(redis);
        assert!(waiting > 0 && bulk == 1, "round {round}: {waiting} wait for replicas, {bulk} for long pages");
    }
    lost_nothing(&rig, &admins);
    rig.stop();
    drop(replica);
}

/// Redis, or a proxy before it, ends them, and says so: before the services do, and after.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_used_now_and_then_may_be_ended_meanwhile() {
    let redis = RedisServer::start_with(&["--save", "", "--timeout", "2"]);
    pauses_between_uses(&redis, &redis.url(), [IDLE_CONNECTION_AGE - Duration::from_secs(1), IDLE]).await;
}

/// As firewalls do: what is sent over a connection that was idle for long is lost without a word.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_used_now_and_then_may_be_forgotten_meanwhile() {
    let redis = RedisServer::start();
    let proxy = Proxy::to(&redis).await;
    for direction in [Direction::ToServer, Direction::ToClient] {
        proxy.bend_new(direction, Flow::Forget(IDLE_CONNECTION_AGE + Duration::from_secs(1)));
    }
    pauses_between_uses(&redis, &proxy.url(), [IDLE; 2]).await;
    assert_eq!(proxy.dropped(), 0);
}

/// Over both paths by which pages are read: small runs and large ones. With Redis's word for its limit, and without.
async fn replays_under_a_small_output_buffer(may_ask: bool) {
    let buffer = ["--save", "", "--client-output-buffer-limit", "normal", "1mb", "0", "0"];
    let redis = RedisServer::start_with(&buffer);
    if !may_ask {
        redis.command(&["ACL", "SETUSER", "default", "-config"]);
    }
    let (rig, admins) = start(&redis.url(), &[]).await;
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
    // Where it happened in a row only, it may have been a failover.
    assert!(output.contains("client-output-buffer-limit normal") || !may_ask && cut < 4.0, "{output}");
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
