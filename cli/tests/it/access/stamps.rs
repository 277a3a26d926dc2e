//! Messages say who published them: `tidings-subject`.

use std::collections::HashMap;

use tidings::{
    limits::ATTRIBUTES,
    pb::{PublishBatchRequest, PublishRequest, PublishStreamRequest, StreamMessagesRequest},
};
use tidings_testing::RedisServer;
use tonic::transport::{Channel, Endpoint};

use super::{keys::Keys, refs, signed};
use crate::harness::{Publisher, Served, Stream, Subscriber, text};

const SUBJECT: &str = "tidings-subject";

/// A message with all attributes that a client may set.
fn full(channel: &str, text_of_it: &str) -> PublishRequest {
    let attributes: HashMap<_, _> = (0..ATTRIBUTES).map(|n| (format!("key-{n}"), "value".to_owned())).collect();
    PublishRequest { attributes, ..text(channel, text_of_it) }
}

/// Publishes in every way, and reads it live and from the log.
async fn publish_and_read(
    publisher: Channel,
    subscriber: Channel,
    token: Option<&str>,
) -> Vec<(Option<String>, usize)> {
    use tidings::pb::{
        publisher_service_client::PublisherServiceClient, subscriber_service_client::SubscriberServiceClient,
    };
    fn with<T>(token: Option<&str>, message: T) -> tonic::Request<T> {
        match token {
            Some(token) => signed(token, message),
            None => tonic::Request::new(message),
        }
    }
    let (mut publisher, mut subscriber) =
        (PublisherServiceClient::new(publisher), SubscriberServiceClient::new(subscriber));
    let earliest = || StreamMessagesRequest { channel: "a".to_owned(), earliest: true, ..Default::default() };
    let live = subscriber.stream_messages(with(token, earliest())).await.expect("allowed").into_inner();
    publisher.publish(with(token, full("a", "one"))).await.expect("published");
    let batch = PublishBatchRequest { channel: "a".to_owned(), requests: vec![full("", "two"), full("", "three")] };
    publisher.publish_batch(with(token, batch)).await.expect("published");
    let requests = ["four", "five"].map(|text| PublishStreamRequest { request: Some(full("a", text)) });
    let answers = publisher.publish_stream(with(token, tokio_stream::iter(requests))).await.expect("open");
    let mut answers = answers.into_inner();
    while answers.message().await.expect("no error").is_some() {}
    let replayed = subscriber.stream_messages(with(token, earliest())).await.expect("allowed").into_inner();
    let mut read = Vec::new();
    for stream in [live, replayed] {
        let mut stream = Stream::new(stream);
        stream.started().await;
        let mut found = 0;
        while found < 5 {
            if let tidings::pb::stream_messages_response::Event::Message(message) = stream.next().await {
                found += 1;
                assert!(matches!(message.payload, Some(tidings::pb::message::Payload::Text(_))), "{message:?}");
                read.push((message.attributes.get(SUBJECT).cloned(), message.attributes.len()));
            }
        }
    }
    read
}

async fn channel_to(address: &str) -> Channel {
    Endpoint::from_shared(address.to_owned()).expect("an address").connect().await.expect("it listens")
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_say_who_published_them_on_every_path_and_both_brokers() {
    let keys = Keys::new();
    let token = keys.token("alice@example.com", &["*"], &["*"]);
    let stamped = vec![(Some("alice@example.com".to_owned()), ATTRIBUTES + 1); 10];
    for more in [&[][..], &["--no-fast-path"]] {
        let served = Served::start(&refs(&keys.args(more)));
        let (publisher, subscriber) = (channel_to(&served.publisher).await, channel_to(&served.subscriber).await);
        assert_eq!(publish_and_read(publisher, subscriber, Some(&token)).await, stamped, "embedded");
        served.stop();

        let redis = RedisServer::start();
        let publisher = Publisher::start(&redis.url(), &refs(&keys.args(more))).await;
        let subscriber = Subscriber::start(&redis.url(), &refs(&keys.args(more))).await;
        let [to_publisher, to_subscriber] =
            [publisher.address, subscriber.address].map(|address| format!("http://{address}"));
        let channels = (channel_to(&to_publisher).await, channel_to(&to_subscriber).await);
        assert_eq!(publish_and_read(channels.0, channels.1, Some(&token)).await, stamped, "Redis");
        publisher.stop();
        subscriber.stop();
    }
    // Where nobody signs in, there is nobody to name.
    let served = Served::start(&[]);
    let (publisher, subscriber) = (channel_to(&served.publisher).await, channel_to(&served.subscriber).await);
    assert_eq!(publish_and_read(publisher, subscriber, None).await, vec![(None, ATTRIBUTES); 10]);
    served.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_can_say_so() {
    let (redis, keys) = (RedisServer::start(), Keys::new());
    let publisher = Publisher::start(&redis.url(), &refs(&keys.args(&[]))).await;
    let subscriber = Subscriber::start(&redis.url(), &refs(&keys.args(&["--capture", "captured"]))).await;
    let token = keys.token("alice", &["*"], &["*"]);
    for key in [SUBJECT, "Tidings-Subject", "TIDINGS-SUBJECT"] {
        let attributes = HashMap::from([(key.to_owned(), "root".to_owned())]);
        let request = PublishRequest { attributes, ..text("a", "x") };
        let refused = publisher.client().publish(signed(&token, request)).await.expect_err(key);
        assert_eq!(super::reason(&refused), "RESERVED_ATTRIBUTE", "{key}");
    }
    // What a plain Redis program writes there is dropped, captured or not.
    let mut streams = Vec::new();
    for channel in ["plain", "captured"] {
        let request = StreamMessagesRequest { channel: channel.to_owned(), ..Default::default() };
        let mut stream = Stream::new(
            subscriber.client().stream_messages(signed(&token, request)).await.expect("allowed").into_inner(),
        );
        stream.started().await;
        stream.caught_up().await;
        streams.push((channel, stream));
    }
    for (channel, mut stream) in streams {
        let forged = r#"{"message":"x","attributes":{"tidings-subject":"root","a":"b"}}"#;
        redis.command(&["PUBLISH", channel, forged]);
        let message = stream.message().await;
        assert_eq!(message.attributes, HashMap::from([("a".to_owned(), "b".to_owned())]), "{channel}");
    }
    publisher.stop();
    subscriber.stop();
}
