//! Connections whose peer is gone, frozen, slow or too many, and connections that have become too old.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tidings::pb::{PublishBatchRequest, StreamMessagesRequest, stream_messages_response::Event};
use tidings_testing::{RedisServer, free_port};
use tokio::time::{sleep, timeout};
use tonic::Code;

use crate::harness::{
    Peer, Process, Publisher, Stream, Subscriber, TEST_TIMEOUT, channel, pattern, reason, sequences, text, text_of,
};

const STREAM: &str = "/tidings.v1.SubscriberService/StreamMessages";
/// Keepalive as quick as the flags allow: a dead peer is noticed after two seconds.
const QUICK: [&str; 2] = ["--keepalive-interval=1s", "--keepalive-timeout=1s"];
/// The two of them together, and as much again and more for a machine that is busy with other things.
const NOTICED: Duration = Duration::from_secs(8);

/// A Redis, a publisher, and a subscriber with these flags; the channel `c` has one message.
async fn services(args: &[&str]) -> (RedisServer, Publisher, Subscriber) {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let subscriber = Subscriber::start(&redis.url(), args).await;
    publisher.client().publish(text("c", "the first")).await.expect("published");
    (redis, publisher, subscriber)
}

/// Publishes batches of 1 MB on `c`.
async fn flood(publisher: &Publisher, megabytes: usize) {
    for _ in 0..megabytes {
        let requests = (0..100).map(|n| text("", format!("{n:010000}"))).collect();
        let batch = PublishBatchRequest { channel: "c".to_owned(), requests };
        publisher.client().publish_batch(batch).await.expect("published");
    }
}

