//! Several subscribers that capture the same channel, and plain programs beside them.

use super::{faults::live_links, *};

#[tokio::test(flavor = "multi_thread")]
async fn every_stream_of_every_replica_gets_each_message_once() {
    let redis = RedisServer::start();
    let first = capturing(&redis, "orders.eu", 1).await;
    // The same channel by way of a pattern, and by both.
    let second = Subscriber::start(&redis.url(), &["--capture", "orders.*"]).await;
    let third = Subscriber::start(&redis.url(), &["--capture", "orders.*,orders.eu,*"]).await;
    captured(&redis, "orders.eu", 2).await;
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let mut streams = Vec::new();
    for subscriber in [&first, &second, &third] {
        for request in [channel("orders.eu"), pattern("orders.*"), pattern("*.eu")] {
            streams.push(opened(subscriber, request).await);
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

/// Another replica continues where the one that adopts is killed.
#[tokio::test(flavor = "multi_thread")]
async fn when_the_adopting_replica_is_killed_nothing_is_lost_or_doubled() {
    let redis = RedisServer::start();
    let leader = capturing(&redis, "orders", 1).await;
    let mut plain = plain(&redis).await;
    burst(&mut plain, "orders", numbered(0..1)).await;
    listed(&leader, "orders", 1).await;
    let other = capturing(&redis, "orders", 2).await;
    let mut stream = opened(&other, StreamMessagesRequest { earliest: true, ..channel("orders") }).await;
    let mut leader = Some(leader);
    for begin in (1..10_001).step_by(500) {
        burst(&mut plain, "orders", numbered(begin..begin + 500)).await;
        if begin > 4_000 {
            // Without a word, wherever it is.
            drop(leader.take());
        }
    }
    assert_all(&stream.messages(10_001).await, 10_001);
    stream.is_quiet(Duration::from_millis(500)).await;
    other.stop();
}

/// What only one replica has received is adopted also while another holds the lease and keeps adopting.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_asks_for_the_lease_when_its_holder_never_received_a_message() {
    let redis = RedisServer::start();
    let holder = capturing(&redis, "orders", 1).await;
    let holders_link = live_links(&redis).pop().expect("it listens");
    let mut plain = plain(&redis).await;
    burst(&mut plain, "orders", [b"first".to_vec()]).await;
    listed(&holder, "orders", 1).await;
    let other = capturing(&redis, "orders", 2).await;
    // Both in one round trip: the holder has no time to come back in between.
    let mut pipeline = redis::pipe();
    pipeline.cmd("CLIENT").arg("KILL").arg("ID").arg(holders_link).ignore();
    pipeline.cmd("PUBLISH").arg("orders").arg("only the other received it").ignore();
    pipeline.query_async::<()>(&mut plain).await.expect("published");
    captured(&redis, "orders", 2).await;
    let deadline = Instant::now() + TEST_TIMEOUT;
    let mut sent = 0;
    loop {
        burst(&mut plain, "orders", numbered(sent..sent + 1)).await;
        sent += 1;
        sleep(Duration::from_millis(100)).await;
        if other.list("orders").await.iter().any(|message| text_of(message) == "only the other received it") {
            break;
        }
        assert!(Instant::now() < deadline, "it was never adopted");
    }
    assert!(sent > 10, "the holder continued meanwhile: {sent}");
    let log = listed(&holder, "orders", sent + 2).await;
    let different: HashSet<&str> = log.iter().map(text_of).collect();
    assert_eq!((log.len(), different.len()), (sent + 2, sent + 2));
    holder.stop();
    other.stop();
}
