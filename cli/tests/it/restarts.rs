//! Everything is still there after everything was restarted, and a cursor works on any replica.

use std::time::Duration;

use tidings::pb::StreamMessagesRequest;
use tidings_testing::{DURABLE, RedisServer};

use crate::harness::{Publisher, Subscriber, channel, pattern, sequences, text, text_of};

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_still_there_after_all_processes_were_restarted() {
    let mut redis = RedisServer::start_with(&DURABLE);
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    let mut whole = subscriber.stream(pattern("k*")).await;
    let started = whole.started().await;
    let mut receipts = Vec::new();
    for n in 1..=10 {
        let receipt = publisher.client().publish(text("kept", n.to_string())).await.expect("published");
        receipts.push(receipt.into_inner());
    }
    let before = subscriber.list("kept").await;
    publisher.stop();
    subscriber.stop();
    redis.restart();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let subscriber = Subscriber::start(&redis.url(), &[]).await;

    assert_eq!(subscriber.list("kept").await, before);
    let request = StreamMessagesRequest { after: vec![receipts[6].cursor.clone()], ..channel("kept") };
    let mut stream = subscriber.stream(request).await;
    stream.started().await;
    assert_eq!(sequences(&stream.messages(3).await), [8, 9, 10]);
    stream.caught_up().await;
    // A new epoch that lost nothing shows no gap.
    let receipt = publisher.client().publish(text("kept", "11")).await.expect("published").into_inner();
    assert_eq!(receipt.sequence, 11);
    assert_eq!(text_of(&stream.message().await), "11");

    let mut whole = subscriber.stream(StreamMessagesRequest { after: vec![started], ..pattern("k*") }).await;
    whole.started().await;
    assert_eq!(sequences(&whole.messages(11).await), (1..=11).collect::<Vec<_>>());
    publisher.stop();
    subscriber.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_outlives_a_restart_of_redis() {
    let mut redis = RedisServer::start_with(&DURABLE);
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    let mut stream = subscriber.stream(channel("through")).await;
    stream.started().await;
    stream.caught_up().await;
    for round in 0..3 {
        for n in 1..=5 {
            publish_until_it_works(&publisher, &format!("{round}:{n}")).await;
        }
        let texts: Vec<_> = stream.messages(5).await.iter().map(|message| text_of(message).to_owned()).collect();
        assert_eq!(texts, (1..=5).map(|n| format!("{round}:{n}")).collect::<Vec<_>>());
        redis.restart();
    }
    publisher.stop();
    subscriber.stop();
}

/// As a client should: the id makes repeats safe.
async fn publish_until_it_works(publisher: &Publisher, message: &str) {
    let mut request = text("through", message);
    request.message_id = uuid::Uuid::now_v7().to_string();
    for _ in 0..200 {
        if publisher.client().publish(request.clone()).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("Redis is back, and the publisher does not find it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_works_on_another_replica() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let one = Subscriber::start(&redis.url(), &[]).await;
    let other = Subscriber::start(&redis.url(), &[]).await;
    let mut stream = one.stream(channel("moving")).await;
    let mut cursor = stream.started().await;
    for n in 1..=6 {
        publisher.client().publish(text("moving", n.to_string())).await.expect("published");
    }
    for n in 1..=6 {
        let replica = if n % 2 == 0 { &one } else { &other };
        let mut stream = replica.stream(StreamMessagesRequest { after: vec![cursor], ..channel("moving") }).await;
        stream.started().await;
        let message = stream.message().await;
        assert_eq!(message.sequence, n);
        cursor = message.cursor;
    }
    assert_eq!(one.list("moving").await, other.list("moving").await);
    publisher.stop();
    one.stop();
    other.stop();
}
