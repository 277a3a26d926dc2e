//! What is on Redis: plain programs and other versions rely on it.

use std::time::Duration;

use futures_util::future::join_all;
use tidings::{
    broker::{From, LiveCommand, LiveEvent, PageLimit, Retention},
    envelope,
    limits::HEAD_LINGER,
};
use tidings_testing::RedisServer;
use uuid::Uuid;

use crate::fixture::{
    KEEP_ALL, Live, broker, channel, connect, head, name, publish, settings, text, texts, until, with_id,
};

const LOG: &str = "tidings:{orders}:log";
const HEAD: &str = "tidings:{orders}:head";

fn integer(reply: &str) -> i64 {
    reply.trim_start_matches(':').parse().unwrap_or_else(|_| panic!("an integer was expected: {reply}"))
}

/// How often a command was called, as Redis counts.
fn calls(server: &RedisServer, command: &str) -> i64 {
    let stats = server.command(&["INFO", "commandstats"]);
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.and_then(|line| line.split(',').next()).map_or(0, |calls| calls.parse().expect("a number"))
}

#[tokio::test]
async fn the_channel_and_the_log_carry_the_same_json() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let mut live = Live::open(&broker);
    live.subscribe(channel("orders")).await;
    let drafts = vec![text("Grüße\n\"1\""), text("2")];
    let receipts = publish(&broker, &name("orders"), drafts.clone()).await;
    let log = server.command(&["XRANGE", LOG, "-", "+"]) + "\r\n";
    assert!(log.contains("\r\n2-2\r\n"), "the run's ID is its last sequence and its count: {log}");
    let mut bytes = 0;
    for (draft, receipt) in drafts.iter().zip(&receipts) {
        let json = envelope::encode(draft).stamp(receipt.time_ms, receipt.sequence, receipt.epoch);
        assert_eq!(live.push().await.2, json);
        assert!(log.contains(&format!("$1\r\nm\r\n${}\r\n{json}\r\n", json.len())), "{json} in {log}");
        bytes += json.len();
    }
    assert!(log.contains(&format!("t\r\n$13\r\n{}\r\n", receipts[0].time_ms)), "{log}");
    assert!(log.contains(&format!("b\r\n${}\r\n{bytes}\r\n", bytes.to_string().len())), "{log}");
    broker.close().await;
}

#[tokio::test]
async fn a_run_has_128_messages_or_64_kib() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    publish(&broker, &name("orders"), texts(300)).await;
    let log = server.command(&["XRANGE", LOG, "-", "+"]);
    for id in ["128-128", "256-128", "300-44"] {
        assert!(log.contains(&format!("\r\n{id}\r\n")), "{id}");
    }
    publish(&broker, &name("orders"), vec![text(&"x".repeat(40_000)), text(&"x".repeat(40_000)), text("3")]).await;
    let log = server.command(&["XRANGE", LOG, "301", "+"]);
    assert!(log.contains("\r\n301-1\r\n") && log.contains("\r\n303-2\r\n"));
    broker.close().await;
}

#[tokio::test]
async fn publishes_that_wait_travel_together() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    publish(&broker, &name("orders"), texts(1)).await;
    let before = calls(&server, "evalsha");
    let waiting: Vec<_> = (0..400).map(|_| broker.publish(&name("orders"), texts(1), 0)).collect();
    assert!(join_all(waiting).await.iter().all(Result::is_ok));
    let made = calls(&server, "evalsha") - before;
    assert!(made <= 20, "{made} calls for 400 publishes that were there at once");
    assert_eq!(head(&broker, &name("orders")).await.expect("published").last, 401);
    broker.close().await;
}

