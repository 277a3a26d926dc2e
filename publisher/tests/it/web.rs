//! Browsers: gRPC-Web over HTTP/1.1, with CORS, spoken by hand.

use std::time::Duration;

use prost::Message as _;
use tidings::pb::PublishResponse;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    fake::{self, Running},
    publish::text,
};

const PUBLISH: &str = "/tidings.v1.PublisherService/Publish";
const PAGE: &str = "http://localhost:5173";

const GRPC_WEB: (&str, &str) = ("content-type", "application/grpc-web+proto");

/// The head, in lower case, and the body of the answer to one HTTP/1.1 request.
async fn http(server: &Running, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (String, Vec<u8>) {
    let mut stream = send_head(server, method, path, headers, body.len()).await;
    stream.write_all(body).await.expect("sent");
    read_answer(stream).await
}

async fn send_head(
    server: &Running,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body_bytes: usize,
) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.expect("it listens");
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", server.address);
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("content-length: {body_bytes}\r\n\r\n"));
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream
}

async fn read_answer(mut stream: TcpStream) -> (String, Vec<u8>) {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("answered");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    (String::from_utf8_lossy(&answer[..end]).to_lowercase(), answer[end + 4..].to_vec())
}

fn framed(message: &impl prost::Message) -> Vec<u8> {
    let body = message.encode_to_vec();
    [&[0][..], &u32::try_from(body.len()).expect("small").to_be_bytes(), &body].concat()
}

/// Takes the chunks of HTTP/1.1 apart.
fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).expect("ASCII"), 16).expect("a size");
        whole.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 2 + size + 2..];
    }
    whole
}

#[tokio::test]
async fn a_page_may_ask_and_then_publish() {
    let server = fake::start().await;
    let wish = [
        ("origin", PAGE),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,x-grpc-web"),
    ];
    let (head, _) = http(&server, "OPTIONS", PUBLISH, &wish, b"").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains(&format!("access-control-allow-origin: {PAGE}")), "{head}");
    assert!(head.contains("access-control-allow-headers: content-type,x-grpc-web"), "{head}");

    let call = [("origin", PAGE), GRPC_WEB, ("x-grpc-web", "1")];
    let (head, body) = http(&server, "POST", PUBLISH, &call, &framed(&text("hello"))).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("access-control-expose-headers: grpc-status,grpc-message,grpc-status-details-bin"), "{head}");
    let body = unchunked(&body);
    let length = u32::from_be_bytes(body[1..5].try_into().expect("4 bytes")) as usize;
    let receipt = PublishResponse::decode(&body[5..5 + length]).expect("a receipt");
    assert_eq!(receipt.sequence, 1);
    let trailers = String::from_utf8_lossy(&body[5 + length..]).into_owned();
    assert!(trailers.contains("grpc-status:0"), "{trailers}");
}

#[tokio::test]
async fn errors_reach_pages_with_their_details() {
    let server = fake::start().await;
    let call = [("origin", PAGE), GRPC_WEB];
    let (head, body) = http(&server, "POST", PUBLISH, &call, &framed(&text(""))).await;
    let whole = format!("{head}\n{}", String::from_utf8_lossy(&body));
    assert!(whole.contains("grpc-status: 3") && whole.contains("grpc-status-details-bin"), "{whole}");
}

#[tokio::test]
async fn pages_of_other_origins_are_turned_away() {
    let server = fake::start().await;
    let call = [("origin", "http://evil.example"), GRPC_WEB];
    let (head, body) = http(&server, "POST", PUBLISH, &call, &framed(&text("hello"))).await;
    assert!(head.starts_with("http/1.1 403") && !head.contains("access-control-allow-origin"), "{head}");
    assert!(String::from_utf8_lossy(&body).contains("--cors-allow-origin"));
    assert_eq!(server.broker.seen(), 0);
}

#[tokio::test]
async fn a_plain_browser_gets_an_explanation() {
    let server = fake::start().await;
    let (head, body) = http(&server, "GET", "/", &[], b"").await;
    assert!(head.starts_with("http/1.1 415"), "{head}");
    assert!(String::from_utf8_lossy(&body).contains("http://ADDRESS/tidings.v1.PublisherService/Publish"));
}

#[tokio::test]
async fn the_clients_deadline_is_kept_by_the_server() {
    let server = fake::start().await;
    server.broker.answering.send_replace(false);
    let (headers, body) = ([GRPC_WEB, ("grpc-timeout", "50m")], framed(&text("hello")));
    let asked = http(&server, "POST", PUBLISH, &headers, &body);
    let (head, _) = timeout(Duration::from_secs(5), asked).await.expect("the server keeps the deadline");
    assert!(head.contains("grpc-status: 4"), "{head}");
    assert_eq!(server.broker.seen(), 1);
}

#[tokio::test]
async fn a_publish_that_arrives_during_the_drain_is_not_published_and_says_so() {
    let server = fake::start().await;
    let body = framed(&text("late"));
    let mut stream = send_head(&server, "POST", PUBLISH, &[GRPC_WEB], body.len()).await;
    stream.write_all(&body[..3]).await.expect("sent");
    // The call is open once the server has read its head.
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.shutdown.cancel();
    tokio::time::sleep(Duration::from_millis(50)).await;
    stream.write_all(&body[3..]).await.expect("sent");
    let (head, _) = read_answer(stream).await;
    assert!(head.contains("grpc-status: 14") && head.contains("nothing%20was%20published"), "{head}");
    assert_eq!(server.broker.seen(), 0);
    server.ends_within(Duration::from_secs(5)).await;
}
