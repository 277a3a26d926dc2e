//! What operators see: `/metrics` after known traffic, `/livez` and `/readyz`.

mod streams;
mod work;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use tidings::{metrics::FAMILIES, pb::PublishStreamRequest};
use tidings_testing::RedisServer;
use tokio_stream::StreamExt as _;

use crate::harness::{Admin, Publisher, Scraped, Served, Subscriber, pattern, text};

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_there_from_the_start() {
    let redis = RedisServer::start();
    let (publisher, publisher_admin) = Publisher::start_with_admin(&redis.url(), &[]).await;
    let args = ["--watch-subscriptions=mail"];
    let (subscriber, subscriber_admin) = Subscriber::start_with_admin(&redis.url(), &args).await;
    let watched = |scraped: &Scraped| scraped.families.contains_key("tidings_subscription_oldest_seconds");
    let second = subscriber_admin.shows("the first look", watched).await;
    let first = publisher_admin.scrape();
    let seen = first.families.keys().chain(second.families.keys()).map(String::as_str);
    let seen: BTreeSet<&str> = seen.filter(|name| !name.starts_with("process_")).collect();
    let ours: BTreeSet<&str> = FAMILIES.iter().map(|(name, ..)| *name).collect();
    assert_eq!(seen, ours);
    // Each counts what it does, and only that.
    assert!(!first.families.contains_key("tidings_streams") && !second.families.contains_key("tidings_publish_total"));
    for scraped in [&first, &second] {
        assert_eq!(scraped.value("tidings_build_info{version=\"0.1.0\"}"), 1.0);
        assert_eq!(scraped.value("tidings_redis_up"), 1.0);
        assert!(scraped.value("tidings_probe_age_seconds") < 10.0);
    }
    publisher.stop();
    subscriber.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_label_grows_with_what_is_published() {
    let redis = RedisServer::start();
    let (publisher, publisher_admin) = Publisher::start_with_admin(&redis.url(), &[]).await;
    let (subscriber, subscriber_admin) = Subscriber::start_with_admin(&redis.url(), &[]).await;
    let count = || (publisher_admin.scrape().len(), subscriber_admin.scrape().len());
    let before = count();
    let mut stream = subscriber.stream(pattern("many.*")).await;
    stream.started().await;
    let requests = (0..1_000).map(|n| PublishStreamRequest { request: Some(text(&format!("many.{n}"), "hello")) });
    let requests = tokio_stream::iter(requests.collect::<Vec<_>>());
    let answers = publisher.client().publish_stream(requests).await.expect("a stream").into_inner();
    assert_eq!(answers.filter_map(Result::ok).collect::<Vec<_>>().await.len(), 1_000);
    stream.messages(1_000).await;
    assert_eq!(publisher_admin.scrape().published("OK"), 1_000.0);
    assert_eq!(count(), before);
    publisher.stop();
    subscriber.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_follows_redis_and_liveness_does_not() {
    let mut redis = RedisServer::start();
    let args = ["--redis-timeout=500ms"];
    let (publisher, publisher_admin) = Publisher::start_with_admin(&redis.url(), &args).await;
    let (subscriber, subscriber_admin) = Subscriber::start_with_admin(&redis.url(), &args).await;
    let admins = [publisher_admin, subscriber_admin];
    for admin in admins {
        assert!(admin.becomes("/readyz", 200).await.starts_with("ready: the broker last answered"));
    }
    redis.pause();
    for admin in admins {
        let said = admin.becomes("/readyz", 503).await;
        assert_eq!(said, "not ready: it does not answer\n");
        assert_eq!(admin.get("/livez").code, 200);
        assert_eq!(admin.scrape().value("tidings_redis_up"), 0.0);
    }
    redis.resume();
    let back = Instant::now();
    for admin in admins {
        admin.becomes("/readyz", 200).await;
    }
    // A second is what it takes here; the rest is reserve for busy machines.
    assert!(back.elapsed() < Duration::from_secs(8), "{:?}", back.elapsed());
    redis.kill();
    for admin in admins {
        let said = admin.becomes("/readyz", 503).await;
        assert!(said.starts_with("not ready: "), "{said}");
        assert_eq!(admin.get("/livez").code, 200);
    }
    redis.run();
    for admin in admins {
        admin.becomes("/readyz", 200).await;
        let lost = |scraped: &Scraped| scraped.value("tidings_redis_reconnects_total{connection=\"command\"}") >= 1.0;
        admin.shows("it has reconnected", lost).await;
    }
    publisher.stop();
    subscriber.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_admin_listener_reports_both_services_in_one_process() {
    let admin = Admin::choose();
    let served = Served::start(&[&admin.flag()]);
    served.ok(&["publish", "a", "hello"]);
    let scraped = admin.scrape();
    assert_eq!(scraped.published("OK"), 1.0);
    assert_eq!(scraped.value("tidings_streams{mode=\"live\"}"), 0.0);
    assert!(!scraped.families.contains_key("tidings_redis_up"), "there is none");
    assert_eq!(admin.get("/readyz").body, "ready: the broker last answered 0.0 s ago\n");
    served.stop();
}

/// A page whose own name leads here (DNS rebinding) sends that name.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_strangers_may_own_is_not_answered() {
    let admin = Admin::choose();
    let _served = Served::start(&[&admin.flag(), "--admin-allow-host=metrics.example.com"]);
    for path in ["/metrics", "/readyz", "/livez", "/"] {
        for host in ["evil.example", "evil.example:9100", "127.0.0.1.evil.example"] {
            let refused = admin.ask_as("GET", path, &format!("host: {host}\r\n"));
            assert_eq!(refused.code, 403, "{path} {host}");
            assert!(refused.body.contains("--admin-allow-host") && !refused.body.contains("tidings_"), "{refused:?}");
        }
    }
    let two = admin.ask_as("GET", "/metrics", "host: localhost\r\nhost: evil.example\r\n");
    assert_eq!(two.code, 403, "{two:?}");
    for host in ["localhost", "tidings:9100", "METRICS.example.com:9100"] {
        assert_eq!(admin.ask_as("GET", "/metrics", &format!("host: {host}\r\n")).code, 200, "{host}");
    }
}
