//! The registry's sweep: names whose head has expired go, however many there are and whatever precedes them.

use std::time::{SystemTime, UNIX_EPOCH};

use tidings_testing::RedisServer;

use crate::fixture::{broker, name, publish, texts, until};

#[tokio::test]
async fn names_without_a_head_are_swept_after_those_that_stay() {
    let server = RedisServer::start();
    // More than one look's worth of old names that stay, since they have a head or are none of ours; after them some
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

/// How often a command was called, as Redis counts.
fn calls(server: &RedisServer, command: &str) -> u64 {
    let stats = server.command(&["INFO", "commandstats"]);
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.and_then(|line| line.split(',').next()).map_or(0, |calls| calls.parse().expect("a number"))
}

/// Writers of every version keep the registry by time; readers have it by name all the same, and it is never old.
#[tokio::test]
async fn names_are_a_range_and_what_is_new_is_among_them_at_once() {
    let server = RedisServer::start();
    let fill = "for i = 1, 5000 do redis.call('ZADD', KEYS[1], ARGV[1] + i, string.format('n.%04d', i)) end
        redis.call('ZADD', KEYS[1], ARGV[1], 'no name')";
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let (now, an_hour_ago) = (now_ms.to_string(), (now_ms - 3_600_000).to_string());
    server.command(&["EVAL", fill, "1", "tidings:channels", &an_hour_ago]);
    let broker = broker(&server).await;
    let listed = async |after: &str, limit| {
        let names = broker.channels(None, after, limit).await.expect("listed");
        names.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(listed("", 5_100).await.len(), 5_000);
    let scans = calls(&server, "zscan");
    for n in (100..4_900).step_by(100) {
        assert_eq!(listed(&format!("n.{n:04}"), 2).await, [format!("n.{:04}", n + 1), format!("n.{:04}", n + 2)]);
    }
    assert_eq!(calls(&server, "zscan"), scans, "a page is a range");
    server.command(&["ZADD", "tidings:channels", &now, "published.now"]);
    assert_eq!(listed("n.5000", 2).await, ["published.now"]);
    assert_eq!(calls(&server, "zscan"), scans, "what was published on since is known by its time");
    // A reader puts back a name by the time of its last publish, long ago; so does a clock that was set back.
    server.command(&["ZADD", "tidings:channels", &an_hour_ago, "put.back"]);
    assert_eq!(listed("n.5000", 3).await, ["published.now", "put.back"]);
    let many = "for i = 1, 4500 do redis.call('ZADD', KEYS[1], ARGV[1], 'v.' .. i) end";
    server.command(&["EVAL", many, "1", "tidings:channels", &now]);
    assert_eq!(listed("put.back", 10_000).await.len(), 4_500);
    server.command(&["FLUSHALL"]);
    server.command(&["ZADD", "tidings:channels", &now, "after.the.flush"]);
    assert!(listed("", 10_000).await.contains(&"after.the.flush".to_owned()));
    broker.close().await;
}

#[tokio::test]
async fn names_of_a_registry_too_large_to_keep_are_still_in_order() {
    let server = RedisServer::start();
    let fill = "for i = 1, 100500 do redis.call('ZADD', KEYS[1], 4e12, string.format('n.%06d', i * 7919 % 100501)) end";
    server.command(&["EVAL", fill, "1", "tidings:channels"]);
    let broker = broker(&server).await;
    for after in [0, 50_000, 100_490] {
        let names = broker.channels(None, &format!("n.{after:06}"), 5).await.expect("listed");
        let expected: Vec<_> = (after + 1..after + 6).map(|n| name(&format!("n.{n:06}"))).collect();
        assert_eq!(names, expected);
    }
    broker.close().await;
}
