//! The IDs of a Stream's entries, as commands write them.

use super::{keys::Id, reply::Reply};

/// An ID, and what stands for its second number where that is not given.
pub(super) fn id(word: &[u8], rest: u64) -> Id {
    let text = std::str::from_utf8(word).expect("an ID");
    match text.split_once('-') {
        Some((ms, number)) => (ms.parse().expect("an ID"), number.parse().expect("an ID")),
        None => (text.parse().expect("an ID"), rest),
    }
}

/// One end of a range.
pub(super) fn bound(word: &[u8], is_low: bool) -> Id {
    match word {
        b"-" => (0, 0),
        b"+" => (u64::MAX, u64::MAX),
        [b'(', word @ ..] => {
            let (ms, number) = id(word, if is_low { u64::MAX } else { 0 });
            match is_low {
                true => number.checked_add(1).map_or((ms + 1, 0), |number| (ms, number)),
                false => number.checked_sub(1).map_or((ms - 1, u64::MAX), |number| (ms, number)),
            }
        }
        word => id(word, if is_low { 0 } else { u64::MAX }),
    }
}

pub(super) fn written((ms, number): Id) -> String {
    format!("{ms}-{number}")
}

pub(super) fn entry((id, fields): &(Id, std::rc::Rc<Vec<Vec<u8>>>)) -> Reply {
    Reply::Array(vec![
        Reply::text(written(*id)),
        Reply::Array(fields.iter().map(|field| Reply::Bulk(field.clone())).collect()),
    ])
}
