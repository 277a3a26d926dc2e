//! Lists: the pages of one are of one history, in order and without a hole, however long lies between them.

use crate::{
    lister,
    truth::{Listed, Place, Truth, short},
};

/// The first rule that a list broke, and how.
pub(super) fn judge(truth: &Truth) -> Option<(String, String)> {
    truth.lists.iter().enumerate().find_map(|(index, told)| {
        let (rule, how) = list(truth, index, told).err()?;
        Some((rule.to_owned(), format!("L{index}: {how}")))
    })
}

fn list(truth: &Truth, index: usize, told: &[Listed]) -> Result<(), (&'static str, String)> {
    let mut last: Option<&Place> = None;
    for listed in told {
        match listed {
            Listed::Refused(text) => return Err(("list refused", text.clone())),
            Listed::Gone => last = None,
            Listed::Page { is_first, places } => {
                last = last.filter(|_| !is_first);
                for place in places {
                    if !truth.pushed.contains_key(place)
                        && !truth.acknowledged.iter().any(|known| known.place == *place)
                    {
                        return Err(("list of foreign", format!("{place} was never given out")));
                    }
                    if let Some(before) = last {
                        let (older, newer) =
                            if lister::is_newest_first(index) { (place, before) } else { (before, place) };
                        follows(truth, older, newer)?;
                    }
                    last = Some(place);
                }
            }
        }
    }
    Ok(())
}

fn follows(truth: &Truth, older: &Place, newer: &Place) -> Result<(), (&'static str, String)> {
    let both = || format!("{older}, and then {newer}");
    if newer.sequence <= older.sequence {
        return Err(("list out of order", both()));
    }
    if !truth.trims && newer.sequence != older.sequence + 1 {
        return Err(("list with a hole", both()));
    }
    let leads = |history: &str| {
        let starts: Vec<(&str, i64)> = history.split(';').filter_map(start).collect();
        let at = |epoch: &str| starts.iter().position(|(name, _)| *name == epoch);
        let (Some(from), Some(to)) = (at(&older.epoch), at(&newer.epoch)) else { return false };
        from < to && starts[from + 1].1 > older.sequence && starts[to].1 <= newer.sequence
    };
    let is_one = older.epoch == newer.epoch
        || truth.histories.iter().any(|(channel, history)| *channel == newer.channel && leads(history));
    if is_one {
        return Ok(());
    }
    Err((
        "list of two histories",
        format!("{}, and {} does not lead to {}", both(), short(&older.epoch), short(&newer.epoch)),
    ))
}

/// An epoch and its first sequence, of a head's list.
fn start(text: &str) -> Option<(&str, i64)> {
    let (epoch, rest) = text.split_once(',')?;
    Some((epoch, rest.split_once(',')?.0.parse().ok()?))
}
