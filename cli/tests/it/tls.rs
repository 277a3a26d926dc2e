//! TLS on the services' ports: who is talked to, who is not, and certificates that change while streams are open.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tidings::pb::{
    StreamMessagesRequest, publisher_service_client::PublisherServiceClient,
    subscriber_service_client::SubscriberServiceClient,
};
use tidings_testing::RedisServer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};
use tonic::transport::{Channel, Endpoint};

use crate::harness::{
    Admin, Authority, Pair, Publisher, Scraped, Stream, Subscriber, TEST_TIMEOUT, client_config, text,
};

/// The files of a service.
struct Files(TempDir);

impl Files {
    fn new(pair: &Pair) -> Self {
        let files = Self(tempfile::tempdir().expect("a folder"));
        files.write("cert.pem", &pair.cert);
        files.write("key.pem", &pair.key);
        files
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn args(&self, client_ca: bool) -> Vec<String> {
        let flag = |flag: &str, name: &str| format!("{flag}={}", self.path(name).display());
        let mut args = vec![flag("--tls-cert", "cert.pem"), flag("--tls-key", "key.pem")];
        args.extend(client_ca.then(|| flag("--tls-client-ca", "clients.pem")));
        args
    }
}

fn refs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// Connects to a service that is believed by this authority.
async fn connect(address: SocketAddr, ca: &str, own: Option<&Pair>) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("https://{address}")).expect("an address");
    endpoint.tls_config(client_config(ca, own)).expect("certificates").connect().await
}

