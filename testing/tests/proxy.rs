//! The proxy does what it says, in front of a real server.

use std::time::{Duration, Instant};

use tidings_testing::{Direction, Flow, How, Links, Proxy, RedisServer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

const TEST_TIMEOUT: Duration = Duration::from_secs(20);
const QUIET: Duration = Duration::from_millis(200);

struct Client(TcpStream);

impl Client {
    async fn new(proxy: &Proxy) -> Self {
        Self(TcpStream::connect(("127.0.0.1", proxy.port())).await.expect("the proxy listens"))
    }

    async fn send(&mut self, line: &str) {
        self.0.write_all(format!("{line}\r\n").as_bytes()).await.expect("sent");
    }

    async fn expect(&mut self, end: &str) {
        let mut received = Vec::new();
        while !received.ends_with(end.as_bytes()) {
            let read = timeout(TEST_TIMEOUT, self.0.read_buf(&mut received)).await.expect("an answer in time");
            assert!(read.expect("no error") > 0, "ended after {:?}", String::from_utf8_lossy(&received));
        }
    }

    /// Asks the server, and waits for its answer.
    async fn ping(&mut self) {
        self.send("PING").await;
        self.expect("+PONG\r\n").await;
    }

    /// The server at the other end is the one with this name.
    async fn reaches(&mut self, name: &str) {
        self.send("GET name").await;
        self.expect(&format!("{name}\r\n")).await;
    }

    async fn is_quiet(&mut self) {
        let mut byte = [0];
        assert!(timeout(QUIET, self.0.read(&mut byte)).await.is_err(), "{byte:?}");
    }

    /// Whether it ended with RST.
    async fn was_reset(&mut self) -> bool {
        let mut rest = Vec::new();
        timeout(TEST_TIMEOUT, self.0.read_to_end(&mut rest)).await.expect("an end in time").is_err()
    }

    async fn subscribe(proxy: &Proxy) -> Self {
        let mut client = Self::new(proxy).await;
        client.send("HELLO 3").await;
        client.expect("*0\r\n").await;
        client.send("*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\na").await;
        client.expect("subscribe\r\n$1\r\na\r\n:1\r\n").await;
        client
    }
}

async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(TEST_TIMEOUT, waiting).await.expect("in time");
}

#[tokio::test]
async fn bytes_pass_and_links_are_distinguished() {
    let server = RedisServer::start();
    let proxy = Proxy::to(&server).await;
    let mut client = Client::new(&proxy).await;
    client.ping().await;
    let mut subscribed = Client::subscribe(&proxy).await;
    server.command(&["PUBLISH", "a", &"x".repeat(1 << 20)]);
    subscribed.expect("x\r\n").await;
    assert_eq!((proxy.links(Links::All), proxy.links(Links::PubSub), proxy.links(Links::Commands)), (2, 1, 1));
    drop(client);
    until(|| proxy.links(Links::All) == 1).await;
    assert_eq!((proxy.accepted(), proxy.dropped()), (2, 0));
}

#[tokio::test]
async fn links_are_cut_and_refused() {
    let server = RedisServer::start();
    let proxy = Proxy::to(&server).await;
    let mut client = Client::new(&proxy).await;
    client.ping().await;
    let mut subscribed = Client::subscribe(&proxy).await;
    assert_eq!(proxy.cut(Links::PubSub, How::Reset), 1);
    assert!(subscribed.was_reset().await);
    client.ping().await;
    proxy.refuse(true).await;
    let refused = TcpStream::connect(("127.0.0.1", proxy.port())).await;
    assert_eq!(refused.expect_err("nobody listens").kind(), std::io::ErrorKind::ConnectionRefused);
    client.ping().await;
    proxy.refuse(false).await;
    assert_eq!(proxy.cut(Links::All, How::Close), 1);
    assert!(!client.was_reset().await);
    let mut client = Client::new(&proxy).await;
    client.ping().await;
    drop(proxy);
    client.was_reset().await;
}

