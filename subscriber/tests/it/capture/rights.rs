//! Capture by a Redis user whose rights are taken away and given back.

use super::*;
use tidings_testing::Admin;

#[tokio::test(flavor = "multi_thread")]
async fn it_continues_when_the_rights_are_mended_and_the_metrics_say_so() {
    let redis = RedisServer::start();
    let user = ["ACL", "SETUSER", "bob", "on", ">pw", "~*", "+@all"];
    let may = |channels: &[&str]| assert_eq!(redis.command(&[&user[..], &["resetchannels"], channels].concat()), "+OK");
    may(&["&*"]);
    let admin = Admin::choose();
    let url = format!("redis://bob:pw@127.0.0.1:{}", redis.port());
    let subscriber = Subscriber::start(&url, &["--capture=orders", &admin.flag()]).await;
    captured(&redis, "orders", 1).await;
    let mut plain = plain(&redis).await;
    burst(&mut plain, "orders", numbered(0..1)).await;
    listed(&subscriber, "orders", 1).await;
    admin.shows("it leads", |scraped| scraped.value("tidings_capture_leader") == 1.0).await;

    // Not its notices any more: what is published is delivered as it is, and nobody adopts it.
    may(&["&orders", "&tidings:probe:*"]);
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    admin
        .shows("it is said", |scraped| {
            scraped.value("tidings_uncaptured_topics") == 1.0 && scraped.value("tidings_capture_leader") == 0.0
        })
        .await;

    may(&["&*"]);
    captured(&redis, "orders", 1).await;
    admin.shows("it is well", |scraped| scraped.value("tidings_uncaptured_topics") == 0.0).await;
    burst(&mut plain, "orders", numbered(1..4)).await;
    let log = listed(&subscriber, "orders", 4).await;
    assert_eq!(sequences(&log), [1, 2, 3, 4]);
    let said = subscriber.process.output().lines().filter(|line| line.contains("is not captured")).count();
    assert_eq!(said, 1, "{}", subscriber.process.output());
    subscriber.stop();
}
