//! The fast path for what our own publisher writes most: a plain text without attributes, in exactly the layout of
//! [`Encoded::stamp`](crate::envelope::Encoded::stamp), or the same without a number, as plain programs write it. It
//! decides by comparing bytes at known offsets from both ends, and takes only what the general decoder would read the
//! same; anything else is left to that.

use uuid::Uuid;

use super::{Claim, Envelope, MAX_SEQUENCE};
use crate::{
    envelope::is_plain,
    message::{Epoch, Payload},
};

const HEAD: &[u8] = br#"{"id":""#;
const MESSAGE: &[u8] = br#"","message":""#;
const DATE: &[u8] = br#"","date":""#;
const SEQUENCE: &[u8] = br#"","sequence":"#;
const EPOCH: &[u8] = br#","epoch":""#;
const TAIL: &[u8] = br#""}"#;
/// `2026-11-24T12:00:00.000Z`
const DATE_BYTES: usize = 24;

/// A text without attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plain<'a> {
    /// A UUID in lower case.
    pub(in super::super) id: &'a [u8; 36],
    /// UTF-8.
    pub(in super::super) text: &'a [u8],
    pub(in super::super) time_ms: i64,
    pub(in super::super) claim: Option<Claim>,
}

/// What messages that follow one another mostly have in common: where the next one has the same bytes, they need not be
/// read.
#[derive(Debug, Default)]
pub(in super::super) struct Before {
    date: Option<([u8; DATE_BYTES], i64)>,
    epoch: Option<([u8; 16], Epoch)>,
}

impl Plain<'_> {
    pub(in super::super) fn envelope(&self) -> Envelope {
        Envelope {
            // It was compared digit by digit.
            id: Uuid::try_parse_ascii(self.id).unwrap_or_default(),
            // It was found to be UTF-8.
            payload: Payload::Text(String::from_utf8_lossy(self.text).into_owned()),
            attributes: Vec::new(),
            ordering_key: String::new(),
            time_ms: self.time_ms,
            claim: self.claim,
        }
    }
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

/// Reads an envelope in our layout, or what plain programs write in the same order; `None` where it is for the general
/// decoder, which may read it as well.
// Into where its answer is used: one that is handed on by memory is read in other pieces than it was written in, and
// waited for.
#[inline(always)]
pub(in super::super) fn decode<'a>(bytes: &'a [u8], before: &mut Before) -> Option<Plain<'a>> {
    let rest = bytes.strip_prefix(HEAD)?;
    let (id, rest) = rest.split_first_chunk()?;
    let text_on = rest.strip_prefix(MESSAGE)?;
    // From the end, where everything but the number has a fixed width.
    let after = text_on.strip_suffix(TAIL)?;
    let (rest, claim) = match numbered(after, before) {
        Some((rest, claim)) => (rest, Some(claim)),
        None => (after, None),
    };
    let (rest, date) = rest.split_last_chunk()?;
    let text = rest.strip_suffix(DATE)?;
    // All but the text is compared with ASCII.
    if !is_id(id) || !is_text(text) {
        return None;
    }
    Some(Plain { id, text, time_ms: before.time_ms(date)?, claim })
}

/// What precedes number and epoch, and these.
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

/// Whether the string of JSON is its own raw text, and is UTF-8.
fn is_text(text: &[u8]) -> bool {
    is_simple(text) || is_plain(text) && std::str::from_utf8(text).is_ok()
}

/// The same for ASCII, as most texts are: one pass says both. False also for other texts that [`is_text`] takes.
fn is_simple(text: &[u8]) -> bool {
    // As signed numbers, bytes beyond ASCII are negative, and so below 0x20 like control characters.
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
    // Only days that every month has; the last few are for the general decoder. So is a leap second.
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
mod tests;
