//! A Redis that is away, comes back, or hangs.

use std::time::{Duration, Instant};

use tidings::broker::{
    Error, From, PageLimit, Shared, State,
    redis::{Redis, Settings},
};
use tidings_testing::RedisServer;

use crate::fixture::{broker, down, name, publish, settings, signal, texts, up, within};

const PAGE: PageLimit = PageLimit { messages: 100, bytes: 1 << 20 };

#[tokio::test]
async fn a_redis_that_is_away_at_start_is_found_when_it_comes() {
    let mut server = RedisServer::prepare(&["--save", ""]);
    let timeout = Duration::from_millis(400);
    let broker: Shared = Redis::start(Settings { timeout, ..settings(&server.url()) });
    let begun = Instant::now();
    let refused = broker.publish(&name("orders"), texts(1), 0).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    let read = broker.read(&name("orders"), From::After(0), PAGE).await;
    assert!(matches!(read, Err(Error::Unavailable(_))), "{read:?}");
    assert!(begun.elapsed() < 4 * timeout, "{:?}", begun.elapsed());
    assert!(matches!(&*broker.state().borrow(), State::Down(_)));
    server.run();
    up(&broker).await;
    assert_eq!(publish(&broker, &name("orders"), texts(1)).await[0].sequence, 1);
    broker.close().await;
}

#[tokio::test]
async fn a_publish_waits_for_a_redis_that_comes_back_in_time() {
    let mut server = RedisServer::start();
    let broker = broker(&server).await;
    publish(&broker, &name("orders"), texts(1)).await;
    server.kill();
    down(&broker).await;
    let waits = tokio::spawn(broker.publish(&name("orders"), texts(1), 0));
    server.run();
    let receipt = within(waits, "a receipt").await.expect("no panic").expect("published")[0];
    assert_eq!(receipt.sequence, 1, "this Redis keeps nothing over a restart");
    broker.close().await;
}

#[tokio::test]
async fn a_redis_that_hangs_leaves_the_outcome_unknown() {
    let server = RedisServer::start();
    let timeout = Duration::from_millis(400);
    let broker: Shared = Redis::start(Settings { timeout, ..settings(&server.url()) });
    up(&broker).await;
    publish(&broker, &name("orders"), texts(1)).await;
    signal(&server, "STOP");
    let begun = Instant::now();
    let unknown = broker.publish(&name("orders"), texts(1), 0).await;
    assert!(matches!(unknown, Err(Error::OutcomeUnknown(_))), "{unknown:?}");
    assert!(begun.elapsed() < 5 * timeout, "{:?}", begun.elapsed());
    down(&broker).await;
    signal(&server, "CONT");
    up(&broker).await;
    // The call stood in the socket: it was carried out after all.
    let sequence = publish(&broker, &name("orders"), texts(1)).await[0].sequence;
    assert!((2..=3).contains(&sequence), "{sequence}");
    broker.close().await;
}

#[tokio::test]
async fn a_broker_that_closes_answers_what_waits() {
    let mut server = RedisServer::start();
    let timeout = Duration::from_millis(400);
    let broker: Shared = Redis::start(Settings { timeout, ..settings(&server.url()) });
    up(&broker).await;
    server.kill();
    down(&broker).await;
    let waits: Vec<_> = (0..20).map(|_| tokio::spawn(broker.publish(&name("orders"), texts(1), 0))).collect();
    within(broker.close(), "the broker closes").await;
    for waiting in waits {
        let answer = within(waiting, "an answer").await.expect("no panic");
        assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
    }
    assert!(matches!(broker.publish(&name("orders"), texts(1), 0).await, Err(Error::Unavailable(_))));
}
