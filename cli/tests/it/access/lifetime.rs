//! What ends while it is open: a token's time, a right, a key.

use std::time::{Duration, Instant, SystemTime};

use tidings::pb::{
    PublishStreamRequest, StreamMessagesRequest, publish_stream_response::Result as Outcome,
    stream_messages_response::Event,
};
use tidings_testing::RedisServer;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest,
};

use super::{Tried, denied, keys::Keys, reason, refs, signed, unauthenticated};
use crate::harness::{Publisher, Served, Signer, Stream, Subscriber, TEST_TIMEOUT, channel, connect, text};

pub(super) const WAYS: &[&str] = &[
    "a token that expires while its stream is open",
    "a token that expires while a pattern's stream is open",
    "a token that expires while a PublishStream is open",
    "a token that expires while a health watch is open",
    "a token that expires while reflection is open",
    "a token that was good on the same connection",
    "a right that is taken away while its stream is open",
    "a right that is taken away while a PublishStream is open",
    "a right that was taken away",
    "a key that was rotated away while a stream is open",
    "a token that was remembered before its key was taken away",
];
const WAYS_OF_TIME: &[&str] = WAYS.split_at(6).0;
const WAYS_OF_RIGHTS: &[&str] = WAYS.split_at(6).1.split_at(3).0;
const WAYS_OF_KEYS: &[&str] = WAYS.split_at(9).1;

/// How long clocks may differ.
const LEEWAY: Duration = Duration::from_secs(30);

/// How a stream ends, which must be within a second of its time.
async fn ends_in_time<T>(mut answers: Streaming<T>, expiry: SystemTime, way: &'static str) {
    let ended = async {
        loop {
            match answers.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{way}: it ends with a status"),
                Err(status) => return status,
            }
        }
    };
    let status: Status = timeout(TEST_TIMEOUT, ended).await.expect(way);
    let late = SystemTime::now().duration_since(expiry).unwrap_or_else(|early| panic!("{way}: {early:?} too early"));
    assert!(late < Duration::from_secs(1), "{way}: {late:?}");
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unauthenticated, "TOKEN_EXPIRED"),
        "{way}: {status:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_ends_what_is_open_within_a_second() {
    let (redis, keys) = (RedisServer::start(), Keys::new());
    for more in [&["--auth-closed"][..], &["--auth-closed", "--no-fast-path"]] {
        let args = keys.args(more);
        let subscriber = Subscriber::start_alone(&redis.url(), &refs(&args)).await;
        let publisher = Publisher::start_alone(&redis.url(), &refs(&args)).await;
        let good = keys.token("alice", &["*"], &["*"]);
        let deadline = Instant::now() + TEST_TIMEOUT;
        while let Err(status) = subscriber.client().stream_messages(signed(&good, channel("a"))).await {
            assert!(Instant::now() < deadline, "{status:?}");
            sleep(Duration::from_millis(50)).await;
        }
        let mut tried = Tried::of(WAYS_OF_TIME);
        // It has some seconds of its half minute left.
        let late = keys.late_token("alice", 25);
        let claims = late.split('.').nth(1).expect("three parts");
        let claims = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, claims).expect("base64");
        let claims: serde_json::Value = serde_json::from_slice(&claims).expect("JSON");
        let expiry = SystemTime::UNIX_EPOCH + Duration::from_secs(claims["exp"].as_u64().expect("a time")) + LEEWAY;

        let mut client = subscriber.client();
        let stream = client.stream_messages(signed(&late, channel("a"))).await.expect("within the leeway").into_inner();
        let of_pattern = StreamMessagesRequest { pattern: "a*".to_owned(), ..StreamMessagesRequest::default() };
        let of_pattern =
            client.stream_messages(signed(&late, of_pattern)).await.expect("within the leeway").into_inner();
        let (requests, received) = mpsc::channel(4);
        let publishing = publisher.client().publish_stream(signed(&late, ReceiverStream::new(received))).await;
        let publishing = publishing.expect("within the leeway").into_inner();
        requests.send(PublishStreamRequest { request: Some(text("a", "x")) }).await.expect("open");
        let mut health = HealthClient::new(connect(publisher.address).await);
        let watch = health.watch(signed(&late, HealthCheckRequest::default())).await.expect("within the leeway");
        let mut reflection = ServerReflectionClient::new(connect(subscriber.address).await);
        let (questions, received) = mpsc::channel(4);
        let reflected = reflection.server_reflection_info(signed(&late, ReceiverStream::new(received))).await;
        let mut reflected = reflected.expect("within the leeway").into_inner();
        let list = MessageRequest::ListServices(String::new());
        let list = ServerReflectionRequest { host: String::new(), message_request: Some(list) };
        questions.send(list).await.expect("open");
        assert!(reflected.message().await.expect("within the leeway").is_some());
        tokio::join!(
            ends_in_time(reflected, expiry, "a token that expires while reflection is open"),
            ends_in_time(stream, expiry, "a token that expires while its stream is open"),
            ends_in_time(of_pattern, expiry, "a token that expires while a pattern's stream is open"),
            ends_in_time(publishing, expiry, "a token that expires while a PublishStream is open"),
            ends_in_time(watch.into_inner(), expiry, "a token that expires while a health watch is open"),
        );
        WAYS_OF_TIME[..5].iter().for_each(|way| tried.closed(way));
        let again = client.stream_messages(signed(&late, channel("a"))).await.expect_err("it is over");
        assert_eq!(reason(&again), "TOKEN_EXPIRED");
        tried.closed("a token that was good on the same connection");
        tried.all();
        publisher.stop();
        subscriber.stop();
    }
}