/// The script's dates are its own; the clock of a test is always now.
#[tokio::test]
async fn the_script_writes_dates_as_the_envelope_does() {
    let server = RedisServer::start();
    let source = include_str!("../../scripts/parts/date.lua");
    let begin = source.find("local function iso(").expect("the script writes dates");
    let end = begin + source[begin..].find("\nend\n").expect("the function ends") + 5;
    let script = format!("{}\nreturn iso(tonumber(ARGV[1]))", &source[begin..end]);
    let day_ms = 86_400_000;
    let leap_days = [951_782_400_000, 4_107_456_000_000, 1_709_164_800_000, 13_574_563_200_000];
    let around = leap_days.into_iter().flat_map(|ms| [ms - 1, ms, ms + day_ms - 1, ms + day_ms, ms + 2 * day_ms]);
    let spread = (0..400).map(|i| i * 9_973 * day_ms / 37 + i * 7_654_321);
    for ms in around.chain(spread) {
        let written = server.command(&["EVAL", &script, "0", &ms.to_string()]);
        assert_eq!(written, format!("$24\r\n{}", envelope::format_time(ms)), "{ms}");
    }
}

#[tokio::test]
async fn trimming_leaves_whole_runs_and_a_head_that_knows_them() {
    let server = RedisServer::start();
    let retention = Retention { max_messages: 10, ..KEEP_ALL };
    let broker = connect(tidings_redis::Settings { retention, ..settings(&server.url()) }).await;
    for _ in 0..20 {
        publish(&broker, &name("orders"), texts(4)).await;
    }
    // 71..=80 must stay, and the run 69..=72 holds the first two of them.
    assert_eq!(integer(&server.command(&["XLEN", LOG])), 3);
    assert_eq!(head(&broker, &name("orders")).await.expect("published").first, 69);
    broker.close().await;
}

#[tokio::test]
async fn a_log_that_is_far_over_its_limits_is_trimmed_to_them() {
    let server = RedisServer::start();
    let generous = broker(&server).await;
    for _ in 0..1_500 {
        publish(&generous, &name("orders"), texts(1)).await;
    }
    let retention = Retention { max_messages: 100, ..KEEP_ALL };
    let strict = connect(tidings_redis::Settings { retention, ..settings(&server.url()) }).await;
    publish(&strict, &name("orders"), texts(1)).await;
    publish(&strict, &name("orders"), texts(1)).await;
    assert_eq!(integer(&server.command(&["XLEN", LOG])), 100);
    let page = strict.read(&name("orders"), From::After(0), PageLimit { messages: 1, bytes: 1 }).await.expect("read");
    assert_eq!(page.messages[0].sequence, 1_403);
    strict.close().await;
    generous.close().await;
}

/// A publisher without history leaves a hole in the log of one that has some.
#[tokio::test]
async fn a_hole_in_the_log_is_passed_in_both_directions() {
    let server = RedisServer::start();
    let keeping = broker(&server).await;
    let retention = Retention { max_messages: 0, ..KEEP_ALL };
    let forgetful = connect(tidings_redis::Settings { retention, ..settings(&server.url()) }).await;
    publish(&keeping, &name("orders"), texts(3)).await;
    publish(&forgetful, &name("orders"), texts(4)).await;
    publish(&keeping, &name("orders"), texts(3)).await;
    let page = async |from| {
        let page = keeping.read(&name("orders"), from, PageLimit { messages: 3, bytes: 1 << 20 }).await.expect("read");
        (page.messages.iter().map(|stored| stored.sequence).collect::<Vec<_>>(), page.is_last)
    };
    assert_eq!(page(From::Before(i64::MAX)).await, (vec![10, 9, 8], false));
    for before in 5..=8 {
        assert_eq!(page(From::Before(before)).await, (vec![3, 2, 1], true), "before {before}");
    }
    // A run counts as a whole.
    assert_eq!(page(From::Before(10)).await, (vec![9, 8], false));
    assert_eq!(page(From::Before(3)).await, (vec![2, 1], true));
    assert_eq!(page(From::Before(1)).await, (vec![], true));
    for after in 3..=7 {
        assert_eq!(page(From::After(after)).await, (vec![8, 9, 10], true), "after {after}");
    }
    keeping.close().await;
    forgetful.close().await;
}

