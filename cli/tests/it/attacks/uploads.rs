//! Requests that never come whole, over many connections of one address: each connection's are within what it may have
//! under way, and together they are no more than an address may make the process hold.

use std::{net::Ipv4Addr, time::Duration};

use h2::{SendStream, client::ResponseFuture};
use prost::bytes::Bytes;
use tidings::limits::{BODY_WAIT, DECODE_BYTES, OPEN_BODY_BYTES, SMALL_BODY_BYTES, STREAM_WINDOW_BYTES, UPLOADS_BYTES};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tonic::Code;
use tonic_reflection::pb::v1::{ServerReflectionRequest, server_reflection_request::MessageRequest};
use tonic_types::StatusExt as _;

use super::{Memory, Target};
use crate::harness::{
    Admin, Peer, Publisher, TEST_TIMEOUT, reason, text,
    wire::{GRPC, WEB, Wire, end, frame as frame_of, framed},
};
use crate::paths::PUBLISH;

const STREAM: &str = "/tidings.v1.PublisherService/PublishStream";
const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
const REFLECT: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
/// Another address than that of the client beside the attack.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const CONNECTIONS: usize = 24;

/// A call whose request does not come whole.
type Stalled = (ResponseFuture, SendStream<Bytes>);

async fn connect(address: std::net::SocketAddr, connections: usize) -> Vec<Wire> {
    let mut wires = Vec::new();
    for _ in 0..connections {
        wires.push(Wire::open_from(ATTACKER, address).await);
    }
    wires
}

/// Begins as many calls on each connection, which send all of their request but its last byte; of one without a length
/// not even its prefix.
async fn stall(wires: &[Wire], path: &str, kind: &str, calls: usize, length: usize) -> Vec<Stalled> {
    let nearly = (length > 0).then(|| framed(0, length, &vec![b'x'; length - 1]));
    let mut stalled = Vec::new();
    for _ in 0..calls {
        for wire in wires {
            let (answer, mut body) = wire.begin(path, kind, &[]).await;
            if let Some(nearly) = &nearly {
                // One that is refused at once takes nothing more.
                let _ = body.send_data(nearly.clone(), false);
            }
            stalled.push((answer, body));
        }
    }
    stalled
}

/// A target whose publisher can be asked for its metrics.
async fn target() -> (Target, Admin) {
    let (mut target, admin) = (Target::alone(&[]).await, Admin::choose());
    let publisher = Publisher::start(&target.redis.url(), &[&admin.flag()]).await;
    std::mem::replace(&mut target.publisher, publisher).stop();
    (target, admin)
}

/// A message of a megabyte, sent over a new connection from there.
async fn upload(from: Ipv4Addr, target: &Target) -> Code {
    let wire = Wire::open_from(from, target.publisher.address).await;
    let call = wire.call(PUBLISH, GRPC, &[], frame_of(&text("large", "x".repeat(1_000_000))));
    timeout(2 * TEST_TIMEOUT, call).await.expect("in time").1.code()
}

