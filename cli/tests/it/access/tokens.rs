//! Every method of both services, over every path that a call can take, with everything that is no good token.

use std::{collections::HashSet, time::Duration};

use serde_json::{Value, json};
use tidings_testing::RedisServer;
use tonic::{Code, Status};

use super::{
    Tried,
    keys::{Keys, claims, with, without},
    reason, refs,
};
use crate::{
    harness::{
        Publisher, Signer, Subscriber, key_set, part, seconds_from_now,
        wire::{CONNECT_JSON, CONNECT_PROTOBUF, GRPC, WEB, WEB_TEXT, Wire},
        with_secret,
    },
    methods,
};

/// What is in the `authorization` header, or headers.
pub(super) const WAYS: &[&str] = &[
    "no header",
    "an empty header",
    "a scheme alone",
    "a scheme and spaces",
    "a token without its scheme",
    "Basic with a token",
    "a scheme that there is not",
    "two headers with a token",
    "an empty header beside one with a token",
    "two tokens in one header",
    "a token with a word after it",
    "a tab instead of the space",
    "a token in quotes",
    "a text that is no token",
    "dots",
    "a token of two parts",
    "a token of four parts",
    "a token of five parts",
    "no signature",
    "a shorter signature",
    "the signature of another token",
    "the claims of another token",
    "alg none",
    "alg none without a signature",
    "alg nOnE",
    "alg HS256 over a signature of EdDSA",
    "alg RS256 over a signature of EdDSA",
    "alg ES256 over a signature of EdDSA",
    "no alg",
    "HS256 by the key set's text",
    "HS256 by the public key",
    "a stranger's key under a known kid",
    "a kid that there is not",
    "a kid that is a path",
    "a kid that is a number",
    "a key of its own in jwk",
    "an address of keys in jku",
    "an address of a certificate in x5u",
    "an unknown extension in crit",
    "another issuer",
    "an issuer that begins alike",
    "no issuer",
    "another audience",
    "no audience",
    "an empty list of audiences",
    "no subject",
    "an empty subject",
    "a subject that is a number",
    "a subject of two lines",
    "a subject that is too long",
    "no expiry",
    "an expiry in words",
    "an expiry beyond all numbers",
    "not valid yet",
    "a stranger's token that is too late",
    "a grant with a star in the middle",
    "grants that are no list",
    "claims that are no object",
    "a token that is too long",
    "a token that is too late",
];

/// Where a good token is that counts for nothing there.
pub(super) const PLACES: &[&str] = &[
    "a token in the address",
    "a token in a cookie",
    "a token in another header",
    "a method that there is not",
    "a method of the other service",
    "a service that there is not",
];

