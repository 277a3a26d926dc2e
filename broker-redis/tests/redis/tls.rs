//! TLS to Redis: all connections, what is wrong in words, and certificates that are renewed.

mod sentinels;

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    path::PathBuf,
    time::Duration,
};

use tidings::{
    broker::{From, PageLimit, Shared, State},
    limits::REPLAY_MESSAGES,
};
use tidings_redis::{Redis, Role, Server, ServerFiles, ServerUrl, Settings, TlsFiles};
use tidings_testing::{
    RedisServer, TlsRedis,
    certificates::{Authority, Files, Pair},
};

use crate::fixture::{Live, channel, connect, down, name, publish, settings, text, texts, until, up, within};

fn trusting(redis: &TlsRedis) -> TlsFiles {
    TlsFiles { ca: Some(redis.files.path("ca.pem")), client: None }
}

fn over(url: &str, tls: TlsFiles) -> Settings {
    let url = ServerUrl::parse(url).expect("an address");
    let server = Server::open(url, ServerFiles { tls, ..ServerFiles::default() }).expect("the files can be used");
    Settings { server, ..settings("redis://unused") }
}

fn client(redis: &TlsRedis, pair: &Pair) -> (PathBuf, PathBuf) {
    (redis.files.write("client.pem", &pair.cert), redis.files.write("client.key", &pair.key))
}

#[tokio::test]
async fn every_kind_of_connection_speaks_tls_and_shows_its_certificate() {
    let redis = TlsRedis::start(&["127.0.0.1"], true);
    let replica = RedisServer::replica_of(&redis.server);
    until("the replica is online", || redis.server.command(&["INFO", "replication"]).contains("state=online")).await;
    let own = client(&redis, &redis.authority.sign(&["tidings.test"]));
    let tls = TlsFiles { client: Some(own), ..trusting(&redis) };
    let broker = connect(over(&redis.url("", "127.0.0.1"), tls)).await;
    let orders = name("orders");
    let mut live = Live::open(&broker);
    live.subscribe(channel("orders")).await;
    // Full and optimistic calls, alone and together, small and larger than what TLS takes at once.
    for _ in 0..20 {
        publish(&broker, &orders, texts(1)).await;
    }
    let large = "x".repeat(1_000_000);
    let many: Vec<_> = (0..8).map(|_| broker.publish(&orders, vec![text(&large)], 0)).collect();
    for published in many {
        within(published, "a receipt").await.expect("published");
    }
    let receipts = within(broker.publish(&orders, texts(1), 1), "a receipt").await.expect("published");
    assert_eq!((receipts[0].sequence, receipts[0].replicas), (29, 1));
    for sequence in 1..=29 {
        let (_, _, payload) = live.push().await;
        assert!(payload.contains(&format!("\"sequence\":{sequence},")), "{}", &payload[..200.min(payload.len())]);
    }
    // Small pages and large ones travel over different connections.
    let (mut after, mut read) = (0, 0);
    let limit = PageLimit { messages: REPLAY_MESSAGES, bytes: 4 << 20 };
    while after < 29 {
        let page = within(broker.read(&orders, From::After(after), limit), "a page").await.expect("read");
        read += page.messages.len();
        after = page.messages.last().expect("there is more").sequence;
    }
    assert_eq!(read, 29);
    let (mut with, without) = redis.connections();
    with.sort();
    with.dedup();
    assert_eq!(with, ["tidings-bulk", "tidings-command", "tidings-live", "tidings-publish", "tidings-wait"]);
    assert_eq!(without, Vec::<String>::new());
    assert_ne!(replica.command(&["XLEN", "tidings:{orders}:log"]), ":0");
    broker.close().await;
}

