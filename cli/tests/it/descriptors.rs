//! A process that may have few file descriptors, with all its listeners full: it still finds Redis.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tidings::pb::publisher_service_client::PublisherServiceClient;
use tidings_testing::{RedisServer, free_port};
use tokio::time::sleep;
use tonic::transport::Endpoint;

use crate::harness::{Admin, Peer, Process, TEST_TIMEOUT, text};

const DESCRIPTORS: usize = 256;

/// Keeps an admin listener full: whoever is cut there comes again.
struct Crowd {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Crowd {
    fn at(address: SocketAddr, size: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let one = || {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) else {
                        continue;
                    };
                    let _ = stream.write_all(b"GET /livez HTTP/1.1\r\n");
                    let ends = Instant::now() + Duration::from_secs(9);
                    while !stop.load(Ordering::Relaxed) && Instant::now() < ends {
                        thread::sleep(Duration::from_millis(50));
                    }
                }
            })
        };
        Self { threads: (0..size).map(|_| one()).collect(), stop }
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("no panic");
        }
    }
}

/// Opens connections that say hello and nothing more, until the listener takes no others.
async fn fill(address: SocketAddr) -> Vec<Peer> {
    let mut peers = Vec::new();
    // Beyond a listener's share, and less than what waits in the kernel's queue.
    for _ in 0..DESCRIPTORS / 2 {
        let mut peer = Peer::connect(address).await;
        peer.greet().await;
        peers.push(peer);
    }
    peers
}

#[tokio::test(flavor = "multi_thread")]
async fn full_listeners_leave_a_process_what_it_needs_to_find_redis_again() {
    let mut redis = RedisServer::start();
    let [publisher, subscriber] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
    let admin = Admin::choose();
    let args = [
        format!("--publisher-listen={publisher}"),
        format!("--subscriber-listen={subscriber}"),
        format!("--redis-url={}", redis.url()),
        admin.flag(),
    ];
    let process = Process::start_with_descriptors("tidings", &args, DESCRIPTORS);
    admin.listens().await;
    admin.becomes("/readyz", 200).await;
    let endpoint = Endpoint::from_shared(format!("http://{publisher}")).expect("an address");
    let mut client = PublisherServiceClient::new(endpoint.connect().await.expect("it listens"));
    client.publish(text("c", "before")).await.expect("published");

    let (first, second) = (fill(publisher).await, fill(subscriber).await);
    let crowd = Crowd::at(admin.0, DESCRIPTORS / 4);
    // One warning a listener: both are full.
    let began = Instant::now();
    while process.output().matches("no more connections can be taken").count() < 2 {
        assert!(began.elapsed() < TEST_TIMEOUT, "both are full: {}", process.output());
        sleep(Duration::from_millis(20)).await;
    }
    sleep(Duration::from_secs(1)).await;
    let open = process.descriptors();
    assert!((DESCRIPTORS / 2..=DESCRIPTORS - 20).contains(&open), "{open} are open");

    // Everything has to be made again: all kinds of connections.
    redis.restart();
    let began = Instant::now();
    while let Err(status) = client.publish(text("c", "after")).await {
        assert!(began.elapsed() < TEST_TIMEOUT, "Redis is not found again: {status:?} {}", process.output());
        sleep(Duration::from_millis(50)).await;
    }
    let descriptors = process.descriptors();
    assert!(descriptors <= DESCRIPTORS - 20, "{descriptors} are open");
    assert!(!process.output().contains("os error 24"), "{}", process.output());
    drop((first, second));
    crowd.end();
    admin.becomes("/readyz", 200).await;
}
