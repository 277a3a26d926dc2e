//! Attacks that must be refused: every method of both services, over every path that a call can take, with everything
//! that is no good token; then with a good one, everything that it does not allow.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use tempfile::TempDir;
use tidings::{
    access::{Grant, Verb},
    pb::{
        ListChannelsRequest, ListChannelsResponse, ListMessagesRequest, PublishBatchRequest, PublishRequest,
        PublishStreamRequest, PublishStreamResponse, StreamMessagesRequest, publish_stream_response::Result as Outcome,
        stream_messages_response::Event,
    },
};
use tidings_auth::{SigningKey, Wanted};
use tidings_testing::RedisServer;
use tonic::{Code, Request, Status, metadata::MetadataValue};
use tonic_types::StatusExt as _;

use crate::{
    harness::{
        Admin, Publisher, Scraped, Stream, Subscriber, TEST_TIMEOUT, text,
        wire::{GRPC, WEB, WEB_TEXT, Wire},
    },
    methods,
};

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "tidings";
const MESSAGE_ID: &str = "0192f0c1-2a3b-7c4d-8e5f-0123456789ab";

/// The files that services check tokens with, and what signs these.
struct Keys {
    folder: TempDir,
    signing: SigningKey,
    public: String,
}

impl Keys {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (private, public) = SigningKey::generate().expect("a key");
        fs::write(folder.path().join("keys.json"), &public).expect("a file");
        Self { folder, signing: SigningKey::read(private.as_bytes()).expect("a key"), public }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn args(&self, more: &[String]) -> Vec<String> {
        let jwks = format!("--auth-jwks={}", self.path("keys.json").display());
        let mut args = vec![jwks, format!("--auth-issuer={ISSUER}"), format!("--auth-audience={AUDIENCE}")];
        args.extend_from_slice(more);
        args
    }

    fn token(&self, subject: &str, publish: &[&str], subscribe: &[&str]) -> String {
        self.sign(&wanted(subject, publish, subscribe))
    }

    fn sign(&self, wanted: &Wanted) -> String {
        self.signing.mint(wanted).expect("a token")
    }
}

fn wanted(subject: &str, publish: &[&str], subscribe: &[&str]) -> Wanted {
    let grants = |verb, grants: &[&str]| {
        let parse = |grant: &&str| (verb, Grant::parse(grant).expect("a grant"));
        grants.iter().map(parse).collect::<Vec<_>>()
    };
    Wanted {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        subject: subject.to_owned(),
        groups: Vec::new(),
        grants: [grants(Verb::Publish, publish), grants(Verb::Subscribe, subscribe)].concat(),
        lifetime: Duration::from_secs(600),
    }
}

