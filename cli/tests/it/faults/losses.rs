//! What can't be had any more is named, with the exact range where it is knowable, and the stream continues; one that
//! asked for it ends instead. Nothing is named that was not lost.

mod evicted;
mod forgotten;
mod forks;

use std::time::Duration;

use tidings::pb::{GapReason, OnGap, PublishResponse, StreamMessagesRequest, stream_messages_response::Event};
use tidings_testing::{DURABLE, Direction, Flow, How, Links, Proxy, RedisServer};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::rig::{Crowd, Named, Rig, Watch, check, until};
use crate::harness::{channel, pattern, reason};

const FLUSHED: fn(i64) -> Named = |first| (first, 0, GapReason::EpochChanged);

/// Two streams that continue after a gap, on a channel and on a pattern, and two that don't.
struct Streams {
    name: &'static str,
    going_on: [Watch; 2],
    failing: [Watch; 2],
}

impl Streams {
    async fn open(rig: &Rig, name: &'static str, glob: &str) -> Self {
        let fail = |request| StreamMessagesRequest { on_gap: OnGap::Fail.into(), ..request };
        let failing = [rig.watch(fail(channel(name))).await, rig.watch(fail(pattern(glob))).await];
        Self { name, going_on: rig.watch_both(name, glob).await, failing }
    }

    async fn have(&self, receipt: &PublishResponse) {
        for stream in self.going_on.iter().chain(&self.failing) {
            stream.until_message(&receipt.message_id).await;
        }
    }

    /// Nobody got a gap, and all continues.
    async fn lost_nothing(&self, receipts: &[PublishResponse]) {
        for stream in self.going_on.iter().chain(&self.failing) {
            assert_eq!(check(stream, self.name, receipts).await, []);
        }
    }

    /// Those that continue reported just these gaps; the others ended at the first, and say where to resume.
    async fn lost(&self, rig: &Rig, receipts: &[PublishResponse], gaps: &[Named]) {
        for stream in &self.going_on {
            assert_eq!(check(stream, self.name, receipts).await, gaps);
        }
        for stream in &self.failing {
            self.went_out_of_range(rig, &stream.end().await, gaps[0]).await;
        }
    }

    async fn went_out_of_range(&self, rig: &Rig, status: &Status, (first, last, why): Named) {
        let why = why.as_str_name().trim_start_matches("GAP_REASON_");
        assert_eq!((status.code(), reason(status).as_str()), (Code::OutOfRange, why), "{status:?}");
        let range = if last == 0 { format!("from {first} on") } else { format!("{first} to {last}") };
        assert!(status.message().contains(&range), "{status:?}");
        let info = status.get_details_error_info().expect("info");
        assert_eq!(info.metadata["channel"], self.name);
        // A stream that ends at gaps gets past each of them, and to the end.
        let mut after = vec![info.metadata["cursor"].clone()];
        for _ in 0..10 {
            let request = StreamMessagesRequest { after, on_gap: OnGap::Fail.into(), ..channel(self.name) };
            let mut resumed = rig.subscriber.stream(request).await;
            let status = loop {
                match resumed.try_next().await {
                    Ok(Some(Event::CaughtUp(_))) => return,
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("the stream ended"),
                    Err(status) => break status,
                }
            };
            assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
            after = vec![status.get_details_error_info().expect("info").metadata["cursor"].clone()];
        }
        panic!("it does not get past {status:?}");
    }
}