#[tokio::test]
async fn what_flows_is_delayed_swallowed_muted_and_held() {
    let server = RedisServer::start();
    let proxy = Proxy::to(&server).await;
    let mut client = Client::subscribe(&proxy).await;
    let delay = Duration::from_millis(300);
    proxy.bend(Links::All, Direction::ToClient, Flow::Delay(delay));
    let began = Instant::now();
    client.ping().await;
    assert!(began.elapsed() >= delay, "{:?}", began.elapsed());

    proxy.bend(Links::PubSub, Direction::ToClient, Flow::Mute);
    assert_eq!(server.command(&["PUBLISH", "a", "muted"]), ":1");
    client.ping().await;
    assert_eq!(proxy.dropped(), ">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\nmuted\r\n".len() as u64);

    proxy.bend(Links::Commands, Direction::ToClient, Flow::Pass);
    proxy.bend(Links::PubSub, Direction::ToClient, Flow::Swallow);
    client.send("PING").await;
    client.is_quiet().await;
    proxy.bend(Links::All, Direction::ToClient, Flow::Pass);
    proxy.bend(Links::All, Direction::ToServer, Flow::Hold);
    client.send("ECHO held").await;
    client.is_quiet().await;
    proxy.bend(Links::All, Direction::ToServer, Flow::Pass);
    client.expect("$4\r\nheld\r\n").await;
}

#[tokio::test]
async fn new_links_may_be_half_open_or_lead_elsewhere() {
    let (one, other) = (RedisServer::start(), RedisServer::start());
    one.command(&["SET", "name", "one"]);
    other.command(&["SET", "name", "other"]);
    let proxy = Proxy::to(&one).await;
    let mut old = Client::new(&proxy).await;
    old.reaches("one").await;
    proxy.retarget(&other);
    let mut new = Client::new(&proxy).await;
    new.reaches("other").await;
    old.reaches("one").await;
    proxy.bend_new(Direction::ToServer, Flow::Hold);
    let mut half_open = Client::new(&proxy).await;
    half_open.send("GET name").await;
    half_open.is_quiet().await;
}

#[tokio::test]
async fn links_that_were_idle_are_forgotten_without_a_word() {
    let server = RedisServer::start();
    let proxy = Proxy::to(&server).await;
    let after = Duration::from_secs(1);
    for direction in [Direction::ToServer, Direction::ToClient] {
        proxy.bend_new(direction, Flow::Forget(after));
    }
    let mut client = Client::new(&proxy).await;
    for _ in 0..4 {
        tokio::time::sleep(after / 3).await;
        client.ping().await;
    }
    tokio::time::sleep(after).await;
    client.send("PING").await;
    client.is_quiet().await;
    client.send("PING").await;
    client.is_quiet().await;
    assert_eq!((proxy.links(Links::All), proxy.dropped()), (1, 2 * "PING\r\n".len() as u64));
    Client::new(&proxy).await.ping().await;
}

#[tokio::test]
async fn a_server_goes_back_to_its_files_of_before() {
    let mut server = RedisServer::start_with(&tidings_testing::DURABLE);
    server.command(&["SET", "a", "1"]);
    let snapshot = server.snapshot();
    server.command(&["SET", "a", "2"]);
    server.restart();
    assert_eq!(server.command(&["GET", "a"]), "$1\r\n2");
    server.restart_from(&snapshot);
    assert_eq!(server.command(&["GET", "a"]), "$1\r\n1");
    server.command(&["SET", "a", "3"]);
    server.restart();
    assert_eq!(server.command(&["GET", "a"]), "$1\r\n3");
    let replica = RedisServer::replica_of(&server);
    server.command(&["SET", "a", "4"]);
    replica.catch_up_with(&server);
    replica.promote();
    server.kill();
    assert_eq!(replica.command(&["GET", "a"]), "$1\r\n4");
    assert!(replica.command(&["SET", "a", "5"]) == "+OK");
}