fn ways(keys: &Keys) -> Vec<(&'static str, Vec<String>)> {
    let (own, stranger, unknown) = (&keys.signer, Signer::new("one"), Signer::new("other"));
    let all = || claims("alice", &["*"], &["*"]);
    let good = own.sign(&all());
    let parts: Vec<&str> = good.split('.').collect();
    let (header, body, signature) = (parts[0], parts[1], parts[2]);
    let other = own.sign(&claims("bob", &[], &[]));
    let others: Vec<&str> = other.split('.').collect();
    let bearer = |token: &str| vec![format!("Bearer {token}")];
    let headed = |header: Value| bearer(&format!("{}.{body}.{signature}", part(&header)));
    let said = |claims: Value| bearer(&own.sign(&claims));
    let by = |header: Value, signer: &Signer| bearer(&signer.sign_with(&header, &all()));
    let hs256 = json!({"alg": "HS256", "kid": "one"});
    vec![
        ("no header", vec![]),
        ("an empty header", vec![String::new()]),
        ("a scheme alone", vec!["Bearer".to_owned()]),
        ("a scheme and spaces", vec!["Bearer   ".to_owned()]),
        ("a token without its scheme", vec![good.clone()]),
        ("Basic with a token", vec![format!("Basic {good}")]),
        ("a scheme that there is not", vec![format!("Token {good}")]),
        ("two headers with a token", [bearer(&good), bearer(&good)].concat()),
        ("an empty header beside one with a token", vec![String::new(), format!("Bearer {good}")]),
        ("two tokens in one header", vec![format!("Bearer {good}, Bearer {good}")]),
        ("a token with a word after it", bearer(&format!("{good} x"))),
        ("a tab instead of the space", vec![format!("Bearer\t{good}")]),
        ("a token in quotes", bearer(&format!("\"{good}\""))),
        ("a text that is no token", bearer("x")),
        ("dots", bearer("..")),
        ("a token of two parts", bearer(&format!("{header}.{body}"))),
        ("a token of four parts", bearer(&format!("{good}.{signature}"))),
        ("a token of five parts", bearer(&format!("{good}.{body}.{signature}"))),
        ("no signature", bearer(&format!("{header}.{body}."))),
        ("a shorter signature", bearer(&good[..good.len() - 2])),
        ("the signature of another token", bearer(&format!("{header}.{body}.{}", others[2]))),
        ("the claims of another token", bearer(&format!("{}.{body}.{}", others[0], others[2]))),
        ("alg none", headed(json!({"alg": "none"}))),
        ("alg none without a signature", bearer(&format!("{}.{body}.", part(&json!({"alg": "none"}))))),
        ("alg nOnE", bearer(&format!("{}.{body}.", part(&json!({"alg": "nOnE", "kid": "one"}))))),
        ("alg HS256 over a signature of EdDSA", headed(hs256.clone())),
        ("alg RS256 over a signature of EdDSA", by(json!({"alg": "RS256", "kid": "one"}), own)),
        ("alg ES256 over a signature of EdDSA", by(json!({"alg": "ES256", "kid": "one"}), own)),
        ("no alg", by(json!({"kid": "one"}), own)),
        ("HS256 by the key set's text", bearer(&with_secret(key_set(&[own]).as_bytes(), &hs256, &all()))),
        ("HS256 by the public key", bearer(&with_secret(own.public(), &hs256, &all()))),
        ("a stranger's key under a known kid", bearer(&stranger.sign(&all()))),
        ("a kid that there is not", bearer(&unknown.sign(&all()))),
        ("a kid that is a path", by(json!({"alg": "EdDSA", "kid": "../../dev/null"}), &unknown)),
        ("a kid that is a number", by(json!({"alg": "EdDSA", "kid": 1}), own)),
        ("a key of its own in jwk", by(json!({"alg": "EdDSA", "jwk": unknown.jwk()}), &unknown)),
        (
            "an address of keys in jku",
            by(json!({"alg": "EdDSA", "kid": "other", "jku": "http://127.0.0.1:1/"}), &unknown),
        ),
        ("an address of a certificate in x5u", by(json!({"alg": "EdDSA", "x5u": "http://127.0.0.1:1/"}), &stranger)),
        ("an unknown extension in crit", by(json!({"alg": "EdDSA", "kid": "one", "crit": ["x"], "x": 1}), own)),
        ("another issuer", said(with(all(), "iss", json!("https://other.example")))),
        ("an issuer that begins alike", said(with(all(), "iss", json!("https://issuer.example.org")))),
        ("no issuer", said(without(all(), "iss"))),
        ("another audience", said(with(all(), "aud", json!("other")))),
        ("no audience", said(without(all(), "aud"))),
        ("an empty list of audiences", said(with(all(), "aud", json!([])))),
        ("no subject", said(without(all(), "sub"))),
        ("an empty subject", said(with(all(), "sub", json!("")))),
        ("a subject that is a number", said(with(all(), "sub", json!(7)))),
        ("a subject of two lines", said(with(all(), "sub", json!("alice\nroot")))),
        ("a subject that is too long", said(with(all(), "sub", json!("a".repeat(1_025))))),
        ("no expiry", said(without(all(), "exp"))),
        ("an expiry in words", said(with(all(), "exp", json!("tomorrow")))),
        ("an expiry beyond all numbers", bearer(&far_expiry(own, &all()))),
        ("not valid yet", said(with(all(), "nbf", json!(seconds_from_now(600))))),
        (
            "a stranger's token that is too late",
            bearer(&stranger.sign(&with(all(), "exp", json!(seconds_from_now(-600))))),
        ),
        ("a grant with a star in the middle", said(with(all(), "publish", json!(["a*b"])))),
        ("grants that are no list", said(with(all(), "publish", json!("*")))),
        ("claims that are no object", said(json!([]))),
        ("a token that is too long", said(with(all(), "x", json!("x".repeat(8_192))))),
        ("a token that is too late", said(with(all(), "exp", json!(seconds_from_now(-31))))),
    ]
}

