//! The log is trimmed under a reader that is catching up: what it had not reached is named, and nothing else is.

use tidings::pb::{GapReason, OnGap, PublishBatchRequest, StreamMessagesRequest, stream_messages_response::Event};
use tidings_testing::RedisServer;
use tonic::Code;

use super::rig::{Crowd, Rig, check};
use crate::harness::{Stream, channel, reason, text};

/// 24 MB: far more than what all buffers before a reader hold.
const MESSAGES: i64 = 6_000;
const BATCH: i64 = 100;
const BYTES: usize = 4_000;

async fn fill(rig: &Rig, name: &str) {
    for _ in 0..MESSAGES / BATCH {
        let requests = (0..BATCH).map(|n| text("", format!("{n:0BYTES$}"))).collect();
        let batch = PublishBatchRequest { channel: name.to_owned(), requests };
        rig.publisher.client().publish_batch(batch).await.expect("published");
    }
}

/// A stream from the beginning that has read a little.
async fn begin(rig: &Rig, name: &str, on_gap: OnGap) -> Stream {
    let request = StreamMessagesRequest { earliest: true, on_gap: on_gap.into(), ..channel(name) };
    let mut stream = rig.subscriber.stream_on_its_own_connection(request).await;
    stream.started().await;
    for expected in 1..=10 {
        assert_eq!(stream.message().await.sequence, expected);
    }
    stream
}

/// Trims up to about a sequence; answers the first that is left.
fn trim(redis: &RedisServer, name: &str, to: i64) -> i64 {
    let log = format!("tidings:{{{name}}}:log");
    redis.command(&["XTRIM", &log, "MINID", &to.to_string()]);
    let oldest = redis.command(&["XRANGE", &log, "-", "+", "COUNT", "1"]);
    let id = oldest.lines().find_map(|line| line.split_once('-').filter(|(last, _)| last.parse::<i64>().is_ok()));
    let (last, count) = id.expect("a run is left");
    last.parse::<i64>().expect("a number") - count.parse::<i64>().expect("a number") + 1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_catches_up_learns_what_was_trimmed_before_it() {
    let redis = RedisServer::start();
    let rig = Rig::on(&redis).await;
    fill(&rig, "t").await;
    let mut stream = begin(&rig, "t", OnGap::Report).await;
    let mut failing = begin(&rig, "t", OnGap::Fail).await;
    let crowd = Crowd::start(&rig.publisher, &["t"]);
    let first = trim(&redis, "t", MESSAGES - 500);
    assert!(first > MESSAGES - 700, "{first}");

    let mut next = 11;
    loop {
        match stream.next_event().await {
            Event::Message(message) => assert_eq!(message.sequence, next),
            Event::Gap(gap) => {
                assert_eq!((gap.first_missing, gap.last_missing, gap.reason()), (next, first - 1, GapReason::Trimmed));
                break;
            }
            other => panic!("{other:?}"),
        }
        next += 1;
    }
    assert!(next < first, "it had not read so far");
    crowd.until_more(10).await;
    let receipts = crowd.stop().await.remove("t").expect("published");
    let last = receipts.iter().map(|receipt| receipt.sequence).max().expect("some");
    for expected in first..=last {
        let message = &stream.messages(1).await[0];
        assert_eq!(message.sequence, expected);
    }

    let refused = failing.end().await;
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::OutOfRange, "TRIMMED"), "{refused:?}");
    assert!(refused.message().contains(&format!("to {}", first - 1)), "{refused:?}");
    rig.stop();
}

/// Trimmed again and again under publishers: a live stream has received all of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_at_the_live_end_gets_no_gap_for_trims() {
    let redis = RedisServer::start();
    let rig = Rig::on(&redis).await;
    let streams = rig.watch_both("live", "l*").await;
    let crowd = Crowd::start(&rig.publisher, &["live"]);
    for _ in 0..20 {
        crowd.until_more(10).await;
        redis.command(&["XTRIM", "tidings:{live}:log", "MAXLEN", "1"]);
    }
    let receipts = crowd.stop().await;
    for stream in &streams {
        assert_eq!(check(stream, "live", &receipts["live"]).await, []);
    }
    drop(streams);
    rig.stop();
}
