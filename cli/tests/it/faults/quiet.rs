//! A push that is lost with nothing after it: no sequence jumps, so heads are looked at after every reconnection and
//! every few seconds. It is found within seconds, without a further message.

use std::time::Duration;

use tidings::pb::{GapReason, StreamMessagesRequest};
use tidings_testing::{Direction, Flow, How, Links, Proxy, RedisServer};

use super::rig::{Rig, check, until};
use crate::harness::{channel, pattern};

/// "Within seconds": what the quiet channels' checks may take, twice.
const SECONDS: Duration = Duration::from_secs(8);

/// The pushes of a channel are muted from here on: Redis keeps, and nothing is received.
fn mute(proxy: &Proxy) {
    proxy.bend(Links::PubSub, Direction::ToClient, Flow::Mute);
}

/// The link is as it was.
fn unmute(proxy: &Proxy) {
    proxy.bend(Links::All, Direction::ToClient, Flow::Pass);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_last_message_is_found() {
    let redis = RedisServer::start();
    let proxy = Proxy::to(&redis).await;
    let rig = Rig::through(&proxy).await;
    let streams = rig.watch_both("last", "l*").await;
    let mut receipts = rig.publish("last", 1..=3).await;
    for stream in &streams {
        stream.until_message(&receipts[2].message_id).await;
    }
    for n in 4..=6 {
        mute(&proxy);
        let dropped = proxy.dropped();
        receipts.extend(rig.publish("last", [n]).await);
        until("the pushes are lost", || proxy.dropped() > dropped).await;
        let began = tokio::time::Instant::now();
        unmute(&proxy);
        for stream in &streams {
            let found = stream.until_message(&receipts[receipts.len() - 1].message_id).await - began;
            assert!(found < SECONDS, "{found:?}");
        }
    }
    for stream in &streams {
        assert_eq!(check(stream, "last", &receipts).await, []);
    }
    drop(streams);
    rig.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_while_the_listeners_were_away_is_found() {
    let redis = RedisServer::start();
    let proxy = Proxy::to(&redis).await;
    let rig = Rig::through(&proxy).await;
    let streams = rig.watch_both("away", "a*").await;
    let mut receipts = rig.publish("away", 1..=3).await;
    for stream in &streams {
        stream.until_message(&receipts[2].message_id).await;
    }
    for n in 4..=8 {
        // Cut just before the publish, and held up in coming back until it is over.
        proxy.refuse(true).await;
        assert!(proxy.cut(Links::PubSub, How::Reset) > 0);
        until("the listeners are gone", || redis.command(&["PUBSUB", "NUMPAT"]) == ":0").await;
        receipts.extend(rig.publish("away", [n]).await);
        proxy.refuse(false).await;
        let began = tokio::time::Instant::now();
        for stream in &streams {
            let found = stream.until_message(&receipts[receipts.len() - 1].message_id).await - began;
            assert!(found < SECONDS, "{found:?}");
        }
    }
    for stream in &streams {
        assert_eq!(check(stream, "away", &receipts).await, []);
    }
    drop(streams);
    rig.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_first_message_of_a_new_channel_is_found_under_a_pattern() {
    let redis = RedisServer::start();
    let proxy = Proxy::to(&redis).await;
    let rig = Rig::through(&proxy).await;
    let known = rig.publish("n.known", [1]).await;
    let streams = [rig.watch(pattern("n.*")).await, rig.watch(pattern("*")).await];
    let resumed_later = rig.watch(channel("n.known")).await;
    for n in 0..3 {
        let name = format!("n.new{n}");
        if n == 1 {
            // The other way to lose it: nobody listens at that moment.
            proxy.refuse(true).await;
            assert!(proxy.cut(Links::PubSub, How::Reset) > 0);
            until("the listeners are gone", || redis.command(&["PUBSUB", "NUMPAT"]) == ":0").await;
        } else {
            mute(&proxy);
        }
        let receipts = rig.publish(&name, [1]).await;
        proxy.refuse(false).await;
        unmute(&proxy);
        let began = tokio::time::Instant::now();
        for stream in &streams {
            let found = stream.until_message(&receipts[0].message_id).await - began;
            assert!(found < SECONDS, "{found:?}");
            assert_eq!(check(stream, &name, &receipts).await, []);
        }
    }
    assert!(resumed_later.messages("n.known").is_empty(), "{known:?} came before");
    drop((streams, resumed_later));
    rig.stop();
}

/// What has no number says nothing of what has.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_last_message_is_found_among_plain_ones() {
    let redis = RedisServer::start();
    let proxy = Proxy::to(&redis).await;
    let rig = Rig::through(&proxy).await;
    let streams = rig.watch_both("mixed", "m*").await;
    let first = rig.publish("mixed", [1]).await;
    for stream in &streams {
        stream.until_message(&first[0].message_id).await;
    }
    mute(&proxy);
    let dropped = proxy.dropped();
    let lost = rig.publish("mixed", [2]).await;
    until("the pushes are lost", || proxy.dropped() > dropped + 1).await;
    unmute(&proxy);
    let began = tokio::time::Instant::now();
    let mut plain = tokio::time::interval(Duration::from_millis(100));
    let finding = async {
        for stream in &streams {
            stream.until_message(&lost[0].message_id).await;
        }
    };
    let talking = async {
        loop {
            plain.tick().await;
            redis.command(&["PUBLISH", "mixed", "plain"]);
        }
    };
    tokio::select! {
        () = finding => {}
        () = talking => {}
    }
    assert!(began.elapsed() < SECONDS, "{:?}", began.elapsed());
    drop(streams);
    rig.stop();
}

/// Names of channels are returned in parts, none of which is more than the link takes.
#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_recent_channels_do_not_cost_the_link() {
    let redis = RedisServer::start();
    let proxy = Proxy::to(&redis).await;
    let now_ms = chrono::Utc::now().timestamp_millis().to_string();
    let names: Vec<String> = (0..5_000).map(|n| format!("busy.{n}")).collect();
    let members = names.iter().flat_map(|name| [now_ms.as_str(), name]);
    redis.command(&["ZADD", "tidings:channels"].into_iter().chain(members).collect::<Vec<_>>());
    let rig = Rig::through(&proxy).await;
    let stream = rig.watch(pattern("quiet.*")).await;
    let before = proxy.accepted();
    tokio::time::sleep(SECONDS).await;
    assert_eq!(proxy.accepted(), before, "the link is up");
    let receipts = rig.publish("quiet.one", [1]).await;
    stream.until_message(&receipts[0].message_id).await;
    drop(stream);
    rig.stop();
}

/// The first message after a stream's start is lost, where nothing is kept: until then no message was due.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_from_a_time_gets_the_loss_before_its_first_message() {
    let redis = RedisServer::start();
    let proxy = Proxy::to(&redis).await;
    let rig = Rig::at(&proxy.url(), &["--history-max-messages=0"]).await;
    rig.publish("timed", [1]).await;
    let since = chrono::Utc::now().timestamp() + 1;
    let since = Some(prost_types::Timestamp { seconds: since, nanos: 0 });
    let stream = rig.watch(StreamMessagesRequest { since, ..channel("timed") }).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    mute(&proxy);
    let dropped = proxy.dropped();
    rig.publish("timed", [2]).await;
    until("the pushes are lost", || proxy.dropped() > dropped + 1).await;
    unmute(&proxy);
    let gaps = stream.until_gaps("timed", 1).await;
    let gap = &gaps[0];
    assert_eq!((gap.first_missing, gap.last_missing, gap.reason()), (2, 2, GapReason::NotRetained));
    drop(stream);
    rig.stop();
}
