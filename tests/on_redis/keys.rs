//! What stands on Redis.

use std::time::Duration;

use tidings::{broker::Broker, envelope};
use tidings_testing::RedisServer;
use uuid::Uuid;

use crate::support::{RETENTION, becomes_up, broker, draft, draft_with_id, name, publish, start, try_publish, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_has_the_keys_that_are_documented() {
    let redis = RedisServer::start();
    let broker = broker(&redis).await;
    let orders = name("orders");
    try_publish(&broker, &orders, vec![draft("a"), draft_with_id("b", Uuid::now_v7())]).await.expect("published");
    let keys = redis.command(&["KEYS", "*"]);
    for key in ["tidings:{orders}:log", "tidings:{orders}:head", "tidings:{orders}:ids:", "tidings:channels"] {
        assert!(keys.contains(key), "{key}: {keys}");
    }
    assert!(keys.starts_with("*4"), "and no other: {keys}");
    // One run of both: its ID tells the last sequence and the count.
    let log = redis.command(&["XRANGE", "tidings:{orders}:log", "-", "+"]);
    assert!(log.starts_with("*1\r\n*2\r\n$3\r\n2-2\r\n"), "{log}");
    for key in ["tidings:{orders}:log", "tidings:{orders}:head"] {
        let ttl: i64 = redis.command(&["PTTL", key])[1..].parse().expect("a number");
        assert!(ttl > 3_000_000, "{key} expires some day: {ttl}");
    }
    let log_ttl: i64 = redis.command(&["PTTL", "tidings:{orders}:log"])[1..].parse().expect("a number");
    let head_ttl: i64 = redis.command(&["PTTL", "tidings:{orders}:head"])[1..].parse().expect("a number");
    let seven_days = 7 * 24 * 3_600_000;
    assert!((head_ttl - log_ttl - seven_days).abs() < 1_000, "the head outlives the log by a week");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_bounded() {
    let redis = RedisServer::start();
    let broker = broker(&redis).await;
    let many = name("many");
    try_publish(&broker, &many, (0..300).map(|_| draft("x")).collect()).await.expect("published");
    let log = redis.command(&["XRANGE", "tidings:{many}:log", "-", "+"]);
    for id in ["\r\n128-128\r\n", "\r\n256-128\r\n", "\r\n300-44\r\n"] {
        assert!(log.contains(id), "{id:?}");
    }
    let large = name("large");
    let text = "x".repeat(40_000);
    try_publish(&broker, &large, (0..3).map(|_| draft(&text)).collect()).await.expect("published");
    assert_eq!(redis.command(&["XLEN", "tidings:{large}:log"]), ":3", "64 KiB hold one of these");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_script_writes_what_the_library_would() {
    let redis = RedisServer::start();
    let broker = broker(&redis).await;
    let exact = name("exact");
    let mut message = draft("a \"quoted\" text \u{1F980} \u{1}");
    message.attributes = vec![("k".to_owned(), "v".to_owned())];
    message.ordering_key = "customer".to_owned();
    let receipt = try_publish(&broker, &exact, vec![message.clone()]).await.expect("published")[0];
    let expected = envelope::encode(&message).stamp(receipt.time_ms, receipt.sequence, receipt.epoch);
    let log = redis.command(&["XRANGE", "tidings:{exact}:log", "-", "+"]);
    assert!(log.contains(&expected), "{expected}\n{log}");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_that_arrive_during_a_round_trip_travel_together() {
    let redis = RedisServer::start();
    let broker = broker(&redis).await;
    let busy = name("busy");
    publish(&broker, &busy, "first").await;
    redis.command(&["CONFIG", "RESETSTAT"]);
    let publishes: Vec<_> = (0..500).map(|_| broker.publish(&busy, vec![draft("x")], 0)).collect();
    for published in publishes {
        within("a receipt", published).await.expect("published");
    }
    let calls = redis.command(&["INFO", "commandstats"]);
    let calls: u32 = calls
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="))
        .and_then(|rest| rest.split(',').next()?.parse().ok())
        .expect("the script was called");
    assert!(calls < 50, "500 publishes took {calls} calls");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forgotten_scripts_are_given_again() {
    let redis = RedisServer::start();
    let broker = broker(&redis).await;
    let channel = name("scripts");
    for sequence in 1..4 {
        assert_eq!(publish(&broker, &channel, "x").await.sequence, sequence);
        redis.command(&["SCRIPT", "FLUSH"]);
        let page = broker.read(
            &channel,
            tidings::broker::From::After(0),
            tidings::broker::PageLimit { messages: 10, bytes: 1 << 20 },
        );
        assert_eq!(within("a page", page).await.expect("read").messages.len() as i64, sequence);
        redis.command(&["SCRIPT", "FLUSH"]);
    }
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_ids_go_with_their_window() {
    let redis = RedisServer::start();
    let retention = tidings::broker::Retention { dedup_window_ms: 300, ..RETENTION };
    let broker = start(&redis.url(), Duration::from_secs(5), retention);
    becomes_up(&broker).await;
    let channel = name("windows");
    for _ in 0..12 {
        try_publish(&broker, &channel, vec![draft_with_id("x", Uuid::now_v7())]).await.expect("published");
        tokio::time::sleep(Duration::from_millis(150)).await;
        let tables = redis.command(&["KEYS", "tidings:{windows}:ids:*"]);
        let count: u32 = tables[1..].lines().next().and_then(|count| count.parse().ok()).expect("a count");
        assert!(count <= 2, "{tables}");
    }
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_and_a_password_of_ones_own_are_used() {
    let redis = RedisServer::start_with(&["--save", "", "--requirepass", "s3cret"]);
    let url = format!("redis://:s3cret@127.0.0.1:{}/3", redis.port());
    let broker = start(&url, Duration::from_secs(5), RETENTION);
    becomes_up(&broker).await;
    let channel = name("own");
    assert_eq!(publish(&broker, &channel, "x").await.sequence, 1);
    let (control, mut events) = broker.live();
    control.send(tidings::broker::LiveCommand::Check(channel.clone())).await.expect("open");
    let told = within("a head", events.recv()).await.expect("an event");
    assert!(matches!(&told[..], [tidings::broker::LiveEvent::Head(_, Some(head))] if head.last == 1), "{told:?}");
    broker.close().await;
}
