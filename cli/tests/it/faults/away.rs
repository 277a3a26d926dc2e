//! Redis is away: publishes fail in time and say what became of them, health reports it, and all recovers by itself
//! within a second of Redis being back.

use std::time::Duration;

use tidings_testing::{DURABLE, Direction, Flow, How, Links, Proxy, RedisServer};
use tokio::time::{Instant, timeout};
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use uuid::Uuid;

use super::rig::{REDIS_TIMEOUT, Rig, check, until};
use crate::harness::{channel, pattern, reason, text, text_of};

/// How much longer than `--redis-timeout` an answer may take on a busy machine.
const SLACK: Duration = Duration::from_millis(1_500);
/// Tries to be back within a second.
const ROUNDS: usize = 5;

/// A publish that must fail in time.
async fn fails(rig: &Rig, channel: &str) -> (Status, Duration) {
    let began = Instant::now();
    let refused = rig.publisher.client().publish(text(channel, "x")).await.expect_err("Redis is away");
    let took = began.elapsed();
    assert!(took < REDIS_TIMEOUT + SLACK, "{took:?}: {refused:?}");
    (refused, took)
}

fn is(refused: &Status, code: Code, why: &str) {
    assert_eq!((refused.code(), reason(refused).as_str()), (code, why), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_published_where_redis_can_not_be_reached() {
    let mut redis = RedisServer::start();
    let rig = Rig::on(&redis).await;
    rig.publish("a", [1]).await;
    redis.kill();
    rig.publisher.becomes(ServingStatus::NotServing).await;
    rig.subscriber.becomes(ServingStatus::NotServing).await;
    for _ in 0..3 {
        let (refused, _) = fails(&rig, "a").await;
        is(&refused, Code::Unavailable, "NOT_PUBLISHED");
        assert!(refused.message().contains("could not be reached"), "{refused:?}");
    }
    for request in [channel("a"), pattern("*")] {
        let began = Instant::now();
        let refused = rig.subscriber.client().stream_messages(request).await.expect_err("Redis is away");
        is(&refused, Code::Unavailable, "BROKER_UNAVAILABLE");
        assert!(began.elapsed() < 2 * REDIS_TIMEOUT + SLACK, "{:?}", began.elapsed());
    }
    rig.stop();
}

/// What was handed over may be carried out when Redis continues; what was not, never is.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_leaves_unknown_only_what_was_handed_to_it() {
    let redis = RedisServer::start();
    let rig = Rig::on(&redis).await;
    rig.publish("h", [1]).await;
    redis.pause();
    let began = Instant::now();
    let mut under_way = Vec::new();
    for n in 0..30 {
        let mut client = rig.publisher.client();
        under_way.push(tokio::spawn(async move {
            let asked = Instant::now();
            let answer = client.publish(text("h", format!("hung {n}"))).await;
            (n, asked.elapsed(), answer.expect_err("Redis hangs"))
        }));
        tokio::time::sleep(Duration::from_millis(80)).await;
    }
    let (mut unknown, mut unpublished) = (Vec::new(), Vec::new());
    for publish in under_way {
        let (n, took, refused) = publish.await.expect("no panic");
        assert!(took < REDIS_TIMEOUT + SLACK, "{took:?}: {refused:?}");
        match refused.code() {
            Code::Unknown => unknown.push((n, refused)),
            _ => unpublished.push((n, refused)),
        }
    }
    assert_eq!(unknown.first().map(|(n, _)| *n), Some(0), "the first was handed over");
    assert!(unpublished.iter().any(|(n, _)| *n == 29), "by then it is known that Redis is away");
    unknown.iter().for_each(|(_, refused)| is(refused, Code::Unknown, "OUTCOME_UNKNOWN"));
    unpublished.iter().for_each(|(_, refused)| is(refused, Code::Unavailable, "NOT_PUBLISHED"));
    rig.publisher.becomes(ServingStatus::NotServing).await;
    rig.subscriber.becomes(ServingStatus::NotServing).await;
    eprintln!("{} unknown, {} not published, in {:?}", unknown.len(), unpublished.len(), began.elapsed());
    redis.resume();
    rig.publisher.becomes(ServingStatus::Serving).await;
    rig.subscriber.becomes(ServingStatus::Serving).await;
    rig.publish("h", [2]).await;
    let kept = rig.subscriber.list("h").await;
    for (n, refused) in unpublished {
        let is_there = kept.iter().any(|message| text_of(message) == format!("hung {n}"));
        assert!(!is_there, "it was said that nothing was published: {refused:?}");
    }
    rig.stop();
}

/// The call is carried out, and its answer is lost with the link.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_an_unknown_outcome_and_a_repeat_finds_the_message() {
    let redis = RedisServer::start();
    let proxy = Proxy::to(&redis).await;
    let rig = Rig::through(&proxy).await;
    let streams = rig.watch_both("u", "u*").await;
    let mut receipts = rig.publish("u", [1]).await;
    for n in 2..=6 {
        let mut request = text("u", n.to_string());
        request.message_id = Uuid::now_v7().to_string();
        proxy.bend(Links::Commands, Direction::ToClient, Flow::Swallow);
        let (mut client, again) = (rig.publisher.client(), request.clone());
        let under_way = tokio::spawn(async move { client.publish(request).await });
        let length = format!(":{n}");
        until("the script has run", || redis.command(&["XLEN", "tidings:{u}:log"]) == length).await;
        let began = Instant::now();
        proxy.cut(Links::Commands, How::Reset);
        let refused = under_way.await.expect("no panic").expect_err("nobody knows");
        is(&refused, Code::Unknown, "OUTCOME_UNKNOWN");
        // The link's end is noticed at once: nobody waits for the timeout.
        assert!(began.elapsed() < SLACK, "{:?}", began.elapsed());
        let receipt = rig.publisher.client().publish(again).await.expect("published").into_inner();
        assert_eq!((receipt.sequence, receipt.duplicate), (n, true));
        receipts.push(receipt);
    }
    receipts.extend(rig.publish("u", [7]).await);
    for stream in &streams {
        assert_eq!(check(stream, "u", &receipts).await, []);
    }
    drop(streams);
    rig.stop();
}

