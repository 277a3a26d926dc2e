//! Signals while a publish is under way.

use std::time::Duration;

use tidings_testing::{Publisher, RedisServer, text};
use tokio::time::sleep;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let redis = RedisServer::start();
    let mut publisher = Publisher::start(&redis.url(), &["--redis-timeout=60s", "--shutdown-timeout=60s"]).await;
    redis.pause();
    let mut client = publisher.client();
    let under_way = tokio::spawn(async move { client.publish(text("a", "hello")).await });
    sleep(Duration::from_millis(300)).await;
    publisher.process.signal("TERM");
    sleep(Duration::from_millis(500)).await;
    assert!(!publisher.process.has_ended(), "a publish is under way");
    publisher.process.signal("INT");
    assert_eq!(publisher.process.wait(Duration::from_secs(5)).code(), Some(130));
    under_way.await.expect("no panic").expect_err("cut");
    redis.resume();
}
