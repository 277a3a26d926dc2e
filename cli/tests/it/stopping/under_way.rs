//! Publishes that are under way when the publisher gets a signal to stop.

use std::time::{Duration, Instant};

use tidings::pb::{
    PublishRequest, PublishStreamRequest, publish_stream_response::Result as Outcome,
    publisher_service_client::PublisherServiceClient,
};
use tidings_testing::RedisServer;
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};

use super::{SLACK, ends_within};
use crate::harness::{Publisher, Served, TEST_TIMEOUT, connect, reason, text};

/// Publishes under way on one connection: some on their own, some on a stream, and one on a channel that is new.
struct UnderWay {
    single: Vec<tokio::task::JoinHandle<Result<(), Status>>>,
    stream: tokio::task::JoinHandle<Vec<String>>,
}

const EACH: usize = 20;

impl UnderWay {
    async fn begin(channel: tonic::transport::Channel) -> Self {
        let client = PublisherServiceClient::new(channel);
        let publish = |request: PublishRequest| {
            let mut client = client.clone();
            tokio::spawn(async move { client.publish(request).await.map(|_| ()) })
        };
        let mut single: Vec<_> = (0..EACH).map(|n| publish(text(&format!("known{}", n % 2), "x"))).collect();
        single.push(publish(text("new", "x")));
        let (requests, stream) = tokio::sync::mpsc::channel(EACH);
        for _ in 0..EACH {
            let request = PublishStreamRequest { request: Some(text("known0", "x")) };
            requests.send(request).await.expect("there is room");
        }
        let mut streaming = client.clone();
        let stream = tokio::spawn(async move {
            let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
            let mut answers = streaming.publish_stream(stream).await.expect("a stream").into_inner();
            let mut outcomes = Vec::new();
            loop {
                match answers.message().await {
                    Ok(Some(answer)) => outcomes.push(match answer.result.expect("a result") {
                        Outcome::Response(_) => "OK".to_owned(),
                        Outcome::Error(error) => {
                            let code = Code::from_i32(error.code);
                            reason(&Status::with_details(code, "", prost::Message::encode_to_vec(&error).into()))
                        }
                    }),
                    Ok(None) => break,
                    Err(status) => {
                        outcomes.push(format!("end {}", reason(&status)));
                        break;
                    }
                }
            }
            drop(requests);
            outcomes
        });
        Self { single, stream }
    }

    /// What each of them got; the last is the one on the new channel.
    async fn answers(self) -> (Vec<String>, Vec<String>) {
        let mut single = Vec::new();
        for one in self.single {
            let answer = timeout(TEST_TIMEOUT, one).await.expect("an answer in time").expect("no panic");
            single.push(answer.map_or_else(|status| reason(&status), |()| "OK".to_owned()));
        }
        (single, timeout(TEST_TIMEOUT, self.stream).await.expect("an end in time").expect("no panic"))
    }
}

async fn make_known(channel: tonic::transport::Channel) {
    let mut client = PublisherServiceClient::new(channel);
    for name in ["known0", "known1"] {
        client.publish(text(name, "the first")).await.expect("published");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_under_way_are_answered_when_redis_comes_back_in_time() {
    let redis = RedisServer::start();
    let mut publisher = Publisher::start(&redis.url(), &["--redis-timeout=30s", "--shutdown-timeout=10s"]).await;
    make_known(connect(publisher.address).await).await;
    redis.pause();
    let under_way = UnderWay::begin(connect(publisher.address).await).await;
    sleep(Duration::from_millis(500)).await;
    let signalled = Instant::now();
    publisher.process.signal("TERM");
    sleep(Duration::from_millis(500)).await;
    redis.resume();
    let (single, stream) = under_way.answers().await;
    assert_eq!(single, vec!["OK"; EACH + 1]);
    assert_eq!(stream, [vec!["OK"; EACH], vec!["end NOT_PUBLISHED"]].concat());
    ends_within(&mut publisher.process, signalled, Duration::from_millis(500));
}

/// The process is gone in time, and says before what it knows.
#[tokio::test(flavor = "multi_thread")]
async fn publishes_under_way_are_answered_when_redis_does_not_come_back() {
    let shutdown = Duration::from_secs(2);
    let args = ["--redis-timeout=30s", "--shutdown-timeout=2s"];
    let redis = RedisServer::start();
    let mut publisher = Publisher::start(&redis.url(), &args).await;
    let redis_url = format!("--redis-url={}", redis.url());
    let mut both = Served::start(&[&args[..], &[redis_url.as_str()]].concat());
    let addresses = [format!("http://{}", publisher.address), both.publisher.clone()];
    let mut under_way = Vec::new();
    for address in &addresses {
        let channel = tonic::transport::Endpoint::from_shared(address.clone()).expect("a URL").connect().await;
        let channel = channel.expect("it listens");
        make_known(channel.clone()).await;
        under_way.push(channel);
    }
    redis.pause();
    let mut begun = Vec::new();
    for channel in under_way {
        begun.push(UnderWay::begin(channel).await);
    }
    sleep(Duration::from_millis(500)).await;
    let signalled = Instant::now();
    publisher.process.signal("TERM");
    both.process.signal("TERM");
    for one in begun {
        let (mut single, stream) = one.answers().await;
        assert!(signalled.elapsed() < shutdown + SLACK, "{:?}", signalled.elapsed());
        // The registry did not have it yet.
        assert_eq!(single.pop().as_deref(), Some("NOT_PUBLISHED"));
        // Those after a call that is under way were not handed over.
        assert!(
            single.iter().all(|outcome| ["OUTCOME_UNKNOWN", "NOT_PUBLISHED"].contains(&outcome.as_str())),
            "{single:?}"
        );
        assert!(single.iter().any(|outcome| outcome == "OUTCOME_UNKNOWN"), "{single:?}");
        assert_eq!(stream.len(), EACH + 1);
        assert_eq!(stream[EACH], "end NOT_PUBLISHED");
    }
    ends_within(&mut publisher.process, signalled, shutdown);
    ends_within(&mut both.process, signalled, shutdown);
    redis.resume();
}
