//! From replay to live while ten publishers run: nothing is lost, nothing doubled, nothing out of order.

use std::time::Duration;

use tidings::pb::{Message, StreamMessagesRequest, stream_messages_response::Event};
use tokio::task::JoinSet;

use crate::harness::{House, Stream, channel, on_both_brokers, text, text_of};

on_both_brokers!(streams_opened_in_the_middle_miss_nothing, a_stream_cut_again_and_again_misses_nothing);

const PUBLISHERS: usize = 10;
const MESSAGES_EACH: usize = 150;
const TOTAL: usize = PUBLISHERS * MESSAGES_EACH;

fn start_publishers(house: &House, to: &'static str) -> JoinSet<()> {
    let mut publishers = JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let mut client = house.publisher();
        publishers.spawn(async move {
            for n in 0..MESSAGES_EACH {
                client.publish(text(to, format!("{publisher}:{n}"))).await.expect("published");
            }
        });
    }
    publishers
}

async fn finish(mut publishers: JoinSet<()>) {
    while let Some(done) = publishers.join_next().await {
        done.expect("a publisher that ends well");
    }
}

async fn streams_opened_in_the_middle_miss_nothing(house: &House) {
    let first = house.publish(text("busy", "first")).await;
    let publishers = start_publishers(house, "busy");
    let mut readers = JoinSet::new();
    for n in 0..12 {
        let request = match n % 3 {
            0 => StreamMessagesRequest { earliest: true, ..channel("busy") },
            1 => StreamMessagesRequest { after: vec![first.cursor.clone()], ..channel("busy") },
            _ => channel("busy"),
        };
        let stream = house.stream(request).await;
        readers.spawn(read_to_the_end(stream, n % 3));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    finish(publishers).await;
    while let Some(done) = readers.join_next().await {
        done.expect("a reader that misses nothing");
    }
}

/// Reads until the last message; `kind` says where the stream began.
async fn read_to_the_end(mut stream: Stream, kind: usize) {
    stream.started().await;
    let mut expected = [Some(1), Some(2), None][kind];
    let mut caught_up = 0;
    let mut next_of = [0; PUBLISHERS];
    let last = TOTAL as i64 + 1;
    while expected.is_none_or(|expected| expected <= last) {
        match stream.next_event().await {
            Event::Message(message) => {
                assert_eq!(message.sequence, expected.unwrap_or(message.sequence));
                expected = Some(message.sequence + 1);
                check_publisher_order(&message, &mut next_of, kind < 2);
            }
            Event::CaughtUp(_) => caught_up += 1,
            other => panic!("{other:?}"),
        }
    }
    if caught_up == 0 {
        stream.caught_up().await;
    }
    assert!(caught_up <= 1, "caught_up came {caught_up} times");
    stream.is_quiet(Duration::from_millis(100)).await;
}

/// A publisher that waits for its receipts finds its messages in the order in which it sent them.
fn check_publisher_order(message: &Message, next_of: &mut [usize; PUBLISHERS], from_the_start: bool) {
    let Some((publisher, n)) = text_of(message).split_once(':') else { return };
    let (publisher, n): (usize, usize) = (publisher.parse().expect("a number"), n.parse().expect("a number"));
    if from_the_start || next_of[publisher] > 0 {
        assert_eq!(n, next_of[publisher], "of publisher {publisher}");
    }
    next_of[publisher] = n + 1;
}

async fn a_stream_cut_again_and_again_misses_nothing(house: &House) {
    let mut cursor = house.stream(channel("cut")).await.started().await;
    let publishers = start_publishers(house, "cut");
    let mut expected = 1;
    while expected <= TOTAL as i64 {
        let mut stream = house.stream(StreamMessagesRequest { after: vec![cursor.clone()], ..channel("cut") }).await;
        stream.started().await;
        let until = (expected + 90).min(TOTAL as i64 + 1);
        while expected < until {
            for message in stream.messages(1).await {
                assert_eq!(message.sequence, expected);
                expected += 1;
                cursor = message.cursor;
            }
        }
    }
    finish(publishers).await;
}
