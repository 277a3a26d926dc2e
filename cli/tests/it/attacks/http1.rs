//! Requests of HTTP/1.1 whose end is not the same for everybody who reads them (request smuggling): a proxy that takes
//! what is behind it for a part of the first would pass on a second request unseen. At most one is ever taken from such
//! bytes.

use std::{net::SocketAddr, time::Duration};

use prost::Message as _;
use tidings::pb::ListMessagesRequest;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::Target;
use crate::harness::{
    text,
    wire::{WEB, framed},
};
use crate::paths::{LIST, PUBLISH};

/// How long a connection may take to be closed.
const CLOSED: Duration = Duration::from_secs(5);

/// How a request says where it ends, and the body that is there by one of its readings.
const SHAPES: [(&str, &str, &str); 21] = [
    ("a length and chunks", "content-length: 5\r\ntransfer-encoding: chunked", "0\r\n\r\n"),
    ("chunks and a length", "transfer-encoding: chunked\r\ncontent-length: 5", "0\r\n\r\n"),
    ("chunks and no length", "transfer-encoding: chunked\r\ncontent-length: 0", "0\r\n\r\n"),
    ("two lengths", "content-length: 0\r\ncontent-length: 5", "0\r\n\r\n"),
    ("two lengths, the longer first", "content-length: 5\r\ncontent-length: 0", "0\r\n\r\n"),
    ("two lengths in one line", "content-length: 0, 5", ""),
    ("a length with a sign", "content-length: +0", ""),
    ("chunks that are not the last encoding", "transfer-encoding: chunked, identity", "0\r\n\r\n"),
    ("no chunks", "transfer-encoding: identity", "0\r\n\r\n"),
    ("something like chunks", "transfer-encoding: xchunked", "0\r\n\r\n"),
    ("a space before the colon", "content-length: 0\r\ntransfer-encoding : chunked", "0\r\n\r\n"),
    ("a space before the colon of a length", "transfer-encoding: chunked\r\ncontent-length : 5", "0\r\n\r\n"),
    ("a folded line", "content-length: 5\r\ntransfer-encoding:\r\n chunked", "0\r\n\r\n"),
    ("a line that LF alone ends", "content-length: 5\r\nx-a: b\ntransfer-encoding: chunked", "0\r\n\r\n"),
    ("lengths in lines that LF alone ends", "content-length: 0\nx-a: b\ncontent-length: 5", "0\r\n\r\n"),
    ("a line that CR alone ends", "content-length: 5\r\nx-a: b\rtransfer-encoding: chunked", "0\r\n\r\n"),
    ("a chunk of 2^64 bytes", "transfer-encoding: chunked", "10000000000000000\r\n\r\n"),
    ("a chunk of more", "transfer-encoding: chunked", "fffffffffffffffff0\r\n\r\n"),
    ("a chunk with a sign", "transfer-encoding: chunked", "-0\r\n\r\n"),
    ("a chunk as C writes it", "transfer-encoding: chunked", "0x0\r\n\r\n"),
    ("a chunk that LF alone ends", "transfer-encoding: chunked", "0\n\n"),
];

/// A request whose head says so where it ends.
fn request(path: &str, end: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nhost: it\r\ncontent-type: {WEB}\r\n{end}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// One that is good.
fn good(path: &str, message: &[u8]) -> Vec<u8> {
    let body = framed(0, message.len(), message);
    request(path, &format!("content-length: {}", body.len()), &body)
}

/// All that is answered to these bytes, and whether the connection is closed then.
async fn answers(address: SocketAddr, bytes: &[u8], most: Duration) -> (String, bool) {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(bytes).await.expect("sent");
    let mut all = Vec::new();
    let closed = timeout(most, stream.read_to_end(&mut all)).await.is_ok();
    (String::from_utf8_lossy(&all).into_owned(), closed)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_second_request_is_taken_from_bytes_that_may_end_in_two_places() {
    let target = Target::start(&[]).await;
    let publish = |channel: &str| good(PUBLISH, &text(channel, "x").encode_to_vec());
    let list = ListMessagesRequest { channel: "good".to_owned(), ..ListMessagesRequest::default() };
    let services = [
        (target.publisher.address, PUBLISH, publish("smuggled"), publish("good")),
        (target.subscriber.address, LIST, good(LIST, &list.encode_to_vec()), good(LIST, &list.encode_to_vec())),
    ];
    for (address, path, smuggled, good) in services {
        let count = |answers: &str| answers.matches("HTTP/1.1 ").count();
        // Two that end where everybody sees it are two.
        let (all, _) = answers(address, &good.repeat(2), Duration::from_secs(1)).await;
        assert_eq!((count(&all), all.matches("HTTP/1.1 200").count()), (2, 2), "{path}: {all}");
        for (what, end, body) in SHAPES {
            let bytes = [request(path, end, body.as_bytes()), smuggled.clone()].concat();
            let (all, closed) = answers(address, &bytes, CLOSED).await;
            assert!(count(&all) <= 1, "{what}, {path}: {all}");
            assert!(closed, "{what}, {path}: {all}");
        }
    }
    assert_eq!(target.subscriber.list("good").await.len(), 2);
    assert!(target.subscriber.list("smuggled").await.is_empty());
    target.stop();
}
