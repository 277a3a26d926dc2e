//! Lists and streams that nobody reads: HTTP/2's windows let a client call and take nothing.

use std::time::Duration;

use tidings::{
    limits::{UNREAD_ANSWER_TIME, UNREAD_ANSWERS_BYTES},
    pb::{ListMessagesRequest, PublishBatchRequest, StreamMessagesRequest},
};
use tokio::time::{Instant, sleep, timeout};

use super::{Memory, Target};
use crate::harness::{Peer, TEST_TIMEOUT, text, wire::CONNECT_JSON_STREAM, with_fast_paths};
use crate::paths::LIST;

const STREAM: &str = "/tidings.v1.SubscriberService/StreamMessages";

async fn fill(target: &Target) {
    for _ in 0..4 {
        let requests = (0..100).map(|n| text("", format!("{n:010000}"))).collect();
        let batch = PublishBatchRequest { channel: "large".to_owned(), requests };
        target.publisher.client().publish_batch(batch).await.expect("published");
    }
}

fn list() -> ListMessagesRequest {
    ListMessagesRequest { channel: "large".to_owned(), page_size: 1_000, ..ListMessagesRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_nobody_reads_are_few_and_dropped_in_time() {
    const CALLS: u32 = 100;
    let target = Target::alone(&[]).await;
    fill(&target).await;
    // What one list takes is not the attack's.
    target.subscriber.client().list_messages(list()).await.expect("a page");
    let memory = Memory::watch(&target.subscriber.process);
    let mut peers = Vec::new();
    // Without a window, and with one of a byte: HTTP/2 then holds what it was handed.
    for window in [0, 1] {
        let mut peer = Peer::connect(target.subscriber.address).await;
        peer.say(&Peer::hello_of_window(window)).await;
        peers.push(peer);
    }
    let began = Instant::now();
    for n in 0..CALLS {
        for peer in &mut peers {
            peer.call(1 + 2 * n, LIST, &list()).await;
        }
    }
    target.withstands(async || {}).await;
    // Those of the same address wait for their share, which is there when the unread ones are dropped.
    let other = timeout(TEST_TIMEOUT, target.subscriber.client().list_messages(list())).await;
    let waited = began.elapsed();
    memory.is_bounded("unread lists");
    match other.expect("in time") {
        Ok(page) => assert!(!page.into_inner().messages.is_empty()),
        Err(refused) => assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused:?}"),
    }
    assert!(waited < 3 * UNREAD_ANSWER_TIME, "{waited:?}");
    // All that lay there is gone: as many as may lie there come through at once.
    drop(peers);
    sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    let at_once = UNREAD_ANSWERS_BYTES / (3 << 20);
    let mut lists = tokio::task::JoinSet::new();
    for _ in 0..4 * at_once {
        let mut client = target.subscriber.client();
        lists.spawn(async move { client.list_messages(list()).await });
    }
    while let Some(listed) = lists.join_next().await {
        assert!(!listed.expect("no panic").expect("whoever reads is served").into_inner().messages.is_empty());
    }
    assert!(began.elapsed() < TEST_TIMEOUT);
    target.stop();
}

/// A stream shares what it sends with all others, whatever it is sent as: what lies there for one that has stopped is a
/// part of it.
#[tokio::test(flavor = "multi_thread")]
async fn streams_that_nobody_reads_hold_no_copy_each() {
    const STREAMS: u32 = 400;
    const CONNECTIONS: u32 = 4;
    let web = "application/grpc-web+proto";
    let target = Target::alone(&[]).await;
    for n in 0..8 {
        let message = text("large", format!("{n}{}", "x".repeat(900_000)));
        target.publisher.client().publish(message).await.expect("published");
    }
    let request = StreamMessagesRequest { channel: "large".to_owned(), earliest: true, ..Default::default() };
    // An envelope of Connect is a frame of gRPC.
    let connect = "application/connect+proto";
    for kinds in [
        ("application/grpc", "application/grpc"),
        (web, web),
        (web, "application/grpc-web-text"),
        (connect, connect),
        (CONNECT_JSON_STREAM, CONNECT_JSON_STREAM),
    ] {
        let memory = Memory::watch(&target.subscriber.process);
        let mut peers = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut peer = Peer::connect(target.subscriber.address).await;
            peer.say(&Peer::hello_of_window(300)).await;
            peers.push(peer);
        }
        for n in 0..STREAMS / CONNECTIONS {
            for peer in &mut peers {
                peer.call_as(kinds, 1 + 2 * n, STREAM, &request).await;
            }
        }
        target.withstands(async || {}).await;
        // A generated service encodes what it sends for each stream.
        if with_fast_paths() {
            memory.is_bounded(&format!("unread streams, {kinds:?}"));
        }
    }
    target.stop();
}

/// One that is dropped ends; the connection and its other calls go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_list_says_so_when_it_is_read_after_all() {
    let target = Target::start(&[]).await;
    fill(&target).await;
    let mut peer = Peer::connect(target.subscriber.address).await;
    peer.say(&Peer::hello_of_window(0)).await;
    peer.call(1, LIST, &list()).await;
    // It answers pings meanwhile, so that its connection stays.
    let _ = timeout(UNREAD_ANSWER_TIME + Duration::from_secs(3), async {
        loop {
            let frame = peer.frame().await.expect("the connection goes on");
            assert!(!frame.is_goaway());
        }
    })
    .await;
    let mut trailers = None;
    peer.say(&Peer::frame_of(8, 1, &[0, 0x10, 0, 0])).await;
    while let Ok(Some(frame)) = timeout(Duration::from_secs(2), peer.frame()).await {
        assert!(frame.length < 20_000, "no page");
        trailers = Some(frame);
    }
    assert!(trailers.is_some_and(|frame| frame.ends_its_stream()), "the call has an end");
    target.stop();
}
