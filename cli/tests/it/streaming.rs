//! Publish, list, stream: what a client sees from end to end, and every way to start.

use std::time::Duration;

use tidings::pb::{
    PublishBatchRequest, PublishRequest, PublishStreamRequest, StreamMessagesRequest, message,
    publish_request::Payload, publish_stream_response::Result as Outcome, stream_messages_response::Event,
};
use tokio_stream::{StreamExt, iter};
use tonic::Code;

use crate::harness::{House, channel, fields, on_both_brokers, sequences, text, text_of};

on_both_brokers!(
    what_is_published_is_streamed_and_listed,
    payloads_arrive_as_they_were_sent,
    batches_and_streams_publish_in_order,
    a_repeated_id_is_published_once,
    every_start_begins_where_it_says,
    after_a_cursor_comes_the_next_message,
    the_default_channel_needs_no_name,
);

async fn what_is_published_is_streamed_and_listed(house: &House) {
    let mut stream = house.stream(channel("orders")).await;
    stream.started().await;
    stream.caught_up().await;
    let receipt = house.publish(text("orders", "hello")).await;
    assert_eq!((receipt.channel.as_str(), receipt.sequence, receipt.duplicate), ("orders", 1, false));
    let message = stream.message().await;
    assert_eq!(text_of(&message), "hello");
    assert_eq!(message.message_id, receipt.message_id);
    assert_eq!(message.publish_time, receipt.publish_time);
    assert_eq!((message.sequence, &message.epoch), (1, &receipt.epoch));
    let orders = tidings::channel::Names::new("tidings", "").and_then(|names| names.parse("orders")).expect("a name");
    let position = |cursor: &str| tidings::cursor::decode_for(cursor, &orders).expect("a cursor").position;
    assert_eq!(position(&message.cursor), position(&receipt.cursor));
    assert_eq!(house.list("orders").await, [message]);
    stream.is_quiet(Duration::from_millis(200)).await;
}

async fn payloads_arrive_as_they_were_sent(house: &House) {
    let json = r#"{"z":1.10,"a":9007199254740993,  "deep":[[[1e400,-0.0]]],"s":"\u00e9\/"}"#;
    let payloads = [
        (
            Payload::Text("Grüße \u{0} \"\\\u{1f600}".to_owned()),
            message::Payload::Text("Grüße \u{0} \"\\\u{1f600}".to_owned()),
        ),
        (Payload::Json(json.to_owned()), message::Payload::Json(json.to_owned())),
        (Payload::Json("\"a string\"".to_owned()), message::Payload::Json("\"a string\"".to_owned())),
        (Payload::Json(" null\n".to_owned()), message::Payload::Json("null".to_owned())),
        (
            Payload::Data((0..=255).collect::<Vec<u8>>().into()),
            message::Payload::Data((0..=255).collect::<Vec<u8>>().into()),
        ),
        (Payload::Data(Vec::new().into()), message::Payload::Data(Vec::new().into())),
    ];
    let mut stream = house.stream(channel("payloads")).await;
    stream.started().await;
    stream.caught_up().await;
    for (payload, expected) in payloads {
        let request = PublishRequest {
            channel: "payloads".to_owned(),
            payload: Some(payload),
            attributes: [("k".to_owned(), "v\n".to_owned()), ("leer".to_owned(), String::new())].into(),
            ordering_key: "key".to_owned(),
            ..PublishRequest::default()
        };
        house.publish(request.clone()).await;
        let message = stream.message().await;
        assert_eq!(message.payload, Some(expected));
        assert_eq!((message.attributes, message.ordering_key), (request.attributes, request.ordering_key));
    }
}

async fn batches_and_streams_publish_in_order(house: &House) {
    let requests = (1..=300).map(|n| text("", format!("b{n}"))).collect();
    let batch = PublishBatchRequest { channel: "batch".to_owned(), requests };
    let answer = house.publisher().publish_batch(batch).await.expect("published").into_inner();
    assert_eq!(answer.responses.iter().map(|r| r.sequence).collect::<Vec<_>>(), (1..=300).collect::<Vec<_>>());

    let requests: Vec<_> = (1..=500)
        .map(|n| text("batch", if n == 250 { String::new() } else { format!("s{n}") }))
        .map(|request| PublishStreamRequest { request: Some(request) })
        .collect();
    let answers = house.publisher().publish_stream(iter(requests)).await.expect("opened").into_inner();
    let answers: Vec<_> = answers.map(|answer| answer.expect("continues").result.expect("a result")).collect().await;
    assert_eq!(answers.len(), 500);
    for (index, answer) in answers.iter().enumerate() {
        match answer {
            Outcome::Response(receipt) => {
                let skipped = i64::from(index > 249);
                assert_eq!(receipt.sequence, 301 + index as i64 - skipped);
            }
            Outcome::Error(error) => assert_eq!((index, error.code), (249, Code::InvalidArgument as i32)),
        }
    }
    let all = house.list("batch").await;
    assert_eq!(sequences(&all), (1..=799).collect::<Vec<_>>());
    assert_eq!((text_of(&all[299]), text_of(&all[300]), text_of(&all[798])), ("b300", "s1", "s500"));
}

