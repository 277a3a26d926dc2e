//! What operators see of a publisher: `/metrics` after known traffic, and what else the admin listener answers.

use std::{
    net::TcpStream,
    time::{Duration, SystemTime},
};

use tidings::pb::{PublishBatchRequest, PublishRequest, PublishStreamRequest};
use tidings_testing::{Admin, Process, Publisher, RedisServer, TEST_TIMEOUT, text};
use tokio_stream::StreamExt as _;
use tonic::{Code, Request};

/// What the system knows of the process, by the names that Prometheus's own libraries use.
#[tokio::test(flavor = "multi_thread")]
async fn the_process_is_measured() {
    let redis = RedisServer::start();
    let (publisher, admin) = Publisher::start_with_admin(&redis.url(), &[]).await;
    let before = admin.scrape();
    let held: Vec<TcpStream> = (0..20).map(|_| admin.connect()).collect();
    let more = admin.shows("the connections are open files", |scraped| {
        scraped.value("process_open_fds") >= before.value("process_open_fds") + 20.0
    });
    let scraped = more.await;
    drop(held);
    assert!(scraped.value("process_resident_memory_bytes") > 1e6);
    assert!(scraped.value("process_virtual_memory_bytes") >= scraped.value("process_resident_memory_bytes"));
    assert!(scraped.value("process_max_fds") > scraped.value("process_open_fds"));
    assert!(scraped.value("process_threads") >= 1.0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64();
    let age = now - scraped.value("process_start_time_seconds");
    assert!((-2.0..60.0).contains(&age), "{age}");
    assert_eq!(scraped.families["process_cpu_seconds_total"], "counter");
    publisher.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_are_counted_by_the_code_of_their_answer() {
    let redis = RedisServer::start();
    let (publisher, admin) = Publisher::start_with_admin(&redis.url(), &[]).await;
    let mut client = publisher.client();
    for n in 0..3 {
        client.publish(text("a", n.to_string())).await.expect("published");
    }
    for _ in 0..2 {
        let refused = client.publish(PublishRequest::default()).await.expect_err("no message");
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    let requests = (0..5).map(|n| text("", n.to_string())).collect();
    client.publish_batch(PublishBatchRequest { channel: "b".to_owned(), requests }).await.expect("published");
    let stream = [text("c", "1"), text("c", ""), text("c", "3"), text("c", "4")];
    let stream = stream.map(|request| PublishStreamRequest { request: Some(request) });
    let mut answers = client.publish_stream(tokio_stream::iter(stream)).await.expect("a stream").into_inner();
    while let Some(answer) = answers.next().await {
        answer.expect("an answer");
    }
    let scraped = admin.scrape();
    assert_eq!((scraped.published("OK"), scraped.published("INVALID_ARGUMENT")), (11.0, 3.0));
    assert_eq!(scraped.sum("tidings_publish_total"), 14.0);
    // Five calls and a batch, and each message of the stream.
    assert_eq!(scraped.value("tidings_publish_seconds_count"), 10.0);
    let calls = scraped.value("tidings_redis_seconds_count{call=\"publish\"}");
    assert!((5.0..=7.0).contains(&calls), "3 alone, a batch, and a stream in 1 to 3 groups: {calls}");
    assert_eq!(scraped.value("tidings_redis_seconds_count{call=\"wait\"}"), 0.0);

    redis.pause();
    let mut late = Request::new(text("a", "late"));
    late.set_timeout(Duration::from_millis(200));
    client.publish(late).await.expect_err("Redis does not answer");
    let scraped = admin.shows("it is cancelled", |scraped| scraped.published("CANCELLED") == 1.0).await;
    assert_eq!(scraped.sum("tidings_publish_total"), 15.0);
    redis.resume();
    publisher.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_lists_its_pages() {
    let redis = RedisServer::start();
    let (publisher, admin) = Publisher::start_with_admin(&redis.url(), &[]).await;
    for path in ["/metrics", "/livez", "/readyz"] {
        let (get, head) = (admin.get(path), admin.ask("HEAD", path));
        assert_eq!((get.code, head.code, head.body.as_str()), (200, 200, ""), "{path}");
        let refused = admin.ask("POST", path);
        assert_eq!((refused.code, refused.body.as_str()), (405, "Only GET and HEAD are answered here.\n"), "{path}");
        assert!(refused.head.contains("allow: get, head"), "{}", refused.head);
    }
    let nothing = admin.get("/");
    assert_eq!((nothing.code, nothing.body.as_str()), (404, "There is /metrics, /livez and /readyz here.\n"));

    // A client that says nothing keeps nobody else waiting.
    let silent: Vec<TcpStream> = (0..8).map(|_| admin.connect()).collect();
    assert_eq!(admin.get("/livez").code, 200);
    drop(silent);

    let second = Process::start("tidings-publisher", &[format!("--listen={}", Admin::choose().0), admin.flag()]);
    assert_refused(second, "the port is taken by another program");
    let exposed = format!("--admin-listen=0.0.0.0:{}", Admin::choose().0.port());
    let third = Process::start("tidings-publisher", &[format!("--listen={}", Admin::choose().0), exposed]);
    assert_refused(third, "could see how the service is used");
    publisher.stop();
}

fn assert_refused(mut process: Process, text: &str) {
    assert_eq!(process.wait(TEST_TIMEOUT).code(), Some(1));
    let output = process.output();
    assert!(output.contains("--admin-listen") && output.contains(text), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_reported_while_calls_drain() {
    let redis = RedisServer::start();
    let (mut publisher, admin) =
        Publisher::start_with_admin(&redis.url(), &["--redis-timeout=30s", "--shutdown-timeout=3s"]).await;
    redis.pause();
    // Both arrive together; once the refusal is here, the other waits for Redis.
    let requests = [text("a", ""), text("a", "hello")].map(|request| PublishStreamRequest { request: Some(request) });
    let mut answers =
        publisher.client().publish_stream(tokio_stream::iter(requests)).await.expect("a stream").into_inner();
    answers.next().await.expect("an answer").expect("a refusal is no end");
    publisher.process.signal("TERM");
    assert_eq!(admin.becomes("/readyz", 503).await, "not ready: it is stopping\n");
    assert_eq!(admin.get("/livez").code, 200);
    assert!(publisher.process.wait(Duration::from_secs(20)).success());
    redis.resume();
}
