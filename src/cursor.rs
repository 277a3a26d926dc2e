//! Cursors and page tokens: opaque texts that name a position, whole or refused.
//!
//! Inside: a version, a kind, a hash of the channel, pattern or query they belong to, the position and where it lies,
//! and a checksum over all of it, as URL-safe base64. They are not secret and carry no rights; the checksum catches
//! accidents and guesses, so that a cursor that was cut, mixed up or made by hand is never taken for another position.
//!
//! Every message has a cursor, so the usual ones of channels are short: one byte encodes version, kind and what is
//! known of the lineage. Everything else is version 2. Version 1 is still read: it knows its channels by hashes that
//! can be met on purpose, and not where positions lie.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use xxhash_rust::xxh3::xxh3_64;

pub use self::{
    owner::{ChannelHash, Owner, channel_hash, old_hash},
    series::{OWN_TEXT_BYTES, SHORT_TEXT_BYTES, Series},
    stream::{StreamCursor, encode_stream},
};
use crate::{
    channel::{ChannelName, Names},
    message::{DataSet, Epoch, Lineage, MAX_SEQUENCE, Mark, Position},
};

mod owner;
mod series;
mod stream;

/// With 64-bit hashes, and without where a position lies.
const OLD: u8 = 1;
/// The first byte of all but the short cursors; of channels those in an epoch that is not the first, and some that were
/// written before there were short ones. After it comes the kind.
const VERSION: u8 = 2;
/// The first byte of a short cursor of a channel: a position in an epoch of which no more is known,
const IN_EPOCH: u8 = 3;
/// in the channel's first epoch, which began with 1,
const IN_FIRST_EPOCH: u8 = 4;
/// or the beginning, with the data set instead of the epoch, 0 where it is not known.
const AT_START: u8 = 5;

const CHANNEL: u8 = 1;
const STREAM: u8 = 2;
const LIST: u8 = 3;
const NAMES: u8 = 4;
/// Version, kind, hash, checksum.
const FRAME_BYTES: usize = 1 + 1 + ChannelHash::BYTES + 4;

/// The text is no cursor of this kind, or not of this channel, pattern or query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCursor {
    /// Not made by us, or cut or changed on its way.
    #[error("it is not a whole cursor or token; pass on exactly what the server sent")]
    Malformed,
    /// A cursor of another kind: of a channel where one of a stream is needed, or the other way round.
    #[error(
        "it is of another kind: pattern streams resume from a whole-stream cursor, channels from one of the channel"
    )]
    Kind,
    /// It belongs to another channel, pattern or query.
    #[error("it belongs to another channel, pattern or query")]
    Foreign,
}

/// Any cursor that a stream may start after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cursor {
    /// A position in one channel.
    Channel(Owner, Mark),
    /// The positions of a whole pattern stream, and its pattern.
    Stream(Owner, StreamCursor),
}

/// The cursor just after a position in a channel.
pub fn encode(channel: &ChannelName, mark: impl Into<Mark>) -> String {
    encode_hashed(channel_hash(channel.as_str()), mark)
}