/// The file of a command's token is read again: what follows it goes on with a new one.
#[test]
fn a_tail_goes_on_with_the_token_that_its_file_has_when_the_old_one_ends() {
    let (keys, folder) = (Keys::new(), tempfile::tempdir().expect("a folder"));
    let served = Served::start(&refs(&keys.args(&[])));
    let write = |name: &str, token: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, token).expect("a file");
        path.display().to_string()
    };
    let good = keys.token("alice", &["*"], &["*"]);
    let publisher = write("publisher", &good);
    let publish = |text: &str| served.ok(&["publish", "a", text, "--token-file", &publisher]);
    // Each has five seconds of its half minute left.
    let (renewed, kept) = (write("renewed", &keys.late_token("bob", 25)), write("kept", &keys.late_token("bob", 25)));
    publish("first");
    let tail = |token: &str| served.tail(&["a", "--json", "--earliest", "--token-file", token]);
    let (goes_on, ends) = (tail(&renewed), tail(&kept));
    assert_eq!((&goes_on.json()["text"], &ends.json()["text"]), (&"first".into(), &"first".into()));
    write("renewed", &good);
    for tail in [&goes_on, &ends] {
        assert!(tail.note().contains("the token has expired, trying again"));
    }
    assert_eq!(goes_on.note(), "resumed");
    publish("second");
    assert_eq!(goes_on.json()["text"], "second");
    assert!(ends.note().contains("the token has expired; call again with a new one"));
    goes_on.end("TERM");
    served.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_while_a_stream_is_open() {
    let (redis, keys) = (RedisServer::start(), Keys::new());
    let subscriber = Subscriber::start(&redis.url(), &refs(&keys.args(&[]))).await;
    let publisher = Publisher::start(&redis.url(), &refs(&keys.args(&[]))).await;
    let (mut tried, new) = (Tried::of(WAYS_OF_KEYS), Signer::new("two"));
    let all = super::keys::claims("alice", &["*"], &["*"]);
    let (by_old, by_new) = (keys.signer.sign(&all), new.sign(&all));
    let stream = subscriber.client().stream_messages(signed(&by_old, channel("a"))).await.expect("allowed");
    let mut stream = Stream::new(stream.into_inner());
    stream.started().await;
    stream.caught_up().await;
    unauthenticated(publisher.client().publish(signed(&by_new, text("a", "x"))).await, "not yet");
    keys.publish(&[&keys.signer, &new]);
    let deadline = Instant::now() + TEST_TIMEOUT;
    while publisher.client().publish(signed(&by_new, text("a", "by the new key"))).await.is_err() {
        assert!(Instant::now() < deadline, "the new key is not believed");
        sleep(Duration::from_millis(50)).await;
    }
    publisher.client().publish(signed(&by_old, text("a", "by the old key"))).await.expect("both are good");
    keys.publish(&[&new]);
    while publisher.client().publish(signed(&by_old, text("a", "by the old key"))).await.is_ok() {
        assert!(Instant::now() < deadline, "the old key is believed still");
        sleep(Duration::from_millis(50)).await;
    }
    unauthenticated(publisher.client().publish(signed(&by_old, text("a", "x"))).await, "its key is gone");
    tried.closed("a token that was remembered before its key was taken away");
    // The stream goes on until its token's end; it can't be opened again.
    publisher.client().publish(signed(&by_new, text("a", "the last"))).await.expect("allowed");
    let last = Some(tidings::pb::message::Payload::Text("the last".to_owned()));
    while stream.message().await.payload != last {}
    let deadline = Instant::now() + TEST_TIMEOUT;
    while subscriber.client().stream_messages(signed(&by_old, channel("a"))).await.is_ok() {
        assert!(Instant::now() < deadline, "the old key is believed still");
        sleep(Duration::from_millis(50)).await;
    }
    unauthenticated(subscriber.client().stream_messages(signed(&by_old, channel("a"))).await, "its key is gone");
    tried.closed("a key that was rotated away while a stream is open");
    tried.all();
    publisher.stop();
    subscriber.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_taken_away_ends_what_is_open() {
    let (redis, keys) = (RedisServer::start(), Keys::new());
    let mut tried = Tried::of(WAYS_OF_RIGHTS);
    let policy = "[roles.reader]\nsubscribe = [\"a.*\"]\npublish = [\"a.*\"]\n[subjects]\nalice = [\"reader\"]\nbob = [\"reader\"]\n";
    let args = keys.args(&[&keys.policy(policy)]);
    let subscriber = Subscriber::start(&redis.url(), &refs(&args)).await;
    let publisher = Publisher::start(&redis.url(), &refs(&args)).await;
    let mut client = subscriber.client();
    let follow = |channel: &str, pattern: &str| StreamMessagesRequest {
        channel: channel.to_owned(),
        pattern: pattern.to_owned(),
        ..StreamMessagesRequest::default()
    };
    let (alice, bob) = (keys.token("alice", &[], &[]), keys.token("bob", &[], &[]));
    let mut kept =
        Stream::new(client.stream_messages(signed(&alice, follow("a.1", ""))).await.expect("allowed").into_inner());
    let mut streams = Vec::new();
    for (channel, pattern) in [("a.1", ""), ("", "a.*")] {
        let opened = client.stream_messages(signed(&bob, follow(channel, pattern))).await.expect("allowed");
        streams.push(Stream::new(opened.into_inner()));
    }
    let (requests, received) = tokio::sync::mpsc::channel(4);
    let publishing = tokio_stream::wrappers::ReceiverStream::new(received);
    let mut answers =
        publisher.client().publish_stream(signed(&bob, publishing)).await.expect("signed in").into_inner();
    let request = || PublishStreamRequest { request: Some(text("a.1", "x")) };
    requests.send(request()).await.expect("open");
    let answer = answers.message().await.expect("no error").and_then(|answer| answer.result);
    assert!(matches!(answer, Some(Outcome::Response(_))), "{answer:?}");

    keys.policy(&policy.replace("bob = [\"reader\"]", "bob = []"));
    for stream in &mut streams {
        let ended = async {
            loop {
                match stream.try_next().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("it ends with a status"),
                    Err(status) => return status,
                }
            }
        };
        let status = timeout(Duration::from_secs(10), ended).await.expect("within ten seconds");
        assert_eq!(reason(&status), "PERMISSION_DENIED", "{status:?}");
    }
    tried.closed("a right that is taken away while its stream is open");
    // An open PublishStream goes on, with what may not be refused. The publisher reads the policy by itself.
    let deadline = Instant::now() + TEST_TIMEOUT;
    loop {
        requests.send(request()).await.expect("open");
        let answer = answers.message().await.expect("no error").and_then(|answer| answer.result);
        match answer {
            Some(Outcome::Error(error)) => {
                assert_eq!(error.code, Code::PermissionDenied as i32, "{error:?}");
                break;
            }
            _ => assert!(Instant::now() < deadline, "it may publish still"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tried.closed("a right that is taken away while a PublishStream is open");
    denied(client.stream_messages(signed(&bob, follow("a.1", ""))).await, "taken away");
    tried.closed("a right that was taken away");
    // Another's stream has noticed nothing.
    publisher.client().publish(signed(&alice, text("a.1", "for alice"))).await.expect("allowed");
    let for_alice = Some(tidings::pb::message::Payload::Text("for alice".to_owned()));
    while !matches!(kept.next().await, Event::Message(message) if message.payload == for_alice) {}
    tried.all();
    publisher.stop();
    subscriber.stop();
}
