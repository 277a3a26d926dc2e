//! Keys from a server: it is away at the start and later, slow, or answers what is no use. Nothing of that opens
//! anything.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tidings_testing::{RedisServer, free_port};
use tokio::time::{sleep, timeout};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use super::{
    Tried,
    keys::{Keys, claims},
    reason, refs, refused, signed, unauthenticated,
};
use crate::harness::{
    Admin, Answer, Authority, KeyServer, Publisher, Signer, Stream, Subscriber, TEST_TIMEOUT, channel, key_set, text,
};

pub(super) const WAYS: &[&str] = &[
    "a key server that is away at the start",
    "a key server that redirects",
    "a key server that answers with an error",
    "a key server that answers with broken JSON",
    "a key server that answers with no keys",
    "a key server that answers with a secret",
    "a key server that answers without end",
    "a key server that does not answer",
    "a key server of another authority",
    "a key server that answers for another name",
    "a kid that a key server does not know, again and again",
    "a key that a key server has taken away",
];

fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

fn jwks(scheme: &str, address: SocketAddr) -> String {
    format!("--auth-jwks={scheme}://{address}/keys?of=tidings")
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_a_service_is_not_ready_and_opens_nothing_until_it_has_some() {
    let (redis, keys, mut tried) = (RedisServer::start(), Keys::new(), Tried::of(&WAYS[..10]));
    let (authority, other) = (Authority::new(), Authority::new());
    keys.write("ca.pem", &authority.pem);
    let ca = format!("--auth-jwks-ca={}", keys.path("ca.pem").display());
    let good = Answer::Body(key_set(&[&keys.signer]));
    let secret = r#"{"keys":[{"kty":"oct","kid":"one","k":"c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3JldA"}]}"#;
    let elsewhere = KeyServer::start(free_address(), good.clone()).await;
    let redirect = format!("location: http://{}/keys?of=tidings\r\n", elsewhere.address);
    let cases = [
        ("a key server that is away at the start", None, "it can't be reached"),
        (
            "a key server that redirects",
            Some(Answer::Status("302 Found", redirect)),
            "a redirect, which is not followed",
        ),
        ("a key server that answers with an error", Some(Answer::Status("500 No", String::new())), "it answers 500"),
        (
            "a key server that answers with broken JSON",
            Some(Answer::Body("{\"keys\": [".to_owned())),
            "no JSON Web Key Set",
        ),
        ("a key server that answers with no keys", Some(Answer::Body("{\"keys\": []}".to_owned())), "it has 0 keys"),
        ("a key server that answers with a secret", Some(Answer::Body(secret.to_owned())), "it is a secret"),
        ("a key server that answers without end", Some(Answer::Endless), "more than 262144 bytes"),
        (
            "a key server that does not answer",
            Some(Answer::Slow(Duration::from_secs(60))),
            "does not answer within 5 s",
        ),
        ("a key server of another authority", Some(good.clone()), "TLS fails"),
        ("a key server that answers for another name", Some(good.clone()), "TLS fails"),
    ];
    let mut running = Vec::new();
    for (way, answer, words) in cases {
        let address = free_address();
        let server = match (answer, way) {
            (None, _) => None,
            (Some(answer), "a key server of another authority") => {
                Some(KeyServer::start_tls(address, answer, &other.sign(&["127.0.0.1"])).await)
            }
            (Some(answer), "a key server that answers for another name") => {
                Some(KeyServer::start_tls(address, answer, &authority.sign(&["127.0.0.2"])).await)
            }
            (Some(answer), _) => Some(KeyServer::start_tls(address, answer, &authority.sign(&["127.0.0.1"])).await),
        };
        let admin = Admin::choose();
        let args = keys.args_with(&jwks("https", address), &[&ca, &admin.flag()]);
        let publisher = Publisher::start_alone(&redis.url(), &refs(&args)).await;
        running.push((way, address, server, admin, publisher, words));
    }
    let token = keys.token("alice", &["*"], &["*"]);
    for (way, address, server, admin, publisher, words) in running {
        let deadline = Instant::now() + TEST_TIMEOUT;
        let said = loop {
            let said = admin.get("/readyz");
            // Redis may be the first reason.
            if said.code == 503 && said.body.contains(words) {
                break said.body;
            }
            assert!(Instant::now() < deadline, "{way}: {said:?}");
            sleep(Duration::from_millis(50)).await;
        };
        assert!(said.contains("no keys to check tokens with") && said.contains(&address.to_string()), "{way}: {said}");
        publisher.becomes(ServingStatus::NotServing).await;
        let mut client = publisher.client();
        refused(client.publish(signed(&token, text("a", "x"))).await, Code::Unavailable, "NO_KEYS", way);
        unauthenticated(client.publish(text("a", "x")).await, way);
        unauthenticated(client.publish(signed("x y", text("a", "x"))).await, way);
        assert!(admin.scrape().value("tidings_refused_total{reason=\"no_keys\"}") >= 1.0);
        publisher.process.wait_for_output("the key server sent no keys; tokens can't be checked until it does");
        tried.closed(way);
        // It recovers by itself.
        let pair = authority.sign(&["127.0.0.1"]);
        let recovered = match server {
            Some(server) if words != "TLS fails" => {
                server.answer(good.clone());
                server
            }
            server => {
                drop(server);
                sleep(Duration::from_millis(100)).await;
                KeyServer::start_tls(address, good.clone(), &pair).await
            }
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        while let Err(status) = client.publish(signed(&token, text("a", "x"))).await {
            assert!(Instant::now() < deadline, "{way}: {status:?}");
            sleep(Duration::from_millis(100)).await;
        }
        publisher.becomes(ServingStatus::Serving).await;
        admin.becomes("/readyz", 200).await;
        assert!(admin.scrape().value("tidings_key_fetches_total{result=\"failed\"}") >= 1.0);
        drop(recovered);
        publisher.stop();
    }
    assert_eq!(elsewhere.asked(), 0, "nobody followed");
    tried.all();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_on_a_server_while_a_stream_is_open_and_strangers_make_no_load() {
    let (redis, keys, mut tried) = (RedisServer::start(), Keys::new(), Tried::of(&WAYS[10..]));
    let server = KeyServer::start(free_address(), Answer::Body(key_set(&[&keys.signer]))).await;
    let began = Instant::now();
    let subscriber = Subscriber::start(&redis.url(), &refs(&keys.args_with(&jwks("http", server.address), &[]))).await;
    let all = claims("alice", &["*"], &["*"]);
    let (new, by_old) = (Signer::new("two"), keys.signer.sign(&all));
    let mut client = subscriber.client();
    let stream = client.stream_messages(signed(&by_old, channel("a"))).await.expect("allowed");
    let mut stream = Stream::new(stream.into_inner());
    stream.started().await;

    // Strangers name keys that nobody has, again and again.
    let (strangers, stop) = (subscriber.another_client().await, tokio_util::sync::CancellationToken::new());
    let (storm, bad) = (stop.clone(), Signer::new("nobody's").sign(&all));
    let storm = tokio::spawn(async move {
        let (mut strangers, mut sent) = (strangers, 0);
        while !storm.is_cancelled() {
            let calls = (0..20).map(|_| {
                let (mut client, request) = (strangers.clone(), signed(&bad, channel("a")));
                async move { client.stream_messages(request).await.err() }
            });
            for refused in futures_util::future::join_all(calls).await {
                assert_eq!(reason(&refused.expect("refused")), "UNAUTHENTICATED");
                sent += 1;
            }
            sleep(Duration::from_millis(20)).await;
        }
        let _ = &mut strangers;
        sent
    });
    // A new key is believed with the first call that comes half a minute after the last question: it waits for the
    // answer.
    server.answer(Answer::Body(key_set(&[&keys.signer, &new])));
    let by_new = new.sign(&all);
    let deadline = Instant::now() + Duration::from_secs(40);
    while client.stream_messages(signed(&by_new, channel("a"))).await.is_err() {
        assert!(Instant::now() < deadline, "the new key is not believed");
        sleep(Duration::from_millis(200)).await;
    }
    // Two services' worth of time for the old one to go.
    server.answer(Answer::Body(key_set(&[&new])));
    let deadline = Instant::now() + Duration::from_secs(40);
    while client.stream_messages(signed(&by_old, channel("a"))).await.is_ok() {
        assert!(Instant::now() < deadline, "the old key is believed still");
        sleep(Duration::from_millis(200)).await;
    }
    unauthenticated(client.stream_messages(signed(&by_old, channel("a"))).await, "its key is gone");
    tried.closed("a key that a key server has taken away");
    client.stream_messages(signed(&by_new, channel("a"))).await.expect("the new one stays");
    stop.cancel();
    let sent = storm.await.expect("no panic");
    let (asked, most) = (server.asked(), began.elapsed().as_secs() / 30 + 1);
    assert!(asked as u64 <= most && sent > 500, "{sent} strangers had it asked {asked} times in {:?}", began.elapsed());
    tried.closed("a kid that a key server does not know, again and again");
    // With its server away a key stays, and so does the stream.
    drop(server);
    client.stream_messages(signed(&by_new, channel("a"))).await.expect("the new one stays");
    timeout(TEST_TIMEOUT, stream.caught_up()).await.expect("it was open all the time");
    tried.all();
    subscriber.stop();
}
