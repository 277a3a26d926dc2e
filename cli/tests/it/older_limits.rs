//! A log that was written when clients' limits were higher: they may be lowered, and what is there is read as before.

use tidings::{
    limits::{
        READ_ATTRIBUTE_KEY_BYTES, READ_ATTRIBUTE_VALUE_BYTES, READ_ATTRIBUTES, READ_MESSAGE_BYTES,
        READ_ORDERING_KEY_BYTES,
    },
    pb::{Message, StreamMessagesRequest},
};
use tidings_testing::RedisServer;

use crate::harness::{Publisher, Stream, Subscriber, channel, pattern, text, text_of};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_under_higher_limits_is_listed_and_streamed_whole() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    let receipt = publisher.client().publish(text("old", "now")).await.expect("published").into_inner();
    let attributes: Vec<String> = (0..READ_ATTRIBUTES)
        .map(|n| format!(r#""{n:0READ_ATTRIBUTE_KEY_BYTES$}":"{}""#, "v".repeat(READ_ATTRIBUTE_VALUE_BYTES)))
        .collect();
    let json = |message: &str| {
        format!(
            r#"{{"id":"0192d3a4-5b6c-7d8e-9f01-23456789abcd","message":"{message}","date":"2026-11-24T12:00:00.000Z","sequence":1,"epoch":"{}","attributes":{{{}}},"ordering_key":"{}"}}"#,
            receipt.epoch,
            attributes.join(","),
            "k".repeat(READ_ORDERING_KEY_BYTES),
        )
    };
    // As large as any was.
    let message = "x".repeat(READ_MESSAGE_BYTES - json("").len());
    redis.command(&["DEL", "tidings:{old}:log"]);
    redis.command(&["XADD", "tidings:{old}:log", "1-1", "t", "1795521600000", "b", "1048576", "m", &json(&message)]);

    let is_whole = |read: &Message| {
        assert_eq!((read.sequence, text_of(read) == message), (1, true));
        assert_eq!((read.attributes.len(), read.ordering_key.len()), (READ_ATTRIBUTES, READ_ORDERING_KEY_BYTES));
        assert!(read.attributes.iter().all(|(key, value)| {
            (key.len(), value.len()) == (READ_ATTRIBUTE_KEY_BYTES, READ_ATTRIBUTE_VALUE_BYTES)
        }));
    };
    let listed = subscriber.list("old").await;
    assert_eq!(listed.len(), 1);
    is_whole(&listed[0]);
    for request in [channel("old"), pattern("ol*")] {
        let request = StreamMessagesRequest { earliest: true, ..request };
        let mut stream = Stream::open(subscriber.client(), request).await;
        stream.started().await;
        is_whole(&stream.message().await);
    }
    publisher.stop();
    subscriber.stop();
}
