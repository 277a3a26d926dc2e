//! The short way for what our own publisher writes most: a plain text without attributes, in exactly the layout of
//! [`Encoded::stamp`](crate::envelope::Encoded::stamp), or the same without a place, as plain programs write it. It decides by comparing bytes at known places from both ends, and takes
//! only what the long way would read the same; anything else is left to that.

use super::{Claim, MAX_SEQUENCE};
use crate::{
    envelope::{heard::Plain, is_plain},
    message::Epoch,
};

const HEAD: &[u8] = br#"{"id":""#;
const MESSAGE: &[u8] = br#"","message":""#;
const DATE: &[u8] = br#"","date":""#;
const SEQUENCE: &[u8] = br#"","sequence":"#;
const EPOCH: &[u8] = br#","epoch":""#;
const TAIL: &[u8] = br#""}"#;
/// `2026-11-24T12:00:00.000Z`
const DATE_BYTES: usize = 24;

/// What messages that follow one another mostly have in common: where the next one has the same bytes, they need not be read.
#[derive(Debug, Default)]
pub(in super::super) struct Before {
    date: Option<([u8; DATE_BYTES], i64)>,
    epoch: Option<([u8; 16], Epoch)>,
}

impl Before {
    fn time_ms(&mut self, date: &[u8; DATE_BYTES]) -> Option<i64> {
        if let Some((known, time_ms)) = &self.date
            && known == date
        {
            return Some(*time_ms);
        }
        let time_ms = time_ms(date)?;
        self.date = Some((*date, time_ms));
        Some(time_ms)
    }

    fn epoch(&mut self, digits: &[u8; 16]) -> Option<Epoch> {
        if let Some((known, epoch)) = &self.epoch
            && known == digits
        {
            return Some(*epoch);
        }
        let epoch = epoch(digits)?;
        self.epoch = Some((*digits, epoch));
        Some(epoch)
    }
}

/// Reads an envelope in our layout, or what plain programs write in the same order; `None` where it must go the long way,
/// which may read it as well.
pub(in super::super) fn decode<'a>(bytes: &'a [u8], before: &mut Before) -> Option<Plain<'a>> {
    let rest = bytes.strip_prefix(HEAD)?;
    let (id, rest) = rest.split_first_chunk()?;
    let text_on = rest.strip_prefix(MESSAGE)?;
    // From the end, where everything but the number has a fixed width.
    let behind = text_on.strip_suffix(TAIL)?;
    let (rest, claim) = match numbered(behind, before) {
        Some((rest, claim)) => (rest, Some(claim)),
        None => (behind, None),
    };
    let (rest, date) = rest.split_last_chunk()?;
    let text = rest.strip_suffix(DATE)?;
    // What is not of the text is compared with ASCII.
    if !is_id(id) || !is_text(text) {
        return None;
    }
    Some(Plain { id, text, time_ms: before.time_ms(date)?, claim })
}

/// What stands before number and epoch, and these.
fn numbered<'a>(bytes: &'a [u8], before: &mut Before) -> Option<(&'a [u8], Claim)> {
    let (rest, epoch) = bytes.split_last_chunk()?;
    let rest = rest.strip_suffix(EPOCH)?;
    let digits = rest.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (rest, digits) = split_last(rest, digits)?;
    // As many as an i64 holds whatever they are.
    if digits.first().is_none_or(|first| *first == b'0') || digits.len() > 18 {
        return None;
    }
    let sequence = digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
    let sequence = Some(sequence).filter(|sequence| *sequence <= MAX_SEQUENCE)?;
    Some((rest.strip_suffix(SEQUENCE)?, Claim { epoch: before.epoch(epoch)?, sequence }))
}

/// Reads an epoch as we write it.
fn epoch(digits: &[u8; 16]) -> Option<Epoch> {
    let (mut number, mut odd) = (0, 0);
    for digit in digits {
        let value = HEX[usize::from(*digit)];
        odd |= value;
        number = number << 4 | u64::from(value & 15);
    }
    if odd > 15 { None } else { Epoch::from_u64(number) }
}

