//! A Redis that is away, comes back, or hangs.

use std::time::{Duration, Instant};

use tidings::{
    broker::{Error, From, PageLimit, Shared, State},
    limits::WAITING_BYTES,
};
use tidings_redis::{Redis, Role, Settings};
use tidings_testing::RedisServer;

use crate::fixture::{broker, connect, down, name, publish, settings, signal, text, texts, up, within};

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

/// It did not wait for others.
#[tokio::test]
async fn a_lone_publish_learns_why_redis_is_away() {
    let mut server = RedisServer::start();
    let timeout = Duration::from_millis(400);
    let broker: Shared = Redis::start(Settings { timeout, ..settings(&server.url()) });
    up(&broker).await;
    publish(&broker, &name("orders"), texts(1)).await;
    server.kill();
    down(&broker).await;
    let refused = broker.publish(&name("orders"), texts(1), 0).await;
    let Err(Error::Unavailable(why)) = &refused else { panic!("{refused:?}") };
    assert!(why.starts_with("Redis could not be reached within 400 ms: ") && !why.contains("before"), "{why}");
    broker.close().await;
}

#[tokio::test]
async fn subscribers_need_the_subscribe_permission_and_publishers_do_not() {
    let renamed = RedisServer::start_with(&["--save", "", "--rename-command", "SUBSCRIBE", ""]);
    let forbidden = RedisServer::start();
    forbidden.command(&["ACL", "SETUSER", "bob", "on", ">pw", "~*", "&*", "+@all", "-subscribe"]);
    let bob = format!("redis://bob:pw@127.0.0.1:{}", forbidden.port());
    for (url, words) in [(renamed.url(), "does not know SUBSCRIBE"), (bob, "its user may not run SUBSCRIBE")] {
        let listener: Shared = Redis::start(Settings { role: Role::Subscriber, ..settings(&url) });
        let mut state = listener.state();
        let reported = state.wait_for(|state| matches!(state, State::Down(why) if why.contains(words)));
        within(reported, words).await.expect("the broker lives");
        let publisher: Shared = Redis::start(Settings { role: Role::Publisher, ..settings(&url) });
        up(&publisher).await;
        for broker in [listener, publisher] {
            broker.close().await;
        }
    }
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
    // The call was in the socket: it was carried out after all.
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

/// A process that stops has no time for a Redis that hangs.
#[tokio::test]
async fn a_broker_that_closes_does_not_wait_for_a_redis_that_hangs() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let orders = name("orders");
    publish(&broker, &orders, texts(1)).await;
    signal(&server, "STOP");
    let under_way = tokio::spawn(broker.publish(&orders, texts(1), 0));
    // The first is on its way to Redis, the others wait after it.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let second = tokio::spawn(broker.publish(&orders, texts(1), 0));
    let waits_for_replicas = tokio::spawn(broker.publish(&name("payments"), texts(1), 1));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begun = Instant::now();
    within(broker.close(), "the broker closes").await;
    assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
    let answer = within(under_way, "an answer").await.expect("no panic");
    assert!(matches!(answer, Err(Error::OutcomeUnknown(_))), "{answer:?}");
    for waiting in [second, waits_for_replicas] {
        let answer = within(waiting, "an answer").await.expect("no panic");
        assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
    }
    signal(&server, "CONT");
}

#[tokio::test]
async fn a_broker_that_closes_waits_for_a_redis_that_answers() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let under_way: Vec<_> = (0..50).map(|_| broker.publish(&name("orders"), texts(10), 0)).collect();
    within(broker.close(), "the broker closes").await;
    for publish in under_way {
        publish.await.expect("published");
    }
}

/// What waits for a Redis that is too slow has a bound; beyond it nothing is published.
#[tokio::test]
async fn publishes_beyond_the_bytes_that_may_wait_are_refused() {
    let server = RedisServer::start();
    let timeout = Duration::from_secs(15);
    let broker = connect(Settings { timeout, ..settings(&server.url()) }).await;
    let large = "x".repeat(1_000_000);
    let batch = || vec![text(&large), text(&large), text(&large), text(&large)];
    publish(&broker, &name("orders"), batch()).await;
    signal(&server, "STOP");
    // They are in their queues when `publish` returns. Other channels count as well.
    let waiting: Vec<_> = (0..16).map(|i| broker.publish(&name(&format!("orders{}", i % 3)), batch(), 0)).collect();
    let begun = Instant::now();
    let refused = broker.publish(&name("orders"), batch(), 0).await;
    assert!(
        matches!(&refused, Err(Error::Unavailable(text)) if text.contains(&WAITING_BYTES.to_string())),
        "{refused:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(5), "it is refused at once");
    signal(&server, "CONT");
    for publish in waiting {
        within(publish, "a receipt").await.expect("published");
    }
    // What has its receipt waits no more, whichever script published it.
    for _ in 0..17 {
        publish(&broker, &name("orders"), batch()).await;
    }
    broker.close().await;
}
