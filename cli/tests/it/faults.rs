//! Redis in trouble, and what becomes of the streams and publishes meanwhile; services that get a signal to stop.

mod away;
mod damaged;
mod full;
mod idle;
mod links;
mod losses;
mod many;
mod newer;
mod old_redis;
mod quiet;
mod refusals;
mod repair;
mod rig;
mod sentinels;
mod trims;

use std::time::{Duration, Instant};

use tidings_testing::RedisServer;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::harness::{Publisher, Subscriber, channel, reason, text, text_of};

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_services_start_say_so_and_recover() {
    let mut redis = RedisServer::prepare(&[]);
    let url = redis.url();
    let publisher = Publisher::start_alone(&url, &["--redis-timeout=500ms"]).await;
    let subscriber = Subscriber::start_alone(&url, &["--redis-timeout=500ms"]).await;
    publisher.becomes(ServingStatus::NotServing).await;
    subscriber.becomes(ServingStatus::NotServing).await;

    let began = Instant::now();
    let refused = subscriber.client().stream_messages(channel("a")).await.expect_err("no Redis");
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let refused = publisher.client().publish(text("a", "hello")).await.expect_err("no Redis");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "NOT_PUBLISHED"), "{refused:?}");

    redis.run();
    publisher.becomes(ServingStatus::Serving).await;
    subscriber.becomes(ServingStatus::Serving).await;
    let mut stream = subscriber.stream(channel("a")).await;
    stream.started().await;
    stream.caught_up().await;
    publisher.client().publish(text("a", "hello")).await.expect("published");
    assert_eq!(text_of(&stream.message().await), "hello");
    publisher.stop();
    subscriber.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_does_not_hold_up_a_stop() {
    let redis = RedisServer::start();
    let args = ["--redis-timeout=30s", "--shutdown-timeout=1s"];
    let mut publisher = Publisher::start(&redis.url(), &args).await;
    let mut subscriber = Subscriber::start(&redis.url(), &args).await;
    let mut stream = subscriber.stream(channel("a")).await;
    stream.started().await;
    redis.pause();
    let mut client = publisher.client();
    let under_way = tokio::spawn(async move { client.publish(text("a", "hello")).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = Instant::now();
    publisher.process.signal("TERM");
    subscriber.process.signal("TERM");
    for process in [&mut publisher.process, &mut subscriber.process] {
        assert_eq!(process.wait(Duration::from_secs(20)).code(), Some(0), "{}", process.output());
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    under_way.await.expect("no panic").expect_err("nobody knows");
    redis.resume();
}
