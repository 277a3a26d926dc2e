//! Signing in with a password from a file, and what an attempt to connect that takes too long says.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};
use tidings::broker::{Error, Shared, State};
use tidings_redis::{Redis, Server, ServerFiles, ServerUrl, Settings};
use tidings_testing::{RedisServer, certificates::Files};

use crate::fixture::{connect, down, name, publish, settings, texts, until, up, within};

fn with_file(url: &str, files: &Files) -> Settings {
    let url = ServerUrl::parse(url).expect("an address");
    let files = ServerFiles { password: Some(files.path("password")), ..ServerFiles::default() };
    Settings { server: Server::open(url, files).expect("the file can be used"), ..settings("redis://unused") }
}

#[tokio::test]
async fn another_password_in_the_file_needs_no_restart() {
    let server = RedisServer::start();
    let bob = |password: &str| {
        let password = format!(">{password}");
        server.command(&["ACL", "SETUSER", "bob", "reset", "on", &password, "~*", "&*", "+@all"]);
    };
    let files = Files::new();
    bob("first one");
    files.write("password", "first one\n");
    let url = format!("redis://bob@127.0.0.1:{}", server.port());
    let broker = connect(with_file(&url, &files)).await;
    publish(&broker, &name("orders"), texts(1)).await;
    bob("second one");
    server.command(&["CLIENT", "KILL", "USER", "bob"]);
    let why = down(&broker).await;
    until(
        "it says that the password is wrong",
        || matches!(&*broker.state().borrow(), State::Down(why) if why.contains("--redis-password-file")),
    )
    .await;
    files.write("password", "second one\n");
    up(&broker).await;
    publish(&broker, &name("orders"), texts(1)).await;
    // A file that is gone is said, and that alone.
    std::fs::remove_file(files.path("password")).expect("there was one");
    server.command(&["CLIENT", "KILL", "USER", "bob"]);
    until("it says that the file is gone", || {
        matches!(&*broker.state().borrow(), State::Down(why) if why.contains("password can't be read: No such file"))
    })
    .await;
    assert!(!why.contains("first one"), "{why}");
    broker.close().await;
}

#[tokio::test]
async fn the_default_user_signs_in_with_the_file_as_well() {
    let server = RedisServer::start_with(&["--save", "", "--requirepass", "hunter 2"]);
    let files = Files::new();
    files.write("password", "hunter 2");
    let broker = connect(with_file(&server.url(), &files)).await;
    publish(&broker, &name("orders"), texts(1)).await;
    broker.close().await;
}

#[test]
fn two_passwords_are_one_too_many() {
    let files = Files::new();
    let password = Some(files.write("password", "hunter2\n"));
    let open = |url: &str, password| {
        let files = ServerFiles { password, ..ServerFiles::default() };
        Server::open(ServerUrl::parse(url).expect("an address"), files).map(|_| ())
    };
    let error = open("redis://bob:hunter3@h", password).expect_err("refused").to_string();
    assert_eq!(error, "--redis-password-file: the URL has a password as well; give one of them");
    let empty = open("redis://bob@h", Some(files.write("empty", "\n"))).expect_err("refused");
    let empty = tidings::printable::chain(&empty);
    assert!(empty.starts_with("--redis-password-file: ") && empty.contains("empty holds no password"), "{empty}");
}

/// An address that swallows every connection: its queue is full, so the kernel drops what comes.
fn black_hole() -> (Socket, SocketAddr, Vec<TcpStream>) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    socket.listen(0).expect("it listens");
    let address = socket.local_addr().expect("bound").as_socket().expect("an IP address");
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        waiting.push(stream);
    }
    (socket, address, waiting)
}

#[tokio::test]
async fn a_connection_that_is_swallowed_leaves_time_and_is_named() {
    let (_socket, address, _waiting) = black_hole();
    let timeout = Duration::from_secs(1);
    let broker: Shared = Redis::start(Settings { timeout, ..settings(&format!("redis://{address}")) });
    let begun = Instant::now();
    let refused = broker.publish(&name("orders"), texts(1), 0).await;
    let took = begun.elapsed();
    let Err(Error::Unavailable(why)) = &refused else { panic!("{refused:?}") };
    let words = format!("connecting to {address} took too long: an attempt to connect may take 500ms");
    assert!(why.contains(&words), "{why}");
    assert!(took >= timeout && took < 2 * timeout, "{took:?}");
    broker.close().await;
}

/// A caller that waits has the second attempt, because the first did not use up the time.
#[tokio::test]
async fn a_call_survives_one_attempt_that_hangs() {
    let server = RedisServer::start();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let to = server.port();
    std::thread::spawn(move || {
        // The first connection gets no answer.
        let _first = listener.accept();
        while let Ok((stream, _)) = listener.accept() {
            let redis = TcpStream::connect(("127.0.0.1", to)).expect("Redis listens");
            for (from, to) in [(&stream, &redis), (&redis, &stream)] {
                let (mut from, mut to) = (from.try_clone().expect("a handle"), to.try_clone().expect("a handle"));
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            }
        }
    });
    let timeout = Duration::from_secs(2);
    let settings =
        Settings { timeout, role: tidings_redis::Role::Publisher, ..settings(&format!("redis://{address}")) };
    let broker: Shared = Redis::start(settings);
    let receipts = within(broker.publish(&name("orders"), texts(1), 0), "a receipt").await;
    assert_eq!(receipts.expect("published in the time of the call")[0].sequence, 1);
    broker.close().await;
}

/// It took the connection, and then said nothing.
#[tokio::test]
async fn a_server_that_says_nothing_is_named_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let timeout = Duration::from_millis(600);
    let broker: Shared = Redis::start(Settings { timeout, ..settings(&format!("redis://{address}")) });
    let words = format!("the answer of {address} to HELLO took too long: an attempt to connect may take 300ms");
    until("it says what took the time", || matches!(&*broker.state().borrow(), State::Down(why) if *why == words))
        .await;
    broker.close().await;
}
