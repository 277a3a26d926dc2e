//! Streams in Connect's envelopes: as they go on, and however they end.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{House, JSON, chunked};
use crate::{
    harness::{
        TEST_TIMEOUT, text,
        wire::{Wire, framed},
    },
    paths::{FOLLOW, PUBLISH, PUBLISH_STREAM},
};

/// A stream of JSON over HTTP/1.1, read as it comes.
struct Reader {
    stream: TcpStream,
    /// What came of the body, without the chunks of HTTP.
    body: Vec<u8>,
    /// What came and is no whole chunk yet.
    rest: Vec<u8>,
}

impl Reader {
    async fn open(address: SocketAddr, path: &str, headers: &str, requests: &[Value]) -> Self {
        let envelopes: Vec<u8> = requests.iter().flat_map(|request| envelope(0, request)).collect();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: it\r\ncontent-type: application/connect+json\r\n{headers}transfer-encoding: chunked\r\n\r\n"
        );
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(&[head.as_bytes(), &chunked(&envelopes)].concat()).await.expect("sent");
        let mut reader = Self { stream, body: Vec::new(), rest: Vec::new() };
        let end = loop {
            if let Some(end) = reader.rest.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            reader.more().await;
        };
        let head = String::from_utf8(reader.rest.drain(..end + 4).collect()).expect("text").to_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(head.contains("content-type: application/connect+json"), "{head}");
        reader
    }

    async fn more(&mut self) {
        let mut buffer = [0; 16 << 10];
        let read = timeout(TEST_TIMEOUT, self.stream.read(&mut buffer)).await.expect("in time").expect("no error");
        assert!(read > 0, "it goes on: {:?}", String::from_utf8_lossy(&self.rest));
        self.rest.extend_from_slice(&buffer[..read]);
    }

    /// The next envelope: its flag, and its JSON.
    async fn next(&mut self) -> (u8, Value) {
        loop {
            if let Some((prefix, rest)) = self.body.split_first_chunk::<5>() {
                let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
                if rest.len() >= length {
                    let envelope = (prefix[0], serde_json::from_slice(&rest[..length]).expect("JSON"));
                    self.body.drain(..5 + length);
                    return envelope;
                }
            }
            let Some(end) = self.rest.windows(2).position(|two| two == b"\r\n") else {
                self.more().await;
                continue;
            };
            let length = std::str::from_utf8(&self.rest[..end]).expect("text");
            let length = usize::from_str_radix(length, 16).expect("a length");
            assert!(length > 0, "an envelope says how the stream ended");
            while self.rest.len() < end + 2 + length + 2 {
                self.more().await;
            }
            self.body.extend_from_slice(&self.rest[end + 2..][..length]);
            self.rest.drain(..end + 2 + length + 2);
        }
    }

    async fn message(&mut self) -> Value {
        let (flag, message) = self.next().await;
        assert_eq!(flag, 0, "{message}");
        message
    }

    /// The error that ends the stream.
    async fn error(&mut self) -> Value {
        loop {
            let (flag, mut message) = self.next().await;
            if flag == 2 {
                return message["error"].take();
            }
        }
    }
}

fn envelope(flag: u8, json: &Value) -> Vec<u8> {
    let json = json.to_string();
    framed(flag, json.len(), json.as_bytes()).to_vec()
}

