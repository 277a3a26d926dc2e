//! The judge: what readers received, compared with what really happened.
//!
//! Every acknowledged message is delivered exactly once to a reader that was entitled to it, or lies in one of its
//! gaps. TRIMMED and NOT_RETAINED never name a delivered message. No bounded gap exceeds what was ever given out in its
//! epoch.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use tidings::limits::REMEMBERED_EPOCHS;

use crate::truth::{Acknowledged, Numbered, Reader, Reason, Received, Truth, short};

mod lists;

/// The first rule that was broken, and how.
pub(crate) fn judge(truth: &mut Truth) -> Option<(String, String)> {
    if let Some(wrong) = truth.wrong.first() {
        return Some(wrong.clone());
    }
    let readers = truth.readers.iter();
    let broken =
        readers.flat_map(|reader| [received_right(truth, reader), received_all(truth, reader)]).flatten().next();
    broken.or_else(|| lists::judge(truth))
}

fn broken(rule: &str, reader: &Reader, how: impl std::fmt::Display) -> Option<(String, String)> {
    Some((rule.to_owned(), format!("{}: {how}", reader.name)))
}

/// Nothing twice, nothing that never was, no gap that names too much.
fn received_right(truth: &Truth, reader: &Reader) -> Option<(String, String)> {
    let mut delivered: BTreeSet<&Numbered> = BTreeSet::new();
    let mut last: BTreeMap<&str, (&str, i64)> = BTreeMap::new();
    // Of each channel: epochs and up to where they were said to be lost, 0 for all that there is.
    let mut lost: Vec<(&str, &str, i64, i64)> = Vec::new();
    // Those of them after which another message came at the same position, within the epoch: Redis went back and was
    // written on.
    let mut rewritten: BTreeSet<usize> = BTreeSet::new();
    // Channels of which the present stream has delivered something.
    let mut begun: BTreeSet<&str> = BTreeSet::new();
    for (_, received) in &reader.received {
        match received {
            // A stream remembers what it had of that which was lost. Its cursor, which is before that, does not:
            // where a server has it after all, it may come again.
            Received::Started => {
                begun.clear();
                delivered.retain(|message| {
                    let is_of = |(channel, epoch, first, last): &(&str, &str, i64, i64)| {
                        // A fork that is left is named by its last epoch, and may have begun in one before.
                        let is_named =
                            || *epoch == message.epoch || began_after(truth, channel, epoch, message.sequence);
                        let is_within = || (*first..=*last).contains(&message.sequence) && is_named();
                        *channel == message.channel && (*last == 0 || is_within())
                    };
                    !lost.iter().any(is_of)
                });
            }
            Received::Refused(text) => return broken("refused", reader, text),
            Received::Message(message) if message.sequence == 0 => {
                return broken("plain", reader, format_args!("{} came as a plain message", message.text));
            }
            Received::Message(message) => {
                let has_receipt = || truth.acknowledged.iter().any(|acknowledged| acknowledged.message == *message);
                if !truth.pushed.contains_key(message) && !has_receipt() {
                    return broken("foreign", reader, format_args!("{message} was never given out"));
                }
                begun.insert(&message.channel);
                let covers = |at: &usize| {
                    let (channel, epoch, first, last) = lost[*at];
                    channel == message.channel && epoch == message.epoch && (first..=last).contains(&message.sequence)
                };
                // Redis went back within an epoch, and back again to where it had been: what was reported as lost is
                // there after all. Or it was lost and published again, under its id.
                let again = || truth.pushed.get(message).is_some_and(|(_, times)| *times > 1);
                let is_indistinct = || truth.sets_clocks && others(truth, message).next().is_some();
                let may_come = || {
                    let is_lost = || (0..lost.len()).any(|at| covers(&at));
                    rewritten.iter().any(covers) || is_lost() && (again() || is_indistinct())
                };
                if !delivered.insert(message) && !may_come() {
                    return broken("twice", reader, format_args!("{message} came twice"));
                }
                rewritten.extend((0..lost.len()).filter(covers));
                let before = last.insert(&message.channel, (&message.epoch, message.sequence));
                if before.is_some_and(|(epoch, sequence)| epoch == message.epoch && sequence >= message.sequence) {
                    return broken("order", reader, format_args!("{message} came after {before:?}"));
                }
            }
            Received::Gap { channel, epoch, first, last: end, reason } => {
                last.remove(channel.as_str());
                // A cursor knows its epoch and the one before it. Where a server has neither, all that it has comes.
                if begun.insert(channel) && *reason == Reason::EpochChanged && *end == 0 {
                    delivered.retain(|message| message.channel != *channel);
                }
                if *reason == Reason::EpochChanged {
                    lost.push((channel, epoch, *first, *end));
                }
                let gap = format!("{channel} {}:{first} to {end}, {reason:?}", short(epoch));
                if *end != 0 && end < first {
                    return broken("empty gap", reader, gap);
                }
                // One trim may go over several epochs, whose sequences go on.
                let is_of = |of: &str| of == epoch || *reason != Reason::EpochChanged;
                let of_it = truth.given.iter().filter(|((name, of), _)| name == channel && is_of(of));
                let given = of_it.map(|(_, last)| *last).max().unwrap_or(0);
                if *end > given {
                    return broken("gap too far", reader, format_args!("{gap}: only {given} were ever given out"));
                }
                let names = |message: &&&Numbered| {
                    message.channel == *channel
                        && message.epoch == *epoch
                        && (*first..=*end).contains(&message.sequence)
                        && *reason != Reason::EpochChanged
                        // What was reported as lost was replaced by other messages.
                        && !lost.iter().any(|(channel, epoch, first, last)| {
                            let is_same = message.channel == *channel && message.epoch == *epoch;
                            is_same && (*first..=*last).contains(&message.sequence)
                        })
                };
                if let Some(message) = delivered.iter().find(names) {
                    return broken("gap names delivered", reader, format_args!("{gap}: {message} had come"));
                }
            }
        }
    }
    None
}

