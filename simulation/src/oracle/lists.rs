//! Lists: the pages of one are of one history, in order and without a hole, however long lies between them.

use crate::{
    lister,
    truth::{Listed, Numbered, Truth, short},
};

/// The first rule that a list broke, and how.
pub(super) fn judge(truth: &Truth) -> Option<(String, String)> {
    truth.lists.iter().enumerate().find_map(|(index, received)| {
        let (rule, how) = list(truth, index, received).err()?;
        Some((rule.to_owned(), format!("L{index}: {how}")))
    })
}

fn list(truth: &Truth, index: usize, received: &[Listed]) -> Result<(), (&'static str, String)> {
    let mut last: Option<&Numbered> = None;
    for listed in received {
        match listed {
            Listed::Refused(text) => return Err(("list refused", text.clone())),
            Listed::Gone => last = None,
            Listed::Page { is_first, messages } => {
                last = last.filter(|_| !is_first);
                for message in messages {
                    if !truth.pushed.contains_key(message)
                        && !truth.acknowledged.iter().any(|known| known.message == *message)
                    {
                        return Err(("list of foreign", format!("{message} was never given out")));
                    }
                    if let Some(before) = last {
                        let (older, newer) =
                            if lister::is_newest_first(index) { (message, before) } else { (before, message) };
                        follows(truth, older, newer)?;
                    }
                    last = Some(message);
                }
            }
        }
    }
    Ok(())
}

fn follows(truth: &Truth, older: &Numbered, newer: &Numbered) -> Result<(), (&'static str, String)> {
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
