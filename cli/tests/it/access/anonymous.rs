//! Callers who have not signed in, and what is open to all: health, reflection, and the admin listener, which is on
//! request.

use tidings::{
    message::{DedupKey, Sender},
    pb::{PublishRequest, StreamMessagesRequest},
};
use tidings_testing::RedisServer;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{ServerReflectionRequest, server_reflection_client::ServerReflectionClient};
use uuid::Uuid;

use super::{Tried, denied, keys::Keys, refs, signed, unauthenticated};
use crate::harness::{Admin, Publisher, Scraped, Subscriber, channel, connect, text};

pub(super) const WAYS: &[&str] = &[
    "nobody, where the policy names no anonymous callers",
    "nobody, on a channel that is not open",
    "nobody, to publish where one may read",
    "nobody, by a pattern wider than what is open",
    "a bad token where nobody may do something",
    "a message_id computed from a subject's",
    "nobody, by health and reflection that are closed",
    "the admin listener, for names and subjects",
    "the admin listener, by other paths",
    "the admin listener, by other methods",
    "the admin listener, for a call",
];

const MESSAGE_ID: &str = "0192f0c1-2a3b-7c4d-8e5f-0123456789ab";

fn refusals(scraped: &Scraped, reason: &str) -> f64 {
    scraped.value(&format!("tidings_refused_total{{reason=\"{reason}\"}}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn anonymous_callers_may_do_what_the_policy_says_and_nothing_else() {
    let (redis, keys) = (RedisServer::start(), Keys::new());
    let mut tried = Tried::of(WAYS.split_at(7).0);
    let policy = "anonymous = [\"visitor\"]\n[roles.visitor]\nsubscribe = [\"news.*\"]\npublish = [\"open\"]\n\
                  [subjects]\nalice = [\"visitor\"]\n";
    let args = keys.args(&[&keys.policy(policy)]);
    let subscriber = Subscriber::start(&redis.url(), &refs(&args)).await;
    let publisher = Publisher::start(&redis.url(), &refs(&args)).await;
    subscriber.client().stream_messages(channel("news.eu")).await.expect("anybody's");
    denied(subscriber.client().stream_messages(channel("orders.eu")).await, "orders.eu");
    tried.closed("nobody, on a channel that is not open");
    denied(publisher.client().publish(text("news.eu", "x")).await, "news.eu");
    tried.closed("nobody, to publish where one may read");
    let wide = StreamMessagesRequest { pattern: "news*".to_owned(), ..StreamMessagesRequest::default() };
    denied(subscriber.client().stream_messages(wide).await, "news*");
    tried.closed("nobody, by a pattern wider than what is open");
    unauthenticated(subscriber.client().stream_messages(signed("x", channel("news.eu"))).await, "no token");
    tried.closed("a bad token where nobody may do something");
    // Anybody can compute by what key a subject's message_id is known, and send that as one of its own.
    let id: Uuid = MESSAGE_ID.parse().expect("a UUID");
    let derived = Uuid::from_bytes(*DedupKey::new(Sender::Subject("alice"), id).as_bytes());
    let with_id = |id: Uuid| PublishRequest { message_id: id.to_string(), ..text("open", "x") };
    let alice = keys.token("alice", &[], &[]);
    let mut duplicates = Vec::new();
    for id in [derived, id, derived] {
        duplicates.push(publisher.client().publish(with_id(id)).await.expect("anybody's").into_inner().duplicate);
    }
    for id in [id, derived, id] {
        let request = signed(&alice, with_id(id));
        duplicates.push(publisher.client().publish(request).await.expect("allowed").into_inner().duplicate);
    }
    assert_eq!(duplicates, [false, false, true, false, false, true]);
    tried.closed("a message_id computed from a subject's");
    publisher.stop();
    subscriber.stop();

    let args = keys.args(&[&keys.policy("[roles.visitor]\nsubscribe = [\"news.*\"]\n")]);
    let subscriber = Subscriber::start(&redis.url(), &refs(&args)).await;
    unauthenticated(subscriber.client().stream_messages(channel("news.eu")).await, "nobody");
    tried.closed("nobody, where the policy names no anonymous callers");
    subscriber.stop();

    // What it gives them is channels.
    let args = keys.args(&[&keys.policy(policy), "--auth-closed"]);
    let subscriber = Subscriber::start_alone(&redis.url(), &refs(&args)).await;
    let mut health = HealthClient::new(connect(subscriber.address).await);
    unauthenticated(health.check(HealthCheckRequest::default()).await, "health");
    let mut reflection = ServerReflectionClient::new(connect(subscriber.address).await);
    let question = futures_util::stream::iter([ServerReflectionRequest::default()]);
    unauthenticated(reflection.server_reflection_info(question).await, "reflection");
    health.check(signed(&alice, HealthCheckRequest::default())).await.expect("signed in");
    tried.closed("nobody, by health and reflection that are closed");
    tried.all();
    subscriber.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_gives_numbers_and_nothing_else() {
    let (redis, keys) = (RedisServer::start(), Keys::new());
    let (admin, mut tried) = (Admin::choose(), Tried::of(WAYS.split_at(7).1));
    let publisher = Publisher::start(&redis.url(), &refs(&keys.args(&[&admin.flag()]))).await;
    admin.shows("nobody was refused", |scraped| refusals(scraped, "unauthenticated") == 0.0).await;
    unauthenticated(publisher.client().publish(text("secret-channel", "x")).await, "nobody");
    admin.shows("who was refused", |scraped| refusals(scraped, "unauthenticated") == 1.0).await;
    let other = keys.token("secret-subject", &["other", "secret-grant"], &[]);
    denied(publisher.client().publish(signed(&other, text("secret-channel", "x"))).await, "secret-channel");
    publisher.client().publish(signed(&other, text("other", "secret-text"))).await.expect("allowed");
    admin.shows("who may not", |scraped| refusals(scraped, "denied") == 1.0).await;
    for path in ["/metrics", "/readyz", "/livez"] {
        let said = admin.get(path).body;
        let signature = other.rsplit('.').next().expect("three parts");
        for secret in ["secret-", signature, "keys.json", "issuer.example", redis.url().as_str()] {
            assert!(!said.contains(secret), "{path} tells {secret}: {said}");
        }
    }
    tried.closed("the admin listener, for names and subjects");
    for path in ["/", "/debug", "/metrics/", "//metrics", "/../metrics", "/config", "/readyz/.."] {
        assert_eq!(admin.get(path).code, 404, "{path}");
    }
    tried.closed("the admin listener, by other paths");
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"] {
        assert!([404, 405].contains(&admin.ask(method, "/metrics").code), "{method}");
    }
    tried.closed("the admin listener, by other methods");
    assert_eq!(admin.ask("POST", "/tidings.v1.PublisherService/Publish").code, 404);
    tried.closed("the admin listener, for a call");
    tried.all();
    publisher.stop();
}
