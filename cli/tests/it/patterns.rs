//! Pattern streams: every channel in its own order, new channels from their first message, and one cursor for all.

use std::{collections::BTreeMap, time::Duration};

use tidings::pb::{StreamMessagesRequest, stream_messages_response::Event};

use crate::harness::{House, Stream, channel, on_both_brokers, pattern, text, text_of};

on_both_brokers!(
    a_pattern_brings_all_its_channels,
    a_whole_stream_cursor_resumes_every_channel,
    message_cursors_after_a_whole_stream_cursor_count,
    heartbeats_come_while_it_is_quiet_and_while_it_is_busy,
);

/// The messages before `caught_up`, by channel.
async fn replay(stream: &mut Stream) -> (BTreeMap<String, Vec<i64>>, String) {
    let mut seen: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    loop {
        match stream.next_event().await {
            Event::Message(message) => seen.entry(message.channel).or_default().push(message.sequence),
            Event::CaughtUp(caught_up) => return (seen, caught_up.cursor),
            other => panic!("{other:?}"),
        }
    }
}

async fn a_pattern_brings_all_its_channels(house: &House) {
    for (name, count) in [("o.a", 3), ("o.b", 2), ("x.c", 4)] {
        for n in 1..=count {
            house.publish(text(name, n.to_string())).await;
        }
    }
    let mut stream = house.stream(StreamMessagesRequest { earliest: true, ..pattern("o.*") }).await;
    assert!(!stream.started().await.is_empty());
    let (seen, _) = replay(&mut stream).await;
    assert_eq!(seen, BTreeMap::from([("o.a".to_owned(), vec![1, 2, 3]), ("o.b".to_owned(), vec![1, 2])]));

    let mut last = house.stream(StreamMessagesRequest { last: 1, ..pattern("o.*") }).await;
    last.started().await;
    let (seen, _) = replay(&mut last).await;
    assert_eq!(seen, BTreeMap::from([("o.a".to_owned(), vec![3]), ("o.b".to_owned(), vec![2])]));

    // A channel that appears later starts from its first message.
    house.publish(text("x.c", "not asked for")).await;
    house.publish(text("o.new", "hello")).await;
    for stream in [&mut stream, &mut last] {
        let message = stream.message().await;
        assert_eq!((message.channel.as_str(), message.sequence, text_of(&message)), ("o.new", 1, "hello"));
        stream.is_quiet(Duration::from_millis(100)).await;
    }
}

async fn a_whole_stream_cursor_resumes_every_channel(house: &House) {
    for name in ["w.a", "w.b"] {
        house.publish(text(name, "before")).await;
    }
    let mut stream = house.stream(pattern("w.*")).await;
    let started = stream.started().await;
    assert_eq!(stream.caught_up().await, started);
    drop(stream);
    for name in ["w.a", "w.b", "w.c"] {
        house.publish(text(name, "while away")).await;
    }
    let mut stream = house.stream(StreamMessagesRequest { after: vec![started], ..pattern("w.*") }).await;
    stream.started().await;
    let (seen, caught_up) = replay(&mut stream).await;
    let expected = [("w.a", vec![2]), ("w.b", vec![2]), ("w.c", vec![1])];
    assert_eq!(seen, expected.map(|(name, sequences)| (name.to_owned(), sequences)).into());

    let mut again = house.stream(StreamMessagesRequest { after: vec![caught_up], ..pattern("w.*") }).await;
    again.started().await;
    assert!(replay(&mut again).await.0.is_empty());
}

async fn message_cursors_after_a_whole_stream_cursor_count(house: &House) {
    let mut stream = house.stream(pattern("m.*")).await;
    let started = stream.started().await;
    stream.caught_up().await;
    for n in 1..=4 {
        house.publish(text("m.a", n.to_string())).await;
    }
    house.publish(text("m.b", "1")).await;
    let seen = stream.messages(5).await;
    let of_a: Vec<_> = seen.iter().filter(|message| message.channel == "m.a").collect();
    // Of two cursors of one channel the later counts; m.b has none and is replayed.
    let after = vec![started, of_a[0].cursor.clone(), of_a[2].cursor.clone()];
    let mut stream = house.stream(StreamMessagesRequest { after, ..pattern("m.*") }).await;
    stream.started().await;
    let (seen, _) = replay(&mut stream).await;
    assert_eq!(seen, BTreeMap::from([("m.a".to_owned(), vec![4]), ("m.b".to_owned(), vec![1])]));
}

async fn heartbeats_come_while_it_is_quiet_and_while_it_is_busy(house: &House) {
    let interval = Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 });
    let mut stream = house.stream(StreamMessagesRequest { heartbeat_interval: interval, ..channel("beat") }).await;
    let started = stream.started().await;
    assert_eq!(stream.heartbeat().await, started);
    assert_eq!(stream.heartbeat().await, started);
    let mut client = house.publisher();
    let busy = tokio::spawn(async move {
        for n in 0..100 {
            client.publish(text("beat", n.to_string())).await.expect("published");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let (mut messages, mut beats_among, mut last_cursor) = (0, 0, started);
    while messages < 100 {
        match stream.next().await {
            Event::Message(message) => {
                messages += 1;
                last_cursor = message.cursor;
            }
            Event::Heartbeat(heartbeat) => {
                assert_eq!(heartbeat.cursor, last_cursor, "a heartbeat says what was delivered");
                beats_among += i32::from(messages > 0);
            }
            Event::CaughtUp(_) => {}
            other => panic!("{other:?}"),
        }
    }
    busy.await.expect("published");
    assert!(beats_among >= 2, "{beats_among} heartbeats among the messages");
}