/// A token whose expiry is `1e999`, which no JSON library writes.
fn far_expiry(signer: &Signer, claims: &Value) -> String {
    signer.sign_text(&claims.to_string().replace(&format!("\"exp\":{}", claims["exp"]), "\"exp\":1e999"))
}

async fn call(wire: &Wire, path: &str, kind: &str, tokens: &[String]) -> Status {
    let mut headers = vec![("grpc-timeout", "200m")];
    headers.extend(tokens.iter().map(|token| ("authorization", token.as_str())));
    wire.call(path, kind, &headers, methods::request(path)).await.1
}

/// Both services, each with its fast paths and without, closed to all who don't sign in.
struct Servers {
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    _redis: RedisServer,
}

impl Servers {
    async fn start(keys: &Keys, more: &[&str]) -> Self {
        let redis = RedisServer::start();
        let (mut publishers, mut subscribers) = (Vec::new(), Vec::new());
        for path in [&[][..], &["--no-fast-path"]] {
            let args = keys.args(&[more, path].concat());
            // Their health says nothing to the tests' usual question.
            publishers.push(Publisher::start_alone(&redis.url(), &refs(&args)).await);
            subscribers.push(Subscriber::start_alone(&redis.url(), &refs(&args)).await);
        }
        Self { publishers, subscribers, _redis: redis }
    }

