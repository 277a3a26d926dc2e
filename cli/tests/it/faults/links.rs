//! Links that are up in TCP and of no use: nothing comes through, or they lead to a server that is not the primary any
//! more. They are noticed and replaced, without a message's help.

use std::time::Duration;

use tidings_testing::{Direction, Flow, Links, Proxy, RedisServer};
use tokio::time::Instant;

use super::rig::{REDIS_TIMEOUT, Rig, Watch, check, until};

/// "About `--redis-timeout`": it, as much again for the question whose answer does not come, and what a busy machine
/// takes.
const ABOUT: Duration = REDIS_TIMEOUT.saturating_mul(4);

/// Publishes one message and waits until all streams have it; answers how long that took since `began`.
async fn delivered(rig: &Rig, streams: &[Watch], channel: &str, began: Instant) -> Duration {
    let receipt = rig.publish_stubbornly(channel, 0).await;
    let mut latest = began;
    for stream in streams {
        latest = latest.max(stream.until_message(&receipt.message_id).await);
    }
    latest - began
}

/// How many Pub/Sub clients a server has.
fn listeners(redis: &RedisServer) -> usize {
    redis.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).lines().filter(|line| line.contains("addr=")).count()
}

/// How often it is said that a link was of no use.
fn warnings(rig: &Rig) -> usize {
    let log = rig.subscriber.process.output();
    log.lines().filter(|line| line.contains("that delivers nothing") && line.contains("WARN")).count()
}

async fn half_dead(direction: Direction, flow: Flow) {
    half_dead_within(direction, flow, REDIS_TIMEOUT).await;
}

/// The same for services that allow Redis so much time.
async fn half_dead_within(direction: Direction, flow: Flow, timeout: Duration) {
    let about = timeout.saturating_mul(ABOUT.as_secs() as u32);
    let redis = RedisServer::start();
    let proxy = Proxy::to(&redis).await;
    let rig = Rig::at(&proxy.url(), &[&format!("--redis-timeout={}s", timeout.as_secs())]).await;
    let streams = rig.watch_both("dead", "d*").await;
    let mut receipts = rig.publish("dead", 1..=3).await;
    for stream in &streams {
        stream.until_message(&receipts[2].message_id).await;
    }
    let before = proxy.accepted();
    let began = Instant::now();
    proxy.bend(Links::PubSub, direction, flow);
    receipts.extend(rig.publish("dead", [4]).await);
    // Only the probe shows it: the message is in the log, and nobody has received it.
    for stream in &streams {
        let took = stream.until_message(&receipts[3].message_id).await - began;
        assert!(took < about, "{flow:?}: {took:?}");
    }
    until("the link is replaced", || proxy.accepted() > before).await;
    assert!(began.elapsed() < about, "{flow:?}: {:?}", began.elapsed());
    receipts.extend(rig.publish("dead", [5]).await);
    for stream in &streams {
        assert_eq!(check(stream, "dead", &receipts).await, []);
    }
    assert_eq!(warnings(&rig), 1);
    // The others were left alone.
    assert_eq!(proxy.accepted(), before + 1, "{flow:?}: one link was replaced");
    drop(streams);
    rig.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_from_which_nothing_comes_is_replaced() {
    half_dead(Direction::ToClient, Flow::Swallow).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_takes_nothing_in_is_replaced() {
    half_dead(Direction::ToServer, Flow::Hold).await;
}

/// Questions are answered, pushes do not come: what a server does that lost its subscribers.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_answers_and_pushes_nothing_is_replaced() {
    half_dead(Direction::ToClient, Flow::Mute).await;
}

/// With the default's timeout the heads of quiet channels are asked for, and answered, more often than a probe is
/// missed: answers are no sign that messages come.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_answers_often_and_pushes_nothing_is_replaced() {
    half_dead_within(Direction::ToClient, Flow::Mute, 5 * REDIS_TIMEOUT).await;
}

/// New connections that are accepted and never answered do not hold up the one that works.
#[tokio::test(flavor = "multi_thread")]
async fn a_half_open_server_is_given_up_in_time() {
    let redis = RedisServer::start();
    let proxy = Proxy::to(&redis).await;
    let rig = Rig::through(&proxy).await;
    let streams = rig.watch_both("half", "h*").await;
    let mut receipts = rig.publish("half", 1..=3).await;
    proxy.bend_new(Direction::ToServer, Flow::Hold);
    proxy.cut(Links::PubSub, tidings_testing::How::Reset);
    receipts.extend(rig.publish("half", [4]).await);
    until("it tried more than once", || proxy.accepted() > 6).await;
    let began = Instant::now();
    proxy.bend_new(Direction::ToServer, Flow::Pass);
    let took = delivered(&rig, &streams, "half", began).await;
    assert!(took < ABOUT, "{took:?}");
    for stream in &streams {
        stream.until_message(&receipts[3].message_id).await;
        assert_eq!(check(stream, "half", &receipts).await, []);
    }
    drop(streams);
    rig.stop();
}

/// The primary's role goes to another server. The commands follow; the Pub/Sub link stays where it was.
async fn cut_off(old_follows: bool) {
    let old = RedisServer::start();
    let new = RedisServer::replica_of(&old);
    let proxy = Proxy::to(&old).await;
    let rig = Rig::through(&proxy).await;
    let streams = rig.watch_both("moved", "m*").await;
    let mut receipts = rig.publish("moved", 1..=3).await;
    for stream in &streams {
        stream.until_message(&receipts[2].message_id).await;
    }
    new.catch_up_with(&old);
    new.promote();
    proxy.retarget(&new);
    if old_follows {
        old.follow(&new);
    }
    let began = Instant::now();
    proxy.cut(Links::Commands, tidings_testing::How::Reset);
    receipts.push(rig.publish_stubbornly("moved", 4).await);
    for stream in &streams {
        let took = stream.until_message(&receipts[3].message_id).await - began;
        assert!(took < ABOUT, "{took:?}");
    }
    until("nobody listens to the old one", || listeners(&old) == 0).await;
    assert!(began.elapsed() < ABOUT, "{:?}", began.elapsed());
    assert!(listeners(&new) > 0);
    // The commands were cut as well: while they are away, that is what is said.
    assert!(warnings(&rig) <= 1);
    receipts.extend(rig.publish("moved", [5]).await);
    for stream in &streams {
        // A failover that lost nothing.
        assert_eq!(check(stream, "moved", &receipts).await, []);
    }
    drop(streams);
    rig.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_a_demoted_server_is_replaced() {
    cut_off(true).await;
}

/// The old server still believes to be the primary, and answers as one.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_a_server_that_was_cut_off_from_its_successor_is_replaced() {
    cut_off(false).await;
}
