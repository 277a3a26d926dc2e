//! What the subscriber refuses: the code, the reason and the field of each bad request.

use prost_types::{Duration, Timestamp};
use tidings::pb::{ListChannelsRequest, ListMessagesRequest, StreamMessagesRequest};
use tonic::{Code, Status};

use crate::harness::{House, channel, fields, on_both_brokers, pattern, reason, text};

on_both_brokers!(bad_streams_are_refused, bad_lists_are_refused);

fn check(what: &str, refused: &Status, expected_reason: &str, field: &str) {
    assert_eq!(refused.code(), Code::InvalidArgument, "{what}: {refused:?}");
    assert_eq!(reason(refused), expected_reason, "{what}: {refused:?}");
    assert_eq!(fields(refused), [field], "{what}");
    assert!(refused.message().len() > 10, "{what}: {:?}", refused.message());
}

async fn bad_streams_are_refused(house: &House) {
    let cursor = house.publish(text("good", "1")).await.cursor;
    let whole = house.stream(pattern("g*")).await.started().await;
    let mut forged = cursor.clone().into_bytes();
    forged[5] = if forged[5] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).expect("ASCII");
    let good = || channel("good");
    let after = |after: &[&str], request: StreamMessagesRequest| StreamMessagesRequest {
        after: after.iter().map(|text| (*text).to_owned()).collect(),
        ..request
    };
    let heartbeat =
        |seconds, nanos| StreamMessagesRequest { heartbeat_interval: Some(Duration { seconds, nanos }), ..good() };
    let too_many: Vec<&str> =
        std::iter::once(whole.as_str()).chain(std::iter::repeat_n(cursor.as_str(), 1001)).collect();
    let cases = [
        ("white space", channel("a b"), "INVALID_CHANNEL", "channel"),
        ("a glob", channel("a*"), "INVALID_CHANNEL", "channel"),
        ("a reserved name", channel("tidings:x"), "INVALID_CHANNEL", "channel"),
        ("a Redis name", channel("__keyspace"), "INVALID_CHANNEL", "channel"),
        ("a long name", channel(&"n".repeat(256)), "INVALID_CHANNEL", "channel"),
        ("white space in a pattern", pattern("a *"), "INVALID_PATTERN", "pattern"),
        ("a long pattern", pattern(&"*".repeat(256)), "INVALID_PATTERN", "pattern"),
        ("both", StreamMessagesRequest { pattern: "a*".to_owned(), ..good() }, "INVALID_FIELD", "pattern"),
        ("two starts", StreamMessagesRequest { earliest: true, last: 1, ..good() }, "SEVERAL_STARTS", "last"),
        (
            "two other starts",
            after(&[&cursor], StreamMessagesRequest { since: Some(Timestamp::default()), ..good() }),
            "SEVERAL_STARTS",
            "after",
        ),
        ("a negative last", StreamMessagesRequest { last: -1, ..good() }, "INVALID_FIELD", "last"),
        (
            "no time",
            StreamMessagesRequest { since: Some(Timestamp { seconds: i64::MAX, nanos: 0 }), ..good() },
            "INVALID_FIELD",
            "since",
        ),
        (
            "negative nanos",
            StreamMessagesRequest { since: Some(Timestamp { seconds: 0, nanos: -1 }), ..good() },
            "INVALID_FIELD",
            "since",
        ),
        ("an empty cursor", after(&[""], good()), "INVALID_CURSOR", "after[0]"),
        ("a forged cursor", after(&[&forged], good()), "INVALID_CURSOR", "after[0]"),
        ("a cut cursor", after(&[&cursor[1..]], good()), "INVALID_CURSOR", "after[0]"),
        ("a foreign cursor", after(&[&cursor], channel("other")), "INVALID_CURSOR", "after[0]"),
        ("a whole-stream cursor on a channel", after(&[&whole], good()), "INVALID_CURSOR", "after[0]"),
        ("two cursors on a channel", after(&[&cursor, &cursor], good()), "INVALID_FIELD", "after"),
        ("a channel's cursor on a pattern", after(&[&cursor], pattern("g*")), "INVALID_CURSOR", "after[0]"),
        ("another pattern's cursor", after(&[&whole], pattern("go*")), "INVALID_CURSOR", "after[0]"),
        ("a second whole-stream cursor", after(&[&whole, &whole], pattern("g*")), "INVALID_CURSOR", "after[1]"),
        ("an unknown on_gap", StreamMessagesRequest { on_gap: 99, ..good() }, "INVALID_FIELD", "on_gap"),
        ("a short heartbeat", heartbeat(0, 99_999_999), "INVALID_FIELD", "heartbeat_interval"),
        ("a negative heartbeat", heartbeat(-1, 0), "INVALID_FIELD", "heartbeat_interval"),
        ("a long heartbeat", heartbeat(1_000_000, 0), "INVALID_FIELD", "heartbeat_interval"),
    ];
    for (what, request, expected_reason, field) in cases {
        let refused = house.subscriber().stream_messages(request).await.expect_err(what);
        check(what, &refused, expected_reason, field);
    }
    let refused = house.subscriber().stream_messages(after(&too_many, pattern("g*"))).await.expect_err("too many");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::ResourceExhausted, "TOO_MANY_CURSORS"),
        "{refused:?}"
    );
}

async fn bad_lists_are_refused(house: &House) {
    let list = |channel: &str| ListMessagesRequest { channel: channel.to_owned(), ..ListMessagesRequest::default() };
    let cases = [
        ("white space", list("a b"), "INVALID_CHANNEL", "channel"),
        ("a negative size", ListMessagesRequest { page_size: -1, ..list("a") }, "INVALID_FIELD", "page_size"),
        ("an unknown order", ListMessagesRequest { order: 7, ..list("a") }, "INVALID_FIELD", "order"),
        (
            "a forged token",
            ListMessagesRequest { page_token: "x".to_owned(), ..list("a") },
            "INVALID_PAGE_TOKEN",
            "page_token",
        ),
    ];
    for (what, request, expected_reason, field) in cases {
        let refused = house.subscriber().list_messages(request).await.expect_err(what);
        check(what, &refused, expected_reason, field);
    }
    let all = ListChannelsRequest::default;
    let cases = [
        ("white space", ListChannelsRequest { pattern: "a *".to_owned(), ..all() }, "INVALID_PATTERN", "pattern"),
        ("a negative size", ListChannelsRequest { page_size: -1, ..all() }, "INVALID_FIELD", "page_size"),
        (
            "a forged token",
            ListChannelsRequest { page_token: "x".to_owned(), ..all() },
            "INVALID_PAGE_TOKEN",
            "page_token",
        ),
    ];
    for (what, request, expected_reason, field) in cases {
        let refused = house.subscriber().list_channels(request).await.expect_err(what);
        check(what, &refused, expected_reason, field);
    }
}
