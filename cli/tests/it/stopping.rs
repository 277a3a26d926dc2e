//! SIGTERM: what each client gets, what is answered, and how soon the process is gone.

use std::time::{Duration, Instant};

use tidings::pb::{
    PublishBatchRequest, StreamMessagesRequest, stream_messages_response::Event,
    subscriber_service_client::SubscriberServiceClient,
};
use tidings_testing::RedisServer;
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::harness::{
    Peer, Process, Publisher, Stream, Subscriber, TEST_TIMEOUT, channel, connect, pattern, reason, sequences, text,
};

mod under_way;

const STREAM: &str = "/tidings.v1.SubscriberService/StreamMessages";
/// What ending may take beside the time that calls have: measured from outside, on a machine that is busy with other
/// things.
const SLACK: Duration = Duration::from_millis(1_000);

/// Waits for a process that got a signal to stop, which must end well and in time.
fn ends_within(process: &mut Process, signalled: Instant, time: Duration) {
    let status = process.wait(TEST_TIMEOUT);
    assert!(status.success(), "{status:?}");
    let took = signalled.elapsed();
    assert!(took < time + SLACK, "it took {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_streams_and_readers_that_have_stopped_do_not_hold_it_up() {
    const SHUTDOWN: Duration = Duration::from_secs(4);
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let mut subscriber = Subscriber::start(&redis.url(), &["--shutdown-timeout=4s"]).await;
    let mut streams = Vec::new();
    for _ in 0..10 {
        let client = SubscriberServiceClient::new(connect(subscriber.address).await);
        for n in 0..100 {
            let mut stream = Stream::open(client.clone(), channel(&format!("s{}", n % 20))).await;
            stream.started().await;
            streams.push(stream);
        }
    }
    // Two have stopped: one reads its socket and not its stream, the other not even its socket.
    let mut stalled = Stream::alone(subscriber.address, channel("flood")).await;
    stalled.started().await;
    let mut frozen = Peer::connect(subscriber.address).await;
    frozen.greet().await;
    frozen.call(1, STREAM, &channel("flood")).await;
    frozen.first_data(1).await;
    for _ in 0..12 {
        let requests = (0..100).map(|n| text("", format!("{n:010000}"))).collect();
        let batch = PublishBatchRequest { channel: "flood".to_owned(), requests };
        publisher.client().publish_batch(batch).await.expect("published");
    }
    let mut watcher = HealthClient::new(connect(subscriber.address).await);
    let mut watched = watcher.watch(HealthCheckRequest::default()).await.expect("a stream").into_inner();
    let mut health = async || {
        let status = timeout(TEST_TIMEOUT, watched.message()).await.expect("in time");
        status.expect("no error").map(|status| status.status())
    };
    assert_eq!(health().await, Some(ServingStatus::Serving));

    let signalled = Instant::now();
    subscriber.process.signal("TERM");
    assert_eq!(health().await, Some(ServingStatus::NotServing));
    assert_eq!(health().await, None);
    for mut stream in streams {
        let status = stream.end().await;
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "DRAINING"), "{status:?}");
    }
    assert!(signalled.elapsed() < SHUTDOWN, "none of them had to be cut: {:?}", signalled.elapsed());
    subscriber.client().stream_messages(channel("s0")).await.expect_err("no new streams");
    ends_within(&mut subscriber.process, signalled, SHUTDOWN);

    // The stopped reader has what it has, and gets the rest elsewhere.
    let (mut received, mut cursor) = (Vec::new(), String::new());
    while let Ok(Some(event)) = stalled.try_next().await {
        if let Event::Message(message) = event {
            cursor = message.cursor.clone();
            received.push(message);
        }
    }
    assert!((1..1_200).contains(&received.len()), "it was cut in the middle: {}", received.len());
    let other = Subscriber::start(&redis.url(), &[]).await;
    let mut stream = other.stream(StreamMessagesRequest { after: vec![cursor], ..channel("flood") }).await;
    received.extend(stream.messages(1_200 - received.len()).await);
    assert_eq!(sequences(&received), (1..=1_200).collect::<Vec<_>>());
    drop(frozen);
    publisher.stop();
    other.stop();
}