    /// Connections to all, each with its service's name; once they have their Redis.
    async fn wires(&self, good: &[String]) -> Vec<(&'static str, Wire)> {
        let publishers = self.publishers.iter().map(|publisher| ("PublisherService", publisher.address));
        let subscribers = self.subscribers.iter().map(|subscriber| ("SubscriberService", subscriber.address));
        let mut wires = Vec::new();
        for (service, address) in publishers.chain(subscribers) {
            let wire = Wire::open(address).await;
            // The first of them needs Redis.
            let path = &methods::paths(service)[0];
            while call(&wire, path, GRPC, good).await.code() == Code::Unavailable {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            wires.push((service, wire));
        }
        wires
    }

    fn stop(self) {
        self.publishers.into_iter().for_each(Publisher::stop);
        self.subscribers.into_iter().for_each(Subscriber::stop);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_token_every_call_is_refused() {
    let keys = Keys::new();
    let servers = Servers::start(&keys, &["--auth-closed"]).await;
    let good = [format!("Bearer {}", keys.token("alice", &["*"], &["*"]))];
    let (mut tried, mut places, mut texts) = (Tried::of(WAYS), Tried::of(PLACES), HashSet::new());
    let ways = ways(&keys);
    for (service, wire) in servers.wires(&good).await {
        for path in methods::paths(service) {
            for kind in [GRPC, WEB, WEB_TEXT, CONNECT_JSON, CONNECT_PROTOBUF] {
                for (way, tokens) in &ways {
                    let status = call(&wire, &path, kind, tokens).await;
                    let is_late = *way == "a token that is too late";
                    let expected = if is_late { "TOKEN_EXPIRED" } else { "UNAUTHENTICATED" };
                    let got = (status.code(), reason(&status));
                    assert_eq!(got, (Code::Unauthenticated, expected.to_owned()), "{path} by {kind} with {way}");
                    if !is_late {
                        texts.insert(status.message().to_owned());
                    }
                    tried.closed(way);
                }
                let status = call(&wire, &path, kind, &good).await;
                // One that is created is there from then on.
                let is_there = status.code() == Code::AlreadyExists && path.ends_with("/CreateSubscription");
                let is_served = matches!(status.code(), Code::Ok | Code::DeadlineExceeded) || is_there;
                assert!(is_served, "{path} by {kind}: {status:?}");
            }
        }
        // What there is not, and where the other service is, is nobody's business either.
        for (way, path) in [
            ("a method that there is not", format!("/tidings.v1.{service}/Other")),
            (
                "a method of the other service",
                match service {
                    "PublisherService" => "/tidings.v1.SubscriberService/ListMessages".to_owned(),
                    _ => "/tidings.v1.PublisherService/Publish".to_owned(),
                },
            ),
            ("a service that there is not", "/a.B/C".to_owned()),
        ] {
            for kind in [GRPC, CONNECT_JSON] {
                let (_, status) = wire.call(&path, kind, &[], Vec::new()).await;
                assert_eq!(reason(&status), "UNAUTHENTICATED", "{path} by {kind}");
                let (_, status) = wire.call(&path, kind, &[("authorization", &good[0])], Vec::new()).await;
                assert_eq!(status.code(), Code::Unimplemented, "{path} by {kind}");
            }
            places.closed(way);
        }
        let path = &methods::paths(service)[0];
        let (token, cookie) = (&good[0][7..], format!("authorization={}", &good[0]));
        for (way, path, headers) in [
            ("a token in the address", format!("{path}?access_token={token}"), vec![]),
            ("a token in a cookie", path.clone(), vec![("cookie", cookie.as_str())]),
            (
                "a token in another header",
                path.clone(),
                vec![
                    ("proxy-authorization", good[0].as_str()),
                    ("x-authorization", &good[0]),
                    ("authorization-bin", token),
                ],
            ),
        ] {
            for kind in [GRPC, CONNECT_JSON] {
                let (_, status) = wire.call(&path, kind, &headers, methods::request(&methods::paths(service)[0])).await;
                assert_eq!(reason(&status), "UNAUTHENTICATED", "{way} by {kind}");
            }
            places.closed(way);
        }
    }
    assert_eq!(texts.len(), 1, "{texts:?}");
    tried.all();
    places.all();
    servers.stop();
}

/// The walk that a new method must pass: it asks who calls, and what they may do.
#[tokio::test(flavor = "multi_thread")]
async fn no_method_answers_a_caller_who_may_do_nothing() {
    let keys = Keys::new();
    let servers = Servers::start(&keys, &[]).await;
    let good = [format!("Bearer {}", keys.token("alice", &["*"], &["*"]))];
    let nobody = [format!("Bearer {}", keys.token("bob", &[], &[]))];
    for (service, wire) in servers.wires(&good).await {
        let kinds = [GRPC, CONNECT_JSON, CONNECT_PROTOBUF];
        for (path, kind) in methods::paths(service).into_iter().flat_map(|path| kinds.map(|kind| (path.clone(), kind)))
        {
            let is_open = path.starts_with("/grpc.");
            let status = call(&wire, &path, kind, &[]).await;
            assert_eq!(status.code() != Code::Unauthenticated, is_open, "{path}: {status:?}");
            let headers = [("grpc-timeout", "500m"), ("authorization", nobody[0].as_str())];
            let (answers, status) = wire.call(&path, kind, &headers, methods::request(&path)).await;
            match path.rsplit('/').next().expect("a name") {
                _ if is_open => {}
                // Lists what may be read, which is nothing.
                "ListChannels" | "ListSubscriptions" => {
                    assert_eq!((status.code(), answers), (Code::Ok, vec![Vec::new()]));
                }
                // Goes on, and answers each request.
                "PublishStream" => {
                    assert_eq!(status.code(), Code::Ok);
                    assert!(!answers.is_empty());
                    for answer in answers {
                        let text = String::from_utf8_lossy(&answer).into_owned();
                        assert!(text.contains("PERMISSION_DENIED") || text.contains("INVALID_CHANNEL"), "{text}");
                    }
                }
                _ => assert_eq!(reason(&status), "PERMISSION_DENIED", "{path}: {status:?}"),
            }
        }
    }
    servers.stop();
}
