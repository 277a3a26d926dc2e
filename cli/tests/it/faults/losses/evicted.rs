//! Keys that Redis throws away when its memory is full and its policy lets it.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_were_evicted_under_publishers() {
    let redis = RedisServer::start();
    let rig = Rig::on(&redis).await;
    let streams = [rig.watch(channel("e.busy")).await, rig.watch(pattern("e.*")).await];
    let crowd = Crowd::start(&rig.publisher, &["e.busy"]);
    for key in ["tidings:{e.busy}:head", "tidings:{e.busy}:log"].repeat(3) {
        crowd.until_more(20).await;
        redis.command(&["DEL", key]);
    }
    crowd.until_more(20).await;
    let receipts = crowd.stop().await;
    for stream in &streams {
        // A live stream has received what the log lost; one that was reading the log at that moment had to skip it.
        for (first, last, why) in check(stream, "e.busy", &receipts["e.busy"]).await {
            assert!(why != GapReason::NotRetained && last >= first, "{first} to {last}: {why:?}");
        }
    }
    drop(streams);
    rig.stop();
}

/// Redis itself throws the log away, when its memory is full and its policy lets it.
#[tokio::test(flavor = "multi_thread")]
async fn what_redis_evicted_is_a_gap_for_cursors() {
    let redis = RedisServer::start();
    let rig = Rig::on(&redis).await;
    let receipts = rig.publish("e.gone", 1..=5).await;
    redis.command(&["CONFIG", "SET", "maxmemory-policy", "volatile-ttl"]);
    redis.command(&["CONFIG", "SET", "maxmemory", "8mb"]);
    let filler = "x".repeat(200_000);
    for number in 0..100 {
        redis.command(&["SET", &format!("filler{number}"), &filler]);
        if redis.command(&["EXISTS", "tidings:{e.gone}:log"]) == ":0" {
            break;
        }
    }
    assert_eq!(redis.command(&["EXISTS", "tidings:{e.gone}:log"]), ":0", "it was evicted");
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    // Small as both are, one may have made enough room.
    let lost = match redis.command(&["EXISTS", "tidings:{e.gone}:head"]).as_str() {
        ":1" => (3, 5, GapReason::Trimmed),
        _ => FLUSHED(3),
    };
    resumes(&rig, &receipts[1], &[lost], &[]).await;
    rig.stop();
}
