//! What plain programs publish, captured among what comes from a publisher.

use std::{collections::HashSet, time::Duration};

use futures_util::StreamExt as _;
use tidings::pb::{Message, message::Payload};
use tidings_testing::{RedisServer, burst, captured, listed, plain};
use tokio::time::timeout;

use crate::harness::{Publisher, Subscriber, TEST_TIMEOUT, channel, pattern, sequences, text};

#[tokio::test(flavor = "multi_thread")]
async fn every_stream_of_every_replica_gets_each_message_once() {
    let redis = RedisServer::start();
    let first = Subscriber::start(&redis.url(), &["--capture", "orders.eu"]).await;
    // The same channel by way of a pattern, and by both.
    let second = Subscriber::start(&redis.url(), &["--capture", "orders.*"]).await;
    let third = Subscriber::start(&redis.url(), &["--capture", "orders.*,orders.eu,*"]).await;
    captured(&redis, "orders.eu", 2).await;
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let mut streams = Vec::new();
    for subscriber in [&first, &second, &third] {
        for request in [channel("orders.eu"), pattern("orders.*"), pattern("*.eu")] {
            streams.push(subscriber.started_stream(request).await);
        }
    }
    let mut listening = redis::Client::open(redis.url()).expect("a URL").get_async_pubsub().await.expect("connected");
    listening.subscribe("orders.eu").await.expect("subscribed");

    const ROUNDS: usize = 60;
    let mut plain = plain(&redis).await;
    for round in 0..ROUNDS {
        let payloads = [
            format!("text {round}").into_bytes(),
            format!(r#"{{"id":{round},"message":"odd","date":"10/11/2023"}}"#).into_bytes(),
            format!(r#"{{"message":{{"round":{round}}}}}"#).into_bytes(),
            [&[0xff, 0x00, b'"', b'\n'], &round.to_be_bytes()[..]].concat(),
            // The same bytes each time.
            b"equal".to_vec(),
        ];
        burst(&mut plain, "orders.eu", payloads).await;
        publisher.client().publish(text("orders.eu", format!("published {round}"))).await.expect("published");
    }
    let count = 6 * ROUNDS;
    let log = listed(&first, "orders.eu", count).await;
    assert_eq!(sequences(&log), (1..=count as i64).collect::<Vec<_>>());
    let equal = |message: &&Message| message.payload == Some(Payload::Text("equal".to_owned()));
    assert_eq!(log.iter().filter(equal).count(), ROUNDS);
    let ids: HashSet<&str> = log.iter().map(|message| message.message_id.as_str()).collect();
    assert_eq!(ids.len(), count);
    for stream in &mut streams {
        assert_eq!(stream.messages(count).await, log);
    }
    for stream in &mut streams {
        stream.is_quiet(Duration::from_millis(100)).await;
    }
    // A plain subscriber sees what was published, and no notice among it.
    let mut received = listening.on_message();
    for _ in 0..count {
        let message = timeout(TEST_TIMEOUT, received.next()).await.expect("in time").expect("connected");
        assert_eq!(message.get_channel_name(), "orders.eu");
    }
    assert!(timeout(Duration::from_millis(100), received.next()).await.is_err());
    for subscriber in [first, second, third] {
        assert_eq!(subscriber.list("orders.eu").await, log);
        subscriber.stop();
    }
    publisher.stop();
}
