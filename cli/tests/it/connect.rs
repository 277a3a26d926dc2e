//! Connect as `curl` and browsers speak it, against the built programs: what gRPC has not. That every method answers
//! alike by both is tried in `methods`, who may call in `access`.

mod refusals;
mod streams;

use std::net::SocketAddr;

use serde_json::{Value, json};
use tidings_testing::{RedisServer, burst, listed, plain};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    harness::{Publisher, Subscriber, TEST_TIMEOUT, text, wire::Wire},
    paths::{LIST, PUBLISH},
};

const JSON: &str = "application/json";

/// An answer of HTTP.
struct Answer {
    code: u16,
    /// The lines of its head, in lower case.
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A request of HTTP/1.1 as it is written, and its whole answer.
async fn http1(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: it\r\nconnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    let is_chunked = headers.contains(&("transfer-encoding", "chunked"));
    let body = if is_chunked { chunked(body) } else { body.to_vec() };
    if !is_chunked {
        head += &format!("content-length: {}\r\n", body.len());
    }
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(format!("{head}\r\n").as_bytes()).await.expect("sent");
    // What is refused early need not be read to its end.
    let _ = stream.write_all(&body).await;
    let mut all = Vec::new();
    let read = timeout(TEST_TIMEOUT, stream.read_to_end(&mut all)).await.expect("in time");
    assert!(read.is_ok() || !all.is_empty(), "{read:?}");
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(all[..end].to_vec()).expect("text").to_lowercase();
    let code = head[9..12].parse().expect("a code");
    let body = &all[end + 4..];
    let body = if head.contains("transfer-encoding: chunked") { unchunked(body) } else { body.to_vec() };
    Answer { code, head, body }
}

fn chunked(body: &[u8]) -> Vec<u8> {
    let chunks =
        body.chunks(10_000).flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    chunks.chain(*b"0\r\n\r\n").collect()
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(end) = body.windows(2).position(|two| two == b"\r\n") {
        let length = std::str::from_utf8(&body[..end]).expect("text");
        let length = usize::from_str_radix(length, 16).expect("a length");
        all.extend_from_slice(&body[end + 2..][..length]);
        body = &body[end + 2 + length + 2..];
    }
    all
}

/// The same over HTTP/2.
async fn http2(wire: &Wire, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let (kind, headers) = headers.split_first().expect("a content type");
    let (answer, mut sending) = wire.begin(path, kind.1, headers).await;
    let _ = sending.send_data(body.to_vec().into(), true);
    let answer = timeout(TEST_TIMEOUT, answer).await.expect("in time").expect("a response");
    let (code, head) = (answer.status().as_u16(), format!("{:?}", answer.headers()));
    let mut incoming = answer.into_body();
    let mut body = Vec::new();
    while let Some(data) = incoming.data().await {
        let data = data.expect("no error");
        let _ = incoming.flow_control().release_capacity(data.len());
        body.extend_from_slice(&data);
    }
    Answer { code, head, body }
}

/// Both services on a Redis of their own.
struct House {
    redis: RedisServer,
    publisher: Publisher,
    subscriber: Subscriber,
}

impl House {
    async fn start() -> Self {
        let redis = RedisServer::start();
        let publisher = Publisher::start(&redis.url(), &[]).await;
        let subscriber = Subscriber::start(&redis.url(), &[]).await;
        Self { redis, publisher, subscriber }
    }

