//! Connections that have become too old while calls are under way on them.

use std::time::{Duration, Instant};

use tidings_testing::{Peer, Publisher, RedisServer, connect, text};
use tokio::time::sleep;

/// A stream that does not end by itself has the grace, and no more.
#[tokio::test(flavor = "multi_thread")]
async fn calls_of_a_connection_that_is_too_old_may_finish_within_the_grace() {
    let redis = RedisServer::start();
    let args = ["--max-connection-age=1s", "--max-connection-age-grace=5s", "--redis-timeout=60s"];
    let publisher = Publisher::start(&redis.url(), &args).await;
    let mut idle = Peer::connect(publisher.address).await;
    idle.greet().await;
    let publish = async |message: &str| {
        let channel = connect(publisher.address).await;
        let mut client = tidings::pb::publisher_service_client::PublisherServiceClient::new(channel);
        let began = Instant::now();
        (client.publish(text("c", message)).await, began.elapsed())
    };
    let resume_after = async |time: Duration| {
        sleep(time).await;
        redis.resume();
    };
    redis.pause();
    let ((answer, took), ()) = tokio::join!(publish("it has time"), resume_after(Duration::from_millis(2_500)));
    assert_eq!(answer.expect("published beyond the connection's age").into_inner().sequence, 1);
    assert!(took >= Duration::from_secs(2), "{took:?}");
    while let Some(frame) = idle.frame().await {
        assert!(frame.is_goaway(), "{frame:?}");
    }
    redis.pause();
    let ((answer, took), ()) = tokio::join!(publish("it has not"), resume_after(Duration::from_secs(10)));
    answer.expect_err("cut");
    assert!((Duration::from_millis(5_800)..Duration::from_secs(9)).contains(&took), "{took:?}");
    publisher.stop();
}
