//! A reader that stops for a while falls out of the ring, slows nobody, and gets everything in order.

use std::time::{Duration, Instant};

use tidings::pb::PublishBatchRequest;

use crate::harness::{House, channel, on_both_brokers, text};

on_both_brokers!(a_slow_reader_gets_everything_and_slows_nobody);

/// 24 MB in all: far above the ring and what both ends of a connection hold.
const BATCHES: usize = 60;
const BATCH: usize = 100;
const BYTES: usize = 4_000;

async fn a_slow_reader_gets_everything_and_slows_nobody(house: &House) {
    // On a connection of its own, so that only its own flow control stops.
    let mut slow = house.stream_on_its_own_connection(channel("flood")).await;
    slow.started().await;
    let mut quick = house.stream(channel("flood")).await;
    quick.started().await;
    let quick = tokio::spawn(async move {
        let mut latest = Instant::now();
        for expected in 1..=(BATCHES * BATCH) as i64 {
            assert_eq!(quick.messages(1).await[0].sequence, expected);
            latest = Instant::now();
        }
        latest
    });
    let began = Instant::now();
    for _ in 0..BATCHES {
        let requests = (0..BATCH).map(|n| text("", format!("{n:0BYTES$}"))).collect();
        let batch = PublishBatchRequest { channel: "flood".to_owned(), requests };
        house.publisher().publish_batch(batch).await.expect("published");
    }
    let quick_took = quick.await.expect("the quick reader misses nothing") - began;
    assert!(quick_took < Duration::from_secs(60), "{quick_took:?}");

    for expected in 1..=(BATCHES * BATCH) as i64 {
        assert_eq!(slow.messages(1).await[0].sequence, expected);
    }
    // It is live again.
    house.publish(text("flood", "one more")).await;
    assert_eq!(slow.messages(1).await[0].sequence, (BATCHES * BATCH) as i64 + 1);
}
