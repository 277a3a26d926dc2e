//! Cursors and page tokens: opaque texts that name a position, whole or refused.
//!
//! Inside: a version, a kind, a hash of the channel, pattern or query they belong to, the position, and a checksum over
//! all of it, as URL-safe base64. They are not secret and carry no rights; the checksum catches accidents and guesses,
//! so that a cursor that was cut, mixed up or made by hand is never taken for another position.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use xxhash_rust::xxh3::xxh3_64;

pub use self::series::Series;
use crate::{
    channel::{ChannelName, Pattern},
    limits::CURSOR_CHANNELS,
    message::{Epoch, MAX_SEQUENCE, Position},
};

mod series;

const VERSION: u8 = 1;
const CHANNEL: u8 = 1;
const STREAM: u8 = 2;
const LIST: u8 = 3;
const NAMES: u8 = 4;
/// Version, kind, hash, checksum.
const FRAME_BYTES: usize = 1 + 1 + 8 + 4;
/// Channel hash, epoch, sequence.
const ENTRY_BYTES: usize = 24;
/// A cursor of one channel: frame, epoch, sequence. Three bytes make four characters, and thirty leave no rest.
const CHANNEL_BYTES: usize = FRAME_BYTES + 16;
/// The same as text.
pub const CHANNEL_TEXT_BYTES: usize = CHANNEL_BYTES / 3 * 4;

/// What of that is a sequence's own: the rest is the same for all of a channel and epoch.
pub const OWN_TEXT_BYTES: usize = CHANNEL_TEXT_BYTES - series::SAME.1;

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

/// Where a whole pattern stream stands: a position for each channel, known by the hash of its name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamCursor {
    /// Channel hash and position, at most [`CURSOR_CHANNELS`].
    pub positions: Vec<(u64, Position)>,
}

/// Any cursor that a stream may start after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cursor {
    /// A position in one channel, known by the hash of its name.
    Channel(u64, Position),
    /// The positions of a whole pattern stream, and the hash of its pattern.
    Stream(u64, StreamCursor),
}

/// The hash under which cursors know a channel. Part of the format: never change it.
pub fn channel_hash(channel: &str) -> u64 {
    xxh3_64(channel.as_bytes())
}

/// The cursor just after a position in a channel.
pub fn encode(channel: &ChannelName, position: Position) -> String {
    encode_hashed(channel_hash(channel.as_str()), position)
}

/// The same for whoever knows the channel's hash already.
pub fn encode_hashed(channel: u64, position: Position) -> String {
    Series::new(channel, position.epoch).text_at(position.sequence)
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

/// The cursor of a whole pattern stream; `None` where it covers too many channels to be one.
pub fn encode_stream(pattern: &Pattern, cursor: &StreamCursor) -> Option<String> {
    if cursor.positions.len() > CURSOR_CHANNELS {
        return None;
    }
    let mut body = begin(STREAM, channel_hash(pattern.as_str()), cursor.positions.len() * ENTRY_BYTES);
    for (channel, position) in &cursor.positions {
        body.extend_from_slice(&channel.to_be_bytes());
        put_position(&mut body, *position);
    }
    Some(seal(body))
}

/// Reads any cursor.
pub fn decode(text: &str) -> Result<Cursor, InvalidCursor> {
    let (kind, hash, mut body) = open(text)?;
    match kind {
        CHANNEL => {
            let position = take_position(&mut body).filter(|_| body.is_empty());
            Ok(Cursor::Channel(hash, position.ok_or(InvalidCursor::Malformed)?))
        }
        STREAM => {
            if body.len() % ENTRY_BYTES != 0 || body.len() / ENTRY_BYTES > CURSOR_CHANNELS {
                return Err(InvalidCursor::Malformed);
            }
            let mut positions = Vec::with_capacity(body.len() / ENTRY_BYTES);
            while !body.is_empty() {
                let channel = take_u64(&mut body).ok_or(InvalidCursor::Malformed)?;
                positions.push((channel, take_position(&mut body).ok_or(InvalidCursor::Malformed)?));
            }
            Ok(Cursor::Stream(hash, StreamCursor { positions }))
        }
        _ => Err(InvalidCursor::Kind),
    }
}

/// Reads a cursor that must belong to `channel`.
pub fn decode_for(text: &str, channel: &ChannelName) -> Result<Position, InvalidCursor> {
    match decode(text)? {
        Cursor::Channel(hash, position) if hash == channel_hash(channel.as_str()) => Ok(position),
        Cursor::Channel(..) => Err(InvalidCursor::Foreign),
        Cursor::Stream(..) => Err(InvalidCursor::Kind),
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
    let (kind, hash, mut body) = open(text)?;
    if kind != LIST {
        return Err(InvalidCursor::Kind);
    }
    if hash != page_hash(channel, newest_first) {
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
    let (kind, hash, body) = open(text)?;
    if kind != NAMES {
        return Err(InvalidCursor::Kind);
    }
    if hash != channel_hash(pattern) {
        return Err(InvalidCursor::Foreign);
    }
    String::from_utf8(body.to_vec()).map_err(|_| InvalidCursor::Malformed)
}

fn open(text: &str) -> Result<(u8, u64, Body), InvalidCursor> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidCursor::Malformed)?;
    if bytes.len() < FRAME_BYTES || bytes[0] != VERSION {
        return Err(InvalidCursor::Malformed);
    }
    let end = bytes.len() - 4;
    if bytes[end..] != checksum(&bytes[..end]) {
        return Err(InvalidCursor::Malformed);
    }
    let kind = bytes[1];
    let mut body = Body { bytes, at: 2, end };
    let hash = take_u64(&mut body).ok_or(InvalidCursor::Malformed)?;
    Ok((kind, hash, body))
}

/// What stands between a cursor's hash and its checksum.
struct Body {
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

fn begin(kind: u8, hash: u64, capacity: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(FRAME_BYTES + capacity);
    body.extend_from_slice(&[VERSION, kind]);
    body.extend_from_slice(&hash.to_be_bytes());
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

fn page_hash(channel: &ChannelName, newest_first: bool) -> u64 {
    channel_hash(channel.as_str()) ^ u64::from(newest_first)
}

fn put_position(body: &mut Vec<u8>, position: Position) {
    body.extend_from_slice(&position.epoch.map_or(0, Epoch::as_u64).to_be_bytes());
    body.extend_from_slice(&position.sequence.to_be_bytes());
}

fn take_position(body: &mut Body) -> Option<Position> {
    let epoch = Epoch::from_u64(take_u64(body)?);
    let sequence = i64::try_from(take_u64(body)?).ok().filter(|sequence| *sequence <= MAX_SEQUENCE)?;
    (epoch.is_some() || sequence == 0).then_some(Position { epoch, sequence })
}

fn take_u64(body: &mut Body) -> Option<u64> {
    let number = body.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))?;
    body.at += 8;
    Some(number)
}

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;
