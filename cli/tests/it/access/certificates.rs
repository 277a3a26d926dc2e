//! Client certificates: who is let in by TLS, who is a caller then, and what those may do.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use tidings::pb::{
    publisher_service_client::PublisherServiceClient, subscriber_service_client::SubscriberServiceClient,
};
use tidings_testing::RedisServer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion,
        crypto::aws_lc_rs,
        version::{TLS12, TLS13},
    },
};
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

use super::{Tried, denied, keys::Keys, reason, refs, signed, unauthenticated};
use crate::harness::{
    Admin, Authority, Pair, Publisher, Signer, Subscriber, TEST_TIMEOUT, Wanted, channel, client_config, text,
};

pub(super) const WAYS: &[&str] = &[
    "no certificate",
    "a certificate of another authority",
    "a certificate that signed itself",
    "a certificate of the authority that signs services",
    "a certificate that is over",
    "a certificate that is not good yet",
    "a certificate for servers",
    "a certificate without a name but the common one",
    "a certificate with two DNS names",
    "a certificate with one DNS name twice",
    "a certificate with two SPIFFE IDs",
    "a certificate with a SPIFFE ID and another URI",
    "a certificate with a wildcard",
    "a certificate with a mail address alone",
    "a certificate with an address alone",
    "a certificate of a trust domain",
    "a certificate without a name beside a good token",
    "a certificate that the policy does not know",
    "a SPIFFE ID that begins like a granted path",
    "a SPIFFE ID of another trust domain",
    "a DNS name that is a subject",
    "a DNS name that ends in a granted one",
    "a good certificate beside a bad token",
    "a good certificate beside a token of a stranger",
    "a token that may more than its certificate",
    "a certificate that may more than its token",
    "a certificate that ends while its stream is open",
];

pub(super) const HANDSHAKES: &[&str] = &[
    "a session of TLS 1.3 from before a new client authority",
    "a session of TLS 1.2 from before a new client authority",
    "early data",
];

const POLICY: &str = r#"
[roles.all]
publish = ["*"]
subscribe = ["*"]
[roles.orders]
publish = ["orders.*"]
subscribe = ["orders.*"]
[subjects]
alice = ["all"]
bob = ["orders"]
"root.example" = ["all"]
[certificates]
"spiffe://prod.example/ns/shop/*" = ["orders"]
"desk.example" = ["orders"]
"gate.example" = ["all"]
"#;

/// The files of services whose clients need certificates.
struct House {
    keys: Keys,
    services: Authority,
    clients: Authority,
}

impl House {
    fn new() -> Self {
        let house = Self { keys: Keys::new(), services: Authority::new(), clients: Authority::new() };
        let own = house.services.sign(&["127.0.0.1"]);
        house.keys.write("cert.pem", &own.cert);
        house.keys.write("key.pem", &own.key);
        house.keys.write("clients.pem", &house.clients.pem);
        house
    }

    /// Without tokens.
    fn args(&self, more: &[&str]) -> Vec<String> {
        let flag = |flag: &str, name: &str| format!("{flag}={}", self.keys.path(name).display());
        let mut args =
            vec![flag("--tls-cert", "cert.pem"), flag("--tls-key", "key.pem"), flag("--tls-client-ca", "clients.pem")];
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        args
    }