    fn stop(self) {
        self.publisher.stop();
        self.subscriber.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_is_one_post_over_http1_and_http2() {
    let house = House::start().await;
    let exact = r#"{"z": 9007199254740993,  "price": 1.10}"#;
    let body = json!({"channel": "c", "json": exact, "attributes": {"a": "b"}, "orderingKey": "k"}).to_string();
    let headers = [("content-type", JSON)];
    let wire = Wire::open(house.publisher.address).await;
    let first = http1(house.publisher.address, "POST", PUBLISH, &headers, body.as_bytes()).await;
    let second = http2(&wire, PUBLISH, &headers, body.as_bytes()).await;
    for (answer, sequence) in [(&first, "1"), (&second, "2")] {
        assert_eq!(answer.code, 200, "{}", answer.text());
        let receipt = answer.json();
        // 64-bit numbers are strings, times are RFC 3339, and what is not set is left out.
        assert_eq!((&receipt["sequence"], &receipt["channel"]), (&json!(sequence), &json!("c")));
        let time = receipt["publishTime"].as_str().expect("a time");
        assert!(time.starts_with("20") && time.ends_with('Z'), "{time}");
        let keys: Vec<_> = receipt.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(keys, ["channel", "cursor", "epoch", "messageId", "publishTime", "sequence"]);
    }
    assert!(first.head.contains("content-type: application/json") && first.head.contains("content-length: "));
    let listed = http1(house.subscriber.address, "POST", LIST, &headers, br#"{"channel": "c", "pageSize": 1}"#).await;
    let listed = listed.json();
    let message = &listed["messages"][0];
    assert_eq!((&message["json"], &message["orderingKey"]), (&json!(exact), &json!("k")));
    assert_eq!(message["attributes"], json!({"a": "b"}));
    assert!(listed["nextPageToken"].as_str().is_some_and(|token| !token.is_empty()), "{listed}");
    house.stop();
}

/// A body of JSON is not as long as the message in it, and says how long it is in one of two ways, or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_come_in_any_way_and_too_large_ones_in_none() {
    let house = House::start().await;
    let (small, large, too_large) = (100, 1_000_000, 9 << 20);
    for length in [small, large, too_large] {
        let body = json!({"channel": "large", "text": "x".repeat(length)}).to_string();
        let wire = Wire::open(house.publisher.address).await;
        let whole = [("content-type", JSON)];
        let length_text = body.len().to_string();
        let answers = [
            http1(house.publisher.address, "POST", PUBLISH, &whole, body.as_bytes()).await,
            http1(
                house.publisher.address,
                "POST",
                PUBLISH,
                &[whole[0], ("transfer-encoding", "chunked")],
                body.as_bytes(),
            )
            .await,
            http2(&wire, PUBLISH, &whole, body.as_bytes()).await,
            http2(&wire, PUBLISH, &[whole[0], ("content-length", &length_text)], body.as_bytes()).await,
        ];
        for (way, answer) in answers.iter().enumerate() {
            let code = if length == too_large { 413 } else { 200 };
            assert_eq!(answer.code, code, "{length}, way {way}: {}", answer.text());
            if length == too_large {
                let error = answer.json();
                assert_eq!(error["code"], "resource_exhausted");
                assert_eq!(error["details"][0]["debug"]["reason"], "REQUEST_TOO_LARGE");
            }
        }
    }
    let last = house.publisher.client().publish(text("large", "last")).await.expect("published").into_inner();
    assert_eq!(last.sequence, 2 * 4 + 1);
    house.stop();
}

/// What a plain program has put on a channel can be read as JSON, whatever its date is.
#[tokio::test(flavor = "multi_thread")]
async fn what_plain_programs_write_can_be_read_as_json() {
    let house = House::start().await;
    house.publisher.client().publish(text("channel1", "first")).await.expect("published");
    let dates = ["0000-01-01T00:00:00Z", "9999-12-31T23:59:60Z", "10/11/2023", "2016-12-31T23:59:60.5+14:00"];
    let written =
        dates.map(|date| json!({"id": "1", "message": "\u{0}\u{2028}", "date": date}).to_string().into_bytes());
    burst(&mut plain(&house.redis).await, "channel1", written).await;
    listed(&house.subscriber, "channel1", 1 + dates.len()).await;
    let listed = http1(house.subscriber.address, "POST", LIST, &[("content-type", JSON)], b"{}").await;
    assert_eq!(listed.code, 200, "{}", listed.text());
    assert_eq!(listed.json()["messages"].as_array().expect("messages").len(), 1 + dates.len());
    house.stop();
}

/// Browsers ask before they call, and send where they come from.
#[tokio::test(flavor = "multi_thread")]
async fn pages_of_allowed_origins_may_call() {
    let house = House::start().await;
    let address = house.publisher.address;
    let own = ("origin", "http://localhost:5173");
    let asked = [
        own,
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,connect-protocol-version,connect-timeout-ms"),
    ];
    let allowed = http1(address, "OPTIONS", PUBLISH, &asked, b"").await;
    assert_eq!(allowed.code, 200);
    for line in [
        "access-control-allow-origin: http://localhost:5173",
        "access-control-allow-methods: post",
        "access-control-allow-headers: content-type,connect-protocol-version,connect-timeout-ms",
    ] {
        assert!(allowed.head.contains(line), "{line}: {}", allowed.head);
    }
    for (body, code) in [(&br#"{"text": "x"}"#[..], 200), (b"{}", 400)] {
        let answer = http1(address, "POST", PUBLISH, &[own, ("content-type", JSON)], body).await;
        assert_eq!(answer.code, code, "{}", answer.text());
        assert!(answer.head.contains("access-control-allow-origin: http://localhost:5173"), "{}", answer.head);
    }
    let foreign = [("origin", "https://evil.example"), ("content-type", JSON)];
    assert_eq!(http1(address, "POST", PUBLISH, &foreign, br#"{"text": "x"}"#).await.code, 403);
    assert_eq!(house.subscriber.list("channel1").await.len(), 1, "the foreign page published nothing");
    house.stop();
}