/// What a reader got of one channel, and where it resumes.
struct Reader {
    request: StreamMessagesRequest,
    received: Vec<i64>,
}

impl Reader {
    /// Reads until the stream ends, or all has come.
    async fn read(&mut self, mut stream: Stream, all: usize) -> Option<Status> {
        while self.received.len() < all {
            let cursor = match stream.try_next().await {
                Ok(Some(Event::Message(message))) => {
                    self.received.push(message.sequence);
                    // On a pattern it comes after the cursor of the whole stream.
                    self.request.after.truncate(usize::from(!self.request.pattern.is_empty()));
                    message.cursor
                }
                Ok(Some(Event::Started(event))) => {
                    self.request.after.clear();
                    event.cursor
                }
                Ok(Some(Event::Gap(gap))) => panic!("nothing is missing: {gap:?}"),
                Ok(Some(_)) => continue,
                Ok(None) => panic!("the stream says why it ends"),
                Err(status) => return Some(status),
            };
            self.request.after.push(cursor);
        }
        None
    }
}

/// While messages come as fast as one publisher sends them, the subscriber is stopped and started again and again.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_cursor_before_a_stop_continues_without_loss_or_doubles() {
    const MESSAGES: usize = 1_500;
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let mut client = publisher.client();
    let publishing = tokio::spawn(async move {
        for n in 0..MESSAGES {
            client.publish(text("steady", n.to_string())).await.expect("published");
            sleep(Duration::from_millis(1)).await;
        }
    });
    let requests = [channel("steady"), pattern("st*"), channel("steady"), pattern("*")];
    let mut readers: Vec<Reader> = requests
        .map(|request| Reader { request: StreamMessagesRequest { earliest: true, ..request }, received: Vec::new() })
        .into();
    let mut stops = 0;
    while !readers.is_empty() {
        let mut subscriber = Subscriber::start(&redis.url(), &[]).await;
        let mut reading = Vec::new();
        for mut reader in readers.drain(..) {
            let stream = subscriber.stream(reader.request.clone()).await;
            reader.request.earliest = false;
            reading.push(tokio::spawn(async move {
                let end = reader.read(stream, MESSAGES).await;
                (reader, end)
            }));
        }
        sleep(Duration::from_millis(700)).await;
        let signalled = Instant::now();
        subscriber.process.signal("TERM");
        for reader in reading {
            let (reader, end) = reader.await.expect("no panic");
            match end {
                Some(status) => {
                    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "DRAINING"));
                    readers.push(reader);
                }
                None => assert_eq!(reader.received, (1..=MESSAGES as i64).collect::<Vec<_>>()),
            }
        }
        // Nobody held it up, so it did not wait.
        ends_within(&mut subscriber.process, signalled, Duration::ZERO);
        stops += 1;
    }
    assert!(stops >= 3, "it was stopped in the middle: {stops}");
    publishing.await.expect("no panic");
    publisher.stop();
}

/// Neither a reader that has stopped nor what it captures holds it up, and a stream that is being opened gets a status.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_whose_redis_hangs_is_gone_in_time() {
    let shutdown = Duration::from_secs(2);
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let args = ["--redis-timeout=30s", "--shutdown-timeout=2s"];
    let mut subscriber = Subscriber::start(&redis.url(), &args).await;
    let mut stalled = Stream::alone(subscriber.address, channel("channel1")).await;
    stalled.started().await;
    for _ in 0..8 {
        let requests = (0..100).map(|n| text("", format!("{n:010000}"))).collect();
        let batch = PublishBatchRequest { channel: "channel1".to_owned(), requests };
        publisher.client().publish_batch(batch).await.expect("published");
    }
    redis.pause();
    let mut client = SubscriberServiceClient::new(connect(subscriber.address).await);
    let opening = tokio::spawn(async move { client.stream_messages(channel("new")).await.map(|_| ()) });
    sleep(Duration::from_millis(500)).await;
    let signalled = Instant::now();
    subscriber.process.signal("TERM");
    let refused = timeout(TEST_TIMEOUT, opening).await.expect("in time").expect("no panic").expect_err("it stops");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "DRAINING"), "{refused:?}");
    ends_within(&mut subscriber.process, signalled, shutdown);
    redis.resume();
    publisher.stop();
}
