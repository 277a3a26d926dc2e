//! What is counted of durable subscriptions.

use std::time::Duration;

use tidings::pb::{RedriveDeadLettersRequest, Rejection, Subscription};
use tidings_testing::RedisServer;

use crate::harness::{Admin, Publisher, Scraped, Served, Subscriber, Worker, duration, text};

const SECOND: Duration = Duration::from_secs(1);

fn settled(scraped: &Scraped, decision: &str) -> [f64; 2] {
    let of = |outcome| format!("tidings_settlements_total{{decision=\"{decision}\",outcome=\"{outcome}\"}}");
    ["done", "stale"].map(|outcome| scraped.value(&of(outcome)))
}

fn returned(scraped: &Scraped) -> [f64; 4] {
    let of = |reason| scraped.value(&format!("tidings_lease_returns_total{{reason=\"{reason}\"}}"));
    ["deadline", "closed", "unsent", "abandoned"].map(of)
}

fn delivered(scraped: &Scraped) -> [f64; 2] {
    ["first", "again"].map(|n| scraped.value(&format!("tidings_consumer_deliveries_total{{attempt=\"{n}\"}}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_and_what_becomes_of_them_are_counted() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let (subscriber, admin) = Subscriber::start_with_admin(&redis.url(), &[]).await;
    for n in 0..6 {
        publisher.client().publish(text("jobs", n.to_string())).await.expect("published");
    }
    let none = duration(Duration::ZERO);
    let settings = Subscription {
        name: "jobs".to_owned(),
        channel: "jobs".to_owned(),
        ack_deadline: duration(SECOND),
        max_delivery_attempts: Some(2),
        retry_policy: Some(tidings::pb::RetryPolicy { min_backoff: none, max_backoff: none }),
        ..Subscription::default()
    };
    let worker = Worker::create(subscriber.channel(), settings).await;
    let came = worker.pull_all(4).await;
    worker.acknowledge(&came[..1]).await;
    worker.acknowledge_ids(vec!["nonsense".to_owned()]).await;
    worker.extend(&came[1..2], 60 * SECOND).await;
    worker.reject(&came[2..3], Rejection { dead_letter: true, ..Rejection::default() }).await;
    worker.reject(&came[1..2], Rejection::default()).await;
    // The fourth is left until its deadline passes, and what was rejected comes again, to a stream that ends.
    admin.shows("a deadline passed", |scraped| returned(scraped)[0] == 1.0).await;
    let mut stream = worker.consume(10).await;
    stream.receive(4).await;
    admin.shows("a consumer", |scraped| scraped.value("tidings_consumers") == 1.0).await;
    drop(stream);
    // Two of them had their second attempt.
    let scraped =
        admin.shows("the stream is closed", |scraped| scraped.value("tidings_dead_letters_total") == 3.0).await;
    assert_eq!(settled(&scraped, "acknowledge"), [1.0, 1.0]);
    assert_eq!(settled(&scraped, "extend"), [1.0, 0.0]);
    assert_eq!(settled(&scraped, "dead_letter"), [1.0, 0.0]);
    assert_eq!(settled(&scraped, "reject"), [1.0, 0.0]);
    assert_eq!(returned(&scraped), [1.0, 4.0, 0.0, 0.0]);
    assert_eq!(delivered(&scraped), [6.0, 2.0]);
    assert_eq!(scraped.value("tidings_consumers"), 0.0);
    let all = RedriveDeadLettersRequest { name: "jobs".to_owned(), all: true, ..RedriveDeadLettersRequest::default() };
    worker.client().redrive_dead_letters(all).await.expect("redriven");
    admin.shows("put back", |scraped| scraped.value("tidings_redriven_total") == 3.0).await;
    publisher.stop();
    subscriber.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_subscription_is_told_without_consumers() {
    let admin = Admin::choose();
    let served = Served::start(&[&admin.flag(), "--watch-subscriptions=bills,none"]);
    let of = |family: &str, name: &str| format!("tidings_subscription_{family}{{subscription=\"{name}\"}}");
    // All series are there from the start.
    let there = |scraped: &Scraped| scraped.has(&of("oldest_seconds", "none"));
    let scraped = admin.shows("the first look", there).await;
    assert_eq!(scraped.value(&of("backlog_messages", "bills")), 0.0);
    served.ok(&["subscription", "create", "bills", "--channel", "orders"]);
    served.ok(&["subscription", "create", "other", "--channel", "orders"]);
    served.ok(&["publish", "orders", "hello"]);
    let scraped = admin.shows("a backlog", |scraped| scraped.value(&of("backlog_messages", "bills")) == 1.0).await;
    assert!(scraped.value(&of("oldest_seconds", "bills")) > 0.0);
    for family in ["outstanding_messages", "waiting_messages", "dead_letters", "lost_messages", "consumers"] {
        assert_eq!(scraped.value(&of(family, "bills")), 0.0);
    }
    // Nobody has named the other.
    assert!(!scraped.has(&of("backlog_messages", "other")));
    served.stop();
}