/// Whether the last recovery was as fast as is promised. The machine may do much else, so it has a few tries, and each
/// of them must be near it.
fn is_within_a_second(took: &[Duration]) -> bool {
    assert!(took.iter().all(|took| *took < Duration::from_secs(5)), "{took:?}");
    took.last().is_some_and(|took| *took < Duration::from_secs(1))
}

/// How long it took, from the moment Redis answers, until a publish works, streams deliver it, and both are healthy.
async fn recovery(rig: &Rig, streams: &[super::rig::Watch]) -> Duration {
    let began = Instant::now();
    let receipt = rig.publish_stubbornly("b", 0).await;
    let published = began.elapsed();
    let mut latest = began;
    for stream in streams {
        latest = latest.max(stream.until_message(&receipt.message_id).await);
    }
    rig.publisher.becomes(ServingStatus::Serving).await;
    rig.subscriber.becomes(ServingStatus::Serving).await;
    let all = began.elapsed().max(latest - began);
    eprintln!("back after {all:?}: published after {published:?}, delivered after {:?}", latest - began);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn all_recovers_within_a_second_of_redis_being_back() {
    let mut redis = RedisServer::start_with(&DURABLE);
    let rig = Rig::on(&redis).await;
    let streams = rig.watch_both("b", "b*").await;
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        redis.kill();
        // Long enough for the pauses between attempts to have grown to their longest.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        redis.run();
        took.push(recovery(&rig, &streams).await);
        if is_within_a_second(&took) {
            break;
        }
    }
    assert!(is_within_a_second(&took), "{took:?}");
    drop(streams);
    rig.stop();
}

/// A Redis that hung comes back with its connections; what waited in its sockets it carries out.
#[tokio::test(flavor = "multi_thread")]
async fn all_recovers_from_a_redis_that_hung() {
    let redis = RedisServer::start();
    let rig = Rig::on(&redis).await;
    let streams = rig.watch_both("b", "b*").await;
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        redis.pause();
        tokio::time::sleep(Duration::from_millis(3_000)).await;
        redis.resume();
        took.push(recovery(&rig, &streams).await);
        if is_within_a_second(&took) {
            break;
        }
    }
    assert!(is_within_a_second(&took), "{took:?}");
    drop(streams);
    rig.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_that_wait_for_a_redis_that_returns_are_carried_out() {
    let mut redis = RedisServer::start_with(&DURABLE);
    let rig = Rig::at(&redis.url(), &[]).await;
    rig.publish("w", [1]).await;
    redis.kill();
    rig.publisher.becomes(ServingStatus::NotServing).await;
    let waiting: Vec<_> = (0..20)
        .map(|n| {
            let mut client = rig.publisher.client();
            tokio::spawn(async move { client.publish(text("w", n.to_string())).await })
        })
        .collect();
    redis.run();
    let mut sequences = Vec::new();
    for waiting in waiting {
        let answer = timeout(crate::harness::TEST_TIMEOUT, waiting).await.expect("in time").expect("no panic");
        match answer {
            Ok(receipt) => sequences.push(receipt.into_inner().sequence),
            // A start that took longer than they may wait.
            Err(refused) => is(&refused, Code::Unavailable, "NOT_PUBLISHED"),
        }
    }
    sequences.sort_unstable();
    assert_eq!(sequences, (2..=i64::try_from(sequences.len()).expect("few") + 1).collect::<Vec<_>>());
    rig.stop();
}

/// Longer than a live link may be silent. What is away delivers nothing, and that says nothing of the link.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_not_taken_for_a_link_that_delivers_nothing() {
    for is_killed in [true, false] {
        let mut redis = RedisServer::start();
        let rig = Rig::at(&redis.url(), &["--redis-timeout=2s"]).await;
        let stream = rig.watch(channel("a")).await;
        match is_killed {
            true => redis.kill(),
            false => redis.pause(),
        }
        rig.subscriber.becomes(ServingStatus::NotServing).await;
        rig.publisher.becomes(ServingStatus::NotServing).await;
        tokio::time::sleep(Duration::from_secs(7)).await;
        match is_killed {
            true => redis.run(),
            false => redis.resume(),
        }
        rig.subscriber.becomes(ServingStatus::Serving).await;
        rig.publisher.becomes(ServingStatus::Serving).await;
        let receipt = rig.publish_stubbornly("a", 1).await;
        stream.until_message(&receipt.message_id).await;
        for process in [&rig.publisher.process, &rig.subscriber.process] {
            assert!(!process.output().contains("delivers"), "killed: {is_killed}: {}", process.output());
        }
        drop(stream);
        rig.stop();
    }
}