fn reason(error: &Value) -> (&str, &str) {
    let details = error["details"].as_array().expect("details");
    let info = details.iter().find(|detail| detail["type"] == "google.rpc.ErrorInfo").expect("a reason");
    let reason = info["debug"]["reason"].as_str().unwrap_or_default();
    (error["code"].as_str().expect("a code"), reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_replays_follows_and_says_why_it_ends() {
    let mut house = House::start().await;
    house.publisher.client().publish(text("c", "one")).await.expect("published");
    let request = json!({"channel": "c", "earliest": true, "heartbeatInterval": "0.100s"});
    let mut follower = Reader::open(house.subscriber.address, FOLLOW, "", std::slice::from_ref(&request)).await;
    assert!(follower.message().await["started"]["cursor"].is_string());
    assert_eq!(follower.message().await["message"]["text"], "one");
    assert!(follower.message().await["caughtUp"].is_object());
    house.publisher.client().publish(text("c", "two")).await.expect("published");
    loop {
        let event = follower.message().await;
        if let Some(message) = event.get("message") {
            assert_eq!((&message["text"], &message["sequence"]), (&json!("two"), &json!("2")));
            break;
        }
        assert!(event["heartbeat"].is_object(), "{event}");
    }
    // A caller that waits no longer is told so, and one of a server that stops as well.
    let mut hurried = Reader::open(house.subscriber.address, FOLLOW, "connect-timeout-ms: 200\r\n", &[request]).await;
    assert_eq!(reason(&hurried.error().await), ("deadline_exceeded", "DEADLINE_EXCEEDED"));
    house.subscriber.process.signal("TERM");
    assert_eq!(reason(&follower.error().await), ("unavailable", "DRAINING"));
    assert!(house.subscriber.process.wait(TEST_TIMEOUT).success());
    house.publisher.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_an_envelope_ends_the_stream() {
    let house = House::start().await;
    let wire = Wire::open(house.subscriber.address).await;
    let good = envelope(0, &json!({"channel": "c"}));
    for (what, headers, body, expected) in [
        ("none", &[][..], Vec::new(), ("invalid_argument", "NOT_ONE_REQUEST")),
        ("two", &[], good.repeat(2), ("invalid_argument", "NOT_ONE_REQUEST")),
        ("cut off", &[], good[..9].to_vec(), ("invalid_argument", "INVALID_FIELD")),
        ("an end of the client's", &[], envelope(2, &json!({})), ("invalid_argument", "INVALID_FIELD")),
        ("compressed", &[], envelope(1, &json!({})), ("unimplemented", "COMPRESSED")),
        ("says gzip", &[("connect-content-encoding", "gzip")], good.clone(), ("unimplemented", "COMPRESSED")),
        ("no JSON", &[], framed(0, 1, b"{").to_vec(), ("invalid_argument", "INVALID_FIELD")),
        ("an unknown field", &[], envelope(0, &json!({"chanel": "c"})), ("invalid_argument", "INVALID_FIELD")),
        ("too long", &[], framed(0, 9 << 20, b"{").to_vec(), ("resource_exhausted", "REQUEST_TOO_LARGE")),
        ("no channel", &[], envelope(0, &json!({"channel": "a b"})), ("invalid_argument", "INVALID_CHANNEL")),
    ] {
        let headers = [&[("content-type", "application/connect+json")], headers].concat();
        let answer = super::http2(&wire, FOLLOW, &headers, &body).await;
        assert_eq!(answer.code, 200, "{what}");
        let (prefix, end) = answer.body.split_first_chunk::<5>().expect("an envelope");
        assert_eq!(prefix[0], 2, "{what}: {}", answer.text());
        let end: Value = serde_json::from_slice(end).expect("JSON");
        assert_eq!(reason(&end["error"]), expected, "{what}: {end}");
    }
    house.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_are_streamed_both_ways_over_http1_as_well() {
    let house = House::start().await;
    let publish = |text: &str| json!({"request": {"channel": "s", "text": text}});
    let requests = [publish("one"), json!({"request": {"channel": "s"}}), publish("two")];
    let mut answers = Reader::open(house.publisher.address, PUBLISH_STREAM, "", &requests).await;
    assert_eq!(answers.message().await["response"]["sequence"], "1");
    let refused = answers.message().await;
    // Details within a message are an Any, which JSON writes by its type.
    assert_eq!(refused["error"]["code"], 3);
    assert_eq!(refused["error"]["details"][0]["@type"], "type.googleapis.com/google.rpc.ErrorInfo");
    assert_eq!(refused["error"]["details"][0]["reason"], "MESSAGE_MISSING");
    assert_eq!(answers.message().await["response"]["sequence"], "2");
    assert_eq!(answers.next().await, (2, json!({})));
    house.stop();
}

/// What has not come whole is not waited for by a server that stops.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_still_to_come_does_not_hold_up_a_stop() {
    let mut house = House::start().await;
    let mut half = TcpStream::connect(house.publisher.address).await.expect("it listens");
    let head = format!("POST {PUBLISH} HTTP/1.1\r\nhost: it\r\ncontent-type: {JSON}\r\ncontent-length: 100\r\n\r\n{{");
    half.write_all(head.as_bytes()).await.expect("sent");
    // A second one that is answered has been behind the first.
    let whole =
        super::http1(house.publisher.address, "POST", PUBLISH, &[("content-type", JSON)], br#"{"text": "x"}"#).await;
    assert_eq!(whole.code, 200);
    house.publisher.process.signal("TERM");
    let mut answer = Vec::new();
    timeout(TEST_TIMEOUT, half.read_to_end(&mut answer)).await.expect("in time").expect("an answer");
    let answer = String::from_utf8(answer).expect("text");
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("NOT_PUBLISHED"), "{answer}");
    assert!(house.publisher.process.wait(TEST_TIMEOUT).success());
    house.subscriber.stop();
}