async fn a_repeated_id_is_published_once(house: &House) {
    let id = uuid::Uuid::now_v7().to_string();
    let request = PublishRequest { message_id: id.clone(), ..text("once", "first") };
    let calls = (0..50).map(|_| {
        let (mut client, request) = (house.publisher(), request.clone());
        tokio::spawn(async move { client.publish(request).await.expect("published").into_inner() })
    });
    let mut firsts = 0;
    for call in calls.collect::<Vec<_>>() {
        let receipt = call.await.expect("no panic");
        assert_eq!((receipt.sequence, &receipt.message_id), (1, &id));
        firsts += i32::from(!receipt.duplicate);
    }
    assert_eq!(firsts, 1);
    assert_eq!(house.list("once").await.len(), 1);
}

async fn every_start_begins_where_it_says(house: &House) {
    let mut receipts = Vec::new();
    for n in 1..=5 {
        receipts.push(house.publish(text("starts", n.to_string())).await);
        // Log time counts milliseconds: `since` must be able to distinguish these.
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    let base = channel("starts");
    let cases = [
        (base.clone(), vec![]),
        (StreamMessagesRequest { earliest: true, ..base.clone() }, vec![1, 2, 3, 4, 5]),
        (StreamMessagesRequest { last: 2, ..base.clone() }, vec![4, 5]),
        (StreamMessagesRequest { last: 100, ..base.clone() }, vec![1, 2, 3, 4, 5]),
        (StreamMessagesRequest { since: receipts[2].publish_time, ..base.clone() }, vec![3, 4, 5]),
        (StreamMessagesRequest { after: vec![receipts[3].cursor.clone()], ..base.clone() }, vec![5]),
        (StreamMessagesRequest { after: vec![receipts[4].cursor.clone()], ..base.clone() }, vec![]),
    ];
    let mut streams = Vec::new();
    for (request, replayed) in cases {
        let mut stream = house.stream(request).await;
        stream.started().await;
        let mut seen = Vec::new();
        loop {
            match stream.next_event().await {
                Event::Message(message) => seen.push(message.sequence),
                Event::CaughtUp(_) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(seen, replayed);
        streams.push(stream);
    }
    house.publish(text("starts", "live")).await;
    for stream in &mut streams {
        assert_eq!(stream.message().await.sequence, 6);
        stream.is_quiet(Duration::from_millis(50)).await;
    }
}

async fn after_a_cursor_comes_the_next_message(house: &House) {
    // The cursor of `started`, on a channel that has no history yet, is a position to resume from as well.
    let start = house.stream(channel("resume")).await.started().await;
    for n in 1..=3 {
        house.publish(text("resume", n.to_string())).await;
    }
    let mut cursor = start;
    for n in 1..=3 {
        let mut stream = house.stream(StreamMessagesRequest { after: vec![cursor], ..channel("resume") }).await;
        stream.started().await;
        let message = stream.message().await;
        assert_eq!(message.sequence, n);
        cursor = message.cursor;
    }
    let mut stream = house.stream(StreamMessagesRequest { after: vec![cursor.clone()], ..channel("resume") }).await;
    stream.started().await;
    assert_eq!(stream.caught_up().await, cursor);
    let foreign = StreamMessagesRequest { after: vec![cursor], ..channel("other") };
    let refused = house.subscriber().stream_messages(foreign).await.expect_err("a cursor of another channel");
    assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec!["after[0]".to_owned()]));
}

async fn the_default_channel_needs_no_name(house: &House) {
    let mut stream = house.stream(StreamMessagesRequest::default()).await;
    stream.started().await;
    stream.caught_up().await;
    assert_eq!(house.publish(text("", "hello")).await.channel, "channel1");
    assert_eq!(stream.message().await.channel, "channel1");
    assert_eq!(house.list("").await.len(), 1);
}
