//! What plain Redis programs publish, between what comes from a publisher.

use tidings_testing::RedisServer;

use crate::harness::{House, channel, text, text_of};

#[tokio::test(flavor = "multi_thread")]
async fn plain_and_numbered_messages_live_side_by_side() {
    let redis = RedisServer::start();
    let client = redis::Client::open(redis.url()).expect("a URL");
    let mut plain = client.get_multiplexed_async_connection().await.expect("connected");
    let house = House::on(redis).await;
    let mut stream = house.stream(channel("mixed")).await;
    stream.started().await;
    stream.caught_up().await;
    for n in 1..=20 {
        let _: i64 = redis::cmd("PUBLISH")
            .arg("mixed")
            .arg(format!("plain {n}"))
            .query_async(&mut plain)
            .await
            .expect("published");
        house.publish(text("mixed", format!("numbered {n}"))).await;
    }
    for n in 1..=20 {
        let (first, second) = (stream.message().await, stream.message().await);
        assert_eq!((first.sequence, text_of(&first)), (0, format!("plain {n}").as_str()));
        assert_eq!((second.sequence, text_of(&second)), (n, format!("numbered {n}").as_str()));
        // The cursor of an unnumbered message is that of its predecessor.
        if n == 1 {
            continue;
        }
        assert!(!first.cursor.is_empty() && first.cursor != second.cursor);
    }
    house.stop().await;
}
