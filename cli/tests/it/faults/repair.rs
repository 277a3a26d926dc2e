//! Redis dies and returns, hangs, or throws its listeners out, while publishers continue: open streams stay open, and
//! what they missed is read from the log before anything newer is delivered. Nothing is lost here, so no gap may be
//! reported.

use std::time::Duration;

use tidings_testing::{DURABLE, Direction, Flow, How, Links, Proxy, RedisServer};
use tokio::time::sleep;

use super::rig::{Crowd, Rig, Watch, check};

const CHANNELS: [&str; 2] = ["r.one", "r.two"];

/// Streams on each channel and on a pattern of both, with publishers on both.
struct Scene {
    rig: Rig,
    streams: Vec<(Watch, Vec<&'static str>)>,
    crowd: Crowd,
}

impl Scene {
    async fn open(rig: Rig) -> Self {
        let mut streams = Vec::new();
        for name in CHANNELS {
            streams.push((rig.watch(crate::harness::channel(name)).await, vec![name]));
        }
        streams.push((rig.watch(crate::harness::pattern("r.*")).await, CHANNELS.to_vec()));
        let crowd = Crowd::start(&rig.publisher, &CHANNELS);
        crowd.until_more(20).await;
        Self { rig, streams, crowd }
    }

    async fn ends_without_a_gap(self) {
        self.crowd.until_more(20).await;
        let receipts = self.crowd.stop().await;
        for (stream, channels) in &self.streams {
            for channel in channels {
                assert_eq!(check(stream, channel, &receipts[*channel]).await, [], "{channel}");
            }
        }
        drop(self.streams);
        self.rig.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_was_killed_and_had_written_everything_down() {
    let mut redis = RedisServer::start_with(&DURABLE);
    let scene = Scene::open(Rig::on(&redis).await).await;
    for _ in 0..4 {
        redis.kill();
        sleep(Duration::from_millis(300)).await;
        redis.run();
        scene.crowd.until_more(20).await;
    }
    scene.ends_without_a_gap().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_for_seconds() {
    let redis = RedisServer::start();
    let scene = Scene::open(Rig::on(&redis).await).await;
    for seconds in [3, 1] {
        redis.pause();
        sleep(Duration::from_secs(seconds)).await;
        redis.resume();
        scene.crowd.until_more(20).await;
    }
    scene.ends_without_a_gap().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_that_are_killed_again_and_again() {
    let redis = RedisServer::start();
    let scene = Scene::open(Rig::on(&redis).await).await;
    let mut killed = 0;
    while killed < 20 {
        let reply = redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        killed += reply.trim_start_matches(':').parse::<u32>().expect("a count");
        sleep(Duration::from_millis(40)).await;
    }
    scene.ends_without_a_gap().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_are_cut_slow_and_refused() {
    let redis = RedisServer::start();
    let proxy = Proxy::to(&redis).await;
    let scene = Scene::open(Rig::through(&proxy).await).await;
    for round in 0..12 {
        let (links, how) =
            ([Links::All, Links::PubSub, Links::Commands][round % 3], [How::Reset, How::Close][round % 2]);
        proxy.cut(links, how);
        if round % 4 == 3 {
            proxy.refuse(true).await;
            proxy.cut(Links::All, How::Reset);
            sleep(Duration::from_millis(300)).await;
            proxy.refuse(false).await;
        }
        proxy.bend_new(Direction::ToClient, Flow::Delay(Duration::from_millis(30 * (round as u64 % 3))));
        sleep(Duration::from_millis(150)).await;
    }
    proxy.bend_new(Direction::ToClient, Flow::Pass);
    scene.ends_without_a_gap().await;
}
