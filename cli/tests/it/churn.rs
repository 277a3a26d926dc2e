//! Thousands of clients that come and go, most of them without a word: nothing of them stays.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Parser as _;
use tidings::broker::State;
use tidings_runtime::{Role, config::DEFAULT_REDIS_URL};
use tidings_subscriber::config::Cli;
use tidings_testing::RedisServer;
use tokio::{net::TcpListener, runtime::Builder, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::harness::{Peer, Publisher, Subscriber, channel, pattern, text};

const STREAM: &str = "/tidings.v1.SubscriberService/StreamMessages";
/// How long what is left of clients may stay: streams that nobody ended, and topics that nobody follows.
const SETTLED: Duration = Duration::from_secs(30);
const AT_ONCE: usize = 50;
/// They follow forty, all from one address.
const MANY_PATTERNS: &str = "--caller-max-patterns=100";

/// One client, which leaves in one of seven ways.
async fn come_and_go(address: SocketAddr, n: usize) {
    let mut peer = Peer::connect(address).await;
    match n % 7 {
        0 => peer.say(&Peer::hello()[..n / 7 % 24]).await,
        1 => peer.reset(),
        2 => {
            peer.greet().await;
            peer.reset();
        }
        way => {
            peer.greet().await;
            let topic = format!("churn{}", n % 40);
            let request = if n.is_multiple_of(3) { pattern(&format!("{topic}*")) } else { channel(&topic) };
            peer.call(1, STREAM, &request).await;
            match way {
                // It does not even wait for the answer.
                3 => {}
                4 => {
                    peer.first_data(1).await;
                    peer.reset();
                }
                5 => peer.first_data(1).await,
                _ => {
                    peer.first_data(1).await;
                    peer.cancel(1).await;
                    peer.say_goodbye().await;
                }
            }
        }
    }
}

async fn come_and_go_all(address: SocketAddr, count: usize) {
    let next = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..AT_ONCE {
        let next = Arc::clone(&next);
        clients.spawn(async move {
            loop {
                match next.fetch_add(1, Ordering::Relaxed) {
                    n if n < count => come_and_go(address, n).await,
                    _ => return,
                }
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.expect("a client that was served");
    }
}

/// Channels and patterns that Redis pushes.
fn subscriptions(redis: &RedisServer) -> (usize, String) {
    let channels = redis.command(&["PUBSUB", "CHANNELS"]);
    (channels.lines().filter(|line| line.starts_with('$')).count(), redis.command(&["PUBSUB", "NUMPAT"]))
}

/// Waits until something is as it was.
async fn becomes<T: PartialEq + std::fmt::Debug>(what: &str, before: T, mut now: impl FnMut() -> T) {
    let began = Instant::now();
    while now() != before {
        assert!(began.elapsed() < SETTLED, "{what}: {:?}, and {before:?} before", now());
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_clients_leave_neither_memory_nor_descriptors_nor_subscriptions() {
    const CLIENTS: usize = 10_000;
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let subscriber = Subscriber::start(&redis.url(), &[MANY_PATTERNS]).await;
    for n in 0..40 {
        publisher.client().publish(text(&format!("churn{n}"), "the first")).await.expect("published");
    }
    let before = (subscriptions(&redis), subscriber.process.descriptors());
    let as_before = async || {
        becomes("subscriptions and descriptors", before.clone(), || {
            (subscriptions(&redis), subscriber.process.descriptors())
        })
        .await;
    };
    // What is allocated once for as many clients as come together does not count.
    come_and_go_all(subscriber.address, 1_000).await;
    as_before().await;
    let resident = subscriber.process.resident_kib();
    come_and_go_all(subscriber.address, CLIENTS).await;
    as_before().await;
    let grown = subscriber.process.resident_kib().saturating_sub(resident);
    assert!(grown < 16 << 10, "{grown} KiB more than {resident} KiB");
    publisher.stop();
    subscriber.stop();
}

#[test]
fn clients_that_come_and_go_leave_no_task() {
    const CLIENTS: usize = 1_400;
    let redis = RedisServer::start();
    let url = format!("--redis-url={}", redis.url());
    let cli = Cli::try_parse_from(["tidings-subscriber", url.as_str(), MANY_PATTERNS]).expect("valid");
    // A runtime that has no tasks but the server's.
    let runtime = || Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    let (servers, clients) = (runtime(), runtime());
    let (address, stop) = servers.block_on(async {
        let broker = cli.serve.common.broker(Some(DEFAULT_REDIS_URL), Role::Subscriber).expect("a valid URL");
        let settings = cli.serve.settings().expect("valid");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (address, stop) = (listener.local_addr().expect("bound"), CancellationToken::new());
        tokio::spawn(tidings_subscriber::serve(listener, broker.clone(), settings, stop.clone()));
        // By then it listens to its own probe as well, and continues with that.
        broker.live_state().wait_for(|state| *state == State::Up).await.expect("it connects");
        (address, stop)
    });
    let metrics = servers.metrics();
    clients.block_on(async {
        let own = subscriptions(&redis).0;
        // What is kept per process is there once the first have come.
        come_and_go_all(address, 70).await;
        let listened_to = subscriptions(&redis).0;
        assert!(listened_to > own);
        becomes("subscriptions", own, || subscriptions(&redis).0).await;
        let before = metrics.num_alive_tasks();
        come_and_go_all(address, CLIENTS).await;
        becomes("tasks", before, || metrics.num_alive_tasks()).await;
    });
    stop.cancel();
    servers.shutdown_timeout(SETTLED);
}
