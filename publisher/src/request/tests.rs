use publish_request::Payload as P;
use tidings::pb;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::*;

/// What becomes of a request of a caller who may do everything.
fn single(request: PublishRequest, path: RequestPath) -> Result<Batch, Status> {
    super::single(request, Terms { names: &names(), rights: &Rights::all(), sender: Sender::Unasked }, path)
}

fn batch(batch: PublishBatchRequest) -> Result<Batch, Status> {
    super::batch(batch, Terms { names: &names(), rights: &Rights::all(), sender: Sender::Unasked })
}

fn names() -> Names {
    Names::new("tidings", "channel1").expect("valid")
}

fn text(text: &str) -> PublishRequest {
    PublishRequest { payload: Some(P::Text(text.to_owned())), ..Default::default() }
}

fn json(json: &str) -> PublishRequest {
    PublishRequest { payload: Some(P::Json(json.to_owned())), ..Default::default() }
}

fn with_attributes(pairs: impl IntoIterator<Item = (String, String)>) -> PublishRequest {
    PublishRequest { attributes: pairs.into_iter().collect(), ..text("hello") }
}

fn accept(request: PublishRequest) -> Batch {
    single(request, RequestPath::Whole).expect("accepted")
}

/// Code, reason and field of a refusal.
fn refusal(status: &Status) -> (Code, String, String) {
    let reason = status.get_details_error_info().expect("ErrorInfo").reason;
    let field = status.get_details_bad_request().expect("BadRequest").field_violations[0].field.clone();
    (status.code(), reason, field)
}

#[test]
fn each_bad_request_names_its_code_reason_and_field() {
    let channel = |channel: &str| PublishRequest { channel: channel.to_owned(), ..text("hello") };
    let id = |id: &str| PublishRequest { message_id: id.to_owned(), ..text("hello") };
    let replicas = |min_replicas| PublishRequest { min_replicas, ..text("hello") };
    let key = |bytes| PublishRequest { ordering_key: "k".repeat(bytes), ..text("hello") };
    let pair = |key: &str, value: &str| with_attributes([(key.to_owned(), value.to_owned())]);
    let (invalid, exhausted) = (Code::InvalidArgument, Code::ResourceExhausted);
    let cases = [
        (PublishRequest::default(), invalid, "MESSAGE_MISSING", "payload"),
        (text(""), invalid, "MESSAGE_EMPTY", "text"),
        (json(""), invalid, "MESSAGE_EMPTY", "json"),
        (json(" \n"), invalid, "MESSAGE_EMPTY", "json"),
        (json("{"), invalid, "INVALID_JSON", "json"),
        (json("{} {}"), invalid, "INVALID_JSON", "json"),
        (json("1 2"), invalid, "INVALID_JSON", "json"),
        (json("{'a':1}"), invalid, "INVALID_JSON", "json"),
        (json("NaN"), invalid, "INVALID_JSON", "json"),
        (json(&"[".repeat(300_000)), invalid, "INVALID_JSON", "json"),
        (channel("a b"), invalid, "INVALID_CHANNEL", "channel"),
        (channel("orders.*"), invalid, "INVALID_CHANNEL", "channel"),
        (channel("__keyspace"), invalid, "INVALID_CHANNEL", "channel"),
        (channel("tidings:{x}:log"), invalid, "INVALID_CHANNEL", "channel"),
        (channel(&"n".repeat(256)), invalid, "INVALID_CHANNEL", "channel"),
        (id("42"), invalid, "INVALID_MESSAGE_ID", "message_id"),
        (id("0192f0c12a3b7c4d8e5f0123456789ab"), invalid, "INVALID_MESSAGE_ID", "message_id"),
        (id(&"x".repeat(100_000)), invalid, "INVALID_MESSAGE_ID", "message_id"),
        (replicas(-1), invalid, "INVALID_MIN_REPLICAS", "min_replicas"),
        (replicas(17), invalid, "INVALID_MIN_REPLICAS", "min_replicas"),
        (pair("", "v"), invalid, "INVALID_ATTRIBUTE", "attributes"),
        (pair("a\0", "v"), invalid, "INVALID_ATTRIBUTE", "attributes"),
        (pair("a\nb", "v"), invalid, "INVALID_ATTRIBUTE", "attributes"),
        (pair("\u{9b}", "v"), invalid, "INVALID_ATTRIBUTE", "attributes"),
        (pair("Tidings-X", "v"), invalid, "RESERVED_ATTRIBUTE", "attributes"),
        (pair("tidings-original-id", "v"), invalid, "RESERVED_ATTRIBUTE", "attributes"),
        (
            with_attributes((0..65).map(|i| (i.to_string(), String::new()))),
            exhausted,
            "TOO_MANY_ATTRIBUTES",
            "attributes",
        ),
        (pair("a", &"v".repeat(1025)), exhausted, "ATTRIBUTE_TOO_LONG", "attributes[\"a\"]"),
        (key(256), exhausted, "ORDERING_KEY_TOO_LONG", "ordering_key"),
        (text(&"t".repeat(1 << 20)), exhausted, "MESSAGE_TOO_LARGE", "text"),
        (json(&format!("\"{}\"", "j".repeat(1 << 20))), exhausted, "MESSAGE_TOO_LARGE", "json"),
        (text(&"\0".repeat(200_000)), exhausted, "MESSAGE_TOO_LARGE", "text"),
    ];
    for (request, code, reason, field) in cases {
        let status = single(request, RequestPath::Whole).expect_err(reason);
        assert_eq!(refusal(&status), (code, reason.to_owned(), field.to_owned()), "{status:?}");
        assert!(status.message().len() < 500 && status.details().len() < 2_000, "too long for headers: {status:?}");
    }
    let long_key = single(pair(&"k".repeat(129), "v"), RequestPath::Whole).expect_err("too long");
    assert_eq!(refusal(&long_key).1, "ATTRIBUTE_TOO_LONG");
}