/// A stream that resumes after a receipt reports these gaps and delivers these sequences.
async fn resumes(rig: &Rig, after: &PublishResponse, gaps: &[Named], sequences: &[i64]) {
    let request = StreamMessagesRequest { after: vec![after.cursor.clone()], ..channel(&after.channel) };
    let stream = rig.watch(request).await;
    let gaps_found: Vec<Named> =
        stream.gaps(&after.channel).iter().map(|gap| (gap.first_missing, gap.last_missing, gap.reason())).collect();
    let delivered: Vec<i64> = stream.messages(&after.channel).iter().map(|message| message.sequence).collect();
    assert_eq!((gaps_found.as_slice(), delivered.as_slice()), (gaps, sequences), "after {}", after.sequence);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_is_reported_on_a_quiet_channel_within_seconds() {
    let redis = RedisServer::start();
    let rig = Rig::on(&redis).await;
    let streams = Streams::open(&rig, "f.quiet", "f.*").await;
    let mut receipts = rig.publish("f.quiet", 1..=5).await;
    streams.have(&receipts[4]).await;
    redis.command(&["FLUSHALL"]);
    let began = std::time::Instant::now();
    for stream in &streams.going_on {
        stream.until_gaps("f.quiet", 1).await;
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    receipts.extend(rig.publish("f.quiet", 1..=3).await);
    assert_eq!(receipts[5].sequence, 1);
    streams.lost(&rig, &receipts, &[FLUSHED(6)]).await;
    resumes(&rig, &receipts[1], &[FLUSHED(3)], &[1, 2, 3]).await;
    drop(streams);
    rig.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn flushes_under_publishers_are_reported_once_each() {
    let redis = RedisServer::start();
    let rig = Rig::on(&redis).await;
    let streams = [rig.watch(channel("f.busy")).await, rig.watch(pattern("f.*")).await];
    let crowd = Crowd::start(&rig.publisher, &["f.busy", "f.other"]);
    for _ in 0..3 {
        crowd.until_more(20).await;
        redis.command(&["FLUSHALL"]);
    }
    crowd.until_more(20).await;
    let receipts = crowd.stop().await;
    for (stream, name) in [(&streams[0], "f.busy"), (&streams[1], "f.busy"), (&streams[1], "f.other")] {
        let gaps = check(stream, name, &receipts[name]).await;
        assert_eq!(gaps.len(), 3, "{gaps:?}");
        assert!(gaps.iter().all(|(_, last, why)| (*last, *why) == (0, GapReason::EpochChanged)), "{gaps:?}");
    }
    drop(streams);
    rig.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_head_loses_nothing() {
    let redis = RedisServer::start();
    let rig = Rig::on(&redis).await;
    let streams = Streams::open(&rig, "d.head", "d.*").await;
    let mut receipts = rig.publish("d.head", 1..=5).await;
    streams.have(&receipts[4]).await;
    redis.command(&["DEL", "tidings:{d.head}:head"]);
    // Long enough for the check of quiet channels.
    tokio::time::sleep(Duration::from_secs(5)).await;
    receipts.extend(rig.publish("d.head", 6..=8).await);
    streams.lost_nothing(&receipts).await;
    resumes(&rig, &receipts[1], &[], &[3, 4, 5, 6, 7, 8]).await;
    drop(streams);
    rig.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_log_loses_what_was_not_read() {
    let redis = RedisServer::start();
    let rig = Rig::on(&redis).await;
    let streams = Streams::open(&rig, "d.log", "d.*").await;
    let mut receipts = rig.publish("d.log", 1..=5).await;
    streams.have(&receipts[4]).await;
    redis.command(&["DEL", "tidings:{d.log}:log"]);
    tokio::time::sleep(Duration::from_secs(5)).await;
    resumes(&rig, &receipts[1], &[(3, 5, GapReason::Trimmed)], &[]).await;
    receipts.extend(rig.publish("d.log", 6..=8).await);
    streams.lost_nothing(&receipts).await;
    resumes(&rig, &receipts[1], &[(3, 5, GapReason::Trimmed)], &[6, 7, 8]).await;
    drop(streams);
    rig.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_log_is_a_gap_for_cursors_and_none_for_streams() {
    let redis = RedisServer::start();
    let rig = Rig::at(&redis.url(), &["--history-max-age=2s"]).await;
    let streams = Streams::open(&rig, "x.old", "x.*").await;
    let mut receipts = rig.publish("x.old", 1..=5).await;
    streams.have(&receipts[4]).await;
    until("the log has expired", || redis.command(&["EXISTS", "tidings:{x.old}:log"]) == ":0").await;
    resumes(&rig, &receipts[1], &[(3, 5, GapReason::Trimmed)], &[]).await;
    receipts.extend(rig.publish("x.old", 6..=7).await);
    streams.lost_nothing(&receipts).await;
    drop(streams);
    rig.stop();
}

/// Redis comes back with less than it had.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_snapshot_is_reported_with_the_exact_range() {
    let mut redis = RedisServer::start_with(&DURABLE);
    let rig = Rig::on(&redis).await;
    let streams = Streams::open(&rig, "s.back", "s.*").await;
    let mut receipts = rig.publish("s.back", 1..=5).await;
    let snapshot = redis.snapshot();
    receipts.extend(rig.publish("s.back", 6..=8).await);
    streams.have(&receipts[7]).await;
    redis.restart_from(&snapshot);
    // Reported before anything is published, and not again when the new epoch names it.
    for stream in &streams.going_on {
        stream.until_gaps("s.back", 1).await;
    }
    receipts.push(rig.publish_stubbornly("s.back", 9).await);
    assert_eq!(receipts[8].sequence, 6);
    let lost = (6, 8, GapReason::EpochChanged);
    streams.lost(&rig, &receipts, &[lost]).await;
    resumes(&rig, &receipts[2], &[lost], &[4, 5, 6]).await;
    resumes(&rig, &receipts[6], &[lost], &[6]).await;
    drop(streams);
    rig.stop();
}

/// What the streams had seen is reported at once, and the rest when the new epoch names it, which may be before they
/// look; nothing twice.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_lost_before_it_was_received_is_reported_after_what_was_received() {
    let mut redis = RedisServer::start_with(&DURABLE);
    let proxy = Proxy::to(&redis).await;
    let rig = Rig::through(&proxy).await;
    let streams = rig.watch_both("s.part", "s.*").await;
    let mut receipts = rig.publish("s.part", 1..=5).await;
    let snapshot = redis.snapshot();
    receipts.extend(rig.publish("s.part", 6..=7).await);
    for stream in &streams {
        stream.until_message(&receipts[6].message_id).await;
    }
    proxy.bend(Links::PubSub, Direction::ToClient, Flow::Mute);
    receipts.extend(rig.publish("s.part", 8..=9).await);
    redis.restart_from(&snapshot);
    for stream in &streams {
        let gaps = stream.until_gaps("s.part", 1).await;
        assert!(matches!((gaps[0].first_missing, gaps[0].last_missing), (6, 7 | 9)), "{gaps:?}");
    }
    receipts.push(rig.publish_stubbornly("s.part", 10).await);
    for stream in &streams {
        assert_eq!(check(stream, "s.part", &receipts).await, [(6, 9, GapReason::EpochChanged)]);
        let gaps = stream.gaps("s.part");
        assert_eq!(gaps.len(), if gaps[0].last_missing == 7 { 2 } else { 1 }, "{gaps:?}");
    }
    drop(streams);
    rig.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn older_snapshots_under_publishers() {
    let mut redis = RedisServer::start_with(&DURABLE);
    let rig = Rig::on(&redis).await;
    let streams = [rig.watch(channel("s.busy")).await, rig.watch(pattern("s.*")).await];
    let crowd = Crowd::start(&rig.publisher, &["s.busy"]);
    for _ in 0..3 {
        crowd.until_more(20).await;
        let snapshot = redis.snapshot();
        crowd.until_more(20).await;
        redis.restart_from(&snapshot);
        crowd.until_more(20).await;
    }
    let receipts = crowd.stop().await;
    for stream in &streams {
        let gaps = check(stream, "s.busy", &receipts["s.busy"]).await;
        assert_eq!(gaps.len(), 3, "{gaps:?}");
        // Twenty receipts, less what was under way when the files were copied.
        let is_whole = |(first, last, why): &Named| *why == GapReason::EpochChanged && last - first >= 15;
        assert!(gaps.iter().all(is_whole), "{gaps:?}");
    }
    drop(streams);
    rig.stop();
}

/// The publisher lives across the promotion, and knows how far the old primary had come.
#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_replica_that_lagged_is_reported_with_the_exact_range() {
    let mut old = RedisServer::start();
    let new = RedisServer::replica_of(&old);
    let proxy = Proxy::to(&old).await;
    let rig = Rig::through(&proxy).await;
    let streams = Streams::open(&rig, "p.late", "p.*").await;
    let mut receipts = rig.publish("p.late", 1..=5).await;
    new.catch_up_with(&old);
    new.promote();
    receipts.extend(rig.publish("p.late", 6..=8).await);
    streams.have(&receipts[7]).await;
    old.kill();
    proxy.retarget(&new);
    receipts.push(rig.publish_stubbornly("p.late", 9).await);
    assert_eq!(receipts[8].sequence, 6);
    receipts.extend(rig.publish("p.late", 10..=14).await);
    let lost = (6, 8, GapReason::EpochChanged);
    streams.lost(&rig, &receipts, &[lost]).await;
    resumes(&rig, &receipts[3], &[lost], &[5, 6, 7, 8, 9, 10, 11]).await;
    resumes(&rig, &receipts[6], &[lost], &[6, 7, 8, 9, 10, 11]).await;
    drop(streams);
    rig.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_replica_that_did_not_lag_shows_no_gap() {
    let old = RedisServer::start();
    let new = RedisServer::replica_of(&old);
    let proxy = Proxy::to(&old).await;
    let rig = Rig::through(&proxy).await;
    let streams = Streams::open(&rig, "p.level", "p.*").await;
    let crowd = Crowd::start(&rig.publisher, &["p.level"]);
    crowd.until_more(30).await;
    // As a planned failover: no writes, level, change over.
    assert_eq!(old.command(&["CLIENT", "PAUSE", "60000", "WRITE"]), "+OK");
    new.catch_up_with(&old);
    new.promote();
    proxy.retarget(&new);
    proxy.cut(Links::All, How::Reset);
    crowd.until_more(30).await;
    let receipts = crowd.stop().await;
    streams.lost_nothing(&receipts["p.level"]).await;
    drop(streams);
    rig.stop();
}
