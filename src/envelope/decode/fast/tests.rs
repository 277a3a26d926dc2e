use proptest::prelude::*;

use uuid::Uuid;

use super::*;
use crate::{
    envelope::{decode::decode_slowly, encode, format_time},
    message::{Draft, Payload},
};

const ARRIVAL_MS: i64 = 1_795_521_600_000;

fn stamped(payload: Payload, time_ms: i64, sequence: i64) -> String {
    let id = Uuid::from_u128(0x0192_d3a4_5b6c_7d8e_9f01_2345_6789_abcd);
    let (attributes, ordering_key) = (Vec::new(), String::new());
    let draft = Draft { id, dedup: None, payload, attributes, ordering_key };
    encode(&draft).stamp(time_ms, sequence, Epoch::from_u64(0xab).expect("not 0"))
}

/// The fast path takes it and reads what the general decoder reads.
fn assert_taken(json: &str) {
    let long = decode_slowly(json.as_bytes(), ARRIVAL_MS);
    assert_eq!(decode(json.as_bytes()).map(|plain| plain.envelope()), Some(long), "{json}");
}

fn decode(bytes: &[u8]) -> Option<Plain<'_>> {
    super::decode(bytes, &mut Before::default())
}

#[test]
fn a_text_is_what_both_passes_together_take() {
    for length in 0..80 {
        for at in 0..length {
            for odd in ["\"", "\\", "\u{1f}", "\u{7f}", "\u{80}", "é", "€", "\u{10ffff}"] {
                let mut text = "x".repeat(length).into_bytes();
                text.splice(at..=at, odd.bytes());
                assert_eq!(is_text(&text), !["\"", "\\", "\u{1f}"].contains(&odd), "{odd:?} at {at} of {length}");
                assert!(!is_simple(&text) || text.is_ascii());
            }
            let mut text = vec![b'x'; length];
            text[at] = 0xff;
            assert!(!is_text(&text), "no UTF-8");
        }
        assert!(is_simple(&vec![b'~'; length]));
    }
}

#[test]
fn what_plain_programs_write_in_our_order_takes_the_fast_path() {
    let plain = |text: &str| {
        format!(
            r#"{{"id":"0192d3a4-5b6c-7d8e-9f01-23456789abcd","message":"{text}","date":"2026-11-24T12:00:00.000Z"}}"#
        )
    };
    assert_taken(&plain("hello"));
    assert_taken(&plain(""));
    assert_taken(&plain("Grüße"));
    for odd in
        [plain("a\\n"), plain("a\"b"), plain("x").replace("2026", "0000"), plain("x").replace('}', ",\"a\":\"b\"}")]
    {
        assert_eq!(decode(odd.as_bytes()), None, "{odd}");
    }
}

#[test]
fn only_our_own_plain_texts_take_the_fast_path() {
    assert_taken(&stamped(Payload::Text("Grüße \u{7f}".to_owned()), ARRIVAL_MS, 1));
    assert_taken(&stamped(Payload::Text(String::new()), ARRIVAL_MS, 1 << 53));
    let one = stamped(Payload::Text("x".to_owned()), ARRIVAL_MS, 7);
    for (from, to) in [
        ("\"x\"", "\"\\u0041\""),
        ("\"x\"", "\"a\"b\""),
        ("\"x\"", "\"\u{1}\""),
        ("\"x\"", "1"),
        (":7,", ":07,"),
        (":7,", ":0,"),
        (":7,", ":-7,"),
        (":7,", ":9007199254740993,"),
        (":7,", ":,"),
        ("00ab\"", "00AB\""),
        ("00000000000000ab", "0000000000000000"),
        ("T12", "T24"),
        ("-24T", "-31T"),
        (".000Z", ".000z"),
        ("12:00:00.000Z", "23:59:60.000Z"),
        ("2026-", "0000-"),
        ("{\"id\"", " {\"id\""),
        ("}", ",\"encoding\":\"json\"}"),
        ("0192d3a4-", "0192d3a4_"),
        ("0192d3a4-", "0192D3A4-"),
        ("0192d3a4-", "0192g3a4-"),
    ] {
        let odd = one.replacen(from, to, 1);
        assert_ne!(odd, one, "{from}");
        assert_eq!(decode(odd.as_bytes()), None, "{odd}");
    }
}

proptest! {
    #[test]
    fn all_that_the_fast_path_takes_is_read_as_by_the_fallback(text in "[ -~é€]{0,40}", time_ms in -62_135_596_800_000_i64..253_402_300_800_000, sequence in 1_i64..=1 << 53) {
        let json = stamped(Payload::Text(text.clone()), time_ms, sequence);
        let taken = decode(json.as_bytes()).map(|plain| plain.envelope());
        prop_assert_eq!(taken.is_some(), !text.contains(['"', '\\']));
        if let Some(taken) = taken {
            prop_assert_eq!(format_time(taken.time_ms), format_time(time_ms));
            prop_assert_eq!(taken, decode_slowly(json.as_bytes(), ARRIVAL_MS));
        }
    }

    #[test]
    fn a_changed_byte_never_makes_both_paths_differ(at in 0_usize..200, byte: u8) {
        let mut json = stamped(Payload::Text("hello".to_owned()), ARRIVAL_MS, 42).into_bytes();
        // Known from before, with all bytes that are read as they are.
        let (whole, mut before) = (json.clone(), Before::default());
        prop_assert!(super::decode(&whole, &mut before).is_some());
        let at = at % json.len();
        json[at] = byte;
        let taken = decode(&json).map(|plain| plain.envelope());
        if let Some(taken) = &taken {
            prop_assert_eq!(taken, &decode_slowly(&json, ARRIVAL_MS));
        }
        prop_assert_eq!(super::decode(&json, &mut before).map(|plain| plain.envelope()), taken);
        // And what it has left is no less true.
        prop_assert_eq!(super::decode(&whole, &mut before), decode(&whole));
    }

    #[test]
    fn what_came_before_changes_nothing(messages in prop::collection::vec((0_i64..3, 0_u64..3, 1_i64..1_000), 1..9)) {
        let mut before = Before::default();
        for (time, epoch, sequence) in messages {
            let json = stamped(Payload::Text("x".to_owned()), ARRIVAL_MS + time, sequence);
            let json = json.replace("00ab", &format!("00a{epoch}"));
            prop_assert_eq!(super::decode(json.as_bytes(), &mut before), decode(json.as_bytes()));
        }
    }
}