    async fn connect(&self, address: SocketAddr, own: Option<&Pair>) -> Result<Channel, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("https://{address}")).expect("an address");
        endpoint.tls_config(client_config(&self.services.pem, own)).expect("certificates").connect().await
    }

    async fn publisher(&self, address: SocketAddr, own: &Pair) -> PublisherServiceClient<Channel> {
        let deadline = Instant::now() + TEST_TIMEOUT;
        loop {
            match self.connect(address, Some(own)).await {
                Ok(channel) => return PublisherServiceClient::new(channel),
                Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the publisher has its Redis.
    async fn ready(&self, address: SocketAddr) {
        let good = self.clients.named(&["dns:desk.example"]);
        let deadline = Instant::now() + TEST_TIMEOUT;
        loop {
            match self.publisher(address, &good).await.publish(text("orders.eu", "x")).await {
                Ok(_) => return,
                Err(status) => assert!(Instant::now() < deadline, "{status:?}"),
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_make_callers_and_nothing_else_does() {
    let (redis, house, mut tried) = (RedisServer::start(), House::new(), Tried::of(WAYS));
    let policy = house.keys.policy(POLICY);
    let admin = Admin::choose();
    let alone = Publisher::start_alone(&redis.url(), &refs(&house.args(&[&policy, &admin.flag()]))).await;
    let args = [house.keys.args(&[]), house.args(&[&policy, "--no-fast-path"])].concat();
    let with_tokens = Publisher::start_alone(&redis.url(), &refs(&args)).await;
    let subscriber = Subscriber::start_alone(&redis.url(), &refs(&args)).await;
    let (clients, named) = (&house.clients, |names: &[&str]| house.clients.named(names));
    let token = |subject: &str| house.keys.token(subject, &[], &[]);

    for address in [alone.address, with_tokens.address] {
        house.ready(address).await;
        // Not talked to at all.
        for (way, own) in [
            ("no certificate", None),
            ("a certificate of another authority", Some(Authority::new().named(&["dns:desk.example"]))),
            ("a certificate that signed itself", Some(Wanted::named(&["dns:desk.example"]).self_signed())),
            ("a certificate of the authority that signs services", Some(house.services.named(&["dns:desk.example"]))),
            ("a certificate that is over", Some(clients.sign_wanted(Wanted::named(&["dns:desk.example"]).until(-60)))),
            (
                "a certificate that is not good yet",
                Some(clients.sign_wanted(Wanted::named(&["dns:desk.example"]).since(60))),
            ),
            (
                "a certificate for servers",
                Some(clients.sign_wanted(Wanted::named(&["dns:desk.example"]).of_a_server())),
            ),
        ] {
            // With TLS 1.3 a client learns only with its first call that its certificate is no good.
            if let Ok(channel) = house.connect(address, own.as_ref()).await {
                let status = PublisherServiceClient::new(channel).publish(text("orders.eu", "x")).await.expect_err(way);
                assert_eq!(reason(&status), "", "{way}: it is the client that says so: {status:?}");
            }
            tried.closed(way);
        }
        // Nobody's.
        for (way, names) in [
            ("a certificate without a name but the common one", &[][..]),
            ("a certificate with two DNS names", &["dns:desk.example", "dns:gate.example"]),
            ("a certificate with one DNS name twice", &["dns:desk.example", "dns:desk.example"]),
            (
                "a certificate with two SPIFFE IDs",
                &["uri:spiffe://prod.example/ns/shop/a", "uri:spiffe://prod.example/ns/shop/b"],
            ),
            (
                "a certificate with a SPIFFE ID and another URI",
                &["uri:spiffe://prod.example/ns/shop/a", "uri:https://a.example"],
            ),
            ("a certificate with a wildcard", &["dns:*.example"]),
            ("a certificate with a mail address alone", &["mail:desk@example"]),
            ("a certificate with an address alone", &["ip:127.0.0.1"]),
            ("a certificate of a trust domain", &["uri:spiffe://prod.example", "dns:desk.example"]),
        ] {
            let mut client = house.publisher(address, &named(names)).await;
            unauthenticated(client.publish(text("orders.eu", "x")).await, way);
            tried.closed(way);
            if names.is_empty() {
                let way = "a certificate without a name beside a good token";
                unauthenticated(client.publish(signed(&token("alice"), text("orders.eu", "x"))).await, way);
                tried.closed(way);
            }
        }
        // Somebody's who may not.
        for (way, name) in [
            ("a certificate that the policy does not know", "dns:other.example"),
            ("a SPIFFE ID that begins like a granted path", "uri:spiffe://prod.example/ns/shopping/a"),
            ("a SPIFFE ID of another trust domain", "uri:spiffe://test.example/ns/shop/a"),
            ("a DNS name that is a subject", "dns:root.example"),
            ("a DNS name that ends in a granted one", "dns:a.desk.example"),
        ] {
            let mut client = house.publisher(address, &named(&[name])).await;
            denied(client.publish(text("orders.eu", "x")).await, way);
            tried.closed(way);
        }
        // What is granted is.
        for name in ["dns:Desk.Example", "uri:spiffe://prod.example/ns/shop/a"] {
            let mut client = house.publisher(address, &named(&[name])).await;
            client.publish(text("orders.eu", "x")).await.expect("allowed");
            denied(client.publish(text("news", "x")).await, name);
        }
    }
    let refused = "tidings_refused_total{reason=\"certificate\"}";
    admin.shows("who has no name", |scraped| scraped.value(refused) >= 9.0).await;

    // Together.
    let mut desk = house.publisher(with_tokens.address, &named(&["dns:desk.example"])).await;
    let mut gate = house.publisher(with_tokens.address, &named(&["dns:gate.example"])).await;
    for (way, bad) in [
        ("a good certificate beside a bad token", "x".to_owned()),
        (
            "a good certificate beside a token of a stranger",
            Signer::new("one").sign(&super::keys::claims("alice", &[], &[])),
        ),
    ] {
        unauthenticated(desk.publish(signed(&bad, text("orders.eu", "x"))).await, way);
        tried.closed(way);
    }
    desk.publish(signed(&token("alice"), text("orders.eu", "x"))).await.expect("both may");
    denied(desk.publish(signed(&token("alice"), text("news", "x"))).await, "the certificate may not");
    tried.closed("a token that may more than its certificate");
    gate.publish(signed(&token("bob"), text("orders.eu", "x"))).await.expect("both may");
    denied(gate.publish(signed(&token("bob"), text("news", "x"))).await, "the token may not");
    denied(gate.publish(signed(&token("carol"), text("news", "x"))).await, "the token has no role");
    tried.closed("a certificate that may more than its token");
    // Who has checked no tokens refuses them: whose it is can't be said.
    let mut alone_desk = house.publisher(alone.address, &named(&["dns:desk.example"])).await;
    unauthenticated(alone_desk.publish(signed(&token("alice"), text("orders.eu", "x"))).await, "no keys are there");

    let way = "a certificate that ends while its stream is open";
    let short = clients.sign_wanted(Wanted::named(&["dns:desk.example"]).until(5));
    let deadline = Instant::now() + TEST_TIMEOUT;
    let channel_of_short = house.connect(subscriber.address, Some(&short)).await.expect("it is good still");
    let mut client = SubscriberServiceClient::new(channel_of_short);
    let mut stream = client.stream_messages(channel("orders.eu")).await.expect("allowed").into_inner();
    let status = loop {
        match timeout(TEST_TIMEOUT, stream.message()).await.expect(way) {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ends with a status"),
            Err(status) => break status,
        }
    };
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "CERTIFICATE_EXPIRED"), "{status:?}");
    assert!(Instant::now() < deadline);
    let again = client.stream_messages(channel("orders.eu")).await.expect_err("over");
    assert_eq!(reason(&again), "CERTIFICATE_EXPIRED", "{again:?}");
    tried.closed(way);
    tried.all();
    alone.stop();
    with_tokens.stop();
    subscriber.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_policy_and_keys_whoever_is_let_in_may_do_everything_under_one_name() {
    let (redis, house) = (RedisServer::start(), House::new());
    let process = Publisher::start_alone(&redis.url(), &refs(&house.args(&[]))).await;
    house.ready(process.address).await;
    let mut client = house.publisher(process.address, &house.clients.named(&["dns:any.example"])).await;
    client.publish(text("anything", "x")).await.expect("allowed");
    let mut nobody = house.publisher(process.address, &house.clients.named(&[])).await;
    unauthenticated(nobody.publish(text("anything", "x")).await, "no name");
    process.stop();
    // Where tokens say what may be done, a certificate alone may do nothing.
    let args = [house.keys.args(&[]), house.args(&[])].concat();
    let process = Publisher::start_alone(&redis.url(), &refs(&args)).await;
    let mut client = house.publisher(process.address, &house.clients.named(&["dns:any.example"])).await;
    unauthenticated(client.publish(text("anything", "x")).await, "no token");
    let token = house.keys.token("alice", &["orders.*"], &[]);
    let deadline = Instant::now() + TEST_TIMEOUT;
    while let Err(status) = client.publish(signed(&token, text("orders.eu", "x"))).await {
        assert!(status.code() == Code::Unavailable && Instant::now() < deadline, "{status:?}");
        sleep(Duration::from_millis(50)).await;
    }
    denied(client.publish(signed(&token, text("anything", "x"))).await, "anything");
    process.stop();
}

/// A client that keeps its sessions, and sends early data where it may.
fn resuming(house: &House, own: &Pair, version: &'static SupportedProtocolVersion) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(house.services.pem.as_bytes()).expect("PEM")).expect("an authority");
    let certs = CertificateDer::pem_slice_iter(own.cert.as_bytes()).collect::<Result<_, _>>().expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("PEM");
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_protocol_versions(&[version]).expect("a version").with_root_certificates(roots);
    let mut config = builder.with_client_auth_cert(certs, key).expect("a pair");
    config.enable_early_data = true;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
}

/// Connects, and speaks until the server has: what kind of handshake that was and whether early data could have been
/// sent; `None` where it does not talk.
async fn handshake(connector: &TlsConnector, address: SocketAddr) -> Option<(HandshakeKind, bool)> {
    let stream = TcpStream::connect(address).await.expect("it listens");
    let mut early = false;
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    let stream = connector.connect_with(name, stream, |connection| early = connection.early_data().is_some()).await;
    let mut stream = stream.ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.ok()?;
    let mut said = Vec::new();
    let _ = timeout(TEST_TIMEOUT, stream.read_to_end(&mut said)).await.expect("it is over");
    let kind = stream.get_ref().1.handshake_kind().expect("it has shaken hands");
    said.starts_with(b"HTTP/1.1 ").then_some((kind, early))
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_with_their_authority_and_nothing_comes_early() {
    let (redis, house, mut tried) = (RedisServer::start(), House::new(), Tried::of(HANDSHAKES));
    let process = Publisher::start_alone(&redis.url(), &refs(&house.args(&[]))).await;
    let own = house.clients.named(&["dns:desk.example"]);
    let connectors = [&TLS13, &TLS12].map(|version| resuming(&house, &own, version));
    house.ready(process.address).await;
    for connector in &connectors {
        assert_eq!(handshake(connector, process.address).await, Some((HandshakeKind::Full, false)));
        // Sessions are resumed, or what follows would show nothing.
        assert_eq!(handshake(connector, process.address).await, Some((HandshakeKind::Resumed, false)));
    }
    tried.closed("early data");
    house.keys.write("clients.pem", &Authority::new().pem);
    process.process.wait_for_output("the certificate has changed");
    for (way, connector) in HANDSHAKES.iter().zip(&connectors) {
        assert_eq!(handshake(connector, process.address).await, None, "{way}");
        tried.closed(way);
    }
    tried.all();
    process.stop();
}
