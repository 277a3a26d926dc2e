//! A Redis that is there and of no use: said once in the log and in every status, in words that name the remedy.

use std::{fs, time::Duration};

use tidings_testing::RedisServer;
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;

use super::{
    old_redis::OldRedis,
    rig::{Rig, until},
};
use crate::harness::{Process, Publisher, Subscriber, channel, pattern, reason, text};

/// Several attempts to connect.
const SEVERAL_ATTEMPTS: Duration = Duration::from_millis(2_500);

/// Lines of a log that say so.
fn said(process: &Process, words: &str) -> usize {
    process.output().lines().filter(|line| line.contains(words)).count()
}

/// Services that come up whether Redis can be used or not.
async fn start_alone(url: &str) -> Rig {
    start_within(url, "400ms").await
}

/// The same with another time for Redis.
async fn start_within(url: &str, timeout: &str) -> Rig {
    let flag = format!("--redis-timeout={timeout}");
    Rig {
        publisher: Publisher::start_alone(url, &[&flag]).await,
        subscriber: Subscriber::start_alone(url, &[&flag]).await,
    }
}

fn says(refused: &Status, why: &str, words: &str) {
    assert_eq!((refused.code(), reason(refused).as_str()), (Code::Unavailable, why), "{refused:?}");
    assert!(refused.message().contains(words), "it says {words:?}: {refused:?}");
}

async fn publish_is_refused(rig: &Rig, name: &str, words: &str) {
    let refused = rig.publisher.client().publish(text(name, "x")).await.expect_err("of no use");
    says(&refused, "NOT_PUBLISHED", words);
}

async fn reads_are_refused(rig: &Rig, name: &str, words: &str) {
    for request in [channel(name), pattern(&format!("{name}*"))] {
        let refused = rig.subscriber.client().stream_messages(request).await.expect_err("of no use");
        says(&refused, "BROKER_UNAVAILABLE", words);
    }
    let list = tidings::pb::ListMessagesRequest { channel: name.to_owned(), ..Default::default() };
    let refused = rig.subscriber.client().list_messages(list).await.expect_err("of no use");
    says(&refused, "BROKER_UNAVAILABLE", words);
}