#[tokio::test]
async fn logs_heads_and_ids_expire() {
    let server = RedisServer::start();
    let retention = Retention { max_age_ms: 60_000, dedup_window_ms: 5_000, ..KEEP_ALL };
    let broker = connect(tidings_redis::Settings { retention, ..settings(&server.url()) }).await;
    publish(&broker, &name("orders"), vec![with_id(Uuid::now_v7())]).await;
    let lives_ms = |key: &str| integer(&server.command(&["PTTL", key]));
    // Not every call says so again, but log and head live as long after each.
    let (mut put_off, mut before) = (0, 0);
    for _ in 0..40 {
        let began = std::time::Instant::now();
        publish(&broker, &name("orders"), texts(1)).await;
        let (log_ms, head_ms) = (lives_ms(LOG), lives_ms(HEAD) - HEAD_LINGER.as_millis() as i64);
        let passed_ms = began.elapsed().as_millis() as i64 + 1;
        for lives_ms in [log_ms, head_ms] {
            assert!((60_000 - passed_ms..=61_000).contains(&lives_ms), "{lives_ms}");
        }
        put_off += i32::from(log_ms > before);
        before = log_ms;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!((2..=10).contains(&put_off), "{put_off} times in two seconds");
    let ids = server.command(&["KEYS", "tidings:{orders}:ids:*"]);
    let ids = ids.lines().last().expect("there is one").trim();
    assert!((5_000..=100_000).contains(&lives_ms(ids)), "{ids}");
    broker.close().await;
}

#[tokio::test]
async fn old_generations_of_ids_are_removed() {
    let server = RedisServer::start();
    let retention = Retention { dedup_window_ms: 100, ..KEEP_ALL };
    let broker = connect(tidings_redis::Settings { retention, ..settings(&server.url()) }).await;
    for _ in 0..10 {
        publish(&broker, &name("orders"), vec![with_id(Uuid::now_v7())]).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let keys = server.command(&["KEYS", "tidings:{orders}:ids:*"]);
    let count = integer(&keys.lines().next().expect("a count").replace('*', ":"));
    assert!((1..=3).contains(&count), "{keys}");
    broker.close().await;
}

#[tokio::test]
async fn the_registry_is_written_before_the_channel_and_swept() {
    let server = RedisServer::start();
    server.command(&["ZADD", "tidings:channels", "1000", "gone", "1000", "still-there"]);
    server.command(&["HSET", "tidings:{still-there}:head", "v", "1"]);
    let broker = broker(&server).await;
    publish(&broker, &name("orders"), texts(1)).await;
    let score = server.command(&["ZSCORE", "tidings:channels", "orders"]);
    let time_ms = head(&broker, &name("orders")).await.expect("published").time_ms;
    let noted_ms: i64 = score.lines().last().expect("a score").parse().expect("a number");
    assert!((time_ms - 5_000..=time_ms).contains(&noted_ms), "{noted_ms} for {time_ms}");
    until("the expired name is removed", || server.command(&["ZSCORE", "tidings:channels", "gone"]) == "$-1").await;
    assert_ne!(server.command(&["ZSCORE", "tidings:channels", "still-there"]), "$-1");
    broker.close().await;
}

#[tokio::test]
async fn a_database_and_a_password_of_ones_own_are_used_by_all_connections() {
    let server = RedisServer::start_with(&["--save", "", "--requirepass", "s3cret"]);
    let broker = connect(settings(&format!("redis://:s3cret@127.0.0.1:{}/3", server.port()))).await;
    let orders = name("orders");
    publish(&broker, &orders, texts(1)).await;
    let mut live = Live::open(&broker);
    live.send(LiveCommand::Check(orders)).await;
    let event = live.next().await;
    assert!(matches!(&event, LiveEvent::Head(_, Some(head)) if head.last == 1), "{event:?}");
    broker.close().await;
}
