//! Heartbeats of patterns: each could carry the cursor of all channels, ten times a second, for nothing that comes in.

use std::time::Duration;

use tidings::{
    limits::{CALLER_POSITIONS, HEARTBEAT_CURSOR_BYTES},
    pb::{
        PublishStreamRequest, StreamMessagesRequest, stream_messages_response::Event,
        subscriber_service_client::SubscriberServiceClient,
    },
};
use tokio::time::{Instant, timeout};
use tonic::Code;

use super::{Memory, Target};
use crate::harness::{Stream, connect, pattern, reason, text};

const CHANNELS: usize = 990;

async fn fill(target: &Target) {
    let requests = (0..CHANNELS).map(|n| PublishStreamRequest { request: Some(text(&format!("many.{n}"), "x")) });
    let answers = target.publisher.client().publish_stream(tokio_stream::iter(requests)).await.expect("a stream");
    let mut answers = answers.into_inner();
    while answers.message().await.expect("no error").is_some() {}
}

fn quick(glob: &str) -> StreamMessagesRequest {
    let interval = prost_types::Duration { seconds: 0, nanos: 100_000_000 };
    StreamMessagesRequest { heartbeat_interval: Some(interval), ..pattern(glob) }
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_come_in_time_and_their_cursors_at_a_bounded_rate() {
    let target = Target::start(&[]).await;
    fill(&target).await;
    let mut stream = Stream::alone(target.subscriber.address, quick("many.*")).await;
    stream.started().await;
    stream.caught_up().await;
    let (began, mut beats, mut bytes, mut last) = (Instant::now(), 0, 0, String::new());
    while began.elapsed() < Duration::from_secs(5) {
        let Event::Heartbeat(heartbeat) = stream.next().await else { panic!("nothing else is to come") };
        beats += 1;
        bytes += heartbeat.cursor.len();
        if !heartbeat.cursor.is_empty() {
            last = heartbeat.cursor;
        }
    }
    assert!(beats > 25, "{beats} heartbeats in five seconds");
    // The first has it, and each that comes when that is paid for.
    let most = last.len() + 6 * HEARTBEAT_CURSOR_BYTES as usize;
    assert!(last.len() > 15_000 && bytes <= most, "{bytes} bytes, of {} each", last.len());
    // The last one that was not empty is where the stream goes on.
    target.publisher.client().publish(text("many.7", "after")).await.expect("published");
    let resume = StreamMessagesRequest { after: vec![last], ..quick("many.*") };
    let mut resumed = Stream::alone(target.subscriber.address, resume).await;
    resumed.started().await;
    assert_eq!(resumed.message().await.channel, "many.7");
    // Short cursors come with each.
    let mut few = Stream::alone(target.subscriber.address, quick("many.77*")).await;
    few.started().await;
    few.caught_up().await;
    for _ in 0..10 {
        assert!(!few.heartbeat().await.is_empty());
    }
    target.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_streams_of_wide_patterns_are_refused_and_cost_others_nothing() {
    let target = Target::alone(&[]).await;
    fill(&target).await;
    let memory = Memory::watch(&target.subscriber.process);
    let mut streams = Vec::new();
    let refused = 'all: loop {
        let mut client = SubscriberServiceClient::new(connect(target.subscriber.address).await);
        for _ in 0..100 {
            match client.stream_messages(quick("many.*")).await {
                Ok(stream) => streams.push(stream.into_inner()),
                Err(refused) => break 'all refused,
            }
        }
    };
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "CALLER_LIMIT"));
    assert_eq!(streams.len() as u64, CALLER_POSITIONS / CHANNELS as u64);
    let reading: Vec<_> = streams
        .into_iter()
        .map(|mut stream| {
            tokio::spawn(async move {
                let mut bytes = 0;
                let reading = async {
                    while let Some(event) = stream.message().await.expect("it goes on") {
                        bytes += prost::Message::encoded_len(&event);
                    }
                };
                let _ = timeout(Duration::from_secs(4), reading).await;
                bytes
            })
        })
        .collect();
    target.withstands(async || {}).await;
    let mut bytes = 0;
    let count = reading.len();
    for reader in reading {
        bytes += reader.await.expect("no panic");
    }
    // What each begins with comes to three cursors.
    let most = count * (3 * 40_000 + 4 * HEARTBEAT_CURSOR_BYTES as usize);
    assert!(bytes < most, "{bytes} bytes in four seconds");
    memory.is_bounded("wide patterns");
    target.stop();
}
