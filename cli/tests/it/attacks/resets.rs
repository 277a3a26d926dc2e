//! A client that has the server reset its streams (MadeYouReset, CVE-2025-8671): it breaks a rule on each of them, so
//! that HTTP/2 counts it as closed and allows another, while its handler may still run.

use std::net::SocketAddr;

use super::{Memory, Target};
use crate::harness::{Peer, channel, text};
use crate::paths::FOLLOW;

/// Calls of a connection, each of which breaks a rule.
const CALLS: u32 = 2_000;
const AT_ONCE: u32 = 20;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const WINDOW_UPDATE: u8 = 8;
const END_HEADERS: u8 = 4;
/// Where the flags of a frame are.
const FLAGS: usize = 4;

/// A way to break a rule on a stream.
type Way = (&'static str, fn(u32) -> Vec<u8>);

const WAYS: [Way; 5] = [
    ("a window that grows by nothing", |stream| Peer::frame_of(WINDOW_UPDATE, stream, &[0; 4])),
    ("a window that overflows", |stream| Peer::frame_of(WINDOW_UPDATE, stream, &[0x7f, 0xff, 0xff, 0xff])),
    ("data after the end", |stream| Peer::frame_of(DATA, stream, b"x")),
    ("a stream that depends on itself", |stream| {
        Peer::frame_of(PRIORITY, stream, &[&stream.to_be_bytes()[..], &[0]].concat())
    }),
    ("malformed headers", |stream| {
        let mut headers = Peer::frame_of(HEADERS, stream, &[0x83]);
        headers[FLAGS] = END_HEADERS;
        headers
    }),
];

/// A connection on which one rule is broken again and again.
struct Attacker {
    peer: Peer,
    way: Way,
    calls: u32,
}

impl Attacker {
    async fn connect(address: SocketAddr, way: Way) -> Self {
        let mut peer = Peer::connect(address).await;
        peer.greet().await;
        Self { peer, way, calls: 0 }
    }

    /// Makes some calls, all of which are reset. Whether the connection goes on.
    async fn is_served(&mut self) -> bool {
        let mut frames = Vec::new();
        for call in self.calls..self.calls + AT_ONCE {
            let stream = 1 + 2 * call;
            frames.extend(Peer::call_of(stream, FOLLOW, &channel("busy")));
            frames.extend((self.way.1)(stream));
        }
        self.calls += AT_ONCE;
        if !self.peer.try_say(&frames).await {
            return false;
        }
        let mut resets = 0;
        while resets < AT_ONCE {
            match self.peer.frame().await {
                Some(frame) if !frame.is_goaway() => resets += u32::from(frame.is_reset()),
                _ => return false,
            }
        }
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_all_its_streams_reset_is_cut_off() {
    let target = Target::alone(&[]).await;
    target.publisher.client().publish(text("busy", "x")).await.expect("published");
    let address = target.subscriber.address;
    let memory = Memory::watch(&target.subscriber.process);
    target
        .withstands(async || {
            for way in WAYS {
                let mut attacker = Attacker::connect(address, way).await;
                while attacker.is_served().await {
                    assert!(attacker.calls < CALLS, "{}: it goes on", way.0);
                }
            }
        })
        .await;
    memory.is_bounded("streams that are reset");
    target.subscriber.has_subscribers("busy", 0).await;
    // The handler of a stream that is reset ends with it, and not with the connection.
    for way in WAYS {
        let mut attacker = Attacker::connect(address, way).await;
        attacker.is_served().await;
        target.subscriber.has_subscribers("busy", 0).await;
    }
    target.stop();
}
