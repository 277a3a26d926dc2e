//! What plain Redis programs publish reaches streams, whatever the bytes.

use std::time::Duration;

use tidings::pb::{StreamMessagesRequest, message::Payload};
use tidings_testing::{RedisServer, Subscriber, channel, pattern, text_of};

#[tokio::test(flavor = "multi_thread")]
async fn any_bytes_on_a_channel_reach_streams() {
    let redis = RedisServer::start();
    let client = redis::Client::open(redis.url()).expect("a URL");
    let mut plain = client.get_multiplexed_async_connection().await.expect("connected");
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    let mut by_name = subscriber.stream(channel("plain")).await;
    let mut by_pattern = subscriber.stream(pattern("pl*")).await;
    for stream in [&mut by_name, &mut by_pattern] {
        stream.started().await;
        stream.caught_up().await;
    }
    let json = |text: &str| Payload::Json(text.to_owned());
    let deep = "[".repeat(50_000) + &"]".repeat(50_000);
    let cases: Vec<(Vec<u8>, Payload)> = vec![
        (b"hello".to_vec(), Payload::Text("hello".to_owned())),
        (Vec::new(), Payload::Text(String::new())),
        (b"\xff\x00\xfe".to_vec(), Payload::Data(b"\xff\x00\xfe".to_vec().into())),
        (b"{\"a\": 1.10}".to_vec(), json("{\"a\": 1.10}")),
        (b"{\"message\":\"hi\",\"date\":\"10/11/2023\"}".to_vec(), Payload::Text("hi".to_owned())),
        (b"{\"message\":{\"n\":9007199254740993}}".to_vec(), json("{\"n\":9007199254740993}")),
        (b"{\"message\":\"x\",\"encoding\":\"odd\"}".to_vec(), json("{\"message\":\"x\",\"encoding\":\"odd\"}")),
        (b"{\"message\":1,\"message\":2}".to_vec(), json("{\"message\":1,\"message\":2}")),
        (b"{\"message\":\"x\",\"sequence\":9,\"epoch\":\"00000000000000ff\"}".to_vec(), Payload::Text("x".to_owned())),
        (b"{\"message\"".to_vec(), Payload::Text("{\"message\"".to_owned())),
        (deep.clone().into_bytes(), json(&deep)),
    ];
    for (bytes, expected) in cases {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        let _: i64 =
            redis::cmd("PUBLISH").arg("plain").arg(&bytes[..]).query_async(&mut plain).await.expect("published");
        for stream in [&mut by_name, &mut by_pattern] {
            let message = stream.message().await;
            assert_eq!(message.payload, Some(expected.clone()), "{shown}");
            assert_eq!((message.channel.as_str(), message.sequence), ("plain", 0), "{shown}");
            assert!(uuid::Uuid::parse_str(&message.message_id).is_ok() && message.publish_time.is_some(), "{shown}");
            assert_eq!(
                message.attributes.contains_key("tidings-original-date"),
                shown.contains("10/11/2023"),
                "{shown}"
            );
        }
    }
    // Over the limit: passed over, and nothing else suffers.
    let large = vec![b'x'; (1 << 20) + 1];
    let _: i64 = redis::cmd("PUBLISH").arg("plain").arg(large).query_async(&mut plain).await.expect("published");
    // No name of a channel of ours: not delivered to patterns.
    let _: i64 = redis::cmd("PUBLISH").arg("pl bad").arg("x").query_async(&mut plain).await.expect("published");
    let _: i64 = redis::cmd("PUBLISH").arg("plain").arg("after").query_async(&mut plain).await.expect("published");
    for stream in [&mut by_name, &mut by_pattern] {
        assert_eq!(text_of(&stream.message().await), "after");
        stream.is_quiet(Duration::from_millis(100)).await;
    }
    assert!(subscriber.list("plain").await.is_empty());
    subscriber.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_messages_do_not_prevent_resuming_a_pattern() {
    let redis = RedisServer::start();
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    let mut stream = subscriber.stream(pattern("p.*")).await;
    let started = stream.started().await;
    stream.caught_up().await;
    redis.command(&["PUBLISH", "p.plain", "hello"]);
    let message = stream.message().await;
    let after = vec![started, message.cursor];
    let mut resumed = subscriber.stream(StreamMessagesRequest { after, ..pattern("p.*") }).await;
    resumed.started().await;
    resumed.caught_up().await;
    redis.command(&["PUBLISH", "p.plain", "again"]);
    assert_eq!(text_of(&resumed.message().await), "again");
    subscriber.stop();
}