#[tokio::test(flavor = "multi_thread")]
async fn large_requests_that_stall_on_many_connections_hold_what_an_address_may() {
    let (target, admin) = target().await;
    let memory = Memory::watch(&target.publisher.process);
    for (path, kind) in [(PUBLISH, GRPC), (PUBLISH, WEB), (STREAM, GRPC), (STREAM, WEB)] {
        let wires = connect(target.publisher.address, CONNECTIONS).await;
        let began = Instant::now();
        let stalled = stall(&wires, path, kind, 8, DECODE_BYTES).await;
        // Other addresses have theirs.
        assert_eq!(upload(Ipv4Addr::LOCALHOST, &target).await, Code::Ok);
        assert!(began.elapsed() < BODY_WAIT, "nobody waits for another address");
        target.withstands(async || sleep(Duration::from_secs(1)).await).await;
        memory.is_bounded(&format!("large requests, {path} {kind}"));
        // Three are read; the others are told when to try again, at once or when they have waited.
        let (mut ended, mut bodies) = (JoinSet::new(), Vec::new());
        for (answer, body) in stalled {
            ended.spawn(end(answer));
            bodies.push(body);
        }
        let mut refused = 0;
        while refused < 8 * CONNECTIONS - UPLOADS_BYTES / DECODE_BYTES {
            let status = timeout(TEST_TIMEOUT, ended.join_next()).await.expect("in time");
            let status = status.expect("more are refused").expect("no panic");
            assert_eq!(status.code(), Code::ResourceExhausted, "{path} {kind}: {status:?}");
            assert!(["CALLER_LIMIT", "CONNECTION_LIMIT"].contains(&reason(&status).as_str()), "{status:?}");
            assert!(status.get_details_retry_info().is_some_and(|info| info.retry_delay.is_some()), "{status:?}");
            refused += 1;
        }
        // When it goes, its address is served again.
        drop((ended, bodies, wires));
        sleep(Duration::from_millis(500)).await;
        assert_eq!(upload(ATTACKER, &target).await, Code::Ok);
    }
    assert!(admin.scrape().value("tidings_limited_total{limit=\"uploads\"}") > 4.0 * 100.0);
    target.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn small_requests_that_stall_on_many_connections_hold_what_an_address_may() {
    let (target, admin) = target().await;
    let memory = Memory::watch(&target.publisher.process);
    // What a stream takes by itself is not the matter here.
    for (path, kind, calls) in [(PUBLISH, GRPC, 240), (PUBLISH, WEB, 240), (STREAM, GRPC, 120)] {
        for length in [SMALL_BODY_BYTES, 2, 0] {
            let wires = connect(target.publisher.address, CONNECTIONS).await;
            let stalled = stall(&wires, path, kind, calls, length).await;
            target.withstands(async || sleep(Duration::from_secs(1)).await).await;
            memory.is_bounded(&format!("requests of {length} bytes, {path} {kind}"));
            drop((stalled, wires));
            sleep(Duration::from_secs(1)).await;
        }
    }
    for limit in ["uploads", "slow_requests"] {
        assert!(admin.scrape().value(&format!("tidings_limited_total{{limit=\"{limit}\"}}")) > 100.0, "{limit}");
    }
    target.stop();
}

/// Streams whose answers nobody takes, so that their requests are not read, in frames that cost the most. No permission
/// is needed for these.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_no_call_reads_hold_what_an_address_may() {
    const STREAMS: u32 = 40;
    let target = Target::alone(&[]).await;
    let memory = Memory::watch(&target.publisher.process);
    let request = ServerReflectionRequest {
        host: "x".repeat(246),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let frame = frame_of(&request);
    assert_eq!(frame.len(), 256, "HTTP/2 counts smaller ones");
    let mut peers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (frame, address) = (frame.clone(), target.publisher.address);
        peers.spawn(async move {
            let mut peer = Peer::connect_from(ATTACKER, address).await;
            peer.say(&Peer::hello_of_window(0)).await;
            let _ = timeout(Duration::from_millis(500), peer.frame()).await;
            for n in 0..STREAMS {
                peer.open(1 + 2 * n, REFLECT).await;
            }
            // What the server does not read is not waited for.
            let all = async {
                for n in 0..STREAMS {
                    peer.data(1 + 2 * n, &frame, STREAM_WINDOW_BYTES as usize / frame.len()).await;
                }
            };
            let _ = timeout(Duration::from_secs(3), all).await;
            peer
        });
    }
    let peers = peers.join_all().await;
    target.withstands(async || sleep(Duration::from_secs(1)).await).await;
    memory.is_bounded("requests that no call reads");
    // Those of the same address that say little are served, and all of them soon after it is gone: connections that are
    // not read from are closed in their time.
    let wire = Wire::open_from(ATTACKER, target.publisher.address).await;
    let call = wire.call(PUBLISH, GRPC, &[], frame_of(&text("small", "x")));
    assert_eq!(timeout(TEST_TIMEOUT, call).await.expect("in time").1.code(), Code::Ok);
    drop(peers);
    assert_eq!(upload(ATTACKER, &target).await, Code::Ok);
    target.stop();
}

/// What needs no permission takes no large request.
#[tokio::test(flavor = "multi_thread")]
async fn methods_that_are_open_take_small_requests() {
    let target = Target::start(&[]).await;
    let wire = Wire::open(target.publisher.address).await;
    for path in [CHECK, WATCH, REFLECT] {
        for kind in [GRPC, WEB] {
            let (answer, mut body) = wire.begin(path, kind, &[]).await;
            let _ = body.send_data(framed(0, OPEN_BODY_BYTES + 1, b"x"), false);
            let status = timeout(TEST_TIMEOUT, end(answer)).await.expect("at once");
            assert_eq!(
                (status.code(), reason(&status).as_str()),
                (Code::ResourceExhausted, "REQUEST_TOO_LARGE"),
                "{path} {kind}: {status:?}"
            );
        }
    }
    // One that is as long as it may be is looked at.
    let request = [&[0x0a, 0xfd, 0x1f][..], &[b'x'; OPEN_BODY_BYTES - 3]].concat();
    let (_, status) = wire.call(CHECK, GRPC, &[], framed(0, request.len(), &request).to_vec()).await;
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
    target.stop();
}
