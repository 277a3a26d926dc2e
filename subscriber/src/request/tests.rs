use tidings::message::{Epoch, Position};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::*;

fn names() -> Names {
    Names::new("tidings", "channel1").expect("names")
}

/// What becomes of a request of a caller who may do everything.
fn options(request: &pb::StreamMessagesRequest) -> Result<StreamOptions, Status> {
    super::stream_options(request, Terms { names: &names(), rights: &Rights::all() })
}

/// The field that is blamed for a request that is invalid.
fn blamed(request: &pb::StreamMessagesRequest) -> String {
    refused(request, Code::InvalidArgument)
}

/// The field that is blamed for a request refused with `code`.
fn refused(request: &pb::StreamMessagesRequest, code: Code) -> String {
    let status = options(request).expect_err("it should be refused");
    assert_eq!(status.code(), code, "{status:?}");
    let details = status.get_error_details();
    assert_eq!(details.error_info().expect("ErrorInfo").domain, "tidings");
    details.bad_request().expect("BadRequest").field_violations[0].field.clone()
}

fn channel_cursor(name: &str, sequence: i64) -> String {
    let channel = names().parse(name).expect("a name");
    cursor::encode(&channel, Position::new(Epoch::from_u64(7).expect("not zero"), sequence))
}

fn stream_cursor(pattern: &str) -> String {
    let pattern = Pattern::parse(pattern).expect("a pattern");
    cursor::encode_stream(&pattern, &StreamCursor::default()).expect("short enough")
}

#[test]
fn an_empty_request_follows_the_default_channel_from_now_on() {
    let options = options(&pb::StreamMessagesRequest::default()).expect("valid");
    assert!(matches!(&*options.topic, Topic::Channel(channel) if channel.as_str() == "channel1"));
    assert_eq!((options.start, options.fail_on_gap, options.heartbeat), (Start::Now, false, None));
}

#[test]
fn a_pattern_has_a_heartbeat_by_itself() {
    let request = pb::StreamMessagesRequest { pattern: "o.*".to_owned(), ..Default::default() };
    assert_eq!(options(&request).expect("valid").heartbeat, Some(HEARTBEAT_PATTERN));
    let off = pb::StreamMessagesRequest { heartbeat_interval: Some(prost_types::Duration::default()), ..request };
    assert_eq!(options(&off).expect("valid").heartbeat, None);
}

#[test]
fn bad_fields_are_named() {
    let duration = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
    let timestamp = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    let cases: [(&str, pb::StreamMessagesRequest); 15] = [
        ("channel", pb::StreamMessagesRequest { channel: "a b".into(), ..Default::default() }),
        ("pattern", pb::StreamMessagesRequest { pattern: "a b".into(), ..Default::default() }),
        ("pattern", pb::StreamMessagesRequest { channel: "a".into(), pattern: "b".into(), ..Default::default() }),
        ("last", pb::StreamMessagesRequest { last: -1, ..Default::default() }),
        ("last", pb::StreamMessagesRequest { earliest: true, last: 1, ..Default::default() }),
        ("since", pb::StreamMessagesRequest { since: timestamp(1 << 60, 0), ..Default::default() }),
        ("since", pb::StreamMessagesRequest { since: timestamp(0, -1), ..Default::default() }),
        ("after", pb::StreamMessagesRequest { since: timestamp(0, 0), after: vec!["x".into()], ..Default::default() }),
        ("after[0]", pb::StreamMessagesRequest { after: vec![String::new()], ..Default::default() }),
        ("after[0]", pb::StreamMessagesRequest { after: vec![channel_cursor("other", 1)], ..Default::default() }),
        ("after", pb::StreamMessagesRequest { after: vec![channel_cursor("channel1", 1); 2], ..Default::default() }),
        ("on_gap", pb::StreamMessagesRequest { on_gap: 9, ..Default::default() }),
        ("heartbeat_interval", pb::StreamMessagesRequest { heartbeat_interval: duration(-1, 0), ..Default::default() }),
        (
            "heartbeat_interval",
            pb::StreamMessagesRequest { heartbeat_interval: duration(0, 99_999_999), ..Default::default() },
        ),
        (
            "heartbeat_interval",
            pb::StreamMessagesRequest { heartbeat_interval: duration(i64::MAX, 0), ..Default::default() },
        ),
    ];
    for (field, request) in cases {
        assert_eq!(blamed(&request), field, "{request:?}");
    }
}

#[test]
fn a_pattern_resumes_after_a_whole_stream_cursor_first() {
    let resume = |after: Vec<String>| pb::StreamMessagesRequest { pattern: "o.*".into(), after, ..Default::default() };
    let good = resume(vec![stream_cursor("o.*"), channel_cursor("o.1", 3), channel_cursor("o.1", 5)]);
    let Start::AfterStream(_, newer) = options(&good).expect("valid").start else { panic!("another start") };
    assert_eq!(newer.len(), 2);
    assert_eq!(blamed(&resume(vec![channel_cursor("o.1", 3)])), "after[0]");
    assert_eq!(blamed(&resume(vec![stream_cursor("p.*")])), "after[0]");
    assert_eq!(blamed(&resume(vec![stream_cursor("o.*"), stream_cursor("o.*")])), "after[1]");
    let many = std::iter::once(stream_cursor("o.*")).chain(vec![channel_cursor("o.1", 1); AFTER_CURSORS + 1]);
    assert_eq!(refused(&resume(many.collect()), Code::ResourceExhausted), "after");
}

#[test]
fn since_is_inclusive_to_the_millisecond() {
    let at = |nanos| since_ms(&prost_types::Timestamp { seconds: 1, nanos }).expect("valid");
    assert_eq!((at(0), at(1), at(1_000_000), at(1_000_001)), (1000, 1001, 1001, 1002));
}
