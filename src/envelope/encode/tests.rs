use proptest::prelude::*;

use super::*;
use crate::envelope::{Claim, decode};

const TIME_MS: i64 = 1_795_521_600_123;

fn draft(payload: Payload) -> Draft {
    Draft { id: Uuid::nil(), dedup: None, payload, attributes: Vec::new(), ordering_key: String::new() }
}

fn written(draft: &Draft) -> String {
    encode(draft).stamp(TIME_MS, 42, Epoch::from_u64(0xab).expect("not 0"))
}

#[test]
fn an_envelope_reads_exactly_like_this() {
    let mut full = draft(Payload::Text("Grüße, \"Welt\"\\\n\u{1}\u{7f}".to_owned()));
    assert_eq!(
        written(&full),
        r#"{"id":"00000000-0000-0000-0000-000000000000","message":"Grüße, \"Welt\"\\\n\u0001"#.to_owned()
            + "\u{7f}"
            + r#"","date":"2026-11-24T12:00:00.123Z","sequence":42,"epoch":"00000000000000ab"}"#
    );
    full.payload = Payload::Data(vec![0xff, 0].into());
    full.attributes = vec![("a".to_owned(), "\"".to_owned()), ("b".to_owned(), String::new())];
    full.ordering_key = "k\t".to_owned();
    assert_eq!(
        written(&full),
        r#"{"id":"00000000-0000-0000-0000-000000000000","message":"/wA=","date":"2026-11-24T12:00:00.123Z","#
            .to_owned()
            + r#""sequence":42,"epoch":"00000000000000ab","attributes":{"a":"\"","b":""},"ordering_key":"k\t","#
            + r#""encoding":"base64"}"#
    );
}

#[test]
fn only_json_that_is_a_string_says_so() {
    let json = |json: &str| written(&draft(Payload::Json(json.to_owned())));
    assert!(json(r#"{"b": 1.10,  "a":9007199254740993}"#).contains(r#""message":{"b": 1.10,  "a":9007199254740993},"#));
    assert!(!json("1.10").contains("encoding"));
    assert!(json(r#""\u0041""#).ends_with(r#","encoding":"json"}"#));
}

/// The size is computed, and the JSON written, without the parts in between that [`Encoded`] has.
fn assert_written_the_same(draft: &Draft) {
    let (encoded, epoch) = (encode(draft), Epoch::from_u64(0xab).expect("not 0"));
    let stamp = Stamp::new(TIME_MS, epoch);
    assert_eq!(len(draft), encoded.len());
    for sequence in [1, 42, 1 << 53] {
        let mut json = String::new();
        stamp.write(draft, sequence, &mut json).expect("written");
        assert_eq!(json, encoded.stamp(TIME_MS, sequence, epoch));
        assert_eq!(stamp.narrow(len(draft), sequence), json.len());
    }
}

proptest! {
    #[test]
    fn a_time_is_written_as_chrono_writes_it(time_ms in -70_000_000_000_000_i64..300_000_000_000_000) {
        let chrono = DateTime::from_timestamp_millis(time_ms).expect("a time").to_rfc3339_opts(SecondsFormat::Millis, true);
        prop_assert_eq!(format_time(time_ms), chrono);
    }

    #[test]
    fn a_draft_is_written_in_one_go_as_in_parts(
        text in "[ -~é\\x00-\\x1f\"\\\\]{0,60}",
        data: Vec<u8>,
        attributes in prop::collection::vec(("[a-z\"]{1,5}", "[ -~]{0,9}"), 0..3),
        ordering_key in "[a-z\n]{0,3}",
    ) {
        for payload in [Payload::Text(text), Payload::Data(data.into()), Payload::Json("\"x\"".to_owned()), Payload::Json("[1]".to_owned())] {
            assert_written_the_same(&draft(payload.clone()));
            assert_written_the_same(&Draft { attributes: attributes.clone(), ordering_key: ordering_key.clone(), ..draft(payload) });
        }
    }
}

#[test]
fn the_size_is_that_of_the_widest_stamp() {
    let encoded = encode(&draft(Payload::Text("x".to_owned())));
    let widest = encoded.stamp(TIME_MS, 1 << 53, Epoch::from_u64(1).expect("not 0"));
    assert_eq!(encoded.len(), widest.len());
    assert!(!encoded.is_empty());
}

#[test]
fn an_envelope_of_a_plain_program_is_kept_with_its_own_date() {
    let odd = br#"{"message":"\u0041","id":7,"date":"10/11/2023","attributes":{"b":"1"},"ordering_key":"k"}"#;
    let read = decode(odd, TIME_MS);
    let written = read.unnumbered();
    let numbered =
        format!(r#"{},"sequence":9007199254740992,"epoch":"00000000000000ab"{}"#, written.head, written.tail);
    assert_eq!(
        numbered,
        format!(r#"{{"id":"{}","message":"A","date":"2026-11-24T12:00:00.123Z","sequence":9007199254740992,"#, read.id)
            + r#""epoch":"00000000000000ab","attributes":{"b":"1","tidings-original-date":"10/11/2023","#
            + r#""tidings-original-id":"7"},"ordering_key":"k"}"#
    );
    assert_eq!(written.len(), numbered.len());
    assert!(!written.is_empty());
    let claim = Some(Claim { epoch: Epoch::from_u64(0xab).expect("not 0"), sequence: 1 << 53 });
    assert_eq!(decode(numbered.as_bytes(), 0), Envelope { claim, ..read });
}

#[test]
fn json_is_checked_at_any_depth() {
    assert_eq!(check_json(" \n[1, 2]\t").expect("valid"), "[1, 2]");
    let deep = "[".repeat(200_000) + &"]".repeat(200_000);
    assert_eq!(check_json(&deep).expect("valid"), deep);
    for bad in ["", " ", "{", "1 2", "{} []", "nul", "[1,]", "'a'", "\"\u{1}\"", "01", "NaN", &"[".repeat(1 << 20)] {
        assert!(check_json(bad).is_err(), "{}", &bad[..bad.len().min(20)]);
    }
}
