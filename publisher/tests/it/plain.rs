//! What plain Redis programs read of what is published.

use std::time::Duration;

use tidings_testing::{Publisher, RedisServer, text};
use tokio_stream::StreamExt as _;

#[tokio::test(flavor = "multi_thread")]
async fn plain_programs_read_ordinary_json() {
    let redis = RedisServer::start();
    let client = redis::Client::open(redis.url()).expect("a URL");
    let mut plain = client.get_async_pubsub().await.expect("connected");
    plain.subscribe("orders").await.expect("subscribed");
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let receipt = publisher.client().publish(text("orders", "hello")).await.expect("published").into_inner();
    let pushed = tokio::time::timeout(Duration::from_secs(5), plain.on_message().next()).await.expect("in time");
    let pushed: String = pushed.expect("a message").get_payload().expect("text");
    let object: serde_json::Value = serde_json::from_str(&pushed).expect("JSON");
    assert_eq!(object["id"], receipt.message_id);
    assert_eq!(object["message"], "hello");
    assert_eq!(object["sequence"], 1);
    assert_eq!(object["epoch"], receipt.epoch);
    let date = object["date"].as_str().expect("a text");
    assert!(date.len() == 24 && date.ends_with('Z'), "{date}");
    assert_eq!(object.as_object().expect("an object").len(), 5, "{pushed}");
    publisher.stop();
}