/// All that is owed to it came, or lies in a gap.
fn received_all(truth: &Truth, reader: &Reader) -> Option<(String, String)> {
    let started = reader.started?;
    let delivered: BTreeSet<&Numbered> = reader
        .received
        .iter()
        .filter_map(|(_, received)| if let Received::Message(message) = received { Some(message) } else { None })
        .collect();
    for acknowledged in &truth.acknowledged {
        let message = &acknowledged.message;
        let is_owed = acknowledged.begun > started && reader.follows(&message.channel) && !acknowledged.is_duplicate;
        if !is_owed || delivered.contains(message) || !is_known(truth, message) || is_indistinct(truth, message, reader)
        {
            continue;
        }
        let lies_in = |received: &Received, at: u64| match received {
            Received::Gap { channel, epoch, first, last, reason } if *channel == message.channel => {
                match (*last, reason) {
                    (0, _) if *epoch == message.epoch => message.sequence >= *first,
                    // What came after an unknown end may be of epochs that the reader never saw.
                    (0, _) => at > acknowledged.begun,
                    (last, Reason::EpochChanged) => {
                        *epoch == message.epoch && (*first..=last).contains(&message.sequence)
                    }
                    // One trim may go over several epochs.
                    (last, _) => (*first..=last).contains(&message.sequence),
                }
            }
            _ => false,
        };
        if !reader.received.iter().any(|(at, received)| lies_in(received, *at)) {
            return broken("silent loss", reader, format_args!("{message} did not come, and no gap names it"));
        }
    }
    None
}

