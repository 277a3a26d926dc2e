//! Odd things on Redis: each hurts at most its own channel, and is reported.

use std::time::{Duration, SystemTime};

use tidings::pb::{GapReason, StreamMessagesRequest};
use tidings_testing::RedisServer;
use tonic::Code;

use crate::harness::{Publisher, Subscriber, channel, text, text_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_cannot_be_read_hurts_no_other() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    for name in ["newer", "good"] {
        publisher.client().publish(text(name, "x")).await.expect("published");
    }
    redis.command(&["HSET", "tidings:{newer}:head", "v", "3"]);
    let refused = subscriber.client().stream_messages(channel("newer")).await.expect_err("refused");
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("newer version"), "{refused:?}");
    let mut good = subscriber.stream(StreamMessagesRequest { earliest: true, ..channel("good") }).await;
    good.started().await;
    good.message().await;
    good.caught_up().await;
    publisher.client().publish(text("good", "y")).await.expect("published");
    assert_eq!(text_of(&good.message().await), "y");
    publisher.stop();
    subscriber.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_is_noticed_on_a_quiet_channel_whatever_plain_programs_wrote() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    publisher.client().publish(text("quiet", "x")).await.expect("published");
    let mut stream = subscriber.stream(channel("quiet")).await;
    stream.started().await;
    stream.caught_up().await;
    publisher.client().publish(text("quiet", "y")).await.expect("published");
    assert_eq!(stream.message().await.sequence, 2);
    redis.command(&["PUBLISH", "quiet", r#"{"message":"old","date":"2001-01-01T00:00:00Z"}"#]);
    assert_eq!(text_of(&stream.message().await), "old");
    redis.command(&["FLUSHALL"]);
    let gap = stream.gap().await;
    assert_eq!((gap.reason(), gap.first_missing, gap.last_missing), (GapReason::EpochChanged, 3, 0));
    publisher.client().publish(text("quiet", "new")).await.expect("published");
    assert_eq!(stream.message().await.sequence, 1);
    publisher.stop();
    subscriber.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn since_goes_by_the_log_not_by_what_plain_programs_claim() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    let soon = SystemTime::now() + Duration::from_secs(2);
    let since = StreamMessagesRequest { since: Some(soon.into()), ..channel("since") };
    let mut stream = subscriber.stream(since).await;
    stream.started().await;
    stream.caught_up().await;
    redis.command(&["PUBLISH", "since", r#"{"message":"claims the future","date":"2099-01-01T00:00:00Z"}"#]);
    publisher.client().publish(text("since", "too early")).await.expect("published");
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    redis.command(&["PUBLISH", "since", r#"{"message":"claims the past","date":"2001-01-01T00:00:00Z"}"#]);
    publisher.client().publish(text("since", "in time")).await.expect("published");
    assert_eq!(text_of(&stream.message().await), "claims the past");
    assert_eq!(text_of(&stream.message().await), "in time");
    publisher.stop();
    subscriber.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_history_what_a_cut_connection_missed_is_named() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &["--history-max-messages=0"]).await;
    let subscriber = Subscriber::start(&redis.url(), &["--history-max-messages=0"]).await;
    let mut stream = subscriber.stream(channel("bare")).await;
    stream.started().await;
    stream.caught_up().await;
    let mut next = 1;
    let mut gaps = 0;
    for round in 0..5 {
        for n in 0..40 {
            if n == 20 {
                redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
            }
            publisher.client().publish(text("bare", format!("{round} {n}"))).await.expect("published");
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    while next <= 200 {
        match stream.next_event().await {
            tidings::pb::stream_messages_response::Event::Message(message) => {
                assert_eq!(message.sequence, next);
                next += 1;
            }
            tidings::pb::stream_messages_response::Event::Gap(gap) => {
                assert_eq!((gap.first_missing, gap.reason()), (next, GapReason::NotRetained));
                next = gap.last_missing + 1;
                gaps += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(next, 201);
    assert!(gaps <= 5, "one loss is one gap: {gaps}");
    publisher.stop();
    subscriber.stop();
}

/// Puts a message into a channel's log and head that is never pushed, as if its push had been lost.
fn append_unpushed(redis: &RedisServer, channel: &str, sequence: i64, text: &str) {
    let head = format!("tidings:{{{channel}}}:head");
    let field = |name: &str| redis.command(&["HGET", &head, name]).lines().nth(1).unwrap_or_default().to_owned();
    let (epoch, time, bytes) = (field("e"), field("t"), field("b"));
    let id = uuid::Uuid::now_v7();
    let json = format!(
        r#"{{"id":"{id}","message":"{text}","date":"2026-01-01T00:00:00.000Z","sequence":{sequence},"epoch":"{epoch}"}}"#
    );
    let run = format!("{sequence}-1");
    redis.command(&["XADD", &format!("tidings:{{{channel}}}:log"), &run, "t", &time, "b", &bytes, "m", &json]);
    redis.command(&["HSET", &head, "s", &sequence.to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_was_lost_is_read_from_the_log_before_what_follows_or_when_it_is_quiet() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    publisher.client().publish(text("lossy", "1")).await.expect("published");
    let mut stream = subscriber.stream(channel("lossy")).await;
    stream.started().await;
    stream.caught_up().await;
    append_unpushed(&redis, "lossy", 2, "2");
    publisher.client().publish(text("lossy", "3")).await.expect("published");
    let sequences: Vec<_> = stream.messages(2).await.iter().map(|message| message.sequence).collect();
    assert_eq!(sequences, [2, 3]);
    // The last message of a quiet channel: nothing that follows shows it.
    append_unpushed(&redis, "lossy", 4, "4");
    assert_eq!(stream.message().await.sequence, 4);
    publisher.client().publish(text("lossy", "5")).await.expect("published");
    assert_eq!(stream.message().await.sequence, 5);
    publisher.stop();
    subscriber.stop();
}