/// The same for callers that know the channel's hash already.
pub fn encode_hashed(channel: ChannelHash, mark: impl Into<Mark>) -> String {
    let Mark { position, lineage } = mark.into();
    Series::new(channel, position.epoch, lineage).text_at(position.sequence)
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What [`URL_SAFE_NO_PAD`] writes, for lengths that leave no rest: a few digits, which a general writer is slow for.
fn base64url(bytes: &[u8], text: &mut [u8]) {
    for (three, four) in bytes.chunks_exact(3).zip(text.chunks_exact_mut(4)) {
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for (i, digit) in four.iter_mut().enumerate() {
            *digit = DIGITS[(bits >> (18 - 6 * i)) as usize & 63];
        }
    }
}

/// Reads any cursor. The channels that a whole-stream cursor names must be names that this server accepts.
pub fn decode(text: &str, names: &Names) -> Result<Cursor, InvalidCursor> {
    let (kind, owner, body) = open(text)?;
    match (kind, owner) {
        (CHANNEL, _) => Ok(Cursor::Channel(owner, take_channel(body)?)),
        (STREAM, Owner::Old(_)) => Ok(Cursor::Stream(owner, stream::take_old(body).ok_or(InvalidCursor::Malformed)?)),
        (STREAM, Owner::Hash(_)) => Ok(Cursor::Stream(owner, stream::take(body, names)?)),
        _ => Err(InvalidCursor::Kind),
    }
}

/// Reads a cursor that must belong to `channel`.
pub fn decode_for(text: &str, channel: &ChannelName) -> Result<Mark, InvalidCursor> {
    let (kind, owner, body) = open(text)?;
    match kind {
        CHANNEL if !owner.is(channel.as_str()) => Err(InvalidCursor::Foreign),
        CHANNEL => take_channel(body),
        _ => Err(InvalidCursor::Kind),
    }
}

/// A page token of a list of messages: where the next page begins, bound to its query.
pub fn encode_page(channel: &ChannelName, newest_first: bool, next: Position) -> String {
    let mut body = begin(LIST, page_hash(channel, newest_first), 16);
    put_position(&mut body, next);
    seal(body)
}

/// Reads a page token of the same query.
pub fn decode_page(text: &str, channel: &ChannelName, newest_first: bool) -> Result<Position, InvalidCursor> {
    let (kind, owner, mut body) = open(text)?;
    if kind != LIST {
        return Err(InvalidCursor::Kind);
    }
    let is_own = match owner {
        Owner::Hash(hash) => hash == page_hash(channel, newest_first),
        Owner::Old(hash) => hash == old_hash(channel.as_str()) ^ u64::from(newest_first),
    };
    if !is_own {
        return Err(InvalidCursor::Foreign);
    }
    take_position(&mut body).filter(|_| body.is_empty()).ok_or(InvalidCursor::Malformed)
}

/// A page token of a list of channels: the last name of the page before, bound to its pattern.
pub fn encode_names_page(pattern: &str, last: &str) -> String {
    let mut body = begin(NAMES, channel_hash(pattern), last.len());
    body.extend_from_slice(last.as_bytes());
    seal(body)
}

/// Reads a page token of the same pattern.
pub fn decode_names_page(text: &str, pattern: &str) -> Result<String, InvalidCursor> {
    let (kind, owner, body) = open(text)?;
    if kind != NAMES {
        return Err(InvalidCursor::Kind);
    }
    if !owner.is(pattern) {
        return Err(InvalidCursor::Foreign);
    }
    String::from_utf8(body.to_vec()).map_err(|_| InvalidCursor::Malformed)
}

fn open(text: &str) -> Result<(u8, Owner, Body), InvalidCursor> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidCursor::Malformed)?;
    let Some(end) = bytes.len().checked_sub(4).filter(|end| *end >= 2) else { return Err(InvalidCursor::Malformed) };
    if bytes[end..] != checksum(&bytes[..end]) {
        return Err(InvalidCursor::Malformed);
    }
    let (begin, kind, at) = match bytes[0] {
        begin @ IN_EPOCH..=AT_START => (begin, CHANNEL, 1),
        begin => (begin, bytes[1], 2),
    };
    let mut body = Body { begin, bytes, at, end };
    let owner = match begin {
        OLD => take_u64(&mut body).map(Owner::Old),
        VERSION..=AT_START => take(&mut body).map(|hash| Owner::Hash(ChannelHash::from_bytes(hash))),
        _ => None,
    };
    Ok((kind, owner.ok_or(InvalidCursor::Malformed)?, body))
}

/// The part between a cursor's hash and its checksum, and the first byte of the whole.
struct Body {
    begin: u8,
    bytes: Vec<u8>,
    at: usize,
    end: usize,
}

impl std::ops::Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.at..self.end]
    }
}

fn begin(kind: u8, hash: ChannelHash, capacity: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(FRAME_BYTES + capacity);
    body.extend_from_slice(&[VERSION, kind]);
    body.extend_from_slice(hash.as_bytes());
    body
}

