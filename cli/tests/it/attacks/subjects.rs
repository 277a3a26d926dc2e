//! Where callers sign in, what one subject takes is counted by its tokens' subject, whichever of them it uses, and is
//! no other subject's at the same address.

use std::time::Duration;

use tidings::{
    access::{Grant, Verb},
    pb::{ListMessagesRequest, PublishRequest, StreamMessagesRequest},
};
use tidings_auth::{SigningKey, Wanted};
use tonic::{Code, Request, Status, metadata::MetadataValue};

use super::Target;
use crate::harness::{Publisher, Subscriber, pattern, reason, text};

const SECRET: &[u8] = b"thirty-two bytes and a few more of secret";

fn signed<T>(message: T, subject: &str, lifetime: Duration) -> Request<T> {
    let grant = |verb| (verb, Grant::parse("*").expect("a grant"));
    let wanted = Wanted {
        issuer: "it".to_owned(),
        audience: "tidings".to_owned(),
        subject: subject.to_owned(),
        groups: Vec::new(),
        grants: vec![grant(Verb::Publish), grant(Verb::Subscribe)],
        lifetime,
    };
    let token = SigningKey::read(SECRET).expect("a key").mint(&wanted).expect("a token");
    let mut request = Request::new(message);
    let value: MetadataValue<_> = format!("Bearer {token}").parse().expect("a header");
    request.metadata_mut().insert("authorization", value);
    request
}

/// Two tokens of one subject, in turn.
fn in_turn<T>(message: T, subject: &str, turn: usize) -> Request<T> {
    signed(message, subject, Duration::from_secs(600 + turn as u64 % 2))
}

fn is_limited(status: &Status) -> bool {
    status.code() == Code::ResourceExhausted && reason(status) == "CALLER_LIMIT"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_is_one_caller_and_not_its_neighbours() {
    let target = Target::start(&[]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, SECRET).expect("a file");
    let flags = [
        format!("--auth-secret-file={}", secret.display()),
        "--auth-issuer=it".to_owned(),
        "--auth-audience=tidings".to_owned(),
        "--caller-list-rate=10".to_owned(),
        "--caller-publish-rate=10".to_owned(),
        "--caller-max-patterns=1".to_owned(),
        "--caller-new-channels=3".to_owned(),
    ];
    let flags = flags.each_ref().map(String::as_str);
    let publisher = Publisher::start(&target.redis.url(), &flags).await;
    let subscriber = Subscriber::start(&target.redis.url(), &flags).await;
    let list = || ListMessagesRequest { channel: "c".to_owned(), ..ListMessagesRequest::default() };
    let publish = async |message: PublishRequest, subject: &str, turn: usize| {
        publisher.client().publish(in_turn(message, subject, turn)).await
    };
    let mut refused = None;
    for turn in 0..60 {
        let listed = subscriber.client().list_messages(in_turn(list(), "alice", turn)).await;
        refused = refused.or(listed.err());
        subscriber
            .client()
            .list_messages(in_turn(list(), &format!("other{}", turn / 10), turn))
            .await
            .expect("another's");
    }
    assert!(is_limited(&refused.expect("twenty at once, and ten a second")));
    let mut refused = None;
    for turn in 0..60 {
        refused = refused.or(publish(text("c", "x"), "alice", turn).await.err());
    }
    assert!(is_limited(&refused.expect("twenty at once, and ten a second")));
    publish(text("c", "x"), "bob", 0).await.expect("another's");
    let mut refused = None;
    for n in 0..6 {
        refused = refused.or(publish(text(&format!("carol{n}"), "x"), "carol", n).await.err());
    }
    assert!(is_limited(&refused.expect("three new channels a minute")));
    publish(text("bobs", "x"), "bob", 1).await.expect("another's");
    let follow = async |glob: &str, subject: &str, turn: usize| {
        let request: StreamMessagesRequest = pattern(glob);
        subscriber.client().stream_messages(in_turn(request, subject, turn)).await
    };
    let _first = follow("a*", "alice", 0).await.expect("her first");
    assert!(is_limited(&follow("b*", "alice", 1).await.expect_err("her second")));
    let _other = follow("b*", "bob", 0).await.expect("his first");
    publisher.stop();
    subscriber.stop();
    target.stop();
}
