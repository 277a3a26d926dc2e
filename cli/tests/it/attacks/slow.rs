//! Connections that say their first words slowly, or never, and too many of them.

use std::{net::SocketAddr, time::Duration};

use tidings::limits::ADDRESS_CONNECTIONS;
use tidings_testing::RedisServer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tonic::transport::Endpoint;

use super::{Memory, Target};
use crate::harness::{Admin, Authority, Peer, Subscriber, TEST_TIMEOUT, client_config};

/// Connections of each kind.
const EACH: usize = 50;
/// How long first words may take, and some more for a busy machine.
const GREETING: std::ops::Range<Duration> = Duration::from_secs(8)..Duration::from_secs(16);

/// Sends a byte every half second; how long until the connection was closed.
async fn trickle(address: SocketAddr, bytes: Vec<u8>) -> Duration {
    let began = Instant::now();
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    for byte in bytes.iter().cycle() {
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        if let Ok(Ok(0) | Err(_)) = timeout(Duration::from_millis(500), stream.read(&mut [0; 64])).await {
            break;
        }
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_first_words_have_their_time_and_no_more() {
    let (mut target, admin) = (Target::alone(&[]).await, Admin::choose());
    let subscriber = Subscriber::start(&target.redis.url(), &[&admin.flag()]).await;
    std::mem::replace(&mut target.subscriber, subscriber).stop();
    let memory = Memory::watch(&target.subscriber.process);
    let address = target.subscriber.address;
    let mut connections = JoinSet::new();
    for _ in 0..EACH {
        // Half a preface, a head of HTTP/1 without an end, and nothing.
        let preface = Peer::hello()[..20].to_vec();
        let head = b"POST /tidings.v1.SubscriberService/ListMessages HTTP/1.1\r\nhost: it\r\nx-a: ".to_vec();
        for bytes in [[preface, vec![b'S'; 40]].concat(), [head, vec![b'x'; 100]].concat(), Vec::new()] {
            connections.spawn(async move {
                match bytes.is_empty() {
                    false => trickle(address, bytes).await,
                    true => {
                        let began = Instant::now();
                        let mut stream = TcpStream::connect(address).await.expect("it listens");
                        let _ = timeout(TEST_TIMEOUT, stream.read(&mut [0; 64])).await.expect("closed");
                        began.elapsed()
                    }
                }
            });
        }
    }
    target.withstands(async || {}).await;
    while let Some(took) = timeout(TEST_TIMEOUT, connections.join_next()).await.expect("in time") {
        let took = took.expect("no panic");
        // What can be no preface is closed sooner.
        assert!(took < GREETING.end, "{took:?}");
    }
    memory.is_bounded("slow first words");
    // HTTP/1 has begun, and its heads have a time of their own.
    let counted = admin.scrape().value("tidings_limited_total{limit=\"greeting_time\"}");
    assert!(counted >= EACH as f64, "{counted}");
    target.stop();
}

/// A head that never ends, in parts, and bodies that never come: they cost what they hold.
#[tokio::test(flavor = "multi_thread")]
async fn heads_without_an_end_hold_little() {
    const HEADERS: u8 = 1;
    const CONTINUATION: u8 = 9;
    let target = Target::alone(&[]).await;
    let memory = Memory::watch(&target.subscriber.process);
    let mut peers = Vec::new();
    for _ in 0..EACH {
        let mut peer = Peer::connect(target.subscriber.address).await;
        peer.greet().await;
        // Without END_HEADERS, each literal as long as a frame may be.
        peer.say(&Peer::frame_of(HEADERS, 1, &[0x83, 0x86])).await;
        for _ in 0..40 {
            let literal = [&[0, 1, b'x', 0x7f, 0x80, 0x3f][..], &[b'y'; 8_000]].concat();
            if !peer.try_say(&Peer::frame_of(CONTINUATION, 1, &literal)).await {
                break;
            }
        }
        peers.push(peer);
    }
    target.withstands(async || sleep(Duration::from_millis(500)).await).await;
    memory.is_bounded("heads without an end");
    drop(peers);
    target.stop();
}

/// First messages of TLS that say they are 64 KiB long: they are given up when more comes than any handshake has.
#[tokio::test(flavor = "multi_thread")]
async fn handshakes_without_an_end_hold_little() {
    const RECORD: usize = 16 << 10;
    let (redis, authority, folder) = (RedisServer::start(), Authority::new(), tempfile::tempdir().expect("a folder"));
    let pair = authority.sign(&["127.0.0.1"]);
    let file = |flag: &str, name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        format!("{flag}={}", path.display())
    };
    let args = [file("--tls-cert", "cert.pem", &pair.cert), file("--tls-key", "key.pem", &pair.key)];
    let subscriber = Subscriber::start_alone(&redis.url(), &[&args[0], &args[1]]).await;
    let endpoint = Endpoint::from_shared(format!("https://{}", subscriber.address)).expect("an address");
    let endpoint = endpoint.tls_config(client_config(&authority.pem, None)).expect("a certificate");
    let deadline = Instant::now() + TEST_TIMEOUT;
    while let Err(error) = endpoint.connect().await {
        assert!(Instant::now() < deadline, "{error:?}");
        sleep(Duration::from_millis(50)).await;
    }
    let memory = Memory::watch(&subscriber.process);
    let record = [&[22, 3, 1][..], &(RECORD as u16).to_be_bytes(), &[1, 0, 0xff, 0xff], &[0; RECORD - 4]].concat();
    let more = [&record[..5], &[0; RECORD]].concat();
    let mut peers = Vec::new();
    for _ in 0..ADDRESS_CONNECTIONS - 100 {
        let mut peer = Peer::connect(subscriber.address).await;
        // As much as stays below what a handshake may have; then half of them go on.
        let length = if peers.len() % 2 == 0 { record.len() } else { record.len() - 100 };
        peer.try_say(&record[..length]).await;
        if length == record.len() {
            peer.try_say(&more).await;
        }
        peers.push(peer);
    }
    endpoint.connect().await.expect("whoever finishes is served");
    sleep(Duration::from_secs(1)).await;
    memory.is_bounded("handshakes without an end");
    drop(peers);
    subscriber.stop();
}

/// From another address of the loopback: beyond what one address may have, connections are closed; others get theirs.
#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_so_many_connections_and_no_more() {
    let target = Target::alone(&[]).await;
    let memory = Memory::watch(&target.subscriber.process);
    let mut connections = Vec::new();
    for _ in 0..ADDRESS_CONNECTIONS + 100 {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.2:0".parse().expect("an address")).expect("another address of the loopback");
        let mut stream = socket.connect(target.subscriber.address).await.expect("it listens");
        // One that is closed already does not take it.
        let _ = stream.write_all(&Peer::hello()).await;
        connections.push(stream);
    }
    let mut closed = 0;
    for stream in &mut connections {
        // The server's settings come where it is served.
        let mut first = [0; 9];
        let read = timeout(TEST_TIMEOUT, stream.read_exact(&mut first)).await.expect("served or closed");
        closed += usize::from(read.is_err());
    }
    assert_eq!(closed, 100);
    target.withstands(async || {}).await;
    memory.is_bounded("connections");
    let log = target.subscriber.process.output();
    assert!(log.contains("its address has as many as it may") && log.contains("127.0.0.2"), "{log}");
    // Those that go make room.
    drop(connections);
    sleep(Duration::from_millis(500)).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.2:0".parse().expect("an address")).expect("another address of the loopback");
    let mut stream = socket.connect(target.subscriber.address).await.expect("it listens");
    stream.write_all(&Peer::hello()).await.expect("it is served");
    timeout(TEST_TIMEOUT, stream.read_exact(&mut [0; 9])).await.expect("in time").expect("it is served");
    target.stop();
}
