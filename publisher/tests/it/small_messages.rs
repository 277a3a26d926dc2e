//! Many streams of small messages on one connection, while Redis does not answer: HTTP/2 must not take what piles up
//! for an attack.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tidings::pb::{PublishStreamRequest, publish_stream_response::Result as Outcome};
use tidings_testing::{Publisher, RedisServer, TEST_TIMEOUT, text};
use tokio::{sync::mpsc, task::JoinSet, time::sleep};
use tokio_stream::wrappers::ReceiverStream;

const STREAMS: usize = 8;
/// More than a stream takes in, and than its window lets through after that.
const EACH: usize = 4_500;

/// Publishes as fast as HTTP/2 takes it, each message in a frame of its own; answers how many were published.
async fn publish_all(publisher: &Publisher, sent: Arc<AtomicUsize>) -> impl Future<Output = usize> + use<> {
    let mut client = publisher.client();
    let (requests, stream) = mpsc::channel(1);
    let sending = tokio::spawn(async move {
        for n in 0..EACH {
            let request = PublishStreamRequest { request: Some(text("small", format!("a small message {n:>14}"))) };
            if requests.send(request).await.is_err() {
                return;
            }
            sent.fetch_add(1, Ordering::Relaxed);
        }
    });
    async move {
        let answers = client.publish_stream(ReceiverStream::new(stream)).await;
        let mut answers = answers.expect("a stream").into_inner();
        let mut published = 0;
        while let Some(answer) = answers.message().await.expect("the connection continues") {
            assert!(matches!(answer.result, Some(Outcome::Response(_))), "{answer:?}");
            published += 1;
        }
        sending.await.expect("no panic");
        published
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_small_messages_bear_a_redis_that_hangs() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &["--redis-timeout=60s"]).await;
    publisher.client().publish(text("small", "the first")).await.expect("published");
    redis.pause();
    let (mut calls, sent) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    for _ in 0..STREAMS {
        calls.spawn(publish_all(&publisher, Arc::clone(&sent)).await);
    }
    // Until all windows are full.
    let began = Instant::now();
    let mut before = 0;
    loop {
        sleep(Duration::from_millis(700)).await;
        let now = sent.load(Ordering::Relaxed);
        if now == before && now > STREAMS {
            break;
        }
        assert!(began.elapsed() < TEST_TIMEOUT, "{now} were sent and it still continues");
        before = now;
    }
    assert!(before < STREAMS * EACH, "not all of it can wait");
    redis.resume();
    while let Some(published) = calls.join_next().await {
        assert_eq!(published.expect("no panic"), EACH);
    }
    publisher.stop();
}
