//! The judge: what readers were told, held against what really happened.
//!
//! Every acknowledged place is delivered exactly once to a reader that was entitled to it, or lies in one of its gaps. TRIMMED and
//! NOT_RETAINED never name a delivered message. No bounded gap exceeds what was ever given out in its epoch.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use crate::truth::{Place, Reader, Reason, Told, Truth, short};

/// The first rule that was broken, and how.
pub(crate) fn judge(truth: &mut Truth) -> Option<(String, String)> {
    if let Some(wrong) = truth.wrong.first() {
        return Some(wrong.clone());
    }
    let readers = truth.readers.iter();
    readers.flat_map(|reader| [told_right(truth, reader), told_all(truth, reader)]).flatten().next()
}

fn broken(rule: &str, reader: &Reader, how: impl std::fmt::Display) -> Option<(String, String)> {
    Some((rule.to_owned(), format!("{}: {how}", reader.name)))
}

/// Nothing twice, nothing that never was, no gap that names too much.
fn told_right(truth: &Truth, reader: &Reader) -> Option<(String, String)> {
    let mut delivered: BTreeSet<&Place> = BTreeSet::new();
    let mut last: BTreeMap<&str, (&str, i64)> = BTreeMap::new();
    // Of each channel: epochs and up to where they were said to be lost, 0 for all that there is.
    let mut lost: Vec<(&str, &str, i64, i64)> = Vec::new();
    for (_, told) in &reader.told {
        match told {
            // A stream remembers what it had of that which was lost. Its cursor, which stands before that, does not: where a server has it
            // after all, it may come again.
            Told::Started => delivered.retain(|place| {
                let is_of = |(channel, epoch, first, last): &(&str, &str, i64, i64)| {
                    let within = *epoch == place.epoch && (*first..=*last).contains(&place.sequence);
                    *channel == place.channel && (*last == 0 || within)
                };
                !lost.iter().any(is_of)
            }),
            Told::Refused(text) => return broken("refused", reader, text),
            Told::Message(place) if place.sequence == 0 => {
                return broken("plain", reader, format_args!("{} came as a plain message", place.text));
            }
            Told::Message(place) => {
                let has_receipt = || truth.acknowledged.iter().any(|acknowledged| acknowledged.place == *place);
                if !truth.pushed.contains_key(place) && !has_receipt() {
                    return broken("foreign", reader, format_args!("{place} was never given out"));
                }
                if !delivered.insert(place) {
                    return broken("twice", reader, format_args!("{place} came twice"));
                }
                let before = last.insert(&place.channel, (&place.epoch, place.sequence));
                if before.is_some_and(|(epoch, sequence)| epoch == place.epoch && sequence >= place.sequence) {
                    return broken("order", reader, format_args!("{place} came behind {before:?}"));
                }
            }
            Told::Gap { channel, epoch, first, last: end, reason } => {
                last.remove(channel.as_str());
                if *reason == Reason::EpochChanged {
                    lost.push((channel, epoch, *first, *end));
                }
                let gap = format!("{channel} {}:{first} to {end}, {reason:?}", short(epoch));
                if *end != 0 && end < first {
                    return broken("empty gap", reader, gap);
                }
                let given = truth.given.get(&(channel.clone(), epoch.clone())).copied().unwrap_or(0);
                if *end > given && *reason == Reason::EpochChanged {
                    return broken("gap too far", reader, format_args!("{gap}: only {given} were ever given out"));
                }
                let names = |place: &&&Place| {
                    place.channel == *channel
                        && place.epoch == *epoch
                        && (*first..=*end).contains(&place.sequence)
                        && *reason != Reason::EpochChanged
                };
                if let Some(place) = delivered.iter().find(names) {
                    return broken("gap names delivered", reader, format_args!("{gap}: {place} had come"));
                }
            }
        }
    }
    None
}

/// All that is owed to it came, or lies in a gap.
fn told_all(truth: &Truth, reader: &Reader) -> Option<(String, String)> {
    let started = reader.started?;
    let delivered: BTreeSet<&Place> = reader
        .told
        .iter()
        .filter_map(|(_, told)| if let Told::Message(place) = told { Some(place) } else { None })
        .collect();
    for acknowledged in &truth.acknowledged {
        let place = &acknowledged.place;
        let is_owed = acknowledged.begun > started && reader.follows(&place.channel) && !acknowledged.is_duplicate;
        if !is_owed || delivered.contains(place) || !is_known(truth, place) {
            continue;
        }
        let lies_in = |told: &Told, at: u64| match told {
            Told::Gap { channel, epoch, first, last, reason } if *channel == place.channel => match (*last, reason) {
                (0, _) if *epoch == place.epoch => place.sequence >= *first,
                // What came behind an end that nobody knows may be of epochs that the reader never heard of.
                (0, _) => at > acknowledged.begun,
                (last, Reason::EpochChanged) => *epoch == place.epoch && (*first..=last).contains(&place.sequence),
                // One trim may go over several epochs.
                (last, _) => (*first..=last).contains(&place.sequence),
            },
            _ => false,
        };
        if !reader.told.iter().any(|(at, told)| lies_in(told, *at)) {
            return broken("silent loss", reader, format_args!("{place} did not come, and no gap names it"));
        }
    }
    None
}

/// Whether anyone who is left can know of a message: a publisher that has a receipt for it, or for a later one of its epoch. A publisher
/// remembers the receipts of one epoch a channel. Once it has others, what it knew stands in a head, which may be lost as well.
fn is_known(truth: &Truth, place: &Place) -> bool {
    truth.remembering.iter().any(|run| {
        let own = truth.acknowledged.iter().filter(|other| other.run == *run && other.place.channel == place.channel);
        let (mut knows, mut moved_on) = (false, None);
        for other in own.filter(|other| !other.is_duplicate) {
            if other.place.epoch != place.epoch {
                if knows {
                    moved_on.get_or_insert(other.answered);
                }
            } else {
                knows |= other.place.sequence >= place.sequence;
                moved_on = None;
            }
        }
        knows && moved_on.is_none_or(|at| truth.losses.iter().all(|loss| *loss < at))
    })
}

/// What must be the same when a schedule is run again.
pub(crate) fn digest(truth: &Truth) -> u64 {
    let mut hasher = DefaultHasher::new();
    for reader in &truth.readers {
        format!("{:?}", reader.told).hash(&mut hasher);
    }
    format!("{:?}", truth.acknowledged).hash(&mut hasher);
    hasher.finish()
}
