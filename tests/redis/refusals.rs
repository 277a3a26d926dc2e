//! A Redis that does not do what is asked: the error says whether anything was done, and what to do.

use tidings::broker::{Error, From, PageLimit};
use tidings_testing::RedisServer;

use crate::fixture::{broker, connect, down, head, name, publish, settings, texts, within};

const PAGE: PageLimit = PageLimit { messages: 100, bytes: 1 << 20 };

#[tokio::test]
async fn a_full_redis_refuses_publishes() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    publish(&broker, &name("orders"), texts(2)).await;
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    for channel in ["orders", "new"] {
        assert_eq!(broker.publish(&name(channel), texts(1), 0).await, Err(Error::OutOfMemory), "{channel}");
    }
    assert_eq!(head(&broker, &name("orders")).await.expect("published").last, 2);
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(publish(&broker, &name("orders"), texts(1)).await[0].sequence, 3);
    broker.close().await;
}

#[tokio::test]
async fn forgotten_scripts_are_given_again() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    publish(&broker, &name("orders"), texts(2)).await;
    server.command(&["SCRIPT", "FLUSH"]);
    assert_eq!(publish(&broker, &name("orders"), texts(1)).await[0].sequence, 3);
    server.command(&["SCRIPT", "FLUSH"]);
    assert_eq!(broker.read(&name("orders"), From::After(0), PAGE).await.expect("read").messages.len(), 3);
    server.command(&["SCRIPT", "FLUSH"]);
    assert_eq!(head(&broker, &name("orders")).await.expect("published").last, 3);
    server.command(&["SCRIPT", "FLUSH"]);
    assert_eq!(broker.sequence_before(&name("orders"), 0).await, Ok(0));
    broker.close().await;
}

#[tokio::test]
async fn a_password_that_is_missing_or_wrong_is_named() {
    let server = RedisServer::start();
    server.command(&["CONFIG", "SET", "requirepass", "s3cret"]);
    let port = server.port();
    for (url, word) in [(server.url(), "password"), (format!("redis://:wrong@127.0.0.1:{port}"), "password")] {
        let broker: tidings::broker::Shared = tidings::broker::redis::Redis::start(settings(&url));
        let mut state = broker.state();
        let told = within(state.changed(), "the reason").await;
        told.expect("it tells its state");
        let reason = down(&broker).await;
        assert!(reason.contains(word) && !reason.contains("wrong@"), "{reason}");
        broker.close().await;
    }
    let broker = connect(settings(&format!("redis://:s3cret@127.0.0.1:{port}"))).await;
    publish(&broker, &name("orders"), texts(1)).await;
    broker.close().await;
}

#[tokio::test]
async fn a_replica_is_no_server_to_work_with() {
    let primary = RedisServer::start();
    let replica = RedisServer::replica_of(&primary);
    let broker: tidings::broker::Shared = tidings::broker::redis::Redis::start(settings(&replica.url()));
    let mut state = broker.state();
    within(state.changed(), "the reason").await.expect("it tells its state");
    let reason = down(&broker).await;
    assert!(reason.contains("primary"), "{reason}");
    let refused = within(broker.publish(&name("orders"), texts(1), 0), "an answer").await;
    assert!(matches!(&refused, Err(Error::Unavailable(text)) if text.contains("primary")), "{refused:?}");
    broker.close().await;
}

#[tokio::test]
async fn a_user_without_the_right_to_the_channel_publishes_nothing() {
    let server = RedisServer::start();
    server.command(&["ACL", "SETUSER", "bob", "on", ">pw", "~*", "+@all", "resetchannels", "&allowed"]);
    let broker = connect(settings(&format!("redis://bob:pw@127.0.0.1:{}", server.port()))).await;
    publish(&broker, &name("allowed"), texts(1)).await;
    let refused = broker.publish(&name("orders"), texts(1), 0).await;
    assert!(matches!(&refused, Err(Error::Unavailable(text)) if text.contains("ACL")), "{refused:?}");
    assert_eq!(server.command(&["EXISTS", "tidings:{orders}:log", "tidings:{orders}:head"]), ":0");
    broker.close().await;
}
