//! Reading what `head.lua` answers.

use tidings::{
    broker::{Error, Head, Loss, history::EpochStart},
    limits::HEAD_FORMAT,
    message::{Epoch, MAX_SEQUENCE, Position},
};

use super::{error, role, run_id::sequences};

/// The answer's fields, as texts: role, format version, last sequence, log time, epochs, first retained, whether there
/// is a log, the last adopted message, losses that were found out late, the data set. `None` for a channel with neither
/// head nor log.
pub(super) fn read(fields: &[String], keeps_history: bool) -> Result<Option<Head>, Error> {
    let malformed_reply = || Error::Channel(format!("{} (its head)", error::DAMAGED));
    let [role, version, last, time_ms, epochs, first, has_log, adopted, losses, data_set] = fields else {
        return Err(malformed_reply());
    };
    if !role::is_primary(role) {
        return Err(Error::Unavailable(role::READ_ONLY.to_owned()));
    }
    if version.is_empty() && has_log == "0" {
        return Ok(None);
    }
    // One that is no number is none of ours, or of a version that counts otherwise.
    if !version.is_empty() && version.parse().unwrap_or(HEAD_FORMAT + 1) > HEAD_FORMAT {
        return Err(Error::Channel(error::NEWER.to_owned()));
    }
    let last = sequence(last).ok_or_else(malformed_reply)?;
    let first = match sequence(first).ok_or_else(malformed_reply)? {
        0 => last + 1,
        first => first,
    };
    let epochs = epochs.split(';').filter(|start| !start.is_empty());
    let epochs: Vec<_> = epochs.map(|start| epoch(start).ok_or_else(malformed_reply)).collect::<Result<_, _>>()?;
    if !is_history(&epochs, last) {
        return Err(malformed_reply());
    }
    let time_ms = time_ms.parse().map_err(|_| malformed_reply())?;
    let adopted = match adopted.as_str() {
        "" => Position::START,
        text => position(text).ok_or_else(malformed_reply)?,
    };
    let losses = losses.split(';').filter(|loss| !loss.is_empty());
    let losses: Vec<_> = losses.map(|text| loss(text).ok_or_else(malformed_reply)).collect::<Result<_, _>>()?;
    let data_set = data_set.parse().ok();
    Ok(Some(Head { epochs, last, first, time_ms, keeps_history, losses, data_set, adopted }))
}

/// The head's own fields, as [`read_plain`] takes them: format version, last sequence, log time, epochs, the last
/// adopted message, the oldest run's ID as it was when the last call wrote, and losses that were found out late.
pub(super) const FIELDS: [&str; 7] = ["v", "s", "t", "h", "a", "oid", "l"];

/// Reads a head without its script, beside a page that shows that there is a log; it says nothing of the data set.
/// `None` where it does not say where the log begins.
pub(super) fn read_plain(fields: Vec<String>, keeps_history: bool) -> Result<Option<Head>, Error> {
    let Ok([version, last, time_ms, epochs, adopted, oldest, losses]) = <[String; 7]>::try_from(fields) else {
        return Ok(None);
    };
    // One of no messages means none.
    let run = sequences(oldest.as_bytes()).filter(|run| *run.start() >= 1 && !run.is_empty());
    let Some(first) = run.filter(|_| !version.is_empty()).map(|run| *run.start()) else { return Ok(None) };
    let role = "master".to_owned();
    let (first, has_log, data_set) = (first.to_string(), "1".to_owned(), String::new());
    read(&[role, version, last, time_ms, epochs, first, has_log, adopted, losses, data_set], keeps_history)
}

fn sequence(text: &str) -> Option<i64> {
    text.parse().ok().filter(|sequence| (0..=MAX_SEQUENCE).contains(sequence))
}

/// Whether the list is one that our script can have written: each epoch began above the one before, and all but the
/// last have a message. With any other, readers would find no end.
fn is_history(epochs: &[EpochStart], last: i64) -> bool {
    let rises = epochs.windows(2).all(|two| two[0].first < two[1].first);
    let differ =
        epochs.iter().enumerate().all(|(i, start)| epochs[..i].iter().all(|before| before.epoch != start.epoch));
    rises && differ && epochs.iter().all(|start| (1..=last + 1).contains(&start.first))
}

