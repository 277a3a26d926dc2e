//! Requests that look like calls and are none: each is refused, and nothing is done, on whatever way it would go.

use std::time::Duration;

use prost::Message as _;
use tokio::time::sleep;

use super::Target;
use crate::harness::{
    Peer, Publisher, text,
    wire::{GRPC, WEB, WEB_TEXT, Wire, framed},
};
use crate::paths::PUBLISH;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_call_is_refused_alike_on_every_way() {
    let target = Target::start(&[]).await;
    let without = Publisher::start(&target.redis.url(), &["--no-fast-path"]).await;
    let message = text("odd", "x").encode_to_vec();
    let body = framed(0, message.len(), &message).to_vec();
    for address in [target.publisher.address, without.address] {
        let wire = Wire::open(address).await;
        let code =
            async |method: &str, headers: &[(&str, &str)]| wire.code(method, PUBLISH, headers, body.clone()).await;
        for kind in [GRPC, WEB, WEB_TEXT, "application/json", "application/connect+proto"] {
            for page in [None, Some(("origin", "http://localhost"))] {
                let headers: Vec<_> = [("content-type", kind)].into_iter().chain(page).collect();
                for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"] {
                    assert_eq!(code(method, &headers).await, 405, "{method} {headers:?}");
                }
            }
        }
        for kind in [
            "application/grpcx",
            "application/grpc-website",
            "application/grpc.web",
            "application/json+x",
            "application/protobuf",
            "application/connect",
            "application/x-www-form-urlencoded",
            "text/plain",
            "",
        ] {
            for page in [None, Some(("origin", "http://localhost"))] {
                let headers: Vec<_> = [("content-type", kind)].into_iter().chain(page).collect();
                assert_eq!(code("POST", &headers).await, 415, "{headers:?}");
            }
        }
        for kind in [GRPC, WEB, WEB_TEXT, "application/json"] {
            let foreign = ("origin", "https://evil.example");
            let own = ("origin", "http://localhost");
            for origins in [vec![foreign], vec![own, foreign], vec![foreign, own]] {
                let headers: Vec<_> = [("content-type", kind)].into_iter().chain(origins).collect();
                assert_eq!(code("POST", &headers).await, 403, "{headers:?}");
            }
        }
        // Two messages, where one is asked for.
        for (kind, page) in [(GRPC, None), (GRPC, Some(("origin", "http://localhost"))), (WEB, None)] {
            let headers: Vec<_> = page.into_iter().collect();
            let (_, status) = wire.call(PUBLISH, kind, &headers, [&body[..], &body].concat()).await;
            assert_eq!(crate::harness::reason(&status), "NOT_ONE_REQUEST", "{kind} {headers:?}");
        }
    }
    assert!(target.subscriber.list("odd").await.is_empty(), "nothing of all that was published");
    without.stop();
    target.stop();
}

/// HTTP/2's library ends a connection on which frames came 1,024 times for calls that were answered and forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn refused_calls_do_not_end_the_connection_that_others_share() {
    const AT_ONCE: u32 = 100;
    const TIMES: u32 = 30;
    let target = Target::start(&[]).await;
    let mut peer = Peer::connect(target.publisher.address).await;
    peer.greet().await;
    for n in 0..TIMES {
        let streams = (0..AT_ONCE).map(|call| 1 + 2 * (n * AT_ONCE + call));
        for stream in streams.clone() {
            peer.open(stream, "/tidings.v1.PublisherService/NoSuchMethod").await;
        }
        // A refusal could be there before the request.
        sleep(Duration::from_millis(20)).await;
        for stream in streams {
            peer.data(stream, &[0; 5], 1).await;
            peer.end(stream).await;
        }
        let mut ended = 0;
        while ended < AT_ONCE {
            let frame = peer.frame().await.expect("the connection stays");
            assert!(!frame.is_goaway(), "after {} calls", n * AT_ONCE + ended);
            ended += u32::from(frame.ends_its_stream());
        }
    }
    drop(peer);
    target.stop();
}
