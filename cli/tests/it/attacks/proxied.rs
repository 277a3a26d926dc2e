//! Behind a balancer that sends PROXY headers: whose address counts, and who is not believed.

use std::net::SocketAddr;

use tidings::pb::publisher_service_client::PublisherServiceClient;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tonic::transport::Endpoint;

use super::Target;
use crate::harness::{Admin, Peer, Publisher, TEST_TIMEOUT, text};

/// A type of frame.
const SETTINGS: u8 = 4;

/// A header of version 2 for a client of IPv4.
fn v2(client: [u8; 4]) -> Vec<u8> {
    let [a, b, c, d] = client;
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &[a, b, c, d, 127, 0, 0, 1, 0xdc, 4, 0x0b, 0xb8]].concat()
}

/// Connects from an address of the loopback, and says this; whether it is served.
async fn is_served(from: &str, to: SocketAddr, first: &[u8]) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::new(from.parse().expect("an address"), 0)).expect("an address of the loopback");
    let mut stream = socket.connect(to).await.expect("it listens");
    let _ = stream.write_all(&[first, &Peer::hello()].concat()).await;
    // Its own settings come first where it speaks HTTP/2; what it takes for HTTP/1.1 it refuses in words.
    let mut first = [0; 9];
    let read = timeout(TEST_TIMEOUT, stream.read_exact(&mut first)).await.expect("served or closed");
    (read.is_ok() && first[3] == SETTINGS).then_some(stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_a_trusted_proxy_counts_and_nobody_else_is_believed() {
    let target = Target::start(&[]).await;
    let admin = Admin::choose();
    let flags = [&admin.flag(), "--trusted-proxies=127.0.0.3,127.0.0.8/29", "--address-max-connections=2"];
    let flags = flags.map(str::to_owned);
    // It is asked from an address that is not trusted.
    let publisher = Publisher::start(&target.redis.url(), &flags.each_ref().map(String::as_str)).await;
    let to = publisher.address;
    let line = b"PROXY TCP4 192.0.2.9 127.0.0.1 56324 3000\r\n";
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(is_served("127.0.0.3", to, &v2([192, 0, 2, 1])).await.expect("a client's first two"));
        held.push(is_served("127.0.0.9", to, line).await.expect("another client's, in words"));
    }
    // As many as one client may have, through whichever proxy; and a health check of the proxy's own.
    assert!(is_served("127.0.0.9", to, &v2([192, 0, 2, 1])).await.is_none(), "a third");
    assert!(is_served("127.0.0.3", to, b"PROXY TCP4 192.0.2.9 127.0.0.1 1 2\r\n").await.is_none(), "a third");
    is_served("127.0.0.3", to, &v2([192, 0, 2, 2])).await.expect("a third client's");
    is_served("127.0.0.3", to, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0").await.expect("the proxy's own");
    // Without a header, or with a bad one, a proxy is not served; what others send there is no header.
    let before = admin.scrape().value("tidings_limited_total{limit=\"proxy_headers\"}");
    for bad in [&b""[..], b"PROXY TCP4 192.0.2.9\r\n", b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0", b"GET / HTTP/1.1\r\n\r\n"] {
        assert!(is_served("127.0.0.3", to, bad).await.is_none(), "{bad:?}");
    }
    assert!(admin.scrape().value("tidings_limited_total{limit=\"proxy_headers\"}") >= before + 3.0);
    for header in [&v2([192, 0, 2, 4])[..], line] {
        assert!(is_served("127.0.0.4", to, header).await.is_none(), "it is not read of strangers");
    }
    is_served("127.0.0.4", to, b"").await.expect("who need none");
    let log = publisher.process.output();
    assert!(log.contains("its address has as many as it may") && log.contains("192.0.2.1"), "{log}");
    assert!(log.contains("sent no PROXY header") && log.contains("127.0.0.3"), "{log}");
    publisher.stop();
    target.stop();
}

/// A proxy: it says where its clients are, and passes on what they say.
async fn proxy(to: SocketAddr) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let socket = TcpSocket::new_v4().expect("a socket");
                socket.bind("127.0.0.3:0".parse().expect("an address")).expect("an address of the loopback");
                let mut server = socket.connect(to).await.expect("it listens");
                server.write_all(&v2([192, 0, 2, 1])).await.expect("sent");
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn the_header_comes_before_tls() {
    let target = Target::start(&[]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, pair.cert.pem()).expect("a file");
    std::fs::write(&key, pair.signing_key.serialize_pem()).expect("a file");
    let flags = [
        format!("--tls-cert={}", cert.display()),
        format!("--tls-key={}", key.display()),
        "--trusted-proxies=127.0.0.3".to_owned(),
    ];
    let publisher = Publisher::start_alone(&target.redis.url(), &flags.each_ref().map(String::as_str)).await;
    let through = proxy(publisher.address).await;
    let tls = tonic::transport::ClientTlsConfig::new()
        .ca_certificate(tonic::transport::Certificate::from_pem(pair.cert.pem()))
        .domain_name("localhost");
    let endpoint =
        Endpoint::from_shared(format!("https://{through}")).expect("an address").tls_config(tls).expect("TLS");
    let connected = timeout(TEST_TIMEOUT, async {
        loop {
            match endpoint.connect().await {
                Ok(connected) => return connected,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        }
    });
    let mut client = PublisherServiceClient::new(connected.await.expect("in time"));
    timeout(TEST_TIMEOUT, client.publish(text("c", "x"))).await.expect("in time").expect("published");
    target.stop();
}