/// Neither service can use this Redis, for the reason in these words.
async fn is_of_no_use(url: &str, words: &str) {
    let rig = start_alone(url).await;
    until("both have tried", || {
        [&rig.publisher.process, &rig.subscriber.process].iter().all(|one| said(one, words) > 0)
    })
    .await;
    rig.publisher.becomes(ServingStatus::NotServing).await;
    rig.subscriber.becomes(ServingStatus::NotServing).await;
    publish_is_refused(&rig, "a", words).await;
    reads_are_refused(&rig, "a", words).await;
    tokio::time::sleep(SEVERAL_ATTEMPTS).await;
    for process in [&rig.publisher.process, &rig.subscriber.process] {
        let warnings = process.output().lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).count();
        assert_eq!((said(process, words), warnings), (1, 1), "said once: {}", process.output());
    }
    rig.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_replica() {
    let primary = RedisServer::start();
    let replica = RedisServer::replica_of(&primary);
    is_of_no_use(&replica.url(), "point --redis-url at the primary").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password() {
    let redis = RedisServer::start_with(&["--save", "", "--requirepass", "secret"]);
    let port = redis.port();
    is_of_no_use(
        &format!("redis://:wrong@127.0.0.1:{port}"),
        "refuses the user or password (--redis-url, --redis-password-file)",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password() {
    let redis = RedisServer::start_with(&["--save", "", "--requirepass", "secret"]);
    is_of_no_use(&redis.url(), "Redis needs a password: set --redis-password-file or --redis-url").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_do_nothing() {
    let redis = RedisServer::start();
    redis.command(&["ACL", "SETUSER", "bob", "on", ">pw", "~*", "&*", "-@all", "+hello", "+client", "+ping"]);
    is_of_no_use(&format!("redis://bob:pw@127.0.0.1:{}", redis.port()), "may not do this; see its ACL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_too_old() {
    let redis = OldRedis::start().await;
    is_of_no_use(&redis.url, "Redis 6.2 is too old; 7.0 or later is needed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_without_scripts() {
    for command in ["EVALSHA", "SCRIPT"] {
        let redis = RedisServer::start_with(&["--save", "", "--rename-command", command, ""]);
        is_of_no_use(&redis.url(), &format!("does not know {command}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_without_what_the_scripts_use() {
    let redis = RedisServer::start_with(&["--save", "", "--rename-command", "XADD", ""]);
    is_of_no_use(&redis.url(), "this server can't be worked with: it does not know XADD").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_run_no_scripts() {
    for (command, words) in [("evalsha", "'evalsha'"), ("script|load", "'script|load'")] {
        let redis = RedisServer::start();
        redis.command(&["ACL", "SETUSER", "bob", "on", ">pw", "~*", "&*", "+@all", &format!("-{command}")]);
        is_of_no_use(&format!("redis://bob:pw@127.0.0.1:{}", redis.port()), words).await;
    }
}

/// It is done without.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_without_eval() {
    let redis = RedisServer::start_with(&["--save", "", "--rename-command", "EVAL", ""]);
    let rig = Rig::on(&redis).await;
    let streams = rig.watch_both("e.1", "e.*").await;
    let mut receipts = rig.publish("e.1", 1..=3).await;
    for what in [&["CLIENT", "KILL", "TYPE", "pubsub"][..], &["SCRIPT", "FLUSH"], &["CLIENT", "KILL", "TYPE", "pubsub"]]
    {
        redis.command(what);
        receipts.extend(rig.publish("e.1", [7]).await);
        let other = rig.publish(&format!("e.new.{}", receipts.len()), [1]).await;
        streams[1].until_message(&other[0].message_id).await;
    }
    for stream in &streams {
        stream.until_message(&receipts[receipts.len() - 1].message_id).await;
        assert_eq!(super::rig::check(stream, "e.1", &receipts).await, []);
    }
    // That the live connections were ended is all that there is to say.
    let ended = said(&rig.subscriber.process, "only the live connection to Redis was closed");
    for (process, expected) in [(&rig.publisher.process, 0), (&rig.subscriber.process, ended)] {
        assert_eq!(said(process, "WARN"), expected, "{}", process.output());
    }
    drop(streams);
    rig.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_not_there() {
    let redis = RedisServer::prepare(&[]);
    is_of_no_use(&redis.url(), "refuses connections").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_loads_its_data() {
    const WORDS: &str = "loading its data into memory";
    // Slow for each key, and with a look at its clients after some.
    let slow = ["--save", "", "--key-load-delay", "800", "--loading-process-events-interval-bytes", "1024"];
    let mut redis = RedisServer::start_with(&slow);
    redis.command(&["EVAL", "for i = 1, 24000 do redis.call('SET', 'k' .. i, i) end", "0"]);
    assert_eq!(redis.command(&["SAVE"]), "+OK");
    redis.kill();
    redis.launch();
    // Each answer takes a while here, and an attempt to connect needs several.
    let rig = start_within(&redis.url(), "3s").await;
    until("both have tried", || {
        [&rig.publisher.process, &rig.subscriber.process].iter().all(|one| said(one, WORDS) > 0)
    })
    .await;
    rig.publisher.becomes(ServingStatus::NotServing).await;
    publish_is_refused(&rig, "a", WORDS).await;
    reads_are_refused(&rig, "a", WORDS).await;
    rig.publisher.becomes(ServingStatus::Serving).await;
    rig.subscriber.becomes(ServingStatus::Serving).await;
    for process in [&rig.publisher.process, &rig.subscriber.process] {
        assert_eq!(said(process, WORDS), 1, "said once: {}", process.output());
    }
    let stream = rig.watch(channel("a")).await;
    let receipts = rig.publish("a", [1]).await;
    stream.until_message(&receipts[0].message_id).await;
    drop(stream);
    rig.stop();
}

/// Only that channel is hurt, however often it is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn no_right_to_a_channel() {
    const WORDS: &str = "ACL";
    let redis = RedisServer::start();
    redis.command(&["ACL", "SETUSER", "bob", "on", ">pw", "~*", "+@all", "resetchannels", "&allowed*", "&tidings*"]);
    let rig = Rig::at(&format!("redis://bob:pw@127.0.0.1:{}", redis.port()), &[]).await;
    let stream = rig.watch(channel("allowed")).await;
    for _ in 0..10 {
        publish_is_refused(&rig, "forbidden", WORDS).await;
        for request in [channel("forbidden"), pattern("forbidden*")] {
            let refused = rig.subscriber.client().stream_messages(request).await.expect_err("of no use");
            says(&refused, "BROKER_UNAVAILABLE", WORDS);
        }
    }
    assert_eq!(redis.command(&["EXISTS", "tidings:{forbidden}:log", "tidings:{forbidden}:head"]), ":0");
    let receipts = rig.publish("allowed", [1]).await;
    stream.until_message(&receipts[0].message_id).await;
    assert_eq!(said(&rig.publisher.process, WORDS), 1, "said once: {}", rig.publisher.process.output());
    for topic in ["Channel(\\\"forbidden\\\")", "Pattern(\\\"forbidden*\\\")"] {
        assert_eq!(said(&rig.subscriber.process, topic), 1, "said once: {}", rig.subscriber.process.output());
    }
    // The default channel is captured, and asked for again and again.
    tokio::time::sleep(SEVERAL_ATTEMPTS).await;
    assert_eq!(said(&rig.subscriber.process, "is not captured"), 1, "said once: {}", rig.subscriber.process.output());
    drop(stream);
    rig.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_can_not_write_to_its_disk() {
    const WORDS: &str = "MISCONF";
    let redis = RedisServer::start_with(&["--save", "3600 1", "--enable-protected-configs", "yes"]);
    let rig = Rig::on(&redis).await;
    let stream = rig.watch(channel("m")).await;
    let mut receipts = rig.publish("m", [1]).await;
    fs::remove_dir_all(redis.folder()).expect("the folder can be removed");
    let persistence = |status: &str| {
        redis.command(&["BGSAVE"]);
        redis.command(&["INFO", "persistence"]).contains(&format!("rdb_last_bgsave_status:{status}"))
    };
    until("Redis can't save", || persistence("err")).await;
    for _ in 0..10 {
        publish_is_refused(&rig, "m", WORDS).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(said(&rig.publisher.process, WORDS), 1, "said once: {}", rig.publisher.process.output());
    fs::create_dir(redis.folder()).expect("the folder can be made");
    // It is still in the folder that was removed.
    assert_eq!(redis.command(&["CONFIG", "SET", "dir", &redis.folder().to_string_lossy()]), "+OK");
    until("Redis can save", || persistence("ok")).await;
    receipts.extend(rig.publish("m", [2]).await);
    stream.until_message(&receipts[1].message_id).await;
    assert_eq!(super::rig::check(&stream, "m", &receipts).await, []);
    drop(stream);
    rig.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_busy_with_a_script() {
    const WORDS: &str = "busy with another client's script";
    let redis = RedisServer::start_with(&["--save", "", "--busy-reply-threshold", "50"]);
    let rig = Rig::on(&redis).await;
    let stream = rig.watch(channel("b")).await;
    let mut receipts = rig.publish("b", [1]).await;
    let running = std::thread::scope(|scope| {
        let running = scope.spawn(|| redis.command(&["EVAL", "while true do end", "0"]));
        std::thread::sleep(Duration::from_millis(500));
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                for _ in 0..2 {
                    publish_is_refused(&rig, "b", WORDS).await;
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
            });
        });
        assert_eq!(redis.command(&["SCRIPT", "KILL"]), "+OK");
        running.join().expect("no panic")
    });
    assert!(running.starts_with('-'), "{running}");
    receipts.push(rig.publish_stubbornly("b", 2).await);
    stream.until_message(&receipts[1].message_id).await;
    assert_eq!(super::rig::check(&stream, "b", &receipts).await, []);
    assert_eq!(said(&rig.publisher.process, WORDS), 1, "said once: {}", rig.publisher.process.output());
    drop(stream);
    rig.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eviction_policy_is_warned_of_at_start() {
    let redis = RedisServer::start_with(&["--save", "", "--maxmemory-policy", "allkeys-lru"]);
    let rig = Rig::on(&redis).await;
    for _ in 0..3 {
        redis.command(&["CLIENT", "KILL", "TYPE", "normal"]);
        rig.publish_stubbornly("a", 1).await;
        rig.subscriber.becomes(ServingStatus::Serving).await;
    }
    for process in [&rig.publisher.process, &rig.subscriber.process] {
        assert_eq!(said(process, "set its maxmemory-policy to noeviction"), 1, "said once: {}", process.output());
    }
    rig.stop();
}