/// `epoch that began,epoch,from,to`
fn loss(text: &str) -> Option<Loss> {
    let mut parts = text.split(',');
    let (began, epoch) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let (from, to) = (sequence(parts.next()?)?, sequence(parts.next()?)?);
    (parts.next().is_none() && 1 <= from && from <= to).then_some(Loss { began, epoch, from, to })
}

/// `epoch,first,previous end`
fn epoch(text: &str) -> Option<EpochStart> {
    let mut parts = text.split(',');
    let epoch: Epoch = parts.next()?.parse().ok()?;
    Some(EpochStart { epoch, first: sequence(parts.next()?)?, previous_end: sequence(parts.next()?)? })
}

/// `epoch,sequence`
fn position(text: &str) -> Option<Position> {
    let (epoch, sequence) = text.split_once(',')?;
    Some(Position::new(epoch.parse().ok()?, self::sequence(sequence)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(fields: [&str; 8]) -> Vec<String> {
        fields.iter().chain(&["", ""]).map(|&field| field.to_owned()).collect()
    }

    #[test]
    fn heads_are_read() {
        let head = fields(["master", "1", "9", "1000", "000000000000000a,1,0;000000000000000b,6,8", "3", "1", ""]);
        let head = read(&head, true).expect("understood").expect("there");
        assert_eq!((head.last, head.first, head.epochs.len(), head.epochs[1].previous_end), (9, 3, 2, 8));
        let empty = fields(["master", "1", "9", "1000", "000000000000000a,1,0", "0", "0", ""]);
        assert_eq!(read(&empty, true).expect("understood").expect("there").first, 10);
        assert_eq!(read(&fields(["master", "", "0", "0", "", "0", "0", ""]), true), Ok(None));
        let headless =
            read(&fields(["master", "", "9", "0", "", "3", "1", ""]), true).expect("understood").expect("there");
        assert!(headless.epochs.is_empty());
        assert_eq!(headless.adopted, Position::START);
        let adopted = fields(["master", "1", "9", "0", "000000000000000a,1,0", "3", "1", "000000000000000a,7"]);
        let adopted = read(&adopted, true).expect("understood").expect("there").adopted;
        assert_eq!(adopted, Position::new(Epoch::from_u64(10).expect("not 0"), 7));
    }

    #[test]
    fn a_replica_and_a_newer_format_are_no_answer() {
        let replica = read(&fields(["slave", "1", "9", "0", "", "3", "1", ""]), true);
        let newer = read(&fields(["master", "3", "9", "0", "", "3", "1", ""]), true);
        assert!(matches!(replica, Err(Error::Unavailable(text)) if text.contains("replica")));
        assert!(matches!(newer, Err(Error::Channel(text)) if text.contains("newer")));
        assert!(matches!(read(&fields(["master", "1", "x", "0", "", "3", "1", ""]), true), Err(Error::Channel(_))));
    }

    #[test]
    fn a_history_that_can_not_be_is_refused() {
        let with = |last, epochs, first| read(&fields(["master", "1", last, "0", epochs, first, "1", ""]), true);
        assert!(with("9", "000000000000000a,1,0;000000000000000b,6,8", "3").is_ok());
        for (last, epochs, first) in [
            ("9", "000000000000000a,1,0;000000000000000a,6,8", "3"),
            ("9", "000000000000000a,6,0;000000000000000b,6,8", "3"),
            ("9", "000000000000000a,0,0", "3"),
            ("9", "000000000000000a,1,0;000000000000000b,11,9", "3"),
            ("9", "000000000000000a,1,-1", "3"),
            ("9", "000000000000000a,1,0", "-3"),
            ("-1", "", "0"),
            ("9007199254740993", "", "0"),
            ("9223372036854775807", "", "0"),
        ] {
            assert!(matches!(with(last, epochs, first), Err(Error::Channel(_))), "{last} {epochs} {first}");
        }
    }
}