fn seal(mut body: Vec<u8>) -> String {
    let sum = checksum(&body);
    body.extend_from_slice(&sum);
    URL_SAFE_NO_PAD.encode(body)
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    // Half of the hash: 32 bits are enough against accidents, and cursors stay short.
    let hash = xxh3_64(bytes).to_be_bytes();
    [hash[0], hash[1], hash[2], hash[3]]
}

fn page_hash(channel: &ChannelName, newest_first: bool) -> ChannelHash {
    let mut hash = *channel_hash(channel.as_str()).as_bytes();
    hash[0] ^= u8::from(newest_first);
    ChannelHash::from_bytes(hash)
}

fn put_position(body: &mut Vec<u8>, position: Position) {
    body.extend_from_slice(&position.epoch.map_or(0, Epoch::as_u64).to_be_bytes());
    body.extend_from_slice(&position.sequence.to_be_bytes());
}

/// Where a position lies, as two numbers: of an epoch its first sequence and the epoch before it, otherwise the data
/// set and 0. Unknown parts are 0.
fn lineage_words(epoch: Option<Epoch>, lineage: Lineage) -> [u64; 2] {
    match (epoch, lineage) {
        (Some(_), Lineage::Epoch { first, previous }) => [first as u64, previous.map_or(0, Epoch::as_u64)],
        (None, Lineage::DataSet(data_set)) => [data_set.as_u64(), 0],
        _ => [0, 0],
    }
}

/// `None` for words that are never written.
fn lineage_of(epoch: Option<Epoch>, words: [u64; 2]) -> Option<Lineage> {
    match (epoch, words) {
        (_, [0, 0]) => Some(Lineage::Unknown),
        (Some(_), [first, previous]) => {
            let first = i64::try_from(first).ok().filter(|first| (1..=MAX_SEQUENCE).contains(first))?;
            Some(Lineage::Epoch { first, previous: Epoch::from_u64(previous) })
        }
        (None, [data_set, 0]) => DataSet::from_u64(data_set).map(Lineage::DataSet),
        (None, _) => None,
    }
}

fn take_position(body: &mut Body) -> Option<Position> {
    let epoch = Epoch::from_u64(take_u64(body)?);
    position(epoch, take_u64(body)?)
}

/// The position of a channel's cursor, which is all of its body.
fn take_channel(mut body: Body) -> Result<Mark, InvalidCursor> {
    let mark = match body.begin {
        OLD => take_position(&mut body).map(Mark::from),
        VERSION => take_mark(&mut body),
        _ => take_short(&mut body),
    };
    mark.filter(|_| body.is_empty()).ok_or(InvalidCursor::Malformed)
}

fn take_short(body: &mut Body) -> Option<Mark> {
    let word = take_u64(body)?;
    let (epoch, lineage) = match body.begin {
        IN_EPOCH => (Some(Epoch::from_u64(word)?), Lineage::Unknown),
        IN_FIRST_EPOCH => (Some(Epoch::from_u64(word)?), Lineage::Epoch { first: 1, previous: None }),
        _ => (None, DataSet::from_u64(word).map_or(Lineage::Unknown, Lineage::DataSet)),
    };
    let sequence = take::<7>(body)?.into_iter().fold(0, |sequence, byte| sequence << 8 | u64::from(byte));
    Some(Mark { position: position(epoch, sequence)?, lineage })
}

fn take_mark(body: &mut Body) -> Option<Mark> {
    let epoch = Epoch::from_u64(take_u64(body)?);
    let lineage = lineage_of(epoch, [take_u64(body)?, take_u64(body)?])?;
    Some(Mark { position: position(epoch, take_u64(body)?)?, lineage })
}

/// `None` for a position that can't be.
fn position(epoch: Option<Epoch>, sequence: u64) -> Option<Position> {
    let sequence = i64::try_from(sequence).ok().filter(|sequence| *sequence <= MAX_SEQUENCE)?;
    (epoch.is_some() || sequence == 0).then_some(Position { epoch, sequence })
}

fn take_u64(body: &mut Body) -> Option<u64> {
    take(body).map(u64::from_be_bytes)
}

fn take<const N: usize>(body: &mut Body) -> Option<[u8; N]> {
    let bytes = *body.first_chunk()?;
    body.at += N;
    Some(bytes)
}

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;
