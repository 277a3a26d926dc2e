//! What the names, patterns and lists of some cost everybody else.

use std::{
    cell::Cell,
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tidings::pb::{
    ListChannelsRequest, PublishRequest, PublishStreamRequest, publish_stream_response::Result as Outcome,
    publisher_service_client::PublisherServiceClient, stream_messages_response::Event,
    subscriber_service_client::SubscriberServiceClient,
};
use tidings_testing::RedisServer;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use uuid::Uuid;

use crate::harness::{
    House, Served, Stream, TEST_TIMEOUT, channel, connect, on_both_brokers, pattern, text, with_fast_paths,
};

on_both_brokers!(lists_with_costly_patterns_hold_nobody_up);

/// Publishes a message on each of these channels. Of many at once on a busy machine some are answered with an error:
/// they are repeated, by their ids.
async fn fill(mut publisher: PublisherServiceClient<Channel>, names: impl Iterator<Item = String>) {
    let message = |name: String| PublishRequest { message_id: Uuid::now_v7().to_string(), ..text(&name, "x") };
    let mut left: Vec<_> = names.map(message).collect();
    let deadline = Instant::now() + 6 * TEST_TIMEOUT;
    while !left.is_empty() {
        let requests: Vec<_> =
            left.iter().map(|request| PublishStreamRequest { request: Some(request.clone()) }).collect();
        let mut answers = publisher.publish_stream(tokio_stream::iter(requests)).await.expect("open").into_inner();
        let mut refused = Vec::new();
        for request in left {
            let answer = answers.message().await.expect("open").expect("an answer each").result.expect("a result");
            if let Outcome::Error(error) = answer {
                assert!(Instant::now() < deadline, "{error:?}");
                refused.push(request);
            }
        }
        left = refused;
    }
}

/// A well-behaved client, which publishes every 10 ms until it is stopped: how long its publishes took, in order.
async fn publishes(house: &House, stop: &CancellationToken) -> Vec<Duration> {
    let mut took = Vec::new();
    while !stop.is_cancelled() {
        let begun = Instant::now();
        house.publish(text("well.behaved", "x")).await;
        took.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    took.sort();
    took
}

/// The longest names, and a pattern that a matcher which goes back tries 127 times at each of their bytes. One such
/// list held the embedded broker for longer than all of this takes.
async fn lists_with_costly_patterns_hold_nobody_up(house: &House) {
    const NAMES: usize = 1_500;
    fill(house.publisher(), (0..NAMES).map(|n| format!("{}{n:05}", "a".repeat(249)))).await;
    let list = async |pattern: String| {
        let request = ListChannelsRequest { pattern, page_size: 1, ..ListChannelsRequest::default() };
        let begun = Instant::now();
        let page = house.subscriber().list_channels(request).await.expect("listed").into_inner();
        (page.channels.len(), begun.elapsed())
    };
    let (costly, cheap) = (format!("*{}b", "a".repeat(126)), format!("*{}b", "c".repeat(126)));
    let stop = CancellationToken::new();
    let lists = async {
        list(cheap.clone()).await;
        let mut times = (Duration::MAX, Duration::MAX);
        for _ in 0..3 {
            let (found, took) = list(costly.clone()).await;
            assert_eq!(found, 0);
            times = (times.0.min(took), times.1.min(list(cheap.clone()).await.1));
        }
        // The first page of all is one name, however many there are.
        assert_eq!(list("a*".to_owned()).await.0, 1);
        stop.cancel();
        times
    };
    let ((costly, cheap), took) = tokio::join!(lists, publishes(house, &stop));
    assert!(costly < 5 * cheap, "{costly:?} where another pattern takes {cheap:?}");
    let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
    assert!(median < Duration::from_millis(200) && longest < Duration::from_secs(2), "{median:?}, {longest:?}");
}

/// Both services in a process whose callers are not limited, with a client of each.
struct Unlimited {
    served: Served,
    publisher: PublisherServiceClient<Channel>,
    subscriber: SubscriberServiceClient<Channel>,
}

impl Unlimited {
    async fn start(args: &[&str]) -> Self {
        let unlimited = ["--caller-max-patterns=10000", "--caller-new-channels=1000000"];
        let served = Served::start(&[args, &unlimited].concat());
        let to = |address: &str| connect(address.trim_start_matches("http://").parse().expect("an address"));
        let publisher = PublisherServiceClient::new(to(&served.publisher).await);
        let subscriber = SubscriberServiceClient::new(to(&served.subscriber).await);
        Self { served, publisher, subscriber }
    }

    async fn publish(&self, name: &str, payload: impl Into<String>) {
        self.publisher.clone().publish(text(name, payload)).await.expect("published");
    }
}

/// Embedded, `--redis-url` or not.
async fn on_each_broker(attack: impl AsyncFn(&Unlimited, Option<&RedisServer>)) {
    let embedded = Unlimited::start(&[]).await;
    attack(&embedded, None).await;
    drop((embedded.publisher, embedded.subscriber));
    embedded.served.stop();
    let redis = RedisServer::start();
    let on_redis = Unlimited::start(&["--redis-url", &redis.url()]).await;
    attack(&on_redis, Some(&redis)).await;
    drop((on_redis.publisher, on_redis.subscriber));
    on_redis.served.stop();
}

/// Large messages that 200 patterns match came to a copy for each pattern: from 28 to 683 MB, and on Redis the live
/// connection was lost time and again. While the channel was new to them, each pattern held a copy of its own until the
/// head was known: up to 136 MB, and most of them lost theirs. How much is held at most depends also on how busy the
/// machine is: the least of three runs counts. Without the fast paths each stream encodes for itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_message_is_held_once_however_many_patterns_match() {
    const MOST_KIB: u64 = 64 << 10;
    let least = Cell::new([u64::MAX; 2]);
    for _ in 0..3 {
        on_each_broker(async |it, redis| {
            let held = follow_large_messages(it, redis).await;
            let mut known = least.get();
            let of = &mut known[usize::from(redis.is_some())];
            *of = held.min(*of);
            least.set(known);
        })
        .await;
        if !with_fast_paths() || least.get().iter().all(|held| *held < MOST_KIB) {
            return;
        }
    }
    panic!("{:?} KiB on the embedded broker and on Redis", least.get());
}

/// How much memory it takes at most, in KiB.
async fn follow_large_messages(it: &Unlimited, redis: Option<&RedisServer>) -> u64 {
    const MESSAGES: i64 = 6;
    let mut streams = Vec::new();
    for n in 0..200 {
        let glob = format!("big{}*", "?".repeat(n % 8) + &"*".repeat(n / 8));
        let mut stream = Stream::open(it.subscriber.clone(), pattern(&glob)).await;
        stream.started().await;
        streams.push(stream);
    }
    let before = it.served.process.resident_kib();
    for _ in 0..MESSAGES {
        it.publish("big.channel", "x".repeat(700_000)).await;
    }
    // All at once: they share a connection, whose window what nobody reads would fill.
    for messages in join_all(streams.iter_mut().map(|stream| stream.messages(MESSAGES as usize))).await {
        let sequences: Vec<_> = messages.iter().map(|message| message.sequence).collect();
        assert_eq!(sequences, (1..=MESSAGES).collect::<Vec<_>>());
    }
    let output = it.served.process.output();
    assert!(!output.contains("too much waits for the channel's head"), "{output}");
    if let Some(redis) = redis {
        assert_eq!(redis.command(&["PUBSUB", "NUMPAT"]), ":1");
        assert!(!output.contains("only the live connection to Redis was closed"), "{output}");
    }
    it.served.process.most_resident_kib().saturating_sub(before)
}

/// More channels than a stream of a pattern could once follow, all created by somebody else.
#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_stream_outlives_channels_that_others_create() {
    const STRANGE: usize = 10_050;
    on_each_broker(async |it, _| {
        it.publish("orders.mine", "1").await;
        let mut stream = Stream::open(it.subscriber.clone(), pattern("orders.*")).await;
        stream.started().await;
        fill(it.publisher.clone(), (0..STRANGE).map(|n| format!("orders.strange{n}"))).await;
        it.publish("orders.mine", "2").await;
        let mut seen = BTreeSet::new();
        while seen.len() < STRANGE + 1 {
            if let Event::Message(message) = stream.next_event().await {
                assert_eq!(message.sequence, if message.channel == "orders.mine" { 2 } else { 1 });
                assert!(seen.insert(message.channel.clone()), "{} twice", message.channel);
            }
        }
        // Whoever was cut off comes back.
        let mut again = Stream::open(it.subscriber.clone(), pattern("orders.*")).await;
        again.started().await;
        again.caught_up().await;
        it.publish("orders.mine", "3").await;
        for stream in [&mut stream, &mut again] {
            let message = stream.message().await;
            assert_eq!((message.channel.as_str(), message.sequence), ("orders.mine", 3));
        }
    })
    .await;
}

/// A subscriber that reads too slowly for Redis is named in its log, and its streams miss nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_live_connection_that_redis_ends_alone_is_named_in_the_log() {
    let redis = RedisServer::start();
    let it = Unlimited::start(&["--redis-url", &redis.url()]).await;
    let mut stream = Stream::open(it.subscriber.clone(), channel("slow")).await;
    stream.started().await;
    it.publish("slow", "1").await;
    assert_eq!(stream.messages(1).await[0].sequence, 1);
    // The next message is over it, and nothing else is: Redis takes 16 KiB at a time for what waits.
    redis.command(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 512kb 512kb 60"]);
    it.publish("slow", "x".repeat(900_000)).await;
    assert_eq!(stream.messages(1).await[0].sequence, 2);
    it.served.process.wait_for_output("only the live connection to Redis was closed");
    drop(stream);
    it.served.stop();
}