/// The same, once the service listens and has its Redis.
async fn publisher(address: SocketAddr, ca: &str, own: Option<&Pair>) -> PublisherServiceClient<Channel> {
    let deadline = Instant::now() + TEST_TIMEOUT;
    loop {
        let failed = match connect(address, ca, own).await {
            Err(error) => format!("{error:?}"),
            Ok(channel) => {
                let mut client = PublisherServiceClient::new(channel);
                match client.publish(text("a", "first")).await {
                    Ok(_) => return client,
                    Err(status) => format!("{status:?}"),
                }
            }
        };
        assert!(Instant::now() < deadline, "{failed}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Whether a call gets anywhere.
async fn is_served(address: SocketAddr, ca: &str, own: Option<&Pair>) -> bool {
    // With TLS 1.3 a client learns only with its first call that its certificate is no good.
    let Ok(channel) = connect(address, ca, own).await else { return false };
    PublisherServiceClient::new(channel).publish(text("a", "x")).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_with_a_certificate_speaks_tls_and_nothing_else() {
    let (redis, authority, other) = (RedisServer::start(), Authority::new(), Authority::new());
    let files = Files::new(&authority.sign(&["127.0.0.1", "localhost"]));
    let publisher_process = Publisher::start_alone(&redis.url(), &refs(&files.args(false))).await;
    let subscriber_process = Subscriber::start_alone(&redis.url(), &refs(&files.args(false))).await;
    let mut client = publisher(publisher_process.address, &authority.pem, None).await;
    let channel = connect(subscriber_process.address, &authority.pem, None).await.expect("TLS");
    let request = StreamMessagesRequest { channel: "a".to_owned(), earliest: true, ..StreamMessagesRequest::default() };
    let mut stream = Stream::open(SubscriberServiceClient::new(channel), request).await;
    stream.started().await;
    stream.message().await;
    stream.caught_up().await;
    // More than TLS takes in one piece, each way.
    let large = "x".repeat(900_000);
    client.publish(text("a", large.clone())).await.expect("published");
    let message = stream.message().await;
    assert!(matches!(message.payload, Some(tidings::pb::message::Payload::Text(text)) if text == large));

    assert!(!is_served(publisher_process.address, &other.pem, None).await, "nobody knows who that is");
    let plain = Endpoint::from_shared(format!("http://{}", publisher_process.address)).expect("an address");
    if let Ok(channel) = plain.connect().await {
        PublisherServiceClient::new(channel).publish(text("a", "x")).await.expect_err("it is plain text");
    }
    // A client that says nothing is cut in time, and one that speaks plain HTTP at once.
    let mut http = TcpStream::connect(publisher_process.address).await.expect("it listens");
    http.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
    let mut said = Vec::new();
    let _ = timeout(TEST_TIMEOUT, http.read_to_end(&mut said)).await.expect("it is cut");
    assert!(!said.starts_with(b"HTTP"), "{said:?}");
    let mut silent = TcpStream::connect(publisher_process.address).await.expect("it listens");
    let _ = timeout(TEST_TIMEOUT, silent.read_to_end(&mut Vec::new())).await.expect("it is cut");
    client.publish(text("a", "still there")).await.expect("published");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_need_a_certificate_of_the_right_authority() {
    let (redis, authority) = (RedisServer::start(), Authority::new());
    let (clients, strangers) = (Authority::new(), Authority::new());
    let files = Files::new(&authority.sign(&["127.0.0.1"]));
    files.write("clients.pem", &clients.pem);
    let process = Publisher::start_alone(&redis.url(), &refs(&files.args(true))).await;
    let own = clients.named(&["dns:a-client"]);
    publisher(process.address, &authority.pem, Some(&own)).await;
    assert!(!is_served(process.address, &authority.pem, None).await, "without a certificate");
    let strange = strangers.named(&["dns:a-client"]);
    assert!(!is_served(process.address, &authority.pem, Some(&strange)).await, "another authority's");
    let of_service = authority.named(&["dns:a-client"]);
    assert!(
        !is_served(process.address, &authority.pem, Some(&of_service)).await,
        "that of the service is not that of clients"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_taken_up_and_open_streams_stay() {
    let (redis, old, new) = (RedisServer::start(), Authority::new(), Authority::new());
    let files = Files::new(&old.sign(&["127.0.0.1"]));
    let admin = Admin::choose();
    let args = [files.args(false), vec![admin.flag()]].concat();
    let process = Subscriber::start_alone(&redis.url(), &refs(&args)).await;
    let read_again = |scraped: &Scraped, result: &str| {
        scraped.value(&format!("tidings_files_read_again_total{{file=\"certificate\",result=\"{result}\"}}"))
    };
    let sender = Publisher::start(&redis.url(), &[]).await;
    let deadline = Instant::now() + TEST_TIMEOUT;
    let channel = loop {
        match connect(process.address, &old.pem, None).await {
            Ok(channel) => break channel,
            Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
        }
    };
    let request = StreamMessagesRequest { channel: "a".to_owned(), ..StreamMessagesRequest::default() };
    let mut client = SubscriberServiceClient::new(channel);
    let opened = loop {
        match client.stream_messages(request.clone()).await {
            Ok(opened) => break opened.into_inner(),
            Err(status) => assert!(Instant::now() < deadline, "{status:?}"),
        }
        sleep(Duration::from_millis(50)).await;
    };
    let mut stream = Stream::new(opened);
    stream.started().await;

    // A certificate without its key changes nothing, and is named.
    let pair = new.sign(&["127.0.0.1"]);
    files.write("cert.pem", &pair.cert);
    process.process.wait_for_output("the certificate can't be read again; the old one stays");
    connect(process.address, &old.pem, None).await.expect("the old one");
    files.write("key.pem", &pair.key);
    process.process.wait_for_output("the certificate has changed");
    connect(process.address, &new.pem, None).await.expect("the new one");
    connect(process.address, &old.pem, None).await.expect_err("the old one is gone");
    sender.client().publish(text("a", "through the old connection")).await.expect("published");
    stream.caught_up().await;
    stream.message().await;
    let counts = |scraped: &Scraped| (read_again(scraped, "failed") >= 1.0, read_again(scraped, "ok"));
    admin.shows("what was read again", |scraped| counts(scraped) == (true, 1.0)).await;
    sender.stop();
}

/// As Kubernetes has it: the files are links into a folder that is a link itself, and that one is replaced.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_behind_links_is_taken_up_when_these_are_swapped() {
    let (redis, old, new) = (RedisServer::start(), Authority::new(), Authority::new());
    let files = Files::new(&old.sign(&["127.0.0.1"]));
    let pair = new.sign(&["127.0.0.1"]);
    for (folder, cert, key) in [("v1", None, None), ("v2", Some(&pair.cert), Some(&pair.key))] {
        fs::create_dir(files.path(folder)).expect("a folder");
        for (name, text) in [("cert.pem", cert), ("key.pem", key)] {
            match text {
                Some(text) => files.write(&format!("{folder}/{name}"), text),
                None => fs::rename(files.path(name), files.path(&format!("{folder}/{name}"))).expect("moved"),
            }
        }
    }
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, files.path(name)).expect("a link");
    link("v1", "..data");
    link("..data/cert.pem", "cert.pem");
    link("..data/key.pem", "key.pem");
    let process = Publisher::start_alone(&redis.url(), &refs(&files.args(false))).await;
    publisher(process.address, &old.pem, None).await;
    link("v2", "..data_tmp");
    fs::rename(files.path("..data_tmp"), files.path("..data")).expect("swapped");
    process.process.wait_for_output("the certificate has changed");
    publisher(process.address, &new.pem, None).await;
    connect(process.address, &old.pem, None).await.expect_err("the old one is gone");
}

/// As many streams as a page in a browser may want, which over HTTP/1.1 has six connections.
#[tokio::test(flavor = "multi_thread")]
async fn one_connection_has_fifty_streams() {
    let (redis, authority) = (RedisServer::start(), Authority::new());
    let files = Files::new(&authority.sign(&["127.0.0.1"]));
    let sender = Publisher::start(&redis.url(), &[]).await;
    let process = Subscriber::start_alone(&redis.url(), &refs(&files.args(false))).await;
    let deadline = Instant::now() + TEST_TIMEOUT;
    // It fails where HTTP/2 is not agreed upon in the handshake (ALPN).
    let channel = loop {
        match connect(process.address, &authority.pem, None).await {
            Ok(channel) => break channel,
            Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
        }
    };
    let request = StreamMessagesRequest { channel: "a".to_owned(), ..StreamMessagesRequest::default() };
    let mut streams = Vec::new();
    while streams.len() < 50 {
        match SubscriberServiceClient::new(channel.clone()).stream_messages(request.clone()).await {
            Ok(opened) => streams.push(Stream::new(opened.into_inner())),
            Err(status) => assert!(Instant::now() < deadline, "{status:?}"),
        }
    }
    sender.client().publish(text("a", "to all")).await.expect("published");
    for stream in &mut streams {
        stream.started().await;
        stream.caught_up().await;
        stream.message().await;
    }
    sender.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_speak_tls_and_what_can_not_be_served_ends_the_start() {
    let (redis, authority) = (RedisServer::start(), Authority::new());
    let files = Files::new(&authority.sign(&["127.0.0.1"]));
    files.write("ca.pem", &authority.pem);
    let process = Publisher::start_alone(&redis.url(), &refs(&files.args(false))).await;
    publisher(process.address, &authority.pem, None).await;
    let run = |args: &[&str]| {
        let output = crate::harness::clean_command(&crate::harness::binary("tidings")).args(args).output();
        let output = output.expect("it runs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let address = format!("https://{}", process.address);
    let ca = files.path("ca.pem").display().to_string();
    let (done, said) = run(&["publish", "a", "hello", "--publisher", &address, "--ca", &ca]);
    assert!(done, "{said}");
    let (done, said) = run(&["healthcheck", &address, "--ca", &ca]);
    assert!(done, "{said}");
    // Of a service that asks for a certificate they show their own.
    files.write("clients.pem", &authority.pem);
    let asking = Publisher::start_alone(&redis.url(), &refs(&files.args(true))).await;
    let own = authority.named(&["dns:a-client"]);
    publisher(asking.address, &authority.pem, Some(&own)).await;
    files.write("own.pem", &own.cert);
    files.write("own-key.pem", &own.key);
    let (own, own_key) = (files.path("own.pem").display().to_string(), files.path("own-key.pem").display().to_string());
    let asking = format!("https://{}", asking.address);
    let publish = ["publish", "a", "hello", "--publisher", &asking, "--ca", &ca];
    let (done, said) = run(&[&publish[..], &["--cert", &own, "--key", &own_key]].concat());
    assert!(done, "{said}");
    let (done, said) = run(&publish);
    assert!(!done, "{said}");
    // The system does not know who has signed it.
    let (done, said) = run(&["publish", "a", "hello", "--publisher", &address]);
    assert!(!done && said.contains("cannot reach https://"), "{said}");
    let (done, said) = run(&["publish", "a", "hello", "--publisher", &address, "--ca", "/nowhere.pem"]);
    assert!(!done && said.contains("/nowhere.pem"), "{said}");

    let start = |args: &[String]| {
        let mut command = crate::harness::clean_command(&crate::harness::binary("tidings-publisher"));
        let output = command.arg("--listen=127.0.0.1:0").args(args).output().expect("it runs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let other = authority.sign(&["127.0.0.1"]);
    for (name, text, words) in [
        ("key.pem", other.key.as_str(), "can't be used"),
        ("key.pem", "no key", "there is no private key in PEM"),
        ("cert.pem", "", "there is no certificate in PEM"),
    ] {
        files.write(name, text);
        let (done, said) = start(&files.args(false));
        assert!(!done && said.contains(words), "{said}");
    }
    let (done, said) = start(&["--tls-cert=/nowhere.pem".to_owned(), "--tls-key=/nowhere.pem".to_owned()]);
    assert!(!done && said.contains("/nowhere.pem"), "{said}");
}
