//! Reading what `head.lua` answers.

use crate::{
    broker::{Error, Head, history::EpochStart},
    message::Epoch,
};

/// The format of the head that this version writes, and the newest it reads.
const FORMAT: i64 = 1;

/// The answer's fields, as texts: role, format version, last sequence, log time, epochs, first retained, whether there is
/// a log. `None` for a channel with neither head nor log.
pub(super) fn read(fields: &[String], keeps_history: bool) -> Result<Option<Head>, Error> {
    let odd = || Error::Internal("a channel's head is not understood".to_owned());
    let [role, version, last, time_ms, epochs, first, has_log] = fields else { return Err(odd()) };
    if role != "master" {
        return Err(Error::Unavailable("Redis is a read-only replica; point --redis-url at the primary".to_owned()));
    }
    if version.is_empty() && has_log == "0" {
        return Ok(None);
    }
    if version.parse().unwrap_or(0) > FORMAT {
        let text = "the channel was written by a newer version of Tidings; upgrade this one";
        return Err(Error::Unavailable(text.to_owned()));
    }
    let number = |text: &str| text.parse::<i64>().map_err(|_| odd());
    let last = number(last)?;
    let first = match number(first)? {
        0 => last + 1,
        first => first,
    };
    let epochs = epochs.split(';').filter(|start| !start.is_empty());
    let epochs = epochs.map(|start| epoch(start).ok_or_else(odd)).collect::<Result<_, _>>()?;
    Ok(Some(Head { epochs, last, first, time_ms: number(time_ms)?, keeps_history }))
}

/// `epoch,first,previous end`
fn epoch(text: &str) -> Option<EpochStart> {
    let mut parts = text.split(',');
    let epoch: Epoch = parts.next()?.parse().ok()?;
    Some(EpochStart { epoch, first: parts.next()?.parse().ok()?, previous_end: parts.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(fields: [&str; 7]) -> Vec<String> {
        fields.map(str::to_owned).to_vec()
    }

    #[test]
    fn heads_are_read() {
        let head = fields(["master", "1", "9", "1000", "000000000000000a,1,0;000000000000000b,6,8", "3", "1"]);
        let head = read(&head, true).expect("understood").expect("there");
        assert_eq!((head.last, head.first, head.epochs.len(), head.epochs[1].previous_end), (9, 3, 2, 8));
        let empty = fields(["master", "1", "9", "1000", "000000000000000a,1,0", "0", "0"]);
        assert_eq!(read(&empty, true).expect("understood").expect("there").first, 10);
        assert_eq!(read(&fields(["master", "", "0", "0", "", "0", "0"]), true), Ok(None));
        let headless = read(&fields(["master", "", "9", "0", "", "3", "1"]), true).expect("understood").expect("there");
        assert!(headless.epochs.is_empty());
    }

    #[test]
    fn a_replica_and_a_newer_format_are_no_answer() {
        let replica = read(&fields(["slave", "1", "9", "0", "", "3", "1"]), true);
        let newer = read(&fields(["master", "2", "9", "0", "", "3", "1"]), true);
        assert!(matches!(replica, Err(Error::Unavailable(text)) if text.contains("replica")));
        assert!(matches!(newer, Err(Error::Unavailable(text)) if text.contains("newer")));
        assert!(matches!(read(&fields(["master", "1", "x", "0", "", "3", "1"]), true), Err(Error::Internal(_))));
    }
}
