//! However many streams follow a topic, Redis has one subscription for it, and none soon after the last has gone.

use std::time::Duration;

use tidings_testing::{RedisServer, Stream, Subscriber, channel, pattern, text_of};
use tokio::time::sleep;

/// The numbers in a raw reply to a PUBSUB command.
fn subscriptions(redis: &RedisServer) -> (String, String) {
    let channels = redis.command(&["PUBSUB", "NUMSUB", "shared"]);
    let patterns = redis.command(&["PUBSUB", "NUMPAT"]);
    (channels.rsplit(':').next().unwrap_or_default().to_owned(), patterns.trim_start_matches(':').to_owned())
}

fn numbers(channels: &str, patterns: &str) -> (String, String) {
    (channels.to_owned(), patterns.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_a_topic_share_one_redis_subscription() {
    let redis = RedisServer::start();
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    let mut streams: Vec<Stream> = Vec::new();
    for _ in 0..20 {
        streams.push(subscriber.stream(channel("shared")).await);
        streams.push(subscriber.stream(pattern("sh*")).await);
    }
    assert_eq!(subscriptions(&redis), numbers("1", "1"));
    redis.command(&["PUBLISH", "shared", "to all"]);
    for stream in &mut streams {
        stream.started().await;
        stream.caught_up().await;
        assert_eq!(text_of(&stream.message().await), "to all");
    }
    drop(streams);
    for _ in 0..100 {
        if subscriptions(&redis) == numbers("0", "0") {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("the last stream's end did not release the subscriptions: {:?}", subscriptions(&redis));
}