/// Why a broker with these settings does not come up.
async fn trouble(settings: Settings) -> String {
    let broker: Shared = Redis::start(settings);
    let mut state = broker.state();
    let reported = state.wait_for(|state| matches!(state, State::Down(why) if !why.contains("not connected yet")));
    let why = match within(reported, "it says why").await.expect("the broker lives").clone() {
        State::Down(why) => why,
        State::Up => unreachable!("it waits for another state"),
    };
    broker.close().await;
    why
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_said_in_words() {
    let redis = TlsRedis::start(&["redis.test", "127.0.0.2"], false);
    let url = redis.url("", "127.0.0.1");
    let other_name = trouble(over(&url, trusting(&redis))).await;
    for words in ["another name than 127.0.0.1", "redis.test", "--redis-url"] {
        assert!(other_name.contains(words), "{other_name}");
    }
    let stranger = Files::new();
    let ca = Some(stranger.write("ca.pem", Authority::new().pem()));
    let unknown = trouble(over(&url, TlsFiles { ca, client: None })).await;
    assert!(unknown.contains("not signed by anyone trusted here (--redis-ca"), "{unknown}");
    // None of those that this system trusts.
    let system = trouble(over(&url, TlsFiles::default())).await;
    assert!(system.contains("not signed by anyone trusted here (--redis-ca"), "{system}");
}

#[tokio::test]
async fn a_certificate_that_redis_wants_or_refuses_is_named() {
    let redis = TlsRedis::start(&["127.0.0.1"], true);
    let url = redis.url("", "127.0.0.1");
    let missing = trouble(over(&url, trusting(&redis))).await;
    assert!(missing.contains("--redis-cert"), "{missing}");
    let strange = client(&redis, &Authority::new().sign(&["tidings.test"]));
    let refused = trouble(over(&url, TlsFiles { client: Some(strange), ..trusting(&redis) })).await;
    assert!(refused.contains("--redis-cert") && refused.contains("UnknownCA"), "{refused}");
}

#[tokio::test]
async fn tls_and_no_tls_do_not_meet() {
    let redis = TlsRedis::start(&["127.0.0.1"], false);
    let plain = format!("127.0.0.1:{}", redis.server.port());
    let timeout = Duration::from_millis(800);
    let no_tls = trouble(Settings { timeout, ..over(&format!("rediss://{plain}"), trusting(&redis)) }).await;
    assert!(no_tls.contains(&plain) && no_tls.contains("redis://"), "{no_tls}");
    let only_tls = trouble(settings(&format!("redis://127.0.0.1:{}", redis.port()))).await;
    assert!(only_tls.contains("rediss://"), "{only_tls}");
}

/// It is the attempt that ends, before a call would.
#[tokio::test]
async fn a_handshake_that_gets_no_answer_is_named() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let redis = TlsRedis::start(&["127.0.0.1"], false);
    let timeout = Duration::from_secs(1);
    let url = format!("rediss://{}", silent.local_addr().expect("bound"));
    let why = trouble(Settings { timeout, ..over(&url, trusting(&redis)) }).await;
    let end = "took too long: an attempt to connect may take 500ms";
    assert!(why.starts_with("the TLS handshake with 127.0.0.1:") && why.ends_with(end), "{why}");
}

#[tokio::test]
async fn a_server_that_hangs_up_or_alerts_says_so() {
    for (answer, words) in [(&b""[..], "closed the connection in the TLS handshake"), (b"-ERR what\r\n", "redis://")] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("rediss://{}", listener.local_addr().expect("bound"));
        let redis = TlsRedis::start(&["127.0.0.1"], false);
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let _ = stream.read(&mut [0; 100]);
                let _ = stream.write_all(answer);
            }
        });
        let why = trouble(over(&url, trusting(&redis))).await;
        assert!(why.contains(words), "{why}");
    }
}

#[tokio::test]
async fn renewed_files_count_from_the_next_connection_on() {
    let mut redis = TlsRedis::start(&["127.0.0.1"], true);
    let own = client(&redis, &redis.authority.sign(&["tidings.test"]));
    let tls = TlsFiles { client: Some(own), ..trusting(&redis) };
    let broker = connect(Settings { role: Role::Publisher, ..over(&redis.url("", "127.0.0.1"), tls) }).await;
    publish(&broker, &name("orders"), texts(1)).await;
    redis.server.kill();
    down(&broker).await;
    // Everything is of another authority now.
    let authority = Authority::new();
    let (server, own) = (authority.sign(&["127.0.0.1"]), authority.sign(&["tidings.test"]));
    redis.files.write("server.pem", &server.cert);
    redis.files.write("server.key", &server.key);
    redis.server.run();
    let mut state = broker.state();
    let words = "not signed by anyone trusted";
    let reported = state.wait_for(|state| matches!(state, State::Down(why) if why.contains(words)));
    within(reported, "the old ones are not enough").await.expect("the broker lives");
    client(&redis, &own);
    redis.files.write("ca.pem", authority.pem());
    // Redis trusts what it read when it started.
    redis.server.restart();
    up(&broker).await;
    publish(&broker, &name("orders"), texts(1)).await;
    broker.close().await;
}

#[test]
fn files_that_can_not_be_used_are_named_before_anything_is_connected() {
    let (files, authority) = (Files::new(), Authority::new());
    let (one, other) = (authority.sign(&["a.test"]), authority.sign(&["b.test"]));
    let open = |url: &str, tls: TlsFiles| {
        let url = ServerUrl::parse(url).expect("an address");
        let error =
            Server::open(url, ServerFiles { tls, ..ServerFiles::default() }).expect_err("the files can't be used");
        tidings::printable::chain(&error)
    };
    let ca = |path: PathBuf| TlsFiles { ca: Some(path), client: None };
    let missing = open("rediss://h", ca(files.path("none")));
    assert!(missing.contains("none can't be read: No such file"), "{missing}");
    let nothing = open("rediss://h", ca(files.write("empty.pem", "nothing\n")));
    assert!(nothing.ends_with("empty.pem: there is no certificate in PEM"), "{nothing}");
    let pair = (files.write("one.pem", &one.cert), files.write("other.key", &other.key));
    let unfit = open("rediss://h", TlsFiles { ca: Some(files.write("ca.pem", authority.pem())), client: Some(pair) });
    assert!(unfit.contains("can't be used together"), "{unfit}");
    let no_tls = open("redis://h", ca(files.path("ca.pem")));
    assert!(no_tls.contains("write rediss:// in --redis-url"), "{no_tls}");
}
