//! The cursor of a whole pattern stream: the names of its channels and the position of each, so that a stream that
//! resumes knows what to look at even where Redis has forgotten the channel.
//!
//! Names are sorted and each is written as its difference from the one before: the length of the common beginning, then
//! the rest.

use super::{
    Body, ChannelHash, InvalidCursor, OLD, Owner, STREAM, VERSION, begin, channel_hash, lineage_of, lineage_words,
    position, seal, take_position, take_u64,
};
use crate::{
    channel::{ChannelName, Names, Pattern},
    limits::{CURSOR_BYTES, CURSOR_CHANNELS},
    message::{DataSet, Epoch, Lineage, Mark, Position},
};

/// The position of a whole pattern stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamCursor {
    /// The data set in which the channels that it does not name were not there.
    pub data_set: Option<DataSet>,
    /// A position for each channel, by name, each name once.
    pub channels: Vec<(ChannelName, Mark)>,
    /// Channels that are known by a hash alone, since their names have not been seen: of a cursor of version 1, and of
    /// cursors of messages.
    pub unnamed: Vec<(Owner, Mark)>,
}

/// The tag before a channel's position: whether it has an epoch, and which part of its lineage is known.
mod tag {
    pub(super) const START: u8 = 0;
    /// The stream's own.
    pub(super) const START_IN_STREAMS_DATA_SET: u8 = 1;
    pub(super) const START_IN_DATA_SET: u8 = 2;
    pub(super) const EPOCH: u8 = 3;
    pub(super) const FIRST_EPOCH: u8 = 4;
    pub(super) const LATER_EPOCH: u8 = 5;
}

/// The cursor of a whole pattern stream; `None` where it would have too many channels or too many bytes to be one.
pub fn encode_stream(pattern: &Pattern, cursor: &StreamCursor) -> Option<String> {
    if cursor.channels.len() + cursor.unnamed.len() > CURSOR_CHANNELS {
        return None;
    }
    let text = encode(channel_hash(pattern.as_str()), cursor);
    (text.len() <= CURSOR_BYTES).then_some(text)
}

pub(super) fn encode(pattern: ChannelHash, cursor: &StreamCursor) -> String {
    let mut body = begin(STREAM, pattern, 12 + cursor.channels.len() * 40 + cursor.unnamed.len() * 24);
    body.extend_from_slice(&cursor.data_set.map_or(0, DataSet::as_u64).to_be_bytes());
    for count in [cursor.channels.len(), cursor.unnamed.len()] {
        // At most a thousand.
        body.extend_from_slice(&(count as u16).to_be_bytes());
    }
    let mut before: &[u8] = b"";
    for (channel, mark) in &cursor.channels {
        let name = channel.as_str().as_bytes();
        let shared = shared(before, name);
        // Names have at most 255 bytes.
        body.extend_from_slice(&[shared as u8, (name.len() - shared) as u8]);
        body.extend_from_slice(&name[shared..]);
        put_mark(&mut body, *mark, cursor.data_set);
        before = name;
    }
    for (owner, mark) in &cursor.unnamed {
        match owner {
            Owner::Old(hash) => {
                body.push(OLD);
                body.extend_from_slice(&hash.to_be_bytes());
            }
            Owner::Hash(hash) => {
                body.push(VERSION);
                body.extend_from_slice(hash.as_bytes());
            }
        }
        put_mark(&mut body, *mark, cursor.data_set);
    }
    seal(body)
}

