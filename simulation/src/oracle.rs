//! The judge: what readers were told, held against what really happened.
//!
//! Every acknowledged place is delivered exactly once to a reader that was entitled to it, or lies in one of its gaps.
//! TRIMMED and NOT_RETAINED never name a delivered message. No bounded gap exceeds what was ever given out in its
//! epoch.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use tidings::limits::REMEMBERED_EPOCHS;

use crate::truth::{Acknowledged, Place, Reader, Reason, Told, Truth, short};

mod lists;

/// The first rule that was broken, and how.
pub(crate) fn judge(truth: &mut Truth) -> Option<(String, String)> {
    if let Some(wrong) = truth.wrong.first() {
        return Some(wrong.clone());
    }
    let readers = truth.readers.iter();
    let broken = readers.flat_map(|reader| [told_right(truth, reader), told_all(truth, reader)]).flatten().next();
    broken.or_else(|| lists::judge(truth))
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
    // Those of them behind which something else came in the same place, within the epoch: Redis went back and was
    // written on.
    let mut rewritten: BTreeSet<usize> = BTreeSet::new();
    // Channels of which the present stream has told something.
    let mut begun: BTreeSet<&str> = BTreeSet::new();
    for (_, told) in &reader.told {
        match told {
            // A stream remembers what it had of that which was lost. Its cursor, which stands before that, does not:
            // where a server has it after all, it may come again.
            Told::Started => {
                begun.clear();
                delivered.retain(|place| {
                    let is_of = |(channel, epoch, first, last): &(&str, &str, i64, i64)| {
                        // A fork that is left is named by its last epoch, and may have begun in one before.
                        let is_named = || *epoch == place.epoch || began_behind(truth, channel, epoch, place.sequence);
                        let is_within = || (*first..=*last).contains(&place.sequence) && is_named();
                        *channel == place.channel && (*last == 0 || is_within())
                    };
                    !lost.iter().any(is_of)
                });
            }
            Told::Refused(text) => return broken("refused", reader, text),
            Told::Message(place) if place.sequence == 0 => {
                return broken("plain", reader, format_args!("{} came as a plain message", place.text));
            }
            Told::Message(place) => {
                let has_receipt = || truth.acknowledged.iter().any(|acknowledged| acknowledged.place == *place);
                if !truth.pushed.contains_key(place) && !has_receipt() {
                    return broken("foreign", reader, format_args!("{place} was never given out"));
                }
                begun.insert(&place.channel);
                let covers = |at: &usize| {
                    let (channel, epoch, first, last) = lost[*at];
                    channel == place.channel && epoch == place.epoch && (first..=last).contains(&place.sequence)
                };
                // Redis went back within an epoch, and back again to where it had been: what was told to be lost is
                // there after all. Or it was lost and published again, under its id.
                let again = || truth.pushed.get(place).is_some_and(|(_, times)| *times > 1);
                let is_indistinct = || truth.sets_clocks && others(truth, place).next().is_some();
                let may_come = || {
                    let is_lost = || (0..lost.len()).any(|at| covers(&at));
                    rewritten.iter().any(covers) || is_lost() && (again() || is_indistinct())
                };
                if !delivered.insert(place) && !may_come() {
                    return broken("twice", reader, format_args!("{place} came twice"));
                }
                rewritten.extend((0..lost.len()).filter(covers));
                let before = last.insert(&place.channel, (&place.epoch, place.sequence));
                if before.is_some_and(|(epoch, sequence)| epoch == place.epoch && sequence >= place.sequence) {
                    return broken("order", reader, format_args!("{place} came behind {before:?}"));
                }
            }
            Told::Gap { channel, epoch, first, last: end, reason } => {
                last.remove(channel.as_str());
                // A cursor knows its epoch and the one before it. Where a server has neither, all that it has comes.
                if begun.insert(channel) && *reason == Reason::EpochChanged && *end == 0 {
                    delivered.retain(|place| place.channel != *channel);
                }
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
                        // What was told to be lost has others in its place.
                        && !lost.iter().any(|(channel, epoch, first, last)| {
                            let is_same = place.channel == *channel && place.epoch == *epoch;
                            is_same && (*first..=*last).contains(&place.sequence)
                        })
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
        if !is_owed || delivered.contains(place) || !is_known(truth, place) || is_indistinct(truth, place, reader) {
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

/// Whether anyone who is left can know of a message: a publisher that has a receipt for it, or for a later one of its
/// epoch behind it. Publishers remember a channel's present epoch, and some earlier ones; of each the last receipt,
/// also where that is of a repeat, whoever published the message first.
fn is_known(truth: &Truth, place: &Place) -> bool {
    let when = |place: &Place| truth.pushed.get(place).map_or(0, |(at, _)| *at);
    let own = when(place);
    let replaced: Vec<u64> = others(truth, place).map(when).filter(|at| *at > own).collect();
    let knows = |other: &Acknowledged| {
        other.place.epoch == place.epoch
            && other.place.sequence >= place.sequence
            && (other.place == *place || replaced.iter().all(|at| *at > when(&other.place)))
    };
    let repeats: Vec<&Acknowledged> = truth.acknowledged.iter().filter(|other| other.is_duplicate).collect();
    truth.remembering.iter().any(|run| {
        let is_own = |other: &&Acknowledged| other.run == *run && other.place.channel == place.channel;
        let is_covered = |other: &Acknowledged| {
            repeats.iter().filter(|repeat| is_own(repeat) && repeat.place.epoch == other.place.epoch).any(|repeat| {
                let is_later = repeat.place.sequence > other.place.sequence;
                is_later && replaced.iter().any(|at| *at <= when(&repeat.place))
            })
        };
        let receipts = truth.acknowledged.iter().filter(is_own).filter(|other| !other.is_duplicate);
        let mut epochs: Vec<&str> = Vec::new();
        let mut remembered = receipts.rev().take_while(|other| {
            if !epochs.contains(&other.place.epoch.as_str()) {
                epochs.push(&other.place.epoch);
            }
            epochs.len() <= 1 + REMEMBERED_EPOCHS
        });
        remembered.any(|other| knows(other) && !is_covered(other))
    })
}

/// Whether an epoch has messages, and only behind this sequence.
fn began_behind(truth: &Truth, channel: &str, epoch: &str, sequence: i64) -> bool {
    let of = truth.pushed.keys().filter(|place| place.channel == channel && place.epoch == epoch);
    of.map(|place| place.sequence).min().is_some_and(|first| first > sequence)
}

/// Other messages that were given out in the same place: Redis went back within an epoch.
fn others<'a>(truth: &'a Truth, place: &'a Place) -> impl Iterator<Item = &'a Place> {
    truth.pushed.keys().filter(|other| {
        let is_same = other.channel == place.channel && other.epoch == place.epoch && other.sequence == place.sequence;
        is_same && other.text != place.text
    })
}

/// Whether a place was given out twice within its epoch, and nothing tells the two apart: the channel keeps no history,
/// or a clock was set, by which log time goes; or the reader knows the first from a cursor only, which does not say
/// what stood there.
fn is_indistinct(truth: &Truth, place: &Place, reader: &Reader) -> bool {
    let others: Vec<&Place> = others(truth, place).collect();
    if others.is_empty() || !truth.keeps_history || truth.sets_clocks {
        return !others.is_empty();
    }
    let is_other = |told: &Told| matches!(told, Told::Message(told) if others.contains(&told));
    let had: Vec<usize> = (0..reader.told.len()).filter(|at| is_other(&reader.told[*at].1)).collect();
    let own = truth.pushed.get(place).map_or(0, |(at, _)| *at);
    // Or Redis went back to it from the second, which a reader that was away meanwhile can't tell.
    let goes_back = |at: &usize| {
        let Told::Message(other) = &reader.told[*at].1 else { return false };
        reader.told[*at].0 > own && truth.pushed.get(other).is_some_and(|(pushed, _)| *pushed < own)
    };
    let comes_again = |at: &usize| reader.told[*at..].iter().any(|(_, told)| matches!(told, Told::Started));
    had.iter().any(|at| comes_again(at) || goes_back(at))
}

/// What must be the same when a schedule is run again.
pub(crate) fn digest(truth: &Truth) -> u64 {
    let mut hasher = DefaultHasher::new();
    for reader in &truth.readers {
        format!("{:?}", reader.told).hash(&mut hasher);
    }
    format!("{:?} {:?}", truth.acknowledged, truth.lists).hash(&mut hasher);
    hasher.finish()
}
