//! What is refused, in Connect's own form and for the reasons that gRPC has.

use serde_json::{Value, json};

use super::{House, JSON, http1, http2};
use crate::{
    harness::wire::Wire,
    paths::{CHANNELS, FOLLOW, LIST, PUBLISH},
};

/// A request, and what it is refused with.
struct Refused {
    what: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
    http: u16,
    code: &'static str,
    reason: &'static str,
    /// In the message.
    text: &'static str,
}

fn json(what: &'static str, body: &str, reason: &'static str, text: &'static str) -> Refused {
    let (headers, body) = (vec![("content-type", JSON)], body.as_bytes().to_vec());
    Refused { what, path: PUBLISH, headers, body, http: 400, code: "invalid_argument", reason, text }
}

fn with(header: (&'static str, &'static str), refused: Refused) -> Refused {
    Refused { headers: vec![refused.headers[0], header], ..refused }
}

fn refused() -> Vec<Refused> {
    let good = r#"{"text": "x"}"#;
    let deep = format!(r#"{{"attributes": {}"#, "[".repeat(1_000));
    vec![
        json("no body", "", "INVALID_FIELD", "EOF"),
        json("no JSON", "text=x", "INVALID_FIELD", "line 1, column 2"),
        json("half of it", r#"{"text": "x"#, "INVALID_FIELD", "EOF"),
        json("a list", "[]", "INVALID_FIELD", "expected a map"),
        json("two of them", r#"{"text": "x"} {"text": "y"}"#, "INVALID_FIELD", "trailing characters"),
        json(
            "an unknown field",
            r#"{"text": "x", "chanel": "c"}"#,
            "INVALID_FIELD",
            "unrecognized field name 'chanel'",
        ),
        json("a number for a text", r#"{"text": 1}"#, "INVALID_FIELD", "text: "),
        json("a text for a number", r#"{"text": "x", "minReplicas": "many"}"#, "INVALID_FIELD", "minReplicas: "),
        json("a fraction for a number", r#"{"text": "x", "minReplicas": 0.5}"#, "INVALID_FIELD", "minReplicas: "),
        json(
            "a number beyond its type",
            r#"{"text": "x", "minReplicas": 2147483648}"#,
            "INVALID_FIELD",
            "minReplicas: ",
        ),
        json("no base64", r#"{"data": "%"}"#, "INVALID_FIELD", "data: "),
        json("two payloads", r#"{"text": "x", "json": "1"}"#, "INVALID_FIELD", "payload"),
        json("no UTF-8 within", "{\"text\": \"\\ud800\"}", "INVALID_FIELD", "hex escape"),
        json("without an end", &deep, "INVALID_FIELD", "attributes"),
        json("no payload", "{}", "MESSAGE_MISSING", "the message is mandatory"),
        json("no channel", r#"{"text": "x", "channel": "a b"}"#, "INVALID_CHANNEL", "channel: "),
        json("no JSON within", r#"{"json": "{"}"#, "INVALID_JSON", "json: "),
        json("an id of another kind", r#"{"text": "x", "messageId": "7"}"#, "INVALID_MESSAGE_ID", "message_id: "),
        Refused { path: LIST, ..json("no page", r#"{"pageToken": "x"}"#, "INVALID_PAGE_TOKEN", "page_token: ") },
        Refused { path: LIST, ..json("no order", r#"{"order": "BACKWARDS"}"#, "INVALID_FIELD", "order: ") },
        Refused { path: CHANNELS, ..json("no pattern", r#"{"pattern": "a *"}"#, "INVALID_PATTERN", "pattern: ") },
        Refused {
            http: 413,
            code: "resource_exhausted",
            ..json(
                "a long key",
                &json!({"text": "x", "orderingKey": "k".repeat(2_000)}).to_string(),
                "ORDERING_KEY_TOO_LONG",
                "",
            )
        },
        Refused {
            http: 413,
            code: "resource_exhausted",
            ..json("many values", &format!(r#"{{"attributes": [{}1]}}"#, "1,".repeat(200_000)), "REQUEST_TOO_LARGE", "")
        },
        with(("connect-timeout-ms", "soon"), json("no time", good, "INVALID_FIELD", "connect-timeout-ms: ")),
        with(
            ("connect-protocol-version", "2"),
            json("a later version", good, "INVALID_FIELD", "connect-protocol-version: "),
        ),
        with(
            ("content-encoding", "gzip"),
            Refused { http: 501, code: "unimplemented", ..json("compressed", good, "COMPRESSED", "identity") },
        ),
        Refused {
            headers: vec![("content-type", "application/proto")],
            body: b"\xff\xff".to_vec(),
            ..json("no protobuf", "", "INVALID_FIELD", "protobuf")
        },
        Refused {
            path: FOLLOW,
            http: 415,
            ..json("a stream without envelopes", "{}", "WRONG_CONTENT_TYPE", "application/connect+json")
        },
        Refused {
            headers: vec![("content-type", "application/connect+json")],
            http: 415,
            ..json("an envelope for none", "", "WRONG_CONTENT_TYPE", "application/json")
        },
        Refused {
            path: "/tidings.v1.PublisherService/publish",
            http: 404,
            code: "unimplemented",
            ..json("an unknown method", "{}", "UNKNOWN_METHOD", "publish")
        },
        Refused {
            path: "/v0",
            http: 404,
            code: "unimplemented",
            ..json("an unknown path", "{}", "UNKNOWN_METHOD", "/v0")
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_in_words_that_name_it() {
    let house = House::start().await;
    let wires = [Wire::open(house.publisher.address).await, Wire::open(house.subscriber.address).await];
    for Refused { what, path, headers, body, http, code, reason, text } in refused() {
        let is_read = path.contains("Subscri");
        let address = if is_read { house.subscriber.address } else { house.publisher.address };
        let wire = &wires[usize::from(is_read)];
        for answer in [http1(address, "POST", path, &headers, &body).await, http2(wire, path, &headers, &body).await] {
            assert_eq!(answer.code, http, "{what}: {}", answer.text());
            assert!(answer.head.contains(JSON), "{what}: {}", answer.head);
            let error = answer.json();
            let details: Vec<&Value> = error["details"].as_array().expect("details").iter().collect();
            assert_eq!(error["code"], code, "{what}: {error}");
            assert_eq!(details[0]["type"], "google.rpc.ErrorInfo", "{what}");
            assert_eq!(details[0]["debug"]["reason"], reason, "{what}: {error}");
            let message = error["message"].as_str().expect("a message");
            assert!(message.contains(text) && message.len() > 10 && message.len() < 300, "{what}: {message}");
        }
    }
    assert!(house.subscriber.list("channel1").await.is_empty(), "nothing of all that was published");
    house.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_call_is_said_in_words() {
    let house = House::start().await;
    let address = house.publisher.address;
    for method in ["GET", "PUT", "DELETE"] {
        let answer = http1(address, method, PUBLISH, &[("content-type", JSON)], b"").await;
        assert_eq!((answer.code, answer.text().as_str()), (405, "Calls are made by POST.\n"), "{method}");
        assert!(answer.head.contains("allow: post"), "{}", answer.head);
    }
    // What curl sends by itself.
    let forms = [("content-type", "application/x-www-form-urlencoded")];
    for headers in [&forms[..], &[("content-type", "application/json+x")], &[]] {
        let answer = http1(address, "POST", PUBLISH, headers, br#"{"text": "x"}"#).await;
        assert_eq!(answer.code, 415);
        assert!(answer.text().contains("content-type: application/json"), "{}", answer.text());
    }
    // gRPC needs HTTP/2; that the same port speaks something else over HTTP/1.1 is said.
    let answer = http1(address, "POST", PUBLISH, &[("content-type", "application/grpc")], b"").await;
    assert!(answer.code == 415 && answer.text().contains("gRPC over HTTP/2"), "{}", answer.text());
    let there = http1(address, "POST", LIST, &[("content-type", JSON)], b"{}").await;
    let error = there.json();
    assert_eq!((there.code, &error["details"][0]["debug"]["reason"]), (404, &json!("OTHER_SERVICE")), "{error}");
    assert!(error["message"].as_str().expect("a message").contains("tidings-subscriber"), "{error}");
    house.stop();
}
