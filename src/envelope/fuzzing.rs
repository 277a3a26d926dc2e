//! Envelopes and JSON from anyone.

use bytes::Bytes;

use super::{
    Envelope, ORIGINAL_DATE, ORIGINAL_ID, RESERVED_ATTRIBUTES, check_json, decode, decode::decode_slowly, encode,
};
use crate::{
    fuzzing::target::Target,
    limits::{ATTRIBUTE_KEY_BYTES, ATTRIBUTE_VALUE_BYTES, ATTRIBUTES, ORDERING_KEY_BYTES},
    message::{Draft, Epoch, MAX_SEQUENCE, Payload},
};

const NOW_MS: i64 = 1_795_521_600_000;

/// Any bytes on a channel are read, within our rules, and can be written and read again.
pub const ENVELOPES: Target = Target { check: check_envelope, seeds: envelope_seeds };
/// Every text that is accepted as JSON is JSON by its grammar, and no other.
pub const JSON: Target = Target { check: check_json_text, seeds: json_seeds };

fn check_envelope(bytes: &[u8]) {
    let envelope = decode(bytes, NOW_MS);
    check_rules(&envelope, bytes);
    check_round_trip(&envelope);
    let claimed = envelope.claim.is_some();
    // There is a fast path for what we write ourselves. Only what claims a position can have taken it.
    assert!(!claimed || envelope == decode_slowly(bytes, NOW_MS), "both decoders read the same");
    let mut plain = envelope.clone();
    plain.disbelieve();
    assert_eq!(plain.claim, None);
    let reserved = plain.attributes.iter().filter(|(key, _)| key.starts_with(RESERVED_ATTRIBUTES)).count();
    assert!(!claimed || reserved == 0, "{:?}", plain.attributes);
    assert!(claimed || plain == envelope, "nothing was claimed, and yet it changed");
    assert_eq!((plain.id, &plain.payload, plain.time_ms), (envelope.id, &envelope.payload, envelope.time_ms));
}

fn check_rules(envelope: &Envelope, bytes: &[u8]) {
    match (&envelope.payload, std::str::from_utf8(bytes)) {
        (payload, Err(_)) => assert_eq!(*payload, Payload::Data(Bytes::copy_from_slice(bytes)), "no text is data"),
        (Payload::Json(json), _) => assert_eq!(check_json(json).expect("one JSON text"), json),
        (Payload::Text(text), Ok(whole)) if check_json(whole).is_err() => assert_eq!(text, whole),
        // An envelope's string, or its base64.
        (Payload::Text(_) | Payload::Data(_), Ok(whole)) => assert!(whole.contains("message") || whole.contains('\\')),
    }
    let attributes = &envelope.attributes;
    assert!(attributes.windows(2).all(|two| two[0].0 < two[1].0), "by key, each once: {attributes:?}");
    let ours = |key: &str| key.starts_with(RESERVED_ATTRIBUTES);
    assert!(attributes.iter().filter(|(key, _)| !ours(key)).count() <= ATTRIBUTES);
    for (key, value) in attributes {
        assert!((1..=ATTRIBUTE_KEY_BYTES).contains(&key.len()) && value.len() <= ATTRIBUTE_VALUE_BYTES);
        assert!(envelope.claim.is_some() || !ours(key) || [ORIGINAL_ID, ORIGINAL_DATE].contains(&&**key), "{key}");
    }
    assert!(envelope.ordering_key.len() <= ORDERING_KEY_BYTES);
    if let Some(claim) = envelope.claim {
        assert!((1..=MAX_SEQUENCE).contains(&claim.sequence));
    }
}

/// As one that adopts it would: the same message, numbered.
fn check_round_trip(envelope: &Envelope) {
    let draft = Draft {
        id: envelope.id,
        dedup: None,
        payload: envelope.payload.clone(),
        attributes: envelope.attributes.clone(),
        ordering_key: envelope.ordering_key.clone(),
    };
    let claim = super::Claim { epoch: Epoch::from_u64(0xab).expect("not 0"), sequence: 7 };
    let encoded = encode(&draft);
    let json = encoded.stamp(envelope.time_ms, claim.sequence, claim.epoch);
    assert!(json.len() <= encoded.len(), "the widest stamp is no bound");
    let again = decode(json.as_bytes(), 0);
    assert_eq!(again, Envelope { claim: Some(claim), ..envelope.clone() }, "{json}");
    let adopted = envelope.unnumbered();
    let numbered =
        format!(r#"{},"sequence":{},"epoch":"{}"{}"#, adopted.head, claim.sequence, claim.epoch, adopted.tail);
    assert!(numbered == json && json.len() <= adopted.len(), "adopting writes the same: {numbered}");
}

fn check_json_text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let expected = grammar::is_json(bytes);
    match check_json(text) {
        Ok(json) => {
            assert!(expected, "taken, but no JSON: {text:?}");
            assert_eq!(json, text.trim_matches([' ', '\t', '\n', '\r']));
        }
        Err(_) => assert!(!expected, "JSON, but refused: {text:?}"),
    }
}

