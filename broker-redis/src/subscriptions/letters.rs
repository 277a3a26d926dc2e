//! Dead letters as they are kept: a name, `<sequence, 16 digits>.<epoch>`, so that those that died at the same time
//! have an order; and a record, `<attempts>;<bytes of the reason>;`, the reason, and the JSON. Where its key counts,
//! that is behind the attempts: `<attempts>,<key>;…`.

use std::time::Duration;

use bytes::Bytes;
use redis::Cmd;
use tidings::{
    broker::{
        Error,
        subscriptions::{Letter, LetterId},
    },
    message::Epoch,
    subscription::{Attempts, OrderKey},
};

use super::{
    answer::{Fields, not_understood},
    creation::ms,
    messages,
};

pub(super) fn name(sequence: i64, epoch: Epoch) -> String {
    format!("{}.{epoch}", messages::sequence(sequence))
}

pub(super) fn record(letter: &Letter) -> Vec<u8> {
    let key = letter.key.map(|key| format!(",{key}")).unwrap_or_default();
    let mut record = format!("{}{key};{};{}", letter.attempts, letter.reason.len(), letter.reason).into_bytes();
    record.extend_from_slice(&letter.json);
    record
}

/// Reads what [`record`] wrote; `None` where it is not understood.
fn read_record(sequence: i64, epoch: Epoch, record: &Bytes) -> Option<Letter> {
    let mut parts = record.splitn(3, |byte| *byte == b';');
    let (attempts, length) = (text(parts.next()?)?, text(parts.next()?)?);
    let (attempts, key) = match attempts.match_indices(',').nth(2) {
        Some((at, _)) => (&attempts[..at], Some(OrderKey::parse(&attempts[at + 1..])?)),
        None => (attempts, None),
    };
    let (attempts, length): (_, usize) = (Attempts::parse(attempts)?, length.parse().ok()?);
    let (reason, json) = parts.next()?.split_at_checked(length)?;
    Some(Letter { epoch, sequence, attempts, reason: text(reason)?.to_owned(), key, json: record.slice_ref(json) })
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Which letters are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which<'a> {
    /// All, or those after one.
    All(Option<&'a LetterId>),
    /// Those that are still to be published.
    Outbox,
}

pub(super) fn write_letters(mut call: Cmd, which: Which<'_>, limit: usize, bytes: usize) -> Cmd {
    let (after, outbox) = match which {
        Which::All(after) => (after, ""),
        Which::Outbox => (None, "1"),
    };
    match after {
        Some(after) => call.arg(after.dead_ms).arg(name(after.sequence, after.epoch)),
        None => call.arg("").arg(""),
    };
    call.arg(limit).arg(bytes).arg(outbox);
    call
}

pub(super) fn write_sent(mut call: Cmd, letters: &[LetterId]) -> Cmd {
    for letter in letters {
        call.arg(letter.dead_ms).arg(name(letter.sequence, letter.epoch));
    }
    call
}

/// Reads what `subscription_letters.lua` answers.
pub(super) fn read_letters(mut fields: Fields) -> Result<Vec<(LetterId, Letter)>, Error> {
    let mut letters = Vec::with_capacity(fields.len() / 3);
    while fields.len() > 0 {
        let (dead_ms, name, record) = (fields.parse()?, fields.text()?, fields.bytes()?);
        let read = || {
            let (sequence, epoch) = name.split_once('.')?;
            let (sequence, epoch) = (sequence.parse().ok()?, epoch.parse().ok()?);
            let letter = read_record(sequence, epoch, &record)?;
            Some((LetterId { dead_ms, sequence, epoch }, letter))
        };
        letters.push(read().ok_or_else(not_understood)?);
    }
    Ok(letters)
}

pub(super) fn write_redrive(mut call: Cmd, letters: &[LetterId], first: Duration, apart: Duration) -> Cmd {
    call.arg(ms(first)).arg(ms(apart));
    for letter in letters {
        call.arg(letter.dead_ms).arg(messages::sequence(letter.sequence)).arg(letter.epoch.to_string());
    }
    call
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(reason: &str, json: &'static str) -> Letter {
        Letter {
            epoch: Epoch::from_u64(10).expect("not 0"),
            sequence: 42,
            attempts: Attempts { count: 3, first_ms: 1_700_000_000_000, redrives: 1 },
            reason: reason.to_owned(),
            key: None,
            json: Bytes::from_static(json.as_bytes()),
        }
    }

    #[test]
    fn a_letter_is_read_as_it_was_kept() {
        for (reason, json) in [("", "{}"), ("no; such;1;", "{\"a\":\";\"}"), ("Grüße\n", ""), ("{}", "{}")] {
            let letter = letter(reason, json);
            let record = Bytes::from(record(&letter));
            assert_eq!(read_record(42, letter.epoch, &record), Some(letter.clone()));
            let keyed = Letter { key: OrderKey::of("customer"), ..letter };
            let record = Bytes::from(super::record(&keyed));
            assert_eq!(read_record(42, keyed.epoch, &record), Some(keyed));
        }
        assert_eq!(name(42, letter("", "").epoch), "0000000000000042.000000000000000a");
        assert_eq!(record(&letter("bad", "{}")), b"3,1700000000000,1;3;bad{}");
    }

    #[test]
    fn what_is_no_letter_is_not_understood() {
        let epoch = letter("", "").epoch;
        for record in ["", "1,2,3", "1,2,3;", "1,2,3;9;{}", "1,2;0;{}", "1,2,3;x;{}", "1,2,3;-1;{}", "1,2,3,4;0;{}"] {
            assert_eq!(read_record(42, epoch, &Bytes::from_static(record.as_bytes())), None, "{record}");
        }
    }
}
