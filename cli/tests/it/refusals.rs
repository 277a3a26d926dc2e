//! A body that is no request has one answer: the same code and reason on whatever way it comes, and of the same kind at
//! both services.

use std::net::SocketAddr;

use tidings::pb::{ListChannelsRequest, ListMessagesRequest, PublishBatchRequest, StreamMessagesRequest};
use tidings_testing::RedisServer;
use tonic::Code;

use crate::harness::{
    Publisher, Subscriber, channel, text,
    wire::{GRPC, Wire, frame, framed, refusal},
};
use crate::paths::{BATCH, CHANNELS, FOLLOW, LIST, PUBLISH, PUBLISH_STREAM};

/// What is no single message of gRPC is refused in one way by both services, and never answered with OK.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_body_is_refused_alike_at_both_services() {
    use Code::InvalidArgument as Invalid;
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    let follow = StreamMessagesRequest { last: 1, ..channel("c") };
    let list = ListMessagesRequest { channel: "c".to_owned(), ..Default::default() };
    let one = text("c", "x");
    let batch = PublishBatchRequest { channel: "c".to_owned(), requests: vec![one.clone()] };
    let methods: [(SocketAddr, &str, Vec<u8>); 5] = [
        (publisher.address, PUBLISH, frame(&one)),
        (publisher.address, BATCH, frame(&batch)),
        (subscriber.address, LIST, frame(&list)),
        (subscriber.address, CHANNELS, frame(&ListChannelsRequest::default())),
        (subscriber.address, FOLLOW, frame(&follow)),
    ];
    for (address, path, good) in methods {
        let wire = Wire::open(address).await;
        let message = &good[5..];
        let claims = |more: usize| framed(0, message.len() + more, message).to_vec();
        // A claim that is too short leaves the beginning of another message.
        let short = framed(0, 2, b"\x0a\x00\x00").to_vec();
        let gzip = [("grpc-encoding", "gzip")];
        for (what, headers, body, code, reason) in [
            ("none", &[][..], Vec::new(), Invalid, "NOT_ONE_REQUEST"),
            ("two", &[], [&good[..], &good].concat(), Invalid, "NOT_ONE_REQUEST"),
            ("an empty one more", &[], [&good[..], &[0; 5]].concat(), Invalid, "NOT_ONE_REQUEST"),
            ("the beginning of another", &[], short, Invalid, "NOT_ONE_REQUEST"),
            ("half a prefix", &[], vec![0; 3], Invalid, "INVALID_FIELD"),
            ("less than it claims", &[], claims(1), Invalid, "INVALID_FIELD"),
            ("an odd flag", &[], framed(2, message.len(), message).to_vec(), Invalid, "INVALID_FIELD"),
            ("no protobuf", &[], framed(0, 2, b"\xff\xff").to_vec(), Invalid, "INVALID_FIELD"),
            ("a flag alone", &[], framed(1, message.len(), message).to_vec(), Code::Unimplemented, "COMPRESSED"),
            ("compressed", &gzip, framed(1, message.len(), message).to_vec(), Code::Unimplemented, "COMPRESSED"),
            ("an encoding", &gzip, good.clone(), Code::Unimplemented, "COMPRESSED"),
            ("too large", &[], framed(0, (8 << 20) + 1, b"x").to_vec(), Code::ResourceExhausted, "REQUEST_TOO_LARGE"),
        ] {
            for (way, answer) in wire.on_all_paths(path, headers, &body).await.into_iter().enumerate() {
                assert_eq!(answer, (code, reason.to_owned()), "{what} {path}, way {way}");
            }
        }
    }
    // A stream takes none, or many; what is wrong with one of them ends it.
    let wire = Wire::open(publisher.address).await;
    for (what, body, code, reason) in [
        ("none", Vec::new(), Code::Ok, ""),
        ("less than it claims", framed(0, 9, b"x").to_vec(), Invalid, "INVALID_FIELD"),
        ("an odd flag", framed(2, 1, b"x").to_vec(), Invalid, "INVALID_FIELD"),
        ("no protobuf", framed(0, 2, b"\xff\xff").to_vec(), Invalid, "INVALID_FIELD"),
        ("a flag alone", framed(1, 1, b"x").to_vec(), Code::Unimplemented, "COMPRESSED"),
        ("too large", framed(0, (8 << 20) + 1, b"x").to_vec(), Code::ResourceExhausted, "REQUEST_TOO_LARGE"),
    ] {
        let (_, status) = wire.call(PUBLISH_STREAM, GRPC, &[], body).await;
        assert_eq!(refusal(&status), (code, reason.to_owned()), "{what}: {status:?}");
    }
    let listed = subscriber.list("c").await;
    assert!(listed.is_empty(), "nothing of all that was published: {listed:?}");
    publisher.stop();
    subscriber.stop();
}