fn refs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// What is no good token, and what is said of it.
fn attacks(keys: &Keys) -> Vec<(&'static str, Vec<String>, &'static str)> {
    let good = keys.token("alice", &["*"], &["*"]);
    let everything = || wanted("alice", &["*"], &["*"]);
    let of = |wanted: Wanted| keys.sign(&wanted);
    let bearer = |token: &str| vec![format!("Bearer {token}")];
    let parts: Vec<&str> = good.split('.').collect();
    let header = |json: &str| format!("{}.{}.{}", BASE64_URL_SAFE_NO_PAD.encode(json), parts[1], parts[2]);
    let (other_private, _) = SigningKey::generate().expect("a key");
    let other = SigningKey::read(other_private.as_bytes()).expect("a key");
    // HMAC with what everybody may know.
    let by_public = SigningKey::read(keys.public.as_bytes()).expect("long enough");
    let no = "UNAUTHENTICATED";
    vec![
        ("nothing", vec![], no),
        ("an empty header", vec![String::new()], no),
        ("no token", vec!["Bearer".to_owned()], no),
        ("an empty token", vec!["Bearer ".to_owned()], no),
        ("no scheme", vec![good.clone()], no),
        ("another scheme", vec![format!("Basic {good}")], no),
        ("two tokens", vec![format!("Bearer {good}"), format!("Bearer {good}")], no),
        ("two tokens in one", vec![format!("Bearer {good}, Bearer {good}")], no),
        ("no token at all", bearer("x"), no),
        ("dots", bearer(".."), no),
        ("without a signature", bearer(&format!("{}.{}.", parts[0], parts[1])), no),
        ("a shorter signature", bearer(&good[..good.len() - 2]), no),
        ("another's claims", bearer(&format!("{}.{}.{}", parts[0], &parts[1][..parts[1].len() - 4], parts[2])), no),
        ("alg: none", bearer(&header(r#"{"alg":"none"}"#)), no),
        ("alg: HS256 over EdDSA", bearer(&header(r#"{"alg":"HS256"}"#)), no),
        ("HS256 by the public key", bearer(&by_public.mint(&everything()).expect("a token")), no),
        ("a stranger's key", bearer(&other.mint(&everything()).expect("a token")), no),
        (
            "a stranger's, too late",
            bearer(&other.mint(&Wanted { lifetime: Duration::ZERO, ..everything() }).expect("a token")),
            no,
        ),
        ("another issuer", bearer(&of(Wanted { issuer: "https://other.example".to_owned(), ..everything() })), no),
        ("another audience", bearer(&of(Wanted { audience: "other".to_owned(), ..everything() })), no),
        ("no subject", bearer(&of(Wanted { subject: String::new(), ..everything() })), no),
        ("too long", bearer(&format!("{good}{}", "x".repeat(9_000))), no),
    ]
}

async fn call(wire: &Wire, path: &str, kind: &str, tokens: &[String]) -> Status {
    let mut headers = vec![("grpc-timeout", "200m")];
    headers.extend(tokens.iter().map(|token| ("authorization", token.as_str())));
    wire.call(path, kind, &headers, methods::request(path)).await.1
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_token_every_call_is_refused() {
    let (redis, keys) = (RedisServer::start(), Keys::new());
    let closed = keys.args(&["--auth-closed".to_owned()]);
    let plain = keys.args(&["--auth-closed".to_owned(), "--no-fast-path".to_owned()]);
    // Their health says nothing to the tests' usual question.
    let publishers = [
        Publisher::start_alone(&redis.url(), &refs(&closed)).await,
        Publisher::start_alone(&redis.url(), &refs(&plain)).await,
    ];
    let subscribers = [
        Subscriber::start_alone(&redis.url(), &refs(&closed)).await,
        Subscriber::start_alone(&redis.url(), &refs(&plain)).await,
    ];
    let good = [format!("Bearer {}", keys.token("alice", &["*"], &["*"]))];
    let attacks = attacks(&keys);
    let (mut tried, mut texts) = (0, std::collections::HashSet::new());
    for (service, addresses) in [
        ("PublisherService", publishers.each_ref().map(|publisher| publisher.address)),
        ("SubscriberService", subscribers.each_ref().map(|subscriber| subscriber.address)),
    ] {
        for address in addresses {
            let wire = Wire::open(address).await;
            let paths = methods::paths(service);
            // The first of them needs Redis.
            while call(&wire, &paths[0], GRPC, &good).await.code() == Code::Unavailable {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            for path in paths {
                for kind in [GRPC, WEB, WEB_TEXT] {
                    for (what, tokens, expected) in &attacks {
                        let status = call(&wire, &path, kind, tokens).await;
                        let got = (status.code(), reason(&status));
                        assert_eq!(
                            got,
                            (Code::Unauthenticated, (*expected).to_owned()),
                            "{path} by {kind} with {what}"
                        );
                        texts.insert(status.message().to_owned());
                        tried += 1;
                    }
                    let status = call(&wire, &path, kind, &good).await;
                    assert!(matches!(status.code(), Code::Ok | Code::DeadlineExceeded), "{path} by {kind}: {status:?}");
                }
            }
            // What there is not, and where the other service is, is nobody's business either.
            for path in ["/tidings.v1.PublisherService/Other", "/tidings.v1.SubscriberService/Other", "/a.B/C"] {
                let (_, status) = wire.call(path, GRPC, &[], Vec::new()).await;
                assert_eq!(reason(&status), "UNAUTHENTICATED", "{path}");
                let (_, status) = wire.call(path, GRPC, &[("authorization", &good[0])], Vec::new()).await;
                assert_eq!(status.code(), Code::Unimplemented, "{path}");
            }
            // A token in the address is none.
            let path = format!("/tidings.v1.{service}/Publish?access_token={}", &good[0][7..]);
            let (_, status) = wire.call(&path, GRPC, &[], Vec::new()).await;
            assert_eq!(status.code(), Code::Unauthenticated);
        }
    }
    assert!(tried >= 80 && texts.len() == 1, "{tried} attacks were tried, and got {texts:?}");
    publishers.into_iter().for_each(Publisher::stop);
    subscribers.into_iter().for_each(Subscriber::stop);
}

fn signed<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse::<MetadataValue<_>>().expect("a header");
    request.metadata_mut().insert("authorization", value);
    request
}

fn denied<T: std::fmt::Debug>(answer: Result<T, Status>, what: &str) {
    let status = answer.expect_err(what);
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::PermissionDenied, "PERMISSION_DENIED"),
        "{what}: {status:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_what_it_grants_and_nothing_else() {
    let (redis, keys) = (RedisServer::start(), Keys::new());
    let mut names = Vec::new();
    for more in [&[][..], &["--no-fast-path".to_owned()]] {
        let args = keys.args(more);
        let publisher = Publisher::start(&redis.url(), &refs(&args)).await;
        let subscriber = Subscriber::start(&redis.url(), &refs(&args)).await;
        let (mut publishing, mut subscribing) = (publisher.client(), subscriber.client());
        let token = keys.token("alice", &["orders.*"], &["orders.*", "news"]);
        let all = keys.token("root", &["*"], &["*"]);
        for channel in ["orders.eu", "orders.eu.secret", "news", "orders", "other"] {
            publishing.publish(signed(&all, text(channel, "x"))).await.expect("allowed");
        }

        publishing.publish(signed(&token, text("orders.eu", "x"))).await.expect("allowed");
        // Another's use of a message_id is another message.
        let with_id = || PublishRequest { message_id: MESSAGE_ID.to_owned(), ..text("orders.id", "x") };
        let mut repeats = Vec::new();
        for by in [&all, &token, &token, &all] {
            repeats.push(publishing.publish(signed(by, with_id())).await.expect("allowed").into_inner().duplicate);
        }
        let is_second_round = !more.is_empty();
        assert_eq!(repeats, [is_second_round, is_second_round, true, true]);
        // Of channels that there are and that there are not the same is said; the empty one is the default channel.
        let mut texts = Vec::new();
        for channel in ["orders", "news", "other", "nowhere", "Orders.eu", "orders-eu", ""] {
            let status = publishing.publish(signed(&token, text(channel, "x"))).await;
            texts.push(status.as_ref().expect_err("denied").message().replace(&format!("{channel:?}"), ""));
            denied(status, channel);
            let requests = vec![text("", "x")];
            let batch = PublishBatchRequest { channel: channel.to_owned(), requests };
            denied(publishing.publish_batch(signed(&token, batch)).await, channel);
        }
        texts.retain(|text| !text.contains("channel1"));
        texts.dedup();
        assert_eq!(texts.len(), 1, "{texts:?}");
        let requests = ["orders.eu", "other", "orders.eu"]
            .map(|channel| PublishStreamRequest { request: Some(text(channel, "x")) });
        let answers = publishing.publish_stream(signed(&token, tokio_stream::iter(requests))).await.expect("signed in");
        let mut answers = answers.into_inner();
        let mut codes = Vec::new();
        while let Some(PublishStreamResponse { result }) = answers.message().await.expect("no error") {
            codes.push(match result {
                Some(Outcome::Error(error)) => error.code,
                _ => 0,
            });
        }
        assert_eq!(codes, [0, Code::PermissionDenied as i32, 0]);

        for channel in ["orders", "other", "nowhere", ""] {
            let list = ListMessagesRequest { channel: channel.to_owned(), ..ListMessagesRequest::default() };
            denied(subscribing.list_messages(signed(&token, list)).await, channel);
            let follow = StreamMessagesRequest { channel: channel.to_owned(), ..StreamMessagesRequest::default() };
            denied(subscribing.stream_messages(signed(&token, follow)).await, channel);
        }
        for pattern in ["*", "orders*", "[o]rders.*", "?rders.*", "news", "new*", "o*"] {
            let follow = StreamMessagesRequest { pattern: pattern.to_owned(), ..StreamMessagesRequest::default() };
            denied(subscribing.stream_messages(signed(&token, follow)).await, pattern);
        }
        for (channel, pattern) in [("orders.eu", ""), ("news", ""), ("", "orders.*"), ("", "orders.e?")] {
            let (channel, pattern) = (channel.to_owned(), pattern.to_owned());
            let follow = StreamMessagesRequest { channel, pattern, earliest: true, ..StreamMessagesRequest::default() };
            let stream = subscribing.stream_messages(signed(&token, follow)).await.expect("allowed");
            let mut stream = Stream::new(stream.into_inner());
            stream.started().await;
            stream.message().await;
        }
        // Cursors and page tokens of another channel open nothing.
        let first = ListMessagesRequest { channel: "other".to_owned(), page_size: 1, ..ListMessagesRequest::default() };
        publishing.publish(signed(&all, text("other", "y"))).await.expect("allowed");
        let page = subscribing.list_messages(signed(&all, first)).await.expect("allowed").into_inner();
        let forged = ListMessagesRequest {
            channel: "orders.eu".to_owned(),
            page_token: page.next_page_token.clone(),
            ..ListMessagesRequest::default()
        };
        let refused = subscribing.list_messages(signed(&token, forged)).await.expect_err("of another channel");
        assert_eq!(reason(&refused), "INVALID_PAGE_TOKEN");
        let resume = StreamMessagesRequest {
            channel: "orders.eu".to_owned(),
            after: vec![page.messages[0].cursor.clone()],
            ..StreamMessagesRequest::default()
        };
        let refused = subscribing.stream_messages(signed(&token, resume)).await.expect_err("of another channel");
        assert_eq!(reason(&refused), "INVALID_CURSOR");

        // What may not be read is not listed, page by page.
        names.clear();
        let mut page_token = String::new();
        loop {
            let list = ListChannelsRequest { page_size: 1, page_token, ..ListChannelsRequest::default() };
            let page: ListChannelsResponse =
                subscribing.list_channels(signed(&token, list)).await.expect("allowed").into_inner();
            names.extend(page.channels.into_iter().map(|channel| channel.name));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(names, ["news", "orders.eu", "orders.eu.secret", "orders.id"]);
        let nothing = keys.token("bob", &[], &[]);
        let list = ListChannelsRequest::default();
        let page = subscribing.list_channels(signed(&nothing, list)).await.expect("signed in").into_inner();
        assert_eq!(page, ListChannelsResponse::default());
        publisher.stop();
        subscriber.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_are_open_unless_they_are_closed() {
    let (redis, keys) = (RedisServer::start(), Keys::new());
    let admin = Admin::choose();
    let publisher = Publisher::start(&redis.url(), &refs(&keys.args(&[admin.flag()]))).await;
    let wire = Wire::open(publisher.address).await;
    let refused =
        |scraped: &Scraped, reason: &str| scraped.value(&format!("tidings_refused_total{{reason=\"{reason}\"}}"));
    admin.shows("nobody was refused", |scraped| refused(scraped, "unauthenticated") == 0.0).await;
    for path in methods::paths("PublisherService") {
        let status = call(&wire, &path, GRPC, &[]).await;
        let is_open = path.starts_with("/grpc.");
        assert_eq!(status.code() != Code::Unauthenticated, is_open, "{path}: {status:?}");
    }
    admin.shows("who was refused", |scraped| refused(scraped, "unauthenticated") == 3.0).await;
    let other = keys.token("alice", &["other"], &[]);
    denied(publisher.client().publish(signed(&other, text("a", "x"))).await, "a");
    admin.shows("who may not", |scraped| refused(scraped, "denied") == 1.0).await;
    publisher.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_its_token_expires_and_when_its_right_is_taken_away() {
    let (redis, keys) = (RedisServer::start(), Keys::new());
    let policy = "[roles.reader]\nsubscribe = [\"a.*\"]\npublish = [\"a.*\"]\n[subjects]\nalice = [\"reader\"]\nbob = [\"reader\"]\n";
    fs::write(keys.path("policy.toml"), policy).expect("a file");
    let args = keys.args(&[format!("--auth-policy={}", keys.path("policy.toml").display())]);
    let subscriber = Subscriber::start(&redis.url(), &refs(&args)).await;
    let publisher = Publisher::start(&redis.url(), &refs(&args)).await;
    let mut client = subscriber.client();
    let follow = |channel: &str, pattern: &str| StreamMessagesRequest {
        channel: channel.to_owned(),
        pattern: pattern.to_owned(),
        ..StreamMessagesRequest::default()
    };
    // Its clock may differ by half a minute: a token that is over for 28 s is good for 2 s more.
    let mut late = wanted("alice", &[], &[]);
    late.lifetime = Duration::ZERO;
    let late = keys.sign(&late);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let expiring = client.stream_messages(signed(&late, follow("a.1", ""))).await.expect("within the leeway");
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

    fs::write(keys.path("policy.toml"), policy.replace("bob = [\"reader\"]", "bob = []")).expect("a file");
    for stream in &mut streams {
        let ended = tokio::time::timeout(TEST_TIMEOUT, async {
            loop {
                match stream.try_next().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("it ends with a status"),
                    Err(status) => return status,
                }
            }
        });
        let status = ended.await.expect("within ten seconds");
        assert_eq!(reason(&status), "PERMISSION_DENIED", "{status:?}");
    }
    // An open PublishStream continues, with what may not be refused. The publisher reads the policy by itself.
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
    denied(client.stream_messages(signed(&bob, follow("a.1", ""))).await, "taken away");
    // Another's stream has noticed nothing.
    publisher.client().publish(signed(&alice, text("a.1", "for alice"))).await.expect("allowed");
    let for_alice = Some(tidings::pb::message::Payload::Text("for alice".to_owned()));
    while !matches!(kept.next().await, Event::Message(message) if message.payload == for_alice) {}

    let mut expiring = expiring.into_inner();
    let ended = async {
        loop {
            match expiring.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ends with a status"),
                Err(status) => return status,
            }
        }
    };
    let status = tokio::time::timeout(Duration::from_secs(40), ended).await.expect("half a minute after its time");
    assert_eq!(reason(&status), "TOKEN_EXPIRED", "{status:?}");
    publisher.stop();
    subscriber.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_policy_and_token_anonymous_callers_may_nothing_and_with_one_what_it_says() {
    let (redis, keys) = (RedisServer::start(), Keys::new());
    fs::write(keys.path("policy.toml"), "anonymous = [\"visitor\"]\n[roles.visitor]\nsubscribe = [\"news.*\"]\n")
        .expect("a file");
    let args = keys.args(&[format!("--auth-policy={}", keys.path("policy.toml").display())]);
    let subscriber = Subscriber::start(&redis.url(), &refs(&args)).await;
    let publisher = Publisher::start(&redis.url(), &refs(&args)).await;
    let follow =
        |channel: &str| StreamMessagesRequest { channel: channel.to_owned(), ..StreamMessagesRequest::default() };
    subscriber.client().stream_messages(follow("news.eu")).await.expect("anybody's");
    denied(subscriber.client().stream_messages(follow("orders.eu")).await, "orders.eu");
    denied(publisher.client().publish(text("news.eu", "x")).await, "news.eu");
    let bad = signed("x", follow("news.eu"));
    assert_eq!(subscriber.client().stream_messages(bad).await.expect_err("no token").code(), Code::Unauthenticated);
    publisher.stop();
    subscriber.stop();
}
