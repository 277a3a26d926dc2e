//! Requests whose bodies are large, slow, or never come to an end: what a connection may have under way is bounded,
//! others on it are served meanwhile, and those who only have much to say come through.

use std::time::Duration;

use prost::{Message as _, bytes::Bytes};
use tidings::{
    limits::BACKLOG_TIME,
    pb::{PublishStreamRequest, publish_stream_response::Result as Outcome},
};
use tidings_testing::{
    Peer, Publisher, RedisServer, TEST_TIMEOUT, reason, text,
    wire::{GRPC, WEB, Wire, end, framed},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tonic::Code;

const PUBLISH: &str = "/tidings.v1.PublisherService/Publish";
const STREAM: &str = "/tidings.v1.PublisherService/PublishStream";
/// What one connection may make a process hold.
const MOST_KIB: u64 = 64 << 10;
/// The largest request.
const LARGEST: usize = 8 << 20;
/// How long a body has, and longer on a busy machine.
const TOO_SLOW: std::ops::Range<Duration> = Duration::from_secs(28)..Duration::from_secs(50);

/// A publish of a few bytes: how long its receipt took.
async fn publish(wire: &Wire) -> Duration {
    let began = Instant::now();
    let message = text("small", "x").encode_to_vec();
    let call = wire.call(PUBLISH, GRPC, &[], framed(0, message.len(), &message).to_vec());
    let (_, status) = timeout(TEST_TIMEOUT, call).await.expect("in time");
    assert_eq!(status.code(), Code::Ok, "{status:?}");
    began.elapsed()
}

/// Sixty calls that send nearly all of the largest request and then nothing, and a small one beside them.
async fn stall(path: &'static str, kind: &'static str) {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let wire = Wire::open(publisher.address).await;
    publish(&wire).await;
    let idle = publisher.process.most_resident_kib();
    let nearly = framed(0, LARGEST, &vec![b'x'; LARGEST - 1]);
    let mut calls = JoinSet::new();
    let began = Instant::now();
    for _ in 0..60 {
        let (answer, mut body) = wire.begin(path, kind, &[]).await;
        body.send_data(nearly.clone(), false).expect("open");
        calls.spawn(async move { (end(answer).await, began.elapsed(), body) });
    }
    sleep(Duration::from_secs(1)).await;
    let took = publish(&wire).await;
    assert!(took < Duration::from_secs(1), "{path} {kind}: {took:?}");
    let (mut refused, mut slow) = (0, 0);
    while let Some(ended) = timeout(TOO_SLOW.end, calls.join_next()).await.expect("in time") {
        let (status, after, _body) = ended.expect("no panic");
        match (status.code(), reason(&status).as_str()) {
            (Code::ResourceExhausted, "CONNECTION_LIMIT") => refused += 1,
            (Code::DeadlineExceeded, "REQUEST_TOO_SLOW") => {
                assert!(TOO_SLOW.contains(&after), "{path} {kind}: {after:?}");
                slow += 1;
            }
            _ => panic!("{path} {kind}: {status:?}"),
        }
    }
    // Three are read; the others wait for them for some seconds.
    assert_eq!((refused, slow), (57, 3), "{path} {kind}");
    let most = publisher.process.most_resident_kib();
    assert!(most - idle < MOST_KIB, "{path} {kind}: {} KiB above idle", most - idle);
    publish(&wire).await;
    publisher.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_uploads_take_a_bounded_share_and_no_more_than_their_time() {
    tokio::join!(stall(PUBLISH, GRPC), stall(PUBLISH, WEB), stall(STREAM, GRPC));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_trickles_has_its_time_and_no_more() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let wire = Wire::open(publisher.address).await;
    let mut calls = JoinSet::new();
    for (path, kind) in [(PUBLISH, GRPC), (PUBLISH, WEB), (STREAM, GRPC)] {
        // Not even a prefix, a small one, and a large one.
        for first in [Bytes::from_static(&[0]), framed(0, 1_000, b""), framed(0, LARGEST, b"x")] {
            let wire = wire.clone();
            calls.spawn(async move {
                let (answer, mut body) = wire.begin(path, kind, &[]).await;
                let began = Instant::now();
                let mut next = first.clone();
                let mut ended = std::pin::pin!(end(answer));
                loop {
                    let _ = body.send_data(std::mem::replace(&mut next, Bytes::from_static(&[0])), false);
                    if let Ok(status) =
                        timeout(Duration::from_secs(if first.len() == 1 { 9 } else { 1 }), &mut ended).await
                    {
                        break (path, kind, status, began.elapsed());
                    }
                }
            });
        }
    }
    while let Some(ended) = timeout(TOO_SLOW.end, calls.join_next()).await.expect("in time") {
        let (path, kind, status, after) = ended.expect("no panic");
        assert_eq!(reason(&status), "REQUEST_TOO_SLOW", "{path} {kind}: {status:?}");
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(TOO_SLOW.contains(&after), "{path} {kind}: {after:?}");
    }
    publisher.stop();
}

/// Bodies that their service does not read, because nobody takes its answers, in frames that cost the most: the
/// connection is not read from, others of its address are served, and it is closed when they need its room.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_reads_is_bounded_as_well() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let idle = publisher.process.most_resident_kib();
    let mut peer = Peer::connect(publisher.address).await;
    peer.say(&Peer::hello_of_window(0)).await;
    // It agrees to the server's settings, and has its window.
    let _ = timeout(Duration::from_millis(500), peer.frame()).await;
    let request = PublishStreamRequest { request: Some(text("small", "x".repeat(238))) }.encode_to_vec();
    let frame = framed(0, request.len(), &request);
    assert_eq!(frame.len(), 256, "HTTP/2 counts smaller ones");
    let each = tidings::limits::STREAM_WINDOW_BYTES as usize;
    let streams = tidings::limits::CONNECTION_WINDOW_BYTES as usize / each - 1;
    for n in 0..streams as u32 {
        peer.open(1 + 2 * n, STREAM).await;
        peer.data(1 + 2 * n, &frame, 1).await;
    }
    // Their answers wait for a window.
    sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    let rest = frame.repeat(each / frame.len() - 1);
    let all = async {
        for n in 0..streams as u32 {
            let frames: Vec<_> = rest.chunks(frame.len()).flat_map(|data| Peer::frame_of(0, 1 + 2 * n, data)).collect();
            if !peer.try_say(&frames).await {
                return;
            }
        }
        // The kernel may take what the service does not read. Pings show when it is closed.
        while peer.try_say(&Peer::frame_of(6, 0, &[0; 8])).await {
            sleep(Duration::from_millis(500)).await;
        }
    };
    let served = async {
        sleep(Duration::from_secs(2)).await;
        publisher.client().publish(text("small", "x")).await.expect("others are served");
    };
    let (ended, ()) = tokio::join!(timeout(TOO_SLOW.end, all), served);
    ended.expect("it is closed");
    assert!(began.elapsed() > BACKLOG_TIME, "{:?}", began.elapsed());
    let most = publisher.process.most_resident_kib();
    // The rest is for the bodies that are read.
    assert!(most - idle < MOST_KIB - (40 << 10), "{} KiB above idle", most - idle);
    publisher.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_send_much_at_once_are_served() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let message = "x".repeat(1_000_000);
    let mut calls = JoinSet::new();
    for n in 0..100 {
        let (mut client, request) = (publisher.client(), text(&format!("c{}", n % 10), message.clone()));
        calls.spawn(async move { client.publish(request).await });
    }
    while let Some(answer) = calls.join_next().await {
        answer.expect("no panic").expect("published");
    }
    let requests = (0..50).map(move |_| PublishStreamRequest { request: Some(text("s", message.clone())) });
    let answers = publisher.client().publish_stream(tokio_stream::iter(requests)).await;
    let mut answers = answers.expect("a stream").into_inner();
    let mut published = 0;
    while let Some(answer) = answers.message().await.expect("it continues") {
        assert!(matches!(answer.result, Some(Outcome::Response(_))), "{answer:?}");
        published += 1;
    }
    assert_eq!(published, 50);
    publisher.stop();
}
