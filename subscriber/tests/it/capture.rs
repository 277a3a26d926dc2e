//! Capture: what plain programs publish is in the log, in the lists and in every stream, once.

use std::{collections::HashSet, time::Duration};

use tidings::pb::{GapReason, Message, StreamMessagesRequest};
use tidings_testing::{
    DURABLE, RedisServer, Subscriber, TEST_TIMEOUT, burst, captured, channel, eventually, listed, pattern, plain,
    sequences, text_of,
};
use tokio::time::{Instant, sleep};

mod faults;
mod rights;
mod several;

fn numbered(range: std::ops::Range<usize>) -> impl Iterator<Item = Vec<u8>> {
    range.map(|i| format!("plain {i}").into_bytes())
}

/// A subscriber that listens to the notices of what is adopted on a channel: the `count`th to do so.
async fn capturing(redis: &RedisServer, channel: &str, count: usize) -> Subscriber {
    let subscriber = Subscriber::start(&redis.url(), &["--capture", channel]).await;
    captured(redis, channel, count).await;
    subscriber
}

fn texts(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(text_of).collect()
}

/// Each of these texts, in this order and once, numbered from 1.
fn assert_all(messages: &[Message], count: usize) {
    let expected: Vec<String> = (0..count).map(|i| format!("plain {i}")).collect();
    assert_eq!(texts(messages), expected);
    assert_eq!(sequences(messages), (1..=count as i64).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_is_adopted_in_batches_in_order_whether_or_not_anyone_streams() {
    let redis = RedisServer::start();
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    captured(&redis, "channel1", 1).await;
    burst(&mut plain(&redis).await, "channel1", numbered(0..10_000)).await;
    assert_all(&listed(&subscriber, "channel1", 10_000).await, 10_000);
    let calls = redis.command(&["INFO", "commandstats"]);
    let adopted = calls.lines().find_map(|line| line.strip_prefix("cmdstat_xadd:calls=")).expect("it adopted");
    let runs: usize = adopted.split(',').next().and_then(|runs| runs.parse().ok()).expect("a number");
    assert!(runs <= 1_000, "{runs} runs for 10,000 messages that were there at once");
    let mut replayed = subscriber.started_stream(StreamMessagesRequest { earliest: true, ..channel("channel1") }).await;
    assert_all(&replayed.messages(10_000).await, 10_000);
    subscriber.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_into_an_envelope_is_delivered_live_and_not_kept() {
    let redis = RedisServer::start();
    let subscriber = capturing(&redis, "orders", 1).await;
    let (mut by_name, mut by_pattern) =
        (subscriber.started_stream(channel("orders")).await, subscriber.started_stream(pattern("ord*")).await);
    let mut plain = plain(&redis).await;
    burst(&mut plain, "orders", [vec![b'x'; 1 << 20], b"small".to_vec()]).await;
    for stream in [&mut by_name, &mut by_pattern] {
        // A small one may overtake it: it is adopted meanwhile.
        let mut both = stream.messages(2).await;
        both.sort_by_key(|message| message.sequence);
        assert_eq!((both[0].sequence, text_of(&both[0]).len()), (0, 1 << 20));
        assert_eq!((both[1].sequence, text_of(&both[1])), (1, "small"));
    }
    assert_eq!(texts(&subscriber.list("orders").await), ["small"]);
    subscriber.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn captured_is_what_the_flag_names_and_nothing_else() {
    let redis = RedisServer::start();
    let subscriber = Subscriber::start(&redis.url(), &["--capture", "a,b.*", "--capture", "c"]).await;
    captured(&redis, "c", 1).await;
    let mut stream = subscriber.started_stream(pattern("*")).await;
    stream.caught_up().await;
    let mut plain = plain(&redis).await;
    for (name, sequence) in [("a", 1), ("b.1", 1), ("c", 1), ("channel1", 0), ("a", 2), ("b", 0)] {
        burst(&mut plain, name, [b"x".to_vec()]).await;
        let message = stream.message().await;
        assert_eq!((message.channel.as_str(), message.sequence), (name, sequence));
    }
    stream.is_quiet(Duration::from_millis(200)).await;
    subscriber.stop();
    let off = Subscriber::start(&redis.url(), &["--capture", ""]).await;
    let mut stream = off.started_stream(channel("channel1")).await;
    stream.caught_up().await;
    burst(&mut plain, "channel1", [b"x".to_vec()]).await;
    assert_eq!(stream.message().await.sequence, 0);
    off.stop();
}

/// Its date is the program's own, and says nothing of when the message came.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_date_hides_neither_the_message_nor_a_loss() {
    let redis = RedisServer::start();
    let subscriber = capturing(&redis, "orders", 1).await;
    let mut plain = plain(&redis).await;
    let dated = |text: &str| format!(r#"{{"message":"{text}","date":"2001-02-03T04:05:06.789Z"}}"#).into_bytes();
    let begin = chrono::Utc::now() + Duration::from_secs(2);
    let since = prost_types::Timestamp { seconds: begin.timestamp(), nanos: begin.timestamp_subsec_nanos() as i32 };
    let mut waiting =
        subscriber.started_stream(StreamMessagesRequest { since: Some(since), ..channel("orders") }).await;
    burst(&mut plain, "orders", [dated("early")]).await;
    listed(&subscriber, "orders", 1).await;
    sleep(Duration::from_millis(2_500)).await;
    burst(&mut plain, "orders", [dated("due"), dated("due as well")]).await;
    let live = waiting.messages(2).await;
    assert_eq!(texts(&live), ["due", "due as well"]);
    assert_eq!(live[0].publish_time.map(|time| time.seconds), Some(981_173_106));
    let mut replayed =
        subscriber.started_stream(StreamMessagesRequest { since: Some(since), ..channel("orders") }).await;
    assert_eq!(texts(&replayed.messages(2).await), ["due", "due as well"]);
    replayed.caught_up().await;
    redis.command(&["FLUSHALL"]);
    for stream in [&mut waiting, &mut replayed] {
        let gap = loop {
            if let tidings::pb::stream_messages_response::Event::Gap(gap) = stream.next_event().await {
                break gap;
            }
        };
        assert_eq!((gap.reason(), gap.first_missing), (GapReason::EpochChanged, 4));
    }
    burst(&mut plain, "orders", [dated("again")]).await;
    assert_eq!(waiting.message().await.sequence, 1);
    subscriber.stop();
}

/// A user that may not listen to notices captures nothing; nobody misses anything else.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_notices_messages_are_delivered_as_they_come() {
    let redis = RedisServer::start();
    let rights = ["~*", "+@all", "resetchannels", "&orders", "&tidings:probe:*"];
    redis.command(&[&["ACL", "SETUSER", "bob", "on", ">pw"], &rights[..]].concat());
    let url = format!("redis://bob:pw@127.0.0.1:{}", redis.port());
    let subscriber = Subscriber::start(&url, &["--capture", "orders"]).await;
    let mut stream = subscriber.started_stream(channel("orders")).await;
    stream.caught_up().await;
    let mut plain = plain(&redis).await;
    burst(&mut plain, "orders", [b"live".to_vec()]).await;
    assert_eq!(stream.message().await.sequence, 0);
    assert!(subscriber.process.output().contains("not captured"), "it says so");
    // The right is given; the next link has it.
    redis.command(&["ACL", "SETUSER", "bob", "&tidings:*"]);
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    captured(&redis, "orders", 1).await;
    burst(&mut plain, "orders", [b"kept".to_vec()]).await;
    assert_eq!(texts(&listed(&subscriber, "orders", 1).await), ["kept"]);
    assert_eq!(stream.message().await.sequence, 1);
    subscriber.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_history_what_is_adopted_is_numbered() {
    let redis = RedisServer::start();
    let subscriber = Subscriber::start(&redis.url(), &["--history-max-messages", "0"]).await;
    captured(&redis, "channel1", 1).await;
    let mut stream = subscriber.started_stream(channel("channel1")).await;
    stream.caught_up().await;
    let mut plain = plain(&redis).await;
    for begin in [0, 500, 1_000] {
        burst(&mut plain, "channel1", numbered(begin..begin + 500)).await;
    }
    assert_all(&stream.messages(1_500).await, 1_500);
    subscriber.stop();
}
