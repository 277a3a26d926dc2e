//! Small requests that would become large ones: what repeats in them is counted before anything is made of it,
//! whichever way they come.

use tidings_testing::RedisServer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tonic::{Code, Request, Status, codegen::http::uri::PathAndQuery};

use crate::harness::{Process, Publisher, Raw, Subscriber, TEST_TIMEOUT, connect, reason};
use crate::paths::BATCH;

const STREAM: &str = "/tidings.v1.SubscriberService/StreamMessages";
/// What decoding them once took was hundreds of megabytes; a request itself is 8 MB, and is held twice while it comes.
const MOST_KIB: u64 = 80 << 10;

/// How a call is made.
#[derive(PartialEq)]
enum By {
    Program,
    /// What a page sends goes through the generated server.
    Page,
}

/// Sends one message, which is refused.
async fn refusal(address: std::net::SocketAddr, path: &'static str, by: By, message: Vec<u8>) -> Status {
    let mut client = tonic::client::Grpc::new(connect(address).await);
    client.ready().await.expect("connected");
    let mut request = Request::new(tokio_stream::iter([message]));
    if by == By::Page {
        request.metadata_mut().insert("origin", "http://localhost".parse().expect("a header"));
    }
    let answer = client.streaming(request, PathAndQuery::from_static(path), Raw).await;
    match answer {
        Err(refused) => refused,
        Ok(answers) => answers.into_inner().message().await.expect_err("refused"),
    }
}

/// The same over gRPC-Web: the head of the answer.
async fn web(address: std::net::SocketAddr, message: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let length = message.len();
    let head = format!(
        "POST {BATCH} HTTP/1.1\r\nhost: it\r\ncontent-type: application/grpc-web+proto\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        length + 5
    );
    let prefix = [&[0][..], &(length as u32).to_be_bytes()].concat();
    stream.write_all(&[head.as_bytes(), &prefix, message].concat()).await.expect("the server reads");
    let mut answer = Vec::new();
    timeout(TEST_TIMEOUT, stream.read_to_end(&mut answer)).await.expect("in time").expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

fn check(what: &str, refused: &Status, expected: &str, process: &Process) {
    assert_eq!((refused.code(), reason(refused).as_str()), (Code::ResourceExhausted, expected), "{what}: {refused:?}");
    let most = process.most_resident_kib();
    assert!(most < MOST_KIB, "{what}: {most} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_repeats_a_million_times_is_refused_before_it_is_decoded() {
    const MANY: usize = 4_000_000;
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let subscriber = Subscriber::start(&redis.url(), &[]).await;
    let batch = [&b"\x0a\x01b"[..], &b"\x12\x00".repeat(MANY)].concat();
    let refused = refusal(publisher.address, BATCH, By::Program, batch.clone()).await;
    check("the fast path", &refused, "BATCH_TOO_LARGE", &publisher.process);
    let refused = refusal(publisher.address, BATCH, By::Page, batch.clone()).await;
    check("the generated server", &refused, "BATCH_TOO_LARGE", &publisher.process);
    let answer = web(publisher.address, &batch).await;
    assert!(answer.contains("grpc-status: 8") || answer.contains("grpc-status:8"), "{answer}");
    let most = publisher.process.most_resident_kib();
    assert!(most < MOST_KIB, "gRPC-Web: {most} KiB");
    let refused =
        refusal(subscriber.address, STREAM, By::Program, [&b"\x0a\x01b"[..], &b"\x32\x00".repeat(MANY)].concat()).await;
    check("cursors", &refused, "TOO_MANY_CURSORS", &subscriber.process);
    publisher.stop();
    subscriber.stop();
}