/// The values of hexadecimal digits in lower case; 255 for anything else.
const HEX: [u8; 256] = {
    let (mut values, mut digit) = ([255; 256], 0);
    while digit < 16 {
        values[b"0123456789abcdef"[digit as usize] as usize] = digit;
        digit += 1;
    }
    values
};

/// Whether the string of JSON stands for itself, and is UTF-8.
fn is_text(text: &[u8]) -> bool {
    is_simple(text) || is_plain(text) && std::str::from_utf8(text).is_ok()
}

/// The same for ASCII, as most texts are: one pass says both. False also for other texts that [`is_text`] takes.
fn is_simple(text: &[u8]) -> bool {
    // As signed numbers, all that is not ASCII is below what is no control character.
    !text.iter().fold(false, |odd, byte| odd | (byte.cast_signed() < 0x20) | (*byte == b'"') | (*byte == b'\\'))
}

/// Whether it is a UUID as we write it, in lower case.
fn is_id(id: &[u8; 36]) -> bool {
    const FORM: &[u8; 36] = b"00000000-0000-0000-0000-000000000000";
    // Without an early end, so that the compiler makes wide steps of it.
    let odd = id.iter().zip(FORM).fold(false, |odd, (byte, form)| {
        let is_digit = (byte.wrapping_sub(b'0') < 10) | (byte.wrapping_sub(b'a') < 6);
        odd | ((*form == b'0') & !is_digit) | ((*form == b'-') & (*byte != b'-'))
    });
    !odd
}

fn split_last(bytes: &[u8], count: usize) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(bytes.len().checked_sub(count)?)
}

/// Reads `2026-11-24T12:00:00.000Z`, and nothing else that RFC 3339 allows.
fn time_ms(date: &[u8; DATE_BYTES]) -> Option<i64> {
    const FORM: &[u8; DATE_BYTES] = b"0000-00-00T00:00:00.000Z";
    let odd = date.iter().zip(FORM).fold(false, |odd, (byte, form)| {
        let is_digit = byte.wrapping_sub(b'0') < 10;
        odd | ((*form == b'0') & !is_digit) | ((*form != b'0') & (byte != form))
    });
    if odd {
        return None;
    }
    let number = |from: usize, to: usize| date[from..to].iter().fold(0, |n, byte| n * 10 + i64::from(byte - b'0'));
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    let (hour, minute, second) = (number(11, 13), number(14, 16), number(17, 19));
    // Only days that every month has; the last few go the long way. So does a leap second.
    if year == 0 || !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    if day > 28 && !has_day(year, month, day) {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(seconds * 1_000 + number(20, 23))
}

fn has_day(year: i64, month: i64, day: i64) -> bool {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    day <= match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the Gregorian calendar, with years that begin in March, so that the leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
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
        let draft = Draft { id, deduplicate: false, payload, attributes, ordering_key };
        encode(&draft).stamp(time_ms, sequence, Epoch::from_u64(0xab).expect("not 0"))
    }

    /// The short way takes it and reads what the long way reads.
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
    fn what_plain_programs_write_in_our_order_goes_the_short_way() {
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
    fn our_own_plain_texts_go_the_short_way_and_nothing_else_does() {
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
        fn whatever_is_taken_is_read_as_on_the_long_way(text in "[ -~é€]{0,40}", time_ms in -62_135_596_800_000_i64..253_402_300_800_000, sequence in 1_i64..=1 << 53) {
            let json = stamped(Payload::Text(text.clone()), time_ms, sequence);
            let taken = decode(json.as_bytes()).map(|plain| plain.envelope());
            prop_assert_eq!(taken.is_some(), !text.contains(['"', '\\']));
            if let Some(taken) = taken {
                prop_assert_eq!(format_time(taken.time_ms), format_time(time_ms));
                prop_assert_eq!(taken, decode_slowly(json.as_bytes(), ARRIVAL_MS));
            }
        }

        #[test]
        fn a_changed_byte_never_makes_both_ways_differ(at in 0_usize..200, byte: u8) {
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
}
