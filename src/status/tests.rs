use tonic_types::StatusExt as _;

use super::*;
use crate::access::Verb;

fn reason_of(status: &Status) -> String {
    let info = status.get_details_error_info().expect("every status has ErrorInfo");
    assert_eq!(info.domain, "tidings");
    info.reason
}

#[test]
fn a_bad_field_is_named_in_the_message_and_in_the_details() {
    let status = invalid("requests[3].json", "it is empty");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "requests[3].json: it is empty");
    let violations = status.get_details_bad_request().expect("BadRequest").field_violations;
    assert_eq!((violations[0].field.as_str(), violations[0].description.as_str()), ("requests[3].json", "it is empty"));
}

#[test]
fn the_brokers_errors_follow_the_table() {
    use broker::Error as E;
    let away = || E::Unavailable("Redis is away".into());
    let lost = || E::OutcomeUnknown("the connection broke".into());
    let replicas = || E::ReplicasNotReached { wanted: 2, reached: 1, within_ms: 5 };
    let cases = [
        (away(), Call::Publish, Code::Unavailable, "NOT_PUBLISHED"),
        (away(), Call::Read, Code::Unavailable, "BROKER_UNAVAILABLE"),
        (lost(), Call::Publish, Code::Unknown, "OUTCOME_UNKNOWN"),
        (lost(), Call::Read, Code::Unavailable, "BROKER_UNAVAILABLE"),
        (replicas(), Call::Publish, Code::Unknown, "REPLICAS_NOT_REACHED"),
        (E::NoReplicas, Call::Publish, Code::FailedPrecondition, "NO_REPLICAS"),
        (E::OutOfMemory, Call::Publish, Code::ResourceExhausted, "OUT_OF_MEMORY"),
        (E::TooManyIds { limit: 7 }, Call::Publish, Code::ResourceExhausted, "TOO_MANY_IDS"),
        (E::TooLarge { bytes: 9, limit: 8 }, Call::Publish, Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
        (E::Internal("secret".into()), Call::Read, Code::Internal, "INTERNAL"),
        (away(), Call::Consume, Code::Unavailable, "BROKER_UNAVAILABLE"),
        (E::Channel("not ours".into()), Call::Consume, Code::Unavailable, "BROKER_UNAVAILABLE"),
        (lost(), Call::Consume, Code::Unknown, "OUTCOME_UNKNOWN"),
        (E::OutOfMemory, Call::Consume, Code::ResourceExhausted, "OUT_OF_MEMORY"),
        (E::Full("its memory is used up"), Call::Consume, Code::ResourceExhausted, "OUT_OF_MEMORY"),
        (E::TooLarge { bytes: 9, limit: 8 }, Call::Consume, Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
        // What only a publish can be told is a bug elsewhere.
        (replicas(), Call::Consume, Code::Internal, "INTERNAL"),
        (E::NoReplicas, Call::Consume, Code::Internal, "INTERNAL"),
        (E::TooManyIds { limit: 7 }, Call::Consume, Code::Internal, "INTERNAL"),
        (E::Internal("secret".into()), Call::Consume, Code::Internal, "INTERNAL"),
    ];
    for (error, call, code, reason) in cases {
        let status = from_broker(error.clone(), call);
        assert_eq!((status.code(), reason_of(&status).as_str()), (code, reason), "{error:?} {call:?}");
        assert!(!status.message().contains("secret"), "{status:?}");
        assert_eq!(status.get_details_retry_info().is_some(), code == Code::Unavailable, "{error:?} {call:?}");
    }
}

#[test]
fn calls_about_subscriptions_are_told_nothing_of_publishes() {
    use broker::Error as E;
    let of = |error| from_broker(error, Call::Consume);
    let again = "the call may have been carried out, and the same one can be made again";
    for (status, words) in [
        (of(E::Unavailable("Redis is away".into())), "Redis is away; nothing was done"),
        (of(E::Channel("not ours".into())), "not ours; nothing was done"),
        (of(E::OutcomeUnknown("the connection broke".into())), again),
        (of(E::OutOfMemory), "raise maxmemory; nothing was done"),
        (of(E::Full("its memory is used up")), "full (its memory is used up)"),
        (of(E::ReplicasNotReached { wanted: 2, reached: 1, within_ms: 5 }), "internal"),
        (of(E::NoReplicas), "internal"),
        (of(E::TooManyIds { limit: 7 }), "internal"),
        (draining(Call::Consume), "make the same call at another one"),
        (connection_aged(Call::Consume), "make the same call on a new one"),
        (deadline_exceeded(Call::Consume), again),
    ] {
        let text = status.message();
        assert!(text.contains(words), "{text}");
        // Nor of cursors, which only streams of messages have.
        for word in ["publish", "message_id", "cursor"] {
            assert!(!text.contains(word), "{text}");
        }
    }
    assert_eq!(reason_of(&deadline_exceeded(Call::Consume)), "DEADLINE_EXCEEDED");
}

#[test]
fn a_refusal_names_the_verb_and_the_subscription() {
    for verb in [Verb::Consume, Verb::Manage] {
        let status = subscription_denied(verb, "name", "orders.mail");
        assert_eq!((status.code(), reason_of(&status).as_str()), (Code::PermissionDenied, "PERMISSION_DENIED"));
        assert_eq!(status.message(), format!("name: you may not {verb} the subscription \"orders.mail\""));
        let info = status.get_details_error_info().expect("every status has ErrorInfo");
        assert_eq!(info.metadata["verb"], verb.as_str());
    }
}

#[test]
fn draining_says_what_became_of_a_publish() {
    assert_eq!(reason_of(&draining(Call::Publish)), "NOT_PUBLISHED");
    assert_eq!(reason_of(&draining(Call::Read)), "DRAINING");
    assert_eq!(reason_of(&connection_aged(Call::Publish)), "NOT_PUBLISHED");
    assert_eq!(reason_of(&connection_aged(Call::Read)), "CONNECTION_AGED");
    assert_eq!(reason_of(&draining(Call::Consume)), "DRAINING");
    assert_eq!(reason_of(&connection_aged(Call::Consume)), "CONNECTION_AGED");
}

#[test]
fn a_status_keeps_its_details_as_a_publish_error() {
    let status = too_large(reason::MESSAGE_TOO_LARGE, "text", "bytes as JSON", 9, 8);
    let error = to_publish_error(&status);
    assert_eq!(error.code, Code::ResourceExhausted as i32);
    assert_eq!(error.message, "text: it has 9 bytes as JSON; at most 8 are allowed");
    let rpc = tonic_types::pb::Status { code: error.code, message: error.message, details: error.details };
    let back = Status::with_details(status.code(), "", rpc.encode_to_vec().into());
    assert_eq!(back.get_error_details_vec().len(), 2);
    let violations = back.get_details_bad_request().expect("BadRequest").field_violations;
    assert_eq!(violations[0].field, "text");
    assert_eq!(back.get_error_details().error_info().map(|info| info.metadata["limit"].as_str()), Some("8"));
}

#[test]
fn extracts_are_short_and_harmless() {
    assert_eq!(extract("a\nb"), r#""a\nb""#);
    let long = extract(&"ü".repeat(100));
    assert_eq!(long, format!("\"{}\"…", "ü".repeat(32)));
    assert!(unknown_method(&"/x".repeat(5_000), "there is none").message().len() < 200);
}
