//! Floods of frames of HTTP/2 that carry no call.

use std::time::Duration;

use tidings::limits::CALLS_PER_CONNECTION;
use tokio::time::timeout;

use super::{Memory, Target, processor_time};
use crate::harness::{Peer, Stream, TEST_TIMEOUT, channel, text};
use crate::paths::FOLLOW;

const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
/// Of a type that nobody knows: to be ignored (RFC 9113, 4.1).
const UNKNOWN: u8 = 0x77;
/// What a flood may cost the service: it took seconds for each megabyte.
const MOST: Duration = Duration::from_secs(2);

/// A setting: the initial window of each call.
fn window(bytes: u32) -> Vec<u8> {
    [&[0, 4][..], &bytes.to_be_bytes()].concat()
}

/// Sends frames again and again until the connection is closed.
async fn is_cut(peer: &mut Peer, what: &str, frames: &[u8]) {
    const MOST_BYTES: usize = 32 << 20;
    let part = frames.repeat((64 << 10) / frames.len());
    let flood = async {
        let mut sent = 0;
        while sent < MOST_BYTES && peer.try_say(&part).await {
            sent += part.len();
        }
        sent
    };
    let sent = timeout(TEST_TIMEOUT, flood).await.unwrap_or_else(|_| panic!("{what}: it is not read, nor closed"));
    assert!(sent < MOST_BYTES, "{what}: all of it was taken");
}

/// A peer with as many streams open as it may.
async fn with_open_calls(target: &Target) -> Peer {
    let mut peer = Peer::connect(target.subscriber.address).await;
    peer.greet().await;
    for n in 0..CALLS_PER_CONNECTION {
        peer.call(1 + 2 * n, FOLLOW, &channel("busy")).await;
    }
    peer.first_data(2 * CALLS_PER_CONNECTION - 1).await;
    peer
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_that_carry_no_call_are_cut() {
    let target = Target::alone(&[]).await;
    let memory = Memory::watch(&target.subscriber.process);
    let frame = Peer::frame_of;
    let settings = [frame(SETTINGS, 0, &window(0)), frame(SETTINGS, 0, &window(1 << 20))].concat();
    for (what, frames) in [
        ("settings", settings),
        ("pings", frame(PING, 0, &[7; 8])),
        ("priorities", frame(PRIORITY, 1, &[0, 0, 0, 0, 9])),
        ("windows", frame(WINDOW_UPDATE, 1, &[0, 0, 0, 0])[..9].iter().copied().chain([0, 0, 0, 1]).collect()),
        ("resets", frame(RST_STREAM, 1, &[0, 0, 0, 8])),
        ("unknown ones", frame(UNKNOWN, 0, &[])),
    ] {
        let before = processor_time(&target.subscriber.process);
        target
            .withstands(async || {
                let mut peer = with_open_calls(&target).await;
                is_cut(&mut peer, what, &frames).await;
            })
            .await;
        let took = processor_time(&target.subscriber.process) - before;
        assert!(took < 3 * MOST, "{what}: {took:?} of a processor");
    }
    memory.is_bounded("control frames");
    target.stop();
}

/// A client that reads much says so, with a frame for each frame: that is no flood.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_much_may_say_so() {
    let target = Target::start(&[]).await;
    let mut stream = Stream::alone(target.subscriber.address, channel("much")).await;
    stream.started().await;
    stream.caught_up().await;
    let mut peer = Peer::connect(target.subscriber.address).await;
    peer.greet().await;
    peer.call(1, FOLLOW, &channel("much")).await;
    peer.first_data(1).await;
    let publishing = async {
        for n in 0..200 {
            let requests = (0..100).map(|_| text("", format!("{n:01000}"))).collect();
            let batch = tidings::pb::PublishBatchRequest { channel: "much".to_owned(), requests };
            target.publisher.client().publish_batch(batch).await.expect("published");
        }
        // The end.
        target.publisher.client().publish(text("much", "end")).await.expect("published");
    };
    let reading = async {
        // Small messages in small frames cost the most: a window update for each.
        let update = Peer::frame_of(WINDOW_UPDATE, 0, &[0, 0, 0, 1]);
        let (mut bytes, mut frames) = (0, 0);
        while bytes < 200 * 100 * 1_000 {
            let frame = peer.frame().await.expect("the connection goes on");
            assert!(!frame.is_goaway());
            bytes += frame.length;
            frames += 1;
            assert!(peer.try_say(&update).await, "closed after {frames} frames");
        }
    };
    let reading_well = async { stream.messages(20_001).await };
    tokio::join!(publishing, reading, reading_well);
    target.stop();
}
