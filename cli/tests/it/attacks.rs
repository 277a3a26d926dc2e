//! What a peer can do to a service that it can reach: each attack is made, with a client beside it that publishes every
//! 50 ms and follows a stream. That one is served as before, its stream stays open, and what the attacker makes the
//! service hold is bounded.

mod answers;
mod control_frames;
mod heartbeats;
mod http1;
mod inflating;
mod odd_requests;
mod patterns;
mod proxied;
mod quotas;
mod resets;
mod slow;
mod subjects;
mod uploads;

use std::{net::SocketAddr, time::Duration};

use tidings::pb::publisher_service_client::PublisherServiceClient;
use tidings_testing::RedisServer;
use tokio::{
    sync::{Mutex, MutexGuard},
    time::{Instant, interval, timeout},
};
use tonic::transport::Channel;

use crate::harness::{Process, Publisher, Stream, Subscriber, TEST_TIMEOUT, channel, connect, text, text_of};

/// What all that a stranger does may make a process hold.
const MOST_KIB: u64 = 64 << 10;
/// How often the client beside an attack publishes.
const EVERY: Duration = Duration::from_millis(50);
/// How much slower it may become, by its 99th percentile.
const SLOWER: u32 = 5;
/// What counts as undisturbed at least: a busy machine alone takes so long now and then.
const CALM: Duration = Duration::from_millis(20);
/// A machine that is busy with other things is given a few tries.
const ROUNDS: usize = 3;

/// Both services on a Redis of their own.
struct Target {
    redis: RedisServer,
    publisher: Publisher,
    subscriber: Subscriber,
    _alone: Option<MutexGuard<'static, ()>>,
}

impl Target {
    /// For an attack that is [withstood](Self::withstands): one at a time, since they measure.
    async fn alone(args: &[&str]) -> Self {
        let alone = alone().await;
        Self { _alone: Some(alone), ..Self::start(args).await }
    }

    async fn start(args: &[&str]) -> Self {
        let redis = RedisServer::start();
        let publisher = Publisher::start(&redis.url(), args).await;
        let subscriber = Subscriber::start(&redis.url(), args).await;
        Self { redis, publisher, subscriber, _alone: None }
    }

    /// See [`withstands`].
    async fn withstands(&self, attack: impl AsyncFn()) {
        withstands(self.publisher.address, self.subscriber.address, attack).await;
    }

    fn stop(self) {
        self.publisher.stop();
        self.subscriber.stop();
        drop(self.redis);
    }
}

/// Attacks are measured one at a time.
async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    ALONE.lock().await
}

/// Makes an attack, again where the client beside it was slowed down; it must be served as before once.
async fn withstands(publisher: SocketAddr, subscriber: SocketAddr, attack: impl AsyncFn()) {
    let mut neighbour = Neighbour::begin(publisher, subscriber).await;
    let mut measured = Vec::new();
    for _ in 0..ROUNDS {
        let calm = neighbour.slowest(Duration::from_secs(1)).await;
        let (attacked, ()) = tokio::join!(neighbour.slowest(Duration::from_secs(2)), attack());
        if attacked <= SLOWER * calm.max(CALM) {
            return;
        }
        measured.push((calm, attacked));
    }
    panic!("undisturbed and attacked: {measured:?}");
}

/// A client that behaves.
struct Neighbour {
    publisher: PublisherServiceClient<Channel>,
    stream: Stream,
    next: u64,
}

impl Neighbour {
    async fn begin(publisher: SocketAddr, subscriber: SocketAddr) -> Self {
        let publisher = PublisherServiceClient::new(connect(publisher).await);
        let mut stream = Stream::alone(subscriber, channel("neighbour")).await;
        stream.started().await;
        stream.caught_up().await;
        Self { publisher, stream, next: 0 }
    }

    /// The 99th percentile of how long it takes from a publish to its message on the stream.
    async fn slowest(&mut self, time: Duration) -> Duration {
        let (began, mut ticks, mut took) = (Instant::now(), interval(EVERY), Vec::new());
        while began.elapsed() < time {
            ticks.tick().await;
            let (text_sent, began) = (self.next.to_string(), Instant::now());
            self.next += 1;
            let publish = self.publisher.publish(text("neighbour", &text_sent));
            let (published, message) = tokio::join!(timeout(TEST_TIMEOUT, publish), self.stream.message());
            published.expect("in time").expect("published");
            assert_eq!(text_of(&message), text_sent);
            took.push(began.elapsed());
        }
        took.sort_unstable();
        took[(took.len() * 99).div_ceil(100) - 1]
    }
}

/// What a process holds at most while an attack goes on, beyond what it had before.
struct Memory<'a> {
    process: &'a Process,
    before: u64,
}

impl<'a> Memory<'a> {
    fn watch(process: &'a Process) -> Self {
        Self { process, before: process.resident_kib() }
    }

    /// Where it had more before the attack than now, that counts as well.
    fn is_bounded(&self, what: &str) {
        let grown = self.process.most_resident_kib().saturating_sub(self.before);
        eprintln!("{what}: {grown} KiB above idle");
        assert!(grown < MOST_KIB, "{what}: {grown} KiB above idle");
    }
}

/// How much processor time a process has used.
fn processor_time(process: &Process) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).expect("it runs");
    // Behind the name, which may hold anything: the twelfth and thirteenth field, in hundredths of a second.
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("a number") + fields[12].parse::<u64>().expect("a number");
    Duration::from_millis(ticks * 10)
}
