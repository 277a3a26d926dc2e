//! How long a failover takes that sentinels carry out: until a replica is a primary, from then until a sentinel
//! announces it (a sentinel looks each second), and from then to the first publish and the first live delivery.
//! `cargo run -p tidings-testing --example failover [ROUNDS]`, with the programs built; each round has servers,
//! sentinels and services of its own.

#![allow(clippy::print_stdout, reason = "it prints what it measures")]

use std::{env, process::Command, time::Duration};

use tidings::pb::stream_messages_response::Event;
use tidings_testing::{Publisher, RedisServer, Sentinels, Stream, Subscriber, channel, text};
use tokio::time::{Instant, sleep};

const CHANNEL: &str = "measured";

/// What one failover took.
struct Took {
    /// From the fault until a replica is a primary, which is Sentinel's part.
    promotion: Duration,
    /// From then until a sentinel announces it, which is Sentinel's part as well.
    announcement: Duration,
    /// From then to the first receipt of the new epoch.
    publish: Duration,
    /// From then to the first message of the new epoch on a stream that was open before.
    delivery: Duration,
}

/// Publishes until there is a receipt of another epoch.
async fn published(publisher: &Publisher, epoch: &str) -> Instant {
    loop {
        let answer = publisher.client().publish(text(CHANNEL, "x")).await;
        if answer.is_ok_and(|receipt| receipt.into_inner().epoch != epoch) {
            return Instant::now();
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Reads until there is a message of another epoch.
async fn delivered(mut stream: Stream, epoch: String) -> Instant {
    loop {
        if let Event::Message(message) = stream.next().await
            && message.epoch != epoch
        {
            return Instant::now();
        }
    }
}

/// Waits until one of these is a primary.
async fn promoted(replicas: &[RedisServer]) -> Instant {
    loop {
        // Sentinels end a server's connections when they promote it.
        let info = |replica: &RedisServer| replica.try_command(&["INFO", "replication"]);
        if replicas.iter().filter_map(info).any(|info| info.contains("role:master")) {
            return Instant::now();
        }
        sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until one of the sentinels announces another primary than the first.
async fn announced(set: &Sentinels) -> Instant {
    loop {
        if (0..set.sentinels.len()).any(|sentinel| set.announced_by(sentinel) != 0) {
            return Instant::now();
        }
        sleep(Duration::from_millis(1)).await;
    }
}

/// One failover: planned, or of a primary that was killed.
async fn measure(is_planned: bool) -> Took {
    let mut set = Sentinels::start();
    let publisher = Publisher::start(&set.url(""), &[]).await;
    let subscriber = Subscriber::start(&set.url(""), &[]).await;
    let stream = subscriber.started_stream(channel(CHANNEL)).await;
    let first = publisher.client().publish(text(CHANNEL, "x")).await.expect("published").into_inner();
    let reading = tokio::spawn(delivered(stream, first.epoch.clone()));
    let fault = Instant::now();
    if is_planned {
        set.sentinels[0].command(&["SENTINEL", "FAILOVER", tidings_testing::SERVICE]);
    } else {
        set.servers[0].kill();
    }
    let publishing = tokio::spawn(async move { published(&publisher, &first.epoch).await });
    let (promoted, announced) = tokio::join!(promoted(&set.servers[1..]), announced(&set));
    let (published, delivered) = (publishing.await.expect("a receipt"), reading.await.expect("a message"));
    let since = |at: Instant| at.saturating_duration_since(announced);
    Took {
        promotion: promoted - fault,
        announcement: announced.saturating_duration_since(promoted),
        publish: since(published),
        delivery: since(delivered),
    }
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let worst = times.last().copied().unwrap_or_default();
    println!("{what:<44} p50 {:>5} ms   worst {:>5} ms", times[times.len() / 2].as_millis(), worst.as_millis());
}

#[tokio::main]
async fn main() {
    let rounds: usize = env::args().nth(1).and_then(|rounds| rounds.parse().ok()).unwrap_or(20).max(1);
    let version = Command::new("redis-server").arg("--version").output().expect("redis-server is there").stdout;
    print!("{rounds} failovers of each kind, down-after 1 s, {}", String::from_utf8_lossy(&version));
    for (kind, is_planned) in [("planned", true), ("killed", false)] {
        let mut took = Vec::new();
        for _ in 0..rounds {
            took.push(measure(is_planned).await);
        }
        print(&format!("{kind}: until a replica is the primary"), took.iter().map(|took| took.promotion).collect());
        print(&format!("{kind}: until a sentinel announces it"), took.iter().map(|took| took.announcement).collect());
        print(&format!("{kind}: from then to the first publish"), took.iter().map(|took| took.publish).collect());
        print(&format!("{kind}: from then to the first delivery"), took.iter().map(|took| took.delivery).collect());
    }
}
