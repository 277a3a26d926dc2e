//! A Redis that does not do what is asked: the error says whether anything was done, and what to do.

use tidings::broker::{Error, From, PageLimit, Retention};
use tidings_redis::{Role, Settings};
use tidings_testing::RedisServer;
use uuid::Uuid;

use crate::fixture::{KEEP_ALL, broker, connect, down, head, name, publish, settings, text, texts, with_id, within};

const PAGE: PageLimit = PageLimit { messages: 100, bytes: 1 << 20 };

#[tokio::test]
async fn a_full_redis_refuses_publishes_and_still_reads() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    publish(&broker, &name("orders"), texts(2)).await;
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    for channel in ["orders", "new"] {
        assert_eq!(broker.publish(&name(channel), texts(1), 0).await, Err(Error::OutOfMemory), "{channel}");
    }
    assert_eq!(head(&broker, &name("orders")).await.expect("published").last, 2);
    let page = broker.read(&name("orders"), From::After(0), PAGE).await.expect("reading needs no memory");
    assert_eq!(page.messages.len(), 2);
    assert_eq!(broker.sequence_before(&name("orders"), i64::MAX).await, Ok(2));
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
        let broker: tidings::broker::Shared = tidings_redis::Redis::start(settings(&url));
        let mut state = broker.state();
        let change = within(state.changed(), "the reason").await;
        change.expect("it reports its state");
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
    let broker: tidings::broker::Shared = tidings_redis::Redis::start(settings(&replica.url()));
    let mut state = broker.state();
    within(state.changed(), "the reason").await.expect("it reports its state");
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

#[tokio::test]
async fn a_user_without_a_command_the_script_needs_writes_nothing() {
    for missing in ["xadd", "xtrim", "xrange", "hset", "pexpire", "publish"] {
        let server = RedisServer::start();
        server.command(&["ACL", "SETUSER", "bob", "on", ">pw", "~*", "&*", "+@all", &format!("-{missing}")]);
        let retention = Retention { dedup_window_ms: 50, max_messages: 1, ..KEEP_ALL };
        let url = format!("redis://bob:pw@127.0.0.1:{}", server.port());
        let broker = connect(Settings { retention, role: Role::Publisher, ..settings(&url) }).await;
        for _ in 0..4 {
            let refused = broker.publish(&name("orders"), vec![with_id(Uuid::now_v7())], 0).await;
            assert!(matches!(&refused, Err(Error::Unavailable(_))), "without {missing}: {refused:?}");
            tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        }
        assert_eq!(server.command(&["EXISTS", "tidings:{orders}:log", "tidings:{orders}:head"]), ":0", "{missing}");
        broker.close().await;
    }
}

#[tokio::test]
async fn where_no_more_ids_fit_publishes_without_one_pass() {
    let server = RedisServer::start();
    let generous = broker(&server).await;
    let ids: Vec<_> = (0..5).map(|_| Uuid::now_v7()).collect();
    publish(&generous, &name("orders"), ids.iter().map(|id| with_id(*id)).collect()).await;
    // The limit was lowered below what is remembered already.
    let retention = Retention { dedup_max_ids: 2, ..KEEP_ALL };
    let strict = connect(Settings { retention, ..settings(&server.url()) }).await;
    let refused = strict.publish(&name("orders"), vec![with_id(Uuid::now_v7())], 0).await;
    assert_eq!(refused, Err(Error::TooManyIds { limit: 2 }));
    assert_eq!(publish(&strict, &name("orders"), texts(1)).await[0].sequence, 6);
    assert_eq!(publish(&strict, &name("orders"), vec![with_id(ids[3])]).await[0].sequence, 4);
    strict.close().await;
    generous.close().await;
}

#[tokio::test]
async fn a_failure_that_nobody_foresaw_leaves_the_outcome_unknown() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    // A log without a head, whose end could be ours. What is at its beginning is looked at when the message is written
    // already.
    for (id, fields) in [("1-1", ["strange", "x", "y", "z"]), ("2-1", ["t", "1", "b", "1"])] {
        server.command(&[&["XADD", "tidings:{orders}:log", id], &fields[..]].concat());
    }
    let failed = broker.publish(&name("orders"), vec![text("a")], 0).await;
    assert!(matches!(&failed, Err(Error::OutcomeUnknown(text)) if !text.contains("script")), "{failed:?}");
    assert_eq!(server.command(&["XLEN", "tidings:{orders}:log"]), ":3");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_redis_is_named() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    publish(&broker, &name("orders"), texts(1)).await;
    server.command(&["CONFIG", "SET", "busy-reply-threshold", "50"]);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| server.command(&["EVAL", "while true do end", "0"]));
        std::thread::sleep(std::time::Duration::from_millis(300));
        let (read, published) = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let read = broker.read(&name("orders"), From::After(0), PAGE).await;
                (read, broker.publish(&name("orders"), texts(1), 0).await)
            })
        });
        assert_eq!(server.command(&["SCRIPT", "KILL"]), "+OK");
        assert!(running.join().expect("no panic").starts_with("-ERR"));
        assert!(matches!(&read, Err(Error::Unavailable(text)) if text.contains("busy")), "{read:?}");
        assert!(matches!(&published, Err(Error::Unavailable(text)) if text.contains("busy")), "{published:?}");
    });
    broker.close().await;
}
