//! What operators see of a subscriber: `/metrics` after known traffic, and readiness.

use tidings_testing::{Admin, Direction, Flow, Links, Proxy, RedisServer, Subscriber, pattern};
use tonic_health::pb::health_check_response::ServingStatus;

#[tokio::test(flavor = "multi_thread")]
async fn pushes_that_are_not_delivered_are_counted_by_why() {
    let redis = RedisServer::start();
    let admin = Admin::choose();
    let subscriber = Subscriber::start(&redis.url(), &[&admin.flag()]).await;
    let mut stream = subscriber.stream(pattern("*")).await;
    stream.started().await;
    redis.command(&["PUBLISH", "big", &"x".repeat((1 << 20) + 1)]);
    redis.command(&["PUBLISH", "a name", "x"]);
    redis.command(&["PUBLISH", "another {name}", "x"]);
    redis.command(&["PUBLISH", "fine", "x"]);
    stream.messages(1).await;
    let scraped = admin.scrape();
    let dropped = |reason: &str| scraped.value(&format!("tidings_dropped_total{{reason=\"{reason}\"}}"));
    assert_eq!((dropped("oversized"), dropped("name"), scraped.sum("tidings_dropped_total")), (1.0, 2.0, 3.0));
    subscriber.stop();
}

/// Commands are answered, and no push comes through, on this link and on those that replace it.
#[tokio::test(flavor = "multi_thread")]
async fn a_live_link_that_delivers_nothing_ends_readiness_and_is_reported_once() {
    let redis = RedisServer::start();
    let proxy = Proxy::to(&redis).await;
    let admin = Admin::choose();
    let subscriber = Subscriber::start(&proxy.url(), &[&admin.flag(), "--redis-timeout=500ms"]).await;
    admin.becomes("/readyz", 200).await;
    proxy.bend(Links::All, Direction::ToClient, Flow::Mute);
    proxy.bend_new(Direction::ToClient, Flow::Mute);
    subscriber.becomes(ServingStatus::NotServing).await;
    let said = admin.becomes("/readyz", 503).await;
    assert_eq!(said, "not ready: no probe has come through the live connection for 3.5s\n");
    let scraped = admin.scrape();
    assert_eq!(scraped.value("tidings_redis_up"), 1.0);
    assert!(scraped.value("tidings_probe_age_seconds") > 3.0);
    assert_eq!(admin.get("/livez").code, 200);

    proxy.bend(Links::All, Direction::ToClient, Flow::Pass);
    proxy.bend_new(Direction::ToClient, Flow::Pass);
    subscriber.becomes(ServingStatus::Serving).await;
    admin.becomes("/readyz", 200).await;
    let log = subscriber.process.output();
    for line in ["the live connection to Redis delivers nothing", "the live connection to Redis delivers again"] {
        assert_eq!(log.matches(line).count(), 1, "{line}: {log}");
    }
    subscriber.stop();
}