/// How much two names have in common at their beginning.
fn shared(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

fn put_mark(body: &mut Vec<u8>, Mark { position, lineage }: Mark, own: Option<DataSet>) {
    let (epoch, [one, other]) = (position.epoch, lineage_words(position.epoch, lineage));
    let (tag, words) = match (epoch.map(Epoch::as_u64), one, other) {
        (None, 0, _) => (tag::START, vec![]),
        (None, data_set, _) if own.is_some_and(|own| own.as_u64() == data_set) => {
            (tag::START_IN_STREAMS_DATA_SET, vec![])
        }
        (None, data_set, _) => (tag::START_IN_DATA_SET, vec![data_set]),
        (Some(epoch), 0, _) => (tag::EPOCH, vec![epoch]),
        (Some(epoch), _, 0) => (tag::FIRST_EPOCH, vec![epoch]),
        (Some(epoch), _, previous) => (tag::LATER_EPOCH, vec![epoch, previous]),
    };
    body.push(tag);
    words.iter().for_each(|word| body.extend_from_slice(&word.to_be_bytes()));
    if epoch.is_some() {
        put_number(body, position.sequence as u64);
    }
    if matches!(tag, tag::FIRST_EPOCH | tag::LATER_EPOCH) {
        put_number(body, one);
    }
}

/// Reads what follows the pattern.
pub(super) fn take(mut body: Body, names: &Names) -> Result<StreamCursor, InvalidCursor> {
    let cursor = take_whole(&mut body, names)?;
    if body.is_empty() { Ok(cursor) } else { Err(InvalidCursor::Malformed) }
}

fn take_whole(body: &mut Body, names: &Names) -> Result<StreamCursor, InvalidCursor> {
    use InvalidCursor::Malformed;
    let data_set = DataSet::from_u64(take_u64(body).ok_or(Malformed)?);
    let counts = [take_u16(body).ok_or(Malformed)?, take_u16(body).ok_or(Malformed)?];
    if counts.iter().sum::<usize>() > CURSOR_CHANNELS {
        return Err(Malformed);
    }
    let mut cursor =
        StreamCursor { data_set, channels: Vec::with_capacity(counts[0]), unnamed: Vec::with_capacity(counts[1]) };
    let mut before = Vec::new();
    for _ in 0..counts[0] {
        let name = take_name(body, &before).ok_or(Malformed)?;
        let mark = take_mark(body, data_set).ok_or(Malformed)?;
        let text = std::str::from_utf8(&name).map_err(|_| Malformed)?;
        // A cursor that is whole and yet has such names comes from a server with other names.
        let channel = names.parse(text).map_err(|_| InvalidCursor::Foreign)?;
        cursor.channels.push((channel, mark));
        before = name;
    }
    for _ in 0..counts[1] {
        let owner = take_owner(body).ok_or(Malformed)?;
        cursor.unnamed.push((owner, take_mark(body, data_set).ok_or(Malformed)?));
    }
    Ok(cursor)
}

/// Reads what follows the pattern in version 1.
pub(super) fn take_old(mut body: Body) -> Option<StreamCursor> {
    let mut cursor = StreamCursor::default();
    while !body.is_empty() {
        if cursor.unnamed.len() == CURSOR_CHANNELS {
            return None;
        }
        cursor.unnamed.push((Owner::Old(take_u64(&mut body)?), take_position(&mut body)?.into()));
    }
    Some(cursor)
}

/// The next name, which must come after the one before, and say no more than it has to.
fn take_name(body: &mut Body, before: &[u8]) -> Option<Vec<u8>> {
    let [same, rest] = super::take(body)?;
    let (same, rest) = (usize::from(same), usize::from(rest));
    let mut name = before.get(..same)?.to_vec();
    name.extend_from_slice(body.get(..rest)?);
    body.at += rest;
    (shared(before, &name) == same && *name > *before).then_some(name)
}

fn take_owner(body: &mut Body) -> Option<Owner> {
    match super::take(body)? {
        [OLD] => take_u64(body).map(Owner::Old),
        [VERSION] => super::take(body).map(|hash| Owner::Hash(ChannelHash::from_bytes(hash))),
        _ => None,
    }
}

fn take_mark(body: &mut Body, own: Option<DataSet>) -> Option<Mark> {
    let [tag] = super::take(body)?;
    let start = |lineage| Some(Mark { position: Position::START, lineage });
    match tag {
        tag::START => start(Lineage::Unknown),
        tag::START_IN_STREAMS_DATA_SET => start(Lineage::DataSet(own?)),
        tag::START_IN_DATA_SET => {
            let data_set = DataSet::from_u64(take_u64(body)?).filter(|data_set| Some(*data_set) != own)?;
            start(Lineage::DataSet(data_set))
        }
        tag::EPOCH | tag::FIRST_EPOCH | tag::LATER_EPOCH => {
            let epoch = Some(Epoch::from_u64(take_u64(body)?)?);
            let previous = match tag {
                tag::LATER_EPOCH => Epoch::from_u64(take_u64(body)?)?.as_u64(),
                _ => 0,
            };
            let position = position(epoch, take_number(body)?)?;
            let first = if tag == tag::EPOCH { 0 } else { take_number(body).filter(|first| *first > 0)? };
            Some(Mark { position, lineage: lineage_of(epoch, [first, previous])? })
        }
        _ => None,
    }
}

fn take_u16(body: &mut Body) -> Option<usize> {
    super::take(body).map(|bytes| u16::from_be_bytes(bytes).into())
}

/// Seven bits in each byte, the lowest first; the last byte has no eighth.
fn put_number(body: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        body.push(number as u8 | 0x80);
        number >>= 7;
    }
    body.push(number as u8);
}

/// `None` for one that is longer than it has to be, or than a sequence can be.
fn take_number(body: &mut Body) -> Option<u64> {
    let mut number = 0;
    for i in 0..8 {
        let [byte] = super::take(body)?;
        number |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return (byte > 0 || i == 0).then_some(number);
        }
    }
    None
}