/// Whether anyone who is left can know of a message: a publisher that has a receipt for it, or for a later one of its
/// epoch after it. Publishers remember a channel's present epoch, and some earlier ones; of each the last receipt,
/// also where that is of a repeat, by whichever publisher first.
fn is_known(truth: &Truth, message: &Numbered) -> bool {
    let when = |message: &Numbered| truth.pushed.get(message).map_or(0, |(at, _)| *at);
    let own = when(message);
    let replaced: Vec<u64> = others(truth, message).map(when).filter(|at| *at > own).collect();
    let knows = |other: &Acknowledged| {
        other.message.epoch == message.epoch
            && other.message.sequence >= message.sequence
            && (other.message == *message || replaced.iter().all(|at| *at > when(&other.message)))
    };
    let repeats: Vec<&Acknowledged> = truth.acknowledged.iter().filter(|other| other.is_duplicate).collect();
    truth.remembering.iter().any(|run| {
        let is_own = |other: &&Acknowledged| other.run == *run && other.message.channel == message.channel;
        let is_covered = |other: &Acknowledged| {
            repeats.iter().filter(|repeat| is_own(repeat) && repeat.message.epoch == other.message.epoch).any(
                |repeat| {
                    let is_later = repeat.message.sequence > other.message.sequence;
                    is_later && replaced.iter().any(|at| *at <= when(&repeat.message))
                },
            )
        };
        let receipts = truth.acknowledged.iter().filter(is_own).filter(|other| !other.is_duplicate);
        let mut epochs: Vec<&str> = Vec::new();
        let mut remembered = receipts.rev().take_while(|other| {
            if !epochs.contains(&other.message.epoch.as_str()) {
                epochs.push(&other.message.epoch);
            }
            epochs.len() <= 1 + REMEMBERED_EPOCHS
        });
        remembered.any(|other| knows(other) && !is_covered(other))
    })
}

/// Whether an epoch has messages, and only after this sequence.
fn began_after(truth: &Truth, channel: &str, epoch: &str, sequence: i64) -> bool {
    let of = truth.pushed.keys().filter(|message| message.channel == channel && message.epoch == epoch);
    of.map(|message| message.sequence).min().is_some_and(|first| first > sequence)
}

/// Other messages that were given out at the same position: Redis went back within an epoch.
fn others<'a>(truth: &'a Truth, message: &'a Numbered) -> impl Iterator<Item = &'a Numbered> {
    truth.pushed.keys().filter(|other| {
        let is_same =
            other.channel == message.channel && other.epoch == message.epoch && other.sequence == message.sequence;
        is_same && other.text != message.text
    })
}

/// Whether a position was given out twice within its epoch, and nothing distinguishes the two: the channel keeps no
/// history, or a clock was set, by which log time goes; or the reader knows the first from a cursor only, which does
/// not say which message was there.
fn is_indistinct(truth: &Truth, message: &Numbered, reader: &Reader) -> bool {
    let others: Vec<&Numbered> = others(truth, message).collect();
    if others.is_empty() || !truth.keeps_history || truth.sets_clocks {
        return !others.is_empty();
    }
    let is_other = |received: &Received| matches!(received, Received::Message(received) if others.contains(&received));
    let had: Vec<usize> = (0..reader.received.len()).filter(|at| is_other(&reader.received[*at].1)).collect();
    let own = truth.pushed.get(message).map_or(0, |(at, _)| *at);
    // Or Redis went back to it from the second, which a reader that was away meanwhile can't know.
    let goes_back = |at: &usize| {
        let Received::Message(other) = &reader.received[*at].1 else { return false };
        reader.received[*at].0 > own && truth.pushed.get(other).is_some_and(|(pushed, _)| *pushed < own)
    };
    let comes_again =
        |at: &usize| reader.received[*at..].iter().any(|(_, received)| matches!(received, Received::Started));
    had.iter().any(|at| comes_again(at) || goes_back(at))
}

/// What must be the same when a schedule is run again.
pub(crate) fn digest(truth: &Truth) -> u64 {
    let mut hasher = DefaultHasher::new();
    for reader in &truth.readers {
        format!("{:?}", reader.received).hash(&mut hasher);
    }
    format!("{:?} {:?}", truth.acknowledged, truth.lists).hash(&mut hasher);
    hasher.finish()
}
