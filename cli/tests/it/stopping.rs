//! SIGTERM: who is told what, what is answered, and how soon the process is gone.

use std::time::{Duration, Instant};

use tidings::pb::{
    PublishBatchRequest, PublishRequest, PublishStreamRequest, StreamMessagesRequest,
    publish_stream_response::Result as Outcome, publisher_service_client::PublisherServiceClient,
    stream_messages_response::Event, subscriber_service_client::SubscriberServiceClient,
};
use tidings_testing::RedisServer;
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::harness::{
    PATIENCE, Peer, Process, Publisher, Served, Stream, Subscriber, channel, connect, pattern, reason, sequences, text,
};

const STREAM: &str = "/tidings.v1.SubscriberService/StreamMessages";
/// What ending may take beside the time that calls have: measured from outside, on a machine that is busy with other things.
const SLACK: Duration = Duration::from_millis(1_000);

/// Waits for a process that was told to stop, which must end well and in time.
fn ends_within(process: &mut Process, told: Instant, time: Duration) {
    let status = process.wait(PATIENCE);
    assert!(status.success(), "{status:?}");
    let took = told.elapsed();
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
        let told = timeout(PATIENCE, watched.message()).await.expect("in time");
        told.expect("no error").map(|told| told.status())
    };
    assert_eq!(health().await, Some(ServingStatus::Serving));

    let told = Instant::now();
    subscriber.process.signal("TERM");
    assert_eq!(health().await, Some(ServingStatus::NotServing));
    assert_eq!(health().await, None);
    for mut stream in streams {
        let status = stream.end().await;
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "DRAINING"), "{status:?}");
    }
    assert!(told.elapsed() < SHUTDOWN, "none of them had to be cut: {:?}", told.elapsed());
    subscriber.client().stream_messages(channel("s0")).await.expect_err("no new streams");
    ends_within(&mut subscriber.process, told, SHUTDOWN);

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

/// What a reader got of one channel, and where it goes on.
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
                    // On a pattern it stands behind the cursor of the whole stream.
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
async fn the_last_cursor_before_a_stop_goes_on_without_loss_or_doubles() {
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
        let told = Instant::now();
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
        ends_within(&mut subscriber.process, told, Duration::ZERO);
        stops += 1;
    }
    assert!(stops >= 3, "it was stopped in the middle: {stops}");
    publishing.await.expect("no panic");
    publisher.stop();
}

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
            let mut told = Vec::new();
            loop {
                match answers.message().await {
                    Ok(Some(answer)) => told.push(match answer.result.expect("a result") {
                        Outcome::Response(_) => "OK".to_owned(),
                        Outcome::Error(error) => {
                            let code = Code::from_i32(error.code);
                            reason(&Status::with_details(code, "", prost::Message::encode_to_vec(&error).into()))
                        }
                    }),
                    Ok(None) => break,
                    Err(status) => {
                        told.push(format!("end {}", reason(&status)));
                        break;
                    }
                }
            }
            drop(requests);
            told
        });
        Self { single, stream }
    }

    /// What each of them was told; the last is the one on the new channel.
    async fn told(self) -> (Vec<String>, Vec<String>) {
        let mut single = Vec::new();
        for one in self.single {
            let answer = timeout(PATIENCE, one).await.expect("an answer in time").expect("no panic");
            single.push(answer.map_or_else(|status| reason(&status), |()| "OK".to_owned()));
        }
        (single, timeout(PATIENCE, self.stream).await.expect("an end in time").expect("no panic"))
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
    let told = Instant::now();
    publisher.process.signal("TERM");
    sleep(Duration::from_millis(500)).await;
    redis.resume();
    let (single, stream) = under_way.told().await;
    assert_eq!(single, vec!["OK"; EACH + 1]);
    assert_eq!(stream, [vec!["OK"; EACH], vec!["end NOT_PUBLISHED"]].concat());
    ends_within(&mut publisher.process, told, Duration::from_millis(500));
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
    let places = [format!("http://{}", publisher.address), both.publisher.clone()];
    let mut under_way = Vec::new();
    for place in &places {
        let channel = tonic::transport::Endpoint::from_shared(place.clone()).expect("a URL").connect().await;
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
    let told = Instant::now();
    publisher.process.signal("TERM");
    both.process.signal("TERM");
    for one in begun {
        let (mut single, stream) = one.told().await;
        assert!(told.elapsed() < shutdown + SLACK, "{:?}", told.elapsed());
        // The registry had not been told of it yet.
        assert_eq!(single.pop().as_deref(), Some("NOT_PUBLISHED"));
        // Those behind a call that is under way were not handed over.
        assert!(single.iter().all(|told| ["OUTCOME_UNKNOWN", "NOT_PUBLISHED"].contains(&told.as_str())), "{single:?}");
        assert!(single.iter().any(|told| told == "OUTCOME_UNKNOWN"), "{single:?}");
        assert_eq!(stream.len(), EACH + 1);
        assert_eq!(stream[EACH], "end NOT_PUBLISHED");
    }
    ends_within(&mut publisher.process, told, shutdown);
    ends_within(&mut both.process, told, shutdown);
    redis.resume();
}

/// Neither a reader that has stopped nor what it captures holds it up, and a stream that is being opened is told.
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
    let told = Instant::now();
    subscriber.process.signal("TERM");
    let refused = timeout(PATIENCE, opening).await.expect("in time").expect("no panic").expect_err("it stops");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "DRAINING"), "{refused:?}");
    ends_within(&mut subscriber.process, told, shutdown);
    redis.resume();
    publisher.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let redis = RedisServer::start();
    let mut publisher = Publisher::start(&redis.url(), &["--redis-timeout=60s", "--shutdown-timeout=60s"]).await;
    redis.pause();
    let mut client = publisher.client();
    let under_way = tokio::spawn(async move { client.publish(text("a", "hello")).await });
    sleep(Duration::from_millis(300)).await;
    publisher.process.signal("TERM");
    sleep(Duration::from_millis(500)).await;
    assert!(!publisher.process.has_ended(), "a publish is under way");
    publisher.process.signal("INT");
    assert_eq!(publisher.process.wait(Duration::from_secs(5)).code(), Some(130));
    under_way.await.expect("no panic").expect_err("cut");
    redis.resume();
}