/// Waits until a process has as few file descriptors as before.
async fn descriptors_fall_to(process: &Process, expected: usize) {
    let began = Instant::now();
    while process.descriptors() > expected {
        assert!(began.elapsed() < TEST_TIMEOUT, "{} descriptors, expected {expected}", process.descriptors());
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_client_loses_its_stream() {
    let (_redis, publisher, subscriber) = services(&QUICK).await;
    let before = subscriber.process.descriptors();
    let address = format!("--subscriber=http://{}", subscriber.address);
    let mut client = Process::start("tidings", &["tail".to_owned(), "c".to_owned(), address]);
    subscriber.has_subscribers("c", 1).await;
    // One that answers pings stays.
    sleep(Duration::from_secs(3)).await;
    assert_eq!(subscriber.subscribers("c").await, 1);
    client.signal("STOP");
    let took = subscriber.has_subscribers("c", 0).await;
    assert!(took < NOTICED, "{took:?}");
    descriptors_fall_to(&subscriber.process, before).await;
    assert!(!client.has_ended());
    publisher.stop();
    subscriber.stop();
}

/// It takes nothing off its socket, so not even a goodbye can be said to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_whose_socket_is_full_loses_its_stream() {
    let (_redis, publisher, subscriber) = services(&QUICK).await;
    let before = subscriber.process.descriptors();
    let mut peer = Peer::connect(subscriber.address).await;
    peer.greet().await;
    peer.call(1, STREAM, &channel("c")).await;
    peer.first_data(1).await;
    subscriber.has_subscribers("c", 1).await;
    // The kernel takes some megabytes for a peer that does not read.
    flood(&publisher, 12).await;
    let took = subscriber.has_subscribers("c", 0).await;
    assert!(took < NOTICED, "{took:?}");
    descriptors_fall_to(&subscriber.process, before).await;
    drop(peer);
    publisher.stop();
    subscriber.stop();
}

/// A shared connection whose calls all have short deadlines: the server sees their ends together with their beginnings.
#[tokio::test(flavor = "multi_thread")]
async fn as_many_calls_may_be_cancelled_as_may_be_open() {
    const CALLS: u32 = tidings::limits::CALLS_PER_CONNECTION;
    let (_redis, publisher, subscriber) = services(&QUICK).await;
    let mut peer = Peer::connect(subscriber.address).await;
    peer.greet().await;
    peer.call(1, STREAM, &channel("c")).await;
    peer.first_data(1).await;
    // It finds all of them at once when it continues.
    subscriber.process.signal("STOP");
    assert!(peer.call_and_cancel(3, CALLS, STREAM).await);
    subscriber.process.signal("CONT");
    let next = 3 + 2 * CALLS;
    peer.call(next, STREAM, &channel("c")).await;
    peer.first_data(next).await;
    drop(peer);
    publisher.stop();
    subscriber.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_cancelled_calls_is_cut() {
    let (_redis, publisher, subscriber) = services(&QUICK).await;
    let mut peer = Peer::connect(subscriber.address).await;
    peer.greet().await;
    let (mut first, mut is_open) = (1, true);
    for _ in 0..20 {
        is_open = is_open && peer.call_and_cancel(first, 5_000, STREAM).await;
        first += 10_000;
    }
    // What was in the air when it was closed may take the goodbye with it.
    loop {
        match peer.frame().await {
            Some(frame) if frame.is_goaway() => break,
            Some(_) => {}
            None => break,
        }
    }
    publisher.stop();
    subscriber.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_by_flow_control_only_stays() {
    const MEGABYTES: usize = 12;
    let (_redis, publisher, subscriber) = services(&QUICK).await;
    let mut idle = Stream::alone(subscriber.address, channel("c")).await;
    idle.started().await;
    flood(&publisher, MEGABYTES).await;
    // Three times as long as a frozen peer has.
    sleep(Duration::from_secs(6)).await;
    assert_eq!(subscriber.subscribers("c").await, 1);
    let all: Vec<i64> = (2..2 + 100 * MEGABYTES as i64).collect();
    assert_eq!(sequences(&idle.messages(all.len()).await), all);
    publisher.stop();
    subscriber.stop();
}

/// It logs that once, serves those that are there, finds Redis again, and takes the others in when there is room.
#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_the_process_may_have_wait_for_a_free_one() {
    const CONNECTIONS_MAX: usize = 50;
    let mut redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    publisher.client().publish(text("c", "the first")).await.expect("published");
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let args = [format!("--listen={address}"), format!("--redis-url={}", redis.url())];
    let process = Process::start_with_descriptors("tidings-subscriber", &args, 2 * CONNECTIONS_MAX);
    let mut here = Stream::alone(address, channel("c")).await;
    here.started().await;
    let mut others = Vec::new();
    for _ in 0..CONNECTIONS_MAX + 10 {
        let mut peer = Peer::connect(address).await;
        peer.greet().await;
        others.push(peer);
    }
    let warnings = || process.output().matches("no more connections can be taken").count();
    let began = Instant::now();
    while warnings() == 0 {
        assert!(began.elapsed() < TEST_TIMEOUT, "it says so");
        sleep(Duration::from_millis(20)).await;
    }
    let mut waiting = others.pop().expect("the last of them");
    assert!(timeout(Duration::from_millis(500), waiting.frame()).await.is_err(), "there is no room for it");
    redis.restart();
    let began = Instant::now();
    while publisher.client().publish(text("c", "the second")).await.is_err() {
        assert!(began.elapsed() < TEST_TIMEOUT, "the publisher finds Redis");
        sleep(Duration::from_millis(20)).await;
    }
    // What Redis lost is reported, and then it continues.
    while !matches!(here.next_event().await, Event::Message(message) if text_of(&message) == "the second") {}
    drop(others);
    waiting.call(1, STREAM, &channel("c")).await;
    waiting.first_data(1).await;
    assert_eq!(warnings(), 1, "{}", process.output());
    publisher.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_count_of_subscribers_is_true() {
    let (redis, publisher, subscriber) = services(&[]).await;
    for name in ["d", "cc"] {
        publisher.client().publish(text(name, "the first")).await.expect("published");
    }
    let counts = async || {
        let mut counts = Vec::new();
        for name in ["c", "d", "cc"] {
            counts.push(subscriber.subscribers(name).await);
        }
        counts
    };
    assert_eq!(counts().await, [0, 0, 0]);
    // Two on one connection, one by pattern on another; each is one subscriber of each channel that it follows.
    let (one, two) = (subscriber.stream(channel("c")).await, subscriber.stream(channel("c")).await);
    let by_pattern = Stream::alone(subscriber.address, pattern("c*")).await;
    let everywhere = Stream::alone(subscriber.address, pattern("*")).await;
    assert_eq!(counts().await, [4, 1, 2]);
    // A cancelled call.
    drop(one);
    subscriber.has_subscribers("c", 3).await;
    // A connection that is closed, one that is reset, and a stream that is refused.
    drop(by_pattern);
    subscriber.has_subscribers("cc", 1).await;
    let mut peer = Peer::connect(subscriber.address).await;
    peer.greet().await;
    for stream in [1, 3, 5] {
        peer.call(stream, STREAM, &channel("c")).await;
    }
    subscriber.has_subscribers("c", 5).await;
    peer.reset();
    subscriber.has_subscribers("c", 2).await;
    let refused = StreamMessagesRequest { after: vec!["no cursor".to_owned()], ..channel("c") };
    subscriber.client().stream_messages(refused).await.expect_err("no cursor");
    assert_eq!(counts().await, [2, 1, 1]);
    drop((two, everywhere));
    subscriber.has_subscribers("c", 0).await;
    assert_eq!(counts().await, [0, 0, 0]);
    let listening = || redis.command(&["PUBSUB", "NUMSUB", "c"]).ends_with(":1");
    let began = Instant::now();
    while listening() {
        assert!(began.elapsed() < TEST_TIMEOUT, "the last stream's end does not release the subscription");
        sleep(Duration::from_millis(50)).await;
    }
    publisher.stop();
    subscriber.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_a_connection_that_is_too_old_continue_with_their_cursor_on_a_new_one() {
    let (_redis, publisher, subscriber) = services(&["--max-connection-age=1s"]).await;
    let mut expected = 2;
    let mut cursor = None;
    let began = Instant::now();
    for _ in 0..3 {
        let request = StreamMessagesRequest { after: cursor.iter().cloned().collect(), ..channel("c") };
        let mut stream = Stream::alone(subscriber.address, request).await;
        let end = loop {
            match stream.try_next().await {
                Ok(Some(Event::Started(started))) => {
                    cursor = Some(started.cursor);
                    for n in 0..5 {
                        publisher.client().publish(text("c", n.to_string())).await.expect("published");
                    }
                }
                Ok(Some(Event::Message(message))) => {
                    assert_eq!(message.sequence, expected);
                    expected += 1;
                    cursor = Some(message.cursor);
                }
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream says why it ends"),
                Err(status) => break status,
            }
        };
        assert_eq!((end.code(), reason(&end).as_str()), (Code::Unavailable, "CONNECTION_AGED"), "{end:?}");
        assert!(end.message().contains("last cursor"), "{end:?}");
    }
    assert_eq!(expected, 17, "each stream had its five messages");
    assert!(began.elapsed() >= Duration::from_millis(2_700), "a tenth earlier at most: {:?}", began.elapsed());
    publisher.stop();
    subscriber.stop();
}
