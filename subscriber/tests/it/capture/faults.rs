//! Capture while connections are cut and Redis restarts.

use super::*;

/// The connections that listen, as Redis numbers them.
pub(super) fn live_links(redis: &RedisServer) -> Vec<String> {
    let clients = redis.command(&["CLIENT", "LIST", "TYPE", "pubsub"]);
    let ours = clients.lines().filter(|line| line.contains("name=tidings-live"));
    ours.filter_map(|line| line.split(' ').find_map(|word| word.rsplit_once("id=")).map(|(_, id)| id.to_owned()))
        .collect()
}

/// One of two replicas always listens, so that everything is received.
#[tokio::test(flavor = "multi_thread")]
async fn live_connections_that_are_killed_in_turn_lose_and_double_nothing() {
    let redis = RedisServer::start();
    let replicas = [capturing(&redis, "orders", 1).await, capturing(&redis, "orders", 2).await];
    let mut streams = Vec::new();
    for replica in &replicas {
        streams.push(replica.started_stream(channel("orders")).await);
        streams.push(replica.started_stream(pattern("o*")).await);
    }
    let mut plain = plain(&redis).await;
    const COUNT: usize = 10_000;
    for begin in (0..COUNT).step_by(500) {
        let links = live_links(&redis);
        let killed = links.get(begin / 500 % 2).expect("both listen");
        burst(&mut plain, "orders", numbered(begin..begin + 200)).await;
        assert_eq!(redis.command(&["CLIENT", "KILL", "ID", killed]), ":1");
        burst(&mut plain, "orders", numbered(begin + 200..begin + 500)).await;
        captured(&redis, "orders", 2).await;
        eventually("both listen", async || live_links(&redis).len() == 2).await;
    }
    let log = listed(&replicas[0], "orders", COUNT).await;
    assert_eq!(sequences(&log), (1..=COUNT as i64).collect::<Vec<_>>());
    let different: HashSet<&str> = log.iter().map(text_of).collect();
    assert_eq!((log.len(), different.len()), (COUNT, COUNT));
    for stream in &mut streams {
        assert_eq!(stream.messages(COUNT).await, log);
    }
    for replica in replicas {
        replica.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_restarts_in_between() {
    let mut redis = RedisServer::start_with(&DURABLE);
    let replicas = [capturing(&redis, "orders", 1).await, capturing(&redis, "orders", 2).await];
    let mut stream = replicas[0].started_stream(channel("orders")).await;
    let mut sent = 0;
    for _ in 0..3 {
        let mut plain = plain(&redis).await;
        burst(&mut plain, "orders", numbered(sent..sent + 700)).await;
        sent += 700;
        assert_eq!(listed(&replicas[1], "orders", sent).await.len(), sent);
        redis.restart();
        captured(&redis, "orders", 2).await;
    }
    burst(&mut plain(&redis).await, "orders", numbered(sent..sent + 1)).await;
    assert_all(&stream.messages(sent + 1).await, sent + 1);
    for replica in replicas {
        replica.stop();
    }
}

/// Adopting is refused for a while: what was received waits, in order.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_received_while_redis_is_full_is_adopted_when_it_is_not() {
    let redis = RedisServer::start();
    let subscriber = capturing(&redis, "orders", 1).await;
    let mut stream = subscriber.started_stream(channel("orders")).await;
    stream.caught_up().await;
    let mut plain = plain(&redis).await;
    burst(&mut plain, "orders", numbered(0..10)).await;
    stream.messages(10).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    burst(&mut plain, "orders", numbered(10..2_000)).await;
    stream.is_quiet(Duration::from_millis(300)).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(sequences(&stream.messages(1_990).await), (11..=2_000).collect::<Vec<_>>());
    assert_all(&subscriber.list("orders").await, 2_000);
    subscriber.stop();
}

/// A service that stops adopts what it holds, for there may be no other that received it.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_loses_nothing_that_was_received() {
    let redis = RedisServer::start();
    let subscriber = capturing(&redis, "orders", 1).await;
    let mut plain = plain(&redis).await;
    for begin in (0..5_000).step_by(500) {
        burst(&mut plain, "orders", numbered(begin..begin + 500)).await;
    }
    // Its answer comes after all pushes.
    subscriber.stream(channel("orders")).await;
    subscriber.stop();
    let next = capturing(&redis, "orders", 1).await;
    assert_all(&next.list("orders").await, 5_000);
    next.stop();
}