#[test]
fn a_missing_message_is_refused_in_plain_words() {
    let status = single(PublishRequest::default(), RequestPath::Whole).expect_err("missing");
    assert_eq!(status.message(), "the message is mandatory");
}

#[test]
fn fields_are_named_by_their_path() {
    let status = single(json("{"), RequestPath::Stream).expect_err("bad");
    assert_eq!(refusal(&status).2, "request.json");
    let requests = vec![text("a"), text("b"), text("c"), json("{")];
    let status = batch(PublishBatchRequest { requests, ..Default::default() }).expect_err("bad");
    assert_eq!(refusal(&status).2, "requests[3].json");
}

#[test]
fn json_is_kept_as_it_was_sent_but_for_the_space_around_it() {
    for inner in ["1.10", "9007199254740993", r#"{"b":1,  "a":[ ] }"#, "null", "\"\"", "1e400", r#"{"a":1,"a":2}"#] {
        let drafts = accept(json(&format!(" \r\n\t{inner}\n"))).drafts;
        assert_eq!(drafts[0].payload, Payload::Json(inner.to_owned()));
    }
    let deep = format!("{}{}", "[".repeat(250_000), "]".repeat(250_000));
    assert_eq!(accept(json(&deep)).drafts[0].payload, Payload::Json(deep));
}

#[test]
fn the_limits_themselves_are_allowed() {
    let pairs = (0..64).map(|i| (format!("{i:0128}"), "v".repeat(1024)));
    let request = PublishRequest { ordering_key: "k".repeat(255), min_replicas: 16, ..with_attributes(pairs) };
    let Batch { channel, drafts, min_replicas } = accept(request);
    assert_eq!((channel.as_str(), min_replicas, drafts[0].attributes.len()), ("channel1", 16, 64));
    assert!(drafts[0].attributes.is_sorted());
    accept(PublishRequest { channel: "n".repeat(255), ..text("hello") });
    accept(text(&"t".repeat((1 << 20) - 1_000)));
    let data = PublishRequest { payload: Some(P::Data(vec![].into())), ..Default::default() };
    assert_eq!(accept(data).drafts[0].payload, Payload::Data(vec![].into()));
}

#[test]
fn ids_are_the_clients_or_new_and_of_version_7() {
    let made = &accept(text("hello")).drafts[0];
    assert_eq!((made.id.get_version_num(), made.dedup), (7, None));
    let id = "0192F0C1-2a3b-7c4d-8e5f-0123456789ab";
    let given = &accept(PublishRequest { message_id: id.to_owned(), ..text("hello") }).drafts[0];
    assert_eq!(
        (given.id.to_string(), given.dedup),
        (id.to_lowercase(), Some(DedupKey::new(Sender::Unasked, given.id)))
    );
}

