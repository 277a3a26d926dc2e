//! Redis is away, or goes away.

use std::time::{Duration, Instant};

use tidings::broker::{Broker as _, Error};
use tidings_testing::RedisServer;

use crate::support::{
    RETENTION, becomes_down, becomes_up, broker, draft, name, publish, start, try_publish, unavailable,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_later_is_found() {
    let mut redis = RedisServer::prepare(&["--save", ""]);
    let broker = start(&redis.url(), Duration::from_millis(300), RETENTION);
    becomes_down(&broker, "refuses connections").await;
    let begun = Instant::now();
    let refused = unavailable(try_publish(&broker, &name("late"), vec![draft("x")]).await);
    assert!(refused.contains("could not be reached"), "{refused}");
    assert!(begun.elapsed() < Duration::from_secs(2), "it took {:?}", begun.elapsed());
    assert!(matches!(broker.heads(&[name("late")]).await, Err(Error::Unavailable(_))));
    redis.run();
    let begun = Instant::now();
    becomes_up(&broker).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "it took {:?}", begun.elapsed());
    assert_eq!(publish(&broker, &name("late"), "x").await.sequence, 1);
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_is_noticed_and_found_again() {
    let mut redis = RedisServer::start();
    let broker = broker(&redis).await;
    publish(&broker, &name("c"), "x").await;
    redis.kill();
    becomes_down(&broker, "").await;
    redis.run();
    becomes_up(&broker).await;
    assert_eq!(publish(&broker, &name("c"), "y").await.sequence, 1, "it kept nothing");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_an_unknown_outcome_in_time() {
    let redis = RedisServer::start();
    let broker = start(&redis.url(), Duration::from_millis(500), RETENTION);
    becomes_up(&broker).await;
    publish(&broker, &name("c"), "x").await;
    let hang = |signal: &str| {
        let pid = redis.pid().expect("it runs").to_string();
        assert!(std::process::Command::new("kill").args([signal, &pid]).status().expect("kill can be run").success());
    };
    hang("-STOP");
    let begun = Instant::now();
    let outcome = try_publish(&broker, &name("c"), vec![draft("y")]).await;
    assert!(matches!(outcome, Err(Error::OutcomeUnknown(_))), "{outcome:?}");
    assert!(begun.elapsed() < Duration::from_secs(2), "it took {:?}", begun.elapsed());
    becomes_down(&broker, "").await;
    hang("-CONT");
    becomes_up(&broker).await;
    publish(&broker, &name("c"), "z").await;
    broker.close().await;
}