/// RFC 8259 once more, in its simplest form: the value that is being read, and the values around it.
mod grammar {
    pub(super) fn is_json(text: &[u8]) -> bool {
        let mut open = Vec::new();
        let mut at = space(text, 0);
        loop {
            // A value begins here.
            match text.get(at) {
                Some(b'[' | b'{') => {
                    let is_object = text[at] == b'{';
                    at = space(text, at + 1);
                    if text.get(at) == Some(if is_object { &b'}' } else { &b']' }) {
                        at += 1;
                    } else {
                        open.push(is_object);
                        match is_object.then(|| key(text, at)) {
                            Some(Some(after)) => at = after,
                            Some(None) => return false,
                            None => {}
                        }
                        continue;
                    }
                }
                _ => match scalar(text, at) {
                    Some(after) => at = after,
                    None => return false,
                },
            }
            // After a value: the end of what contains it, or the next.
            loop {
                at = space(text, at);
                let Some(is_object) = open.last().copied() else { return at == text.len() };
                match text.get(at) {
                    Some(b',') => {
                        at = space(text, at + 1);
                        match is_object.then(|| key(text, at)) {
                            Some(Some(after)) => at = after,
                            Some(None) => return false,
                            None => {}
                        }
                        break;
                    }
                    Some(b'}') if is_object => at += 1,
                    Some(b']') if !is_object => at += 1,
                    _ => return false,
                }
                open.pop();
            }
        }
    }

    fn space(text: &[u8], at: usize) -> usize {
        at + text[at..].iter().take_while(|byte| b" \t\n\r".contains(byte)).count()
    }

    fn key(text: &[u8], at: usize) -> Option<usize> {
        let after = space(text, string(text, at)?);
        (text.get(after) == Some(&b':')).then(|| space(text, after + 1))
    }

    fn scalar(text: &[u8], at: usize) -> Option<usize> {
        for word in [&b"null"[..], b"true", b"false"] {
            if text[at..].starts_with(word) {
                return Some(at + word.len());
            }
        }
        if text.get(at) == Some(&b'"') { string(text, at) } else { number(text, at) }
    }

    fn string(text: &[u8], at: usize) -> Option<usize> {
        if text.get(at) != Some(&b'"') {
            return None;
        }
        let mut at = at + 1;
        loop {
            match text.get(at)? {
                b'"' => return Some(at + 1),
                b'\\' if text.get(at + 1) == Some(&b'u') => {
                    let digits = text.get(at + 2..at + 6)?;
                    digits.iter().all(u8::is_ascii_hexdigit).then_some(())?;
                    at += 6;
                }
                b'\\' => {
                    b"\"\\/bfnrt".contains(text.get(at + 1)?).then_some(())?;
                    at += 2;
                }
                0..0x20 => return None,
                _ => at += 1,
            }
        }
    }

    fn number(text: &[u8], at: usize) -> Option<usize> {
        let digits = |at: usize| text.get(at..).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit()).count();
        let some = |at: usize| Some(at + digits(at)).filter(|end| *end > at);
        let mut at = at + usize::from(text.get(at) == Some(&b'-'));
        at = if text.get(at) == Some(&b'0') { at + 1 } else { some(at)? };
        if text.get(at) == Some(&b'.') {
            at = some(at + 1)?;
        }
        if matches!(text.get(at), Some(b'e' | b'E')) {
            at += 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
            at = some(at)?;
        }
        Some(at)
    }
}

fn envelope_seeds() -> Vec<Vec<u8>> {
    let own = r#""id":"0192d3a4-5b6c-7d8e-9f01-23456789abcd","date":"2026-11-24T12:00:00.123Z","sequence":7,"epoch":"00000000000000ab""#;
    let mut seeds: Vec<Vec<u8>> = json_seeds();
    seeds.extend(
        [
            format!(
                r#"{{"message":"hi","attributes":{{"a":"1","tidings-original-id":"x"}},"ordering_key":"k",{own}}}"#
            ),
            format!(r#"{{"message":"/wA=","encoding":"base64",{own}}}"#),
            r#"{"id":"0192d3a4-5b6c-7d8e-9f01-23456789abcd","message":"Grüße","date":"2026-02-28T23:59:59.999Z","#
                .to_owned()
                + r#""sequence":42,"epoch":"00000000000000ab"}"#,
            format!(r#"{{"message":"\u0041","encoding":"json",{own}}}"#),
            r#" {"id":"order-1","message":"Gr\u00fc\u00dfe","date":"10/11/2023"} "#.to_owned(),
            r#"{"id":"{0192d3a4-5b6c-7d8e-9f01-23456789abcd}","message":null,"date":"0001-01-01T00:00:00Z"}"#
                .to_owned(),
            r#"{"message":1,"date":"9999-12-31T23:59:60.9999+23:59","id":{"n":1}}"#.to_owned(),
            r#"{"m\u0065ssage":1,"message":2}"#.to_owned(),
            r#"{"message":1,"other":2}"#.to_owned(),
            "hello world".to_owned(),
        ]
        .map(String::into_bytes),
    );
    seeds.push(b"\xff\x00\xfe".to_vec());
    seeds
}

fn json_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = [
        "1.10",
        "-0.0e+10",
        "9007199254740993",
        " [1, \"two\" ,{\"a\" : [ ]}, null]\n",
        r#"{"b": 1,  "a":[ true ,false],"b":"\u0041\ud800\"\\\/\b\f\n\r\t"}"#,
        "\"\u{7f}\u{85}\u{2028}\"",
        "{\"a\":{\"a\":{\"a\":[[[[]]]]}}}",
        "01",
        "[1,]",
        "\"\u{1}\"",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    seeds.push([b"[".repeat(2_000), b"]".repeat(2_000)].concat());
    seeds
}
