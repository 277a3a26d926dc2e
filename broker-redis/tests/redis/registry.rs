//! The registry's sweep: names whose head has expired go, however many there are and whatever stands before them.

use tidings_testing::RedisServer;

use crate::fixture::{broker, name, publish, texts, until};

#[tokio::test]
async fn names_without_a_head_are_swept_after_those_that_stay() {
    let server = RedisServer::start();
    // More than one look's worth of old names that stay, since they have a head or are none of ours; behind them some
    // that go.
    let fill = "for i = 1, 1100 do redis.call('ZADD', KEYS[1], i, 'kept.' .. i) redis.call('HSET', 'tidings:{kept.' .. i .. '}:head', 'v', 1) end
        redis.call('ZADD', KEYS[1], 500, 'no name')
        for i = 1, 700 do redis.call('ZADD', KEYS[1], 2000 + i, 'dead.' .. i) end";
    server.command(&["EVAL", fill, "1", "tidings:channels"]);
    let broker = broker(&server).await;
    publish(&broker, &name("orders"), texts(1)).await;
    until("they are gone", || server.command(&["ZCARD", "tidings:channels"]) == ":1102").await;
    for (member, score) in [("kept.7", "$1\r\n7"), ("no name", "$3\r\n500"), ("dead.9", "$-1")] {
        assert_eq!(server.command(&["ZSCORE", "tidings:channels", member]), score, "{member}");
    }
    assert!(server.command(&["ZSCORE", "tidings:channels", "orders"]).len() > 10);
    broker.close().await;
}
