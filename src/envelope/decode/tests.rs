//! What strangers write, and that nothing of it stops a reader or is bent.

use proptest::prelude::*;

use super::*;
use crate::{envelope::encode, message::Draft};

const NOW_MS: i64 = 1_795_521_600_000;
const ID: &str = "0192d3a4-5b6c-7d8e-9f01-23456789abcd";
const OWN: &str = r#""id":"0192d3a4-5b6c-7d8e-9f01-23456789abcd","date":"2026-11-24T12:00:00.123Z","sequence":7,"epoch":"00000000000000ab""#;

fn read(text: &str) -> Envelope {
    decode(text.as_bytes(), NOW_MS)
}

fn json(text: &str) -> Payload {
    Payload::Json(text.to_owned())
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The whole text is the payload, and nothing else was taken from it.
fn assert_whole(text: &str) {
    let envelope = read(text);
    assert_eq!(envelope.payload, json(text.trim()), "{text}");
    assert_eq!((envelope.time_ms, envelope.claim), (NOW_MS, None), "{text}");
    assert!(envelope.attributes.is_empty() && envelope.ordering_key.is_empty(), "{text}");
    assert_eq!(envelope.id.get_version_num(), 7);
}

#[test]
fn what_is_no_envelope_is_a_payload() {
    for (text, payload) in [
        (" [1, 2]\n", json("[1, 2]")),
        ("42", json("42")),
        ("\"a\"", json("\"a\"")),
        ("{}", json("{}")),
        ("hello world", Payload::Text("hello world".to_owned())),
        ("", Payload::Text(String::new())),
        (" spaces stay ", Payload::Text(" spaces stay ".to_owned())),
        ("{\"message\":1} trailing", Payload::Text("{\"message\":1} trailing".to_owned())),
    ] {
        assert_eq!(read(text).payload, payload);
    }
    assert_eq!(decode(b"\xff\x00", NOW_MS).payload, Payload::Data(Bytes::from_static(b"\xff\x00")));
    assert_whole(r#" {"id":"x","date":"y"} "#);
    assert_whole(r#"[1,"id","date",4,"e",{},"k","json"]"#);
}

#[test]
fn the_envelope_of_a_plain_program_is_read() {
    let text = format!(r#" {{"id":"{ID}","message":"hi \u00fc","date":"2026-11-24T13:00:00+01:00"}} "#);
    let envelope = read(&text);
    assert_eq!(envelope.payload, Payload::Text("hi ü".to_owned()));
    assert_eq!(envelope.id.to_string(), ID);
    assert_eq!((envelope.time_ms, envelope.claim), (NOW_MS, None));
    assert!(envelope.attributes.is_empty());
    assert_eq!(read(r#"{"message":null}"#).payload, json("null"));
    assert_eq!(read(r#"{"m\u0065ssage":{"a" : 1.10}}"#).payload, json(r#"{"a" : 1.10}"#));
}

#[test]
fn odd_envelopes_are_json_as_a_whole() {
    for odd in [
        r#"{"message":1,"message":2}"#,
        r#"{"message":1,"\u006dessage":2}"#,
        r#"{"message":1,"other":2}"#,
        r#"{"message":1,"\ud800":2}"#,
        r#"{"message":"YQ==","encoding":"gzip"}"#,
        r#"{"message":"YQ==","encoding":null}"#,
        r#"{"message":"YQ=","encoding":"base64"}"#,
        r#"{"message":["YQ=="],"encoding":"base64"}"#,
        r#"{"message":1,"attributes":null}"#,
        r#"{"message":1,"attributes":["a","b"]}"#,
        r#"{"message":1,"attributes":{"a":1}}"#,
        r#"{"message":1,"attributes":{"a":"1","a":"2"}}"#,
        r#"{"message":1,"attributes":{"tidings-a":"1","tidings-a":"2"}}"#,
        r#"{"message":1,"attributes":{"":"1"}}"#,
        r#"{"message":1,"attributes":{"a":"\udfff"}}"#,
        r#"{"message":1,"ordering_key":5}"#,
        r#"{"message":1,"ordering_key":null}"#,
        r#"{"message":"\ud800"}"#,
    ] {
        assert_whole(odd);
    }
}

#[test]
fn limits_of_attributes_and_ordering_key_hold_for_strangers() {
    let attributes = |count: usize, key: usize, value: usize| {
        let list: Vec<_> = (0..count).map(|i| format!(r#""{i:0>key$}":"{}""#, "v".repeat(value))).collect();
        format!(r#"{{"message":1,"attributes":{{{}}}}}"#, list.join(","))
    };
    assert_eq!(
        read(&attributes(READ_ATTRIBUTES, READ_ATTRIBUTE_KEY_BYTES, READ_ATTRIBUTE_VALUE_BYTES)).attributes.len(),
        READ_ATTRIBUTES
    );
    assert_whole(&attributes(READ_ATTRIBUTES + 1, 3, 1));
    assert_whole(&attributes(1, READ_ATTRIBUTE_KEY_BYTES + 1, 1));
    assert_whole(&attributes(1, 1, READ_ATTRIBUTE_VALUE_BYTES + 1));
    let ordering = |bytes| format!(r#"{{"message":1,"ordering_key":"{}"}}"#, "k".repeat(bytes));
    assert_eq!(read(&ordering(READ_ORDERING_KEY_BYTES)).ordering_key.len(), READ_ORDERING_KEY_BYTES);
    assert_whole(&ordering(READ_ORDERING_KEY_BYTES + 1));
}

#[test]
fn encodings_say_what_a_string_is() {
    assert_eq!(read(r#"{"message":"\u0041","encoding":"json"}"#).payload, json(r#""\u0041""#));
    assert_eq!(read(r#"{"message":"\ud800","encoding":"json"}"#).payload, json(r#""\ud800""#));
    // PHP writes a slash like this.
    assert_eq!(
        read(r#"{"message":"\/wA=","encoding":"base64"}"#).payload,
        Payload::Data(Bytes::from_static(b"\xff\x00"))
    );
}

#[test]
fn odd_ids_and_dates_are_kept_as_attributes() {
    let envelope = read(r#"{"message":1,"id":"order-1","date":"10/11/2023","attributes":{"z":"1","a":"2"}}"#);
    let expected = pairs(&[("a", "2"), (ORIGINAL_DATE, "10/11/2023"), (ORIGINAL_ID, "order-1"), ("z", "1")]);
    assert_eq!(envelope.attributes, expected);
    assert_eq!((envelope.time_ms, envelope.id.get_version_num()), (NOW_MS, 7));

    let envelope = read(r#"{"message":1,"id":{"n": 1},"date":null}"#);
    assert_eq!(envelope.attributes, pairs(&[(ORIGINAL_DATE, "null"), (ORIGINAL_ID, r#"{"n": 1}"#)]));
    // A text that can't be decoded is kept as its JSON; a time that no timestamp can name is unreadable.
    let envelope = read(r#"{"message":1,"id":"\ud800","date":"0000-01-01T00:00:00Z"}"#);
    assert_eq!(envelope.attributes, pairs(&[(ORIGINAL_DATE, "0000-01-01T00:00:00Z"), (ORIGINAL_ID, r#""\ud800""#)]));
    let long = "ü".repeat(ATTRIBUTE_VALUE_BYTES);
    let envelope = read(&format!(r#"{{"message":1,"id":"x{long}"}}"#));
    assert_eq!(envelope.attributes[0].1.len(), ATTRIBUTE_VALUE_BYTES - 1);
}

#[test]
fn reserved_attributes_stay_only_where_a_claim_may_be_believed() {
    let attributes = r#""attributes":{"a":"1","tidings-original-id":"x","tidings-y":"2"}"#;
    let plain = read(&format!(r#"{{"message":1,"id":"odd",{attributes}}}"#));
    assert_eq!(plain.attributes, pairs(&[("a", "1"), (ORIGINAL_ID, "odd")]));

    let mut claimed = read(&format!(r#"{{"message":1,{OWN},{attributes}}}"#));
    assert_eq!(claimed.claim, Some(Claim { epoch: Epoch::from_u64(0xab).expect("not 0"), sequence: 7 }));
    assert_eq!(claimed.time_ms, NOW_MS + 123);
    assert_eq!(claimed.attributes, pairs(&[("a", "1"), (ORIGINAL_ID, "x"), ("tidings-y", "2")]));
    claimed.disbelieve();
    assert_eq!((claimed.claim, claimed.attributes), (None, pairs(&[("a", "1")])));

    let mut odd = plain.clone();
    odd.disbelieve();
    assert_eq!(odd, plain);
}

#[test]
fn a_claim_needs_a_whole_position_and_a_readable_id_and_date() {
    let good = format!(r#"{{"message":1,{OWN}}}"#);
    assert!(read(&good).claim.is_some());
    for (part, bad) in [
        ("\"sequence\":7", "\"sequence\":0"),
        ("\"sequence\":7", "\"sequence\":-1"),
        ("\"sequence\":7", "\"sequence\":7.0"),
        ("\"sequence\":7", "\"sequence\":\"7\""),
        ("\"sequence\":7", "\"sequence\":9007199254740993"),
        ("\"sequence\":7", "\"sequence\":99999999999999999999"),
        ("00000000000000ab", "00000000000000AB"),
        ("00000000000000ab", "0000000000000000"),
        (",\"epoch\":\"00000000000000ab\"", ""),
        (ID, "odd"),
        ("2026-11-24T12:00:00.123Z", "yesterday"),
    ] {
        assert!(good.contains(part));
        let envelope = read(&good.replace(part, bad));
        assert_eq!((envelope.claim, envelope.payload), (None, json("1")), "{bad}");
    }
}

#[test]
fn depth_is_no_way_to_crash() {
    let open = "[".repeat(1 << 20);
    assert_eq!(read(&open).payload, Payload::Text(open.clone()));
    let objects = r#"{"a":"#.repeat(1 << 18);
    assert_eq!(read(&objects).payload, Payload::Text(objects.clone()));
    let deep = "[".repeat(500_000) + &"]".repeat(500_000);
    assert_eq!(read(&deep).payload, json(&deep));
    assert_eq!(read(&format!(r#"{{"message":{deep}}}"#)).payload, json(&deep));
    assert_whole(&format!(r#"{{"message":1,"attributes":{{"a":{deep}}}}}"#));
    let id = read(&format!(r#"{{"message":1,"id":{deep}}}"#));
    assert_eq!(id.attributes[0].1.len(), ATTRIBUTE_VALUE_BYTES);
}

#[test]
fn nothing_exact_is_bent() {
    for exact in ["1.10", "9007199254740993", "-0.0", "1E+2", r#"{"b": 1,  "a":[ 1 ,2],"b":"\u0041\ud800"}"#, "\"\\/\""]
    {
        let draft = draft(Payload::Json(exact.to_owned()));
        let stamped = encode(&draft).stamp(NOW_MS, 1, Epoch::random());
        assert_eq!(read(&stamped).payload, draft.payload, "{exact}");
        assert_eq!(read(exact).payload, draft.payload);
    }
}

fn draft(payload: Payload) -> Draft {
    Draft { id: Uuid::now_v7(), dedup: None, payload, attributes: Vec::new(), ordering_key: String::new() }
}

/// JSON texts, with white space where it is allowed and all that a string may hold.
fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,4})?",
        "\"([^\"\\\\\\x00-\\x1f]|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4}){0,12}\"",
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|values| format!("[ {}]", values.join(" ,"))),
            prop::collection::vec(("[a-z]{0,3}", inner), 0..5).prop_map(|pairs| {
                let pairs: Vec<_> = pairs.iter().map(|(key, value)| format!("\"{key}\" :{value}")).collect();
                format!("{{{}\n}}", pairs.join(", "))
            }),
        ]
    })
}

fn any_draft() -> impl Strategy<Value = Draft> {
    let payload = prop_oneof![
        any::<String>().prop_map(Payload::Text),
        any_json().prop_map(Payload::Json),
        any::<Vec<u8>>().prop_map(|data| Payload::Data(data.into())),
    ];
    let attributes = prop::collection::btree_map("\\PC{1,20}", any::<String>(), 0..5);
    (any::<u128>(), payload, attributes, "\\PC{0,20}").prop_map(|(id, payload, attributes, ordering_key)| Draft {
        id: Uuid::from_u128(id),
        dedup: None,
        payload,
        attributes: attributes.into_iter().collect(),
        ordering_key,
    })
}

/// Pieces of envelopes put together at random: far more often nearly right than random bytes are.
fn nearly_an_envelope() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "id",
        "message",
        "date",
        "sequence",
        "epoch",
        "attributes",
        "ordering_key",
        "encoding",
        "messag\\u0065",
        "x",
    ]);
    let value = prop_oneof![
        any_json(),
        Just("\"base64\"".to_owned()),
        Just("\"json\"".to_owned()),
        Just("7".to_owned()),
        Just("\"00000000000000ab\"".to_owned()),
        Just(format!("\"{ID}\"")),
        Just("\"2026-11-24T12:00:00.123Z\"".to_owned()),
        Just("{\"a\":\"b\",\"tidings-original-id\":\"c\"}".to_owned()),
    ];
    prop::collection::vec((key, value), 0..6).prop_map(|pairs| {
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        format!("{{{}}}", pairs.join(","))
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(draft in any_draft(), sequence in 1..=MAX_SEQUENCE, time_ms in 0..TIMES_MS.end) {
        let epoch = Epoch::random();
        let envelope = decode(encode(&draft).stamp(time_ms, sequence, epoch).as_bytes(), NOW_MS);
        prop_assert_eq!(envelope, Envelope {
            id: draft.id,
            payload: draft.payload,
            attributes: draft.attributes,
            ordering_key: draft.ordering_key,
            time_ms,
            claim: Some(Claim { epoch, sequence }),
        });
    }

    #[test]
    fn any_bytes_are_read(bytes in any::<Vec<u8>>()) {
        decode(&bytes, NOW_MS);
    }

    #[test]
    fn any_near_envelope_is_read_within_our_rules(text in nearly_an_envelope()) {
        let envelope = read(&text);
        let keys: Vec<_> = envelope.attributes.iter().map(|(key, _)| key.as_str()).collect();
        prop_assert!(keys.windows(2).all(|two| two[0] < two[1]));
        // JSON carries JSON: it is passed on as one text.
        if let Payload::Json(json) = &envelope.payload {
            prop_assert_eq!(check_json(json).expect("one JSON text"), json);
        }
        if envelope.claim.is_none() {
            let ours = |key: &&str| key.starts_with(RESERVED_ATTRIBUTES) && ![ORIGINAL_ID, ORIGINAL_DATE].contains(key);
            prop_assert!(!keys.iter().any(ours));
        }
    }
}