#[test]
fn a_batch_has_one_channel_and_the_greatest_min_replicas() {
    let requests = vec![
        PublishRequest { min_replicas: 1, ..text("a") },
        PublishRequest { channel: "orders".to_owned(), min_replicas: 2, ..text("b") },
    ];
    let publication = batch(pb::PublishBatchRequest { channel: "orders".to_owned(), requests });
    let publication = publication.expect("accepted");
    assert_eq!((publication.channel.as_str(), publication.min_replicas, publication.drafts.len()), ("orders", 2, 2));
}

#[test]
fn bad_batches_are_refused_whole() {
    let other = PublishRequest { channel: "other".to_owned(), ..text("a") };
    let cases = [
        (vec![], Code::InvalidArgument, "BATCH_EMPTY", "requests"),
        (vec![text("a"), other], Code::InvalidArgument, "CHANNELS_DIFFER", "requests[1].channel"),
        (vec![text("a"); 1_001], Code::ResourceExhausted, "BATCH_TOO_LARGE", "requests"),
        (vec![text(&"t".repeat(1_000_000)); 5], Code::ResourceExhausted, "BATCH_TOO_LARGE", "requests"),
        (vec![text("a"), PublishRequest::default()], Code::InvalidArgument, "MESSAGE_MISSING", "requests[1].payload"),
    ];
    for (requests, code, reason, field) in cases {
        let status = batch(PublishBatchRequest { channel: String::new(), requests }).expect_err(reason);
        assert_eq!(refusal(&status), (code, reason.to_owned(), field.to_owned()));
    }
    let most = vec![text("a"); 1_000];
    assert_eq!(batch(PublishBatchRequest { channel: String::new(), requests: most }).expect("ok").drafts.len(), 1_000);
    // Four times 1,000,000 bytes need measuring, and pass.
    let large = vec![text(&"t".repeat(1_000_000)); 4];
    batch(PublishBatchRequest { channel: String::new(), requests: large }).expect("under 4 MiB");
}

#[test]
fn the_bound_that_saves_measuring_is_never_too_low() {
    let attributes = (0..64).map(|i| (format!("\"{i}"), "\"\u{2}\n".repeat(300)));
    let request = PublishRequest { ordering_key: "\u{7f}\\".repeat(60), ..with_attributes(attributes) };
    for payload in [P::Text("\0".repeat(1_000)), P::Json("\"x\"".to_owned()), P::Data(vec![7; 1_000].into())] {
        let draft = &accept(PublishRequest { payload: Some(payload), ..request.clone() }).drafts[0];
        assert!(json_bytes_at_most(draft) >= envelope::encode(draft).len(), "{draft:?}");
    }
}

#[test]
fn a_message_says_whose_it_is_beside_all_attributes_of_its_own() {
    let own = (0..limits::ATTRIBUTES).map(|n| (format!("{}{n:02}", if n % 2 == 0 { "a" } else { "z" }), n.to_string()));
    let request = with_attributes(own);
    let rights = Rights::all();
    for (sender, expected) in
        [(Sender::Anonymous, limits::ATTRIBUTES), (Sender::Subject("alice"), limits::ATTRIBUTES + 1)]
    {
        let terms = Terms { names: &names(), rights: &rights, sender };
        let stamped = super::single(request.clone(), terms, RequestPath::Whole).expect("accepted");
        let attributes = &stamped.drafts[0].attributes;
        assert_eq!(attributes.len(), expected);
        assert!(attributes.is_sorted(), "{attributes:?}");
        let stamp = attributes.iter().find(|(key, _)| key == SUBJECT).map(|(_, value)| value.as_str());
        assert_eq!(stamp, sender.subject());
        let terms = Terms { names: &names(), rights: &rights, sender };
        let requests = vec![request.clone()];
        let batch = super::batch(PublishBatchRequest { requests, ..Default::default() }, terms).expect("accepted");
        assert_eq!(batch.drafts[0].attributes, *attributes);
    }
    // As long as a subject can be.
    let subject = "s".repeat(limits::SUBJECT_BYTES);
    let terms = Terms { names: &names(), rights: &rights, sender: Sender::Subject(&subject) };
    super::single(text("x"), terms, RequestPath::Whole).expect("accepted");
}
