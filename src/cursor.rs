//! Cursors and page tokens: opaque texts that name a position, whole or refused.
//!
//! Inside: a version, a kind, a hash of the channel, pattern or query they belong to, the position, and a checksum over
//! all of it, as URL-safe base64. They are not secret and carry no rights; the checksum catches accidents and guesses,
//! so that a cursor that was cut, mixed up or made by hand is never taken for another position.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    channel::{ChannelName, Pattern},
    limits::CURSOR_CHANNELS,
    message::{Epoch, Position},
};

const VERSION: u8 = 1;
const CHANNEL: u8 = 1;
const STREAM: u8 = 2;
const LIST: u8 = 3;
const NAMES: u8 = 4;
/// Version, kind, hash, checksum.
const FRAME_BYTES: usize = 1 + 1 + 8 + 4;
/// Channel hash, epoch, sequence.
const ENTRY_BYTES: usize = 24;

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
    let mut body = begin(CHANNEL, channel, 16);
    put_position(&mut body, position);
    seal(body)
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
    let sequence = i64::try_from(take_u64(body)?).ok()?;
    (epoch.is_some() || sequence == 0).then_some(Position { epoch, sequence })
}

fn take_u64(body: &mut Body) -> Option<u64> {
    let number = body.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))?;
    body.at += 8;
    Some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::channel::Names;

    fn name(name: &str) -> ChannelName {
        Names::new("tidings", "").expect("valid").parse(name).expect("valid")
    }

    fn pattern(pattern: &str) -> Pattern {
        Pattern::parse(pattern).expect("valid")
    }

    fn position(number: u64, sequence: i64) -> Position {
        Position { epoch: Epoch::from_u64(number), sequence: if number == 0 { 0 } else { sequence } }
    }

    /// One text of each kind, and whether it is still taken for one.
    fn samples() -> Vec<(String, fn(&str) -> bool)> {
        let stream = StreamCursor { positions: vec![(1, position(2, 3)), (4, Position::START)] };
        vec![
            (encode(&name("a"), position(7, 42)), |text| decode_for(text, &name("a")).is_ok()),
            (encode_stream(&pattern("a*"), &stream).expect("small"), |text| decode(text).is_ok()),
            (encode_page(&name("a"), true, position(7, 42)), |text| decode_page(text, &name("a"), true).is_ok()),
            (encode_names_page("a*", "abc"), |text| decode_names_page(text, "a*").is_ok()),
        ]
    }

    #[test]
    fn every_change_of_a_byte_is_refused() {
        for (text, is_taken) in samples() {
            assert!(is_taken(&text));
            for i in 0..text.len() {
                for byte in 0..128 {
                    let mut bytes = text.clone().into_bytes();
                    if std::mem::replace(&mut bytes[i], byte) != byte {
                        let changed = String::from_utf8(bytes).expect("ASCII");
                        assert!(!is_taken(&changed), "{text} {changed}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_was_cut_or_lengthened_is_refused() {
        for (text, is_taken) in samples() {
            assert!((0..text.len()).all(|end| !is_taken(&text[..end])), "{text}");
            for longer in [format!("{text}A"), format!("{text}="), format!(" {text}"), format!("{text}{text}")] {
                assert!(!is_taken(&longer), "{longer}");
            }
        }
    }

    #[test]
    fn cursors_are_safe_in_urls() {
        for (text, _) in samples() {
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{text}");
        }
    }

    #[test]
    fn a_cursor_of_something_else_is_foreign() {
        use InvalidCursor::Foreign;
        assert_eq!(decode_for(&encode(&name("a"), Position::START), &name("b")), Err(Foreign));
        let page = encode_page(&name("a"), true, position(7, 42));
        assert_eq!(decode_page(&page, &name("b"), true), Err(Foreign));
        assert_eq!(decode_page(&page, &name("a"), false), Err(Foreign));
        assert_eq!(decode_names_page(&encode_names_page("a*", "abc"), ""), Err(Foreign));
    }

    #[test]
    fn a_cursor_of_another_kind_says_so() {
        use InvalidCursor::Kind;
        let channel = encode(&name("a"), position(7, 42));
        let stream = encode_stream(&pattern("a"), &StreamCursor::default()).expect("small");
        let page = encode_page(&name("a"), false, position(7, 42));
        let names = encode_names_page("a", "b");
        assert_eq!(decode_for(&stream, &name("a")), Err(Kind));
        for token in [&page, &names] {
            assert_eq!(decode(token), Err(Kind));
            assert_eq!(decode_for(token, &name("a")), Err(Kind));
        }
        for other in [&channel, &stream, &names] {
            assert_eq!(decode_page(other, &name("a"), false), Err(Kind));
        }
        for other in [&channel, &stream, &page] {
            assert_eq!(decode_names_page(other, "a"), Err(Kind));
        }
    }

    #[test]
    fn positions_that_can_not_be_are_refused() {
        // Whole texts, but a sequence without an epoch, a negative one, and a body that is too long.
        let sealed = |body: &[u8]| {
            let mut whole = begin(CHANNEL, channel_hash("a"), 16);
            whole.extend_from_slice(body);
            seal(whole)
        };
        let pair = |epoch: u64, sequence: u64| [epoch.to_be_bytes(), sequence.to_be_bytes()].concat();
        assert_eq!(decode_for(&sealed(&pair(7, 1)), &name("a")), Ok(position(7, 1)));
        for body in [pair(0, 1), pair(7, u64::MAX), [pair(7, 1), vec![0]].concat(), Vec::new()] {
            assert_eq!(decode_for(&sealed(&body), &name("a")), Err(InvalidCursor::Malformed));
        }
    }

    #[test]
    fn a_stream_cursor_covers_so_many_channels_and_no_more() {
        let with = |count: usize| StreamCursor { positions: vec![(1, position(2, 3)); count] };
        let text = encode_stream(&pattern("*"), &with(CURSOR_CHANNELS)).expect("it fits");
        assert_eq!(decode(&text), Ok(Cursor::Stream(channel_hash("*"), with(CURSOR_CHANNELS))));
        assert_eq!(encode_stream(&pattern("*"), &with(CURSOR_CHANNELS + 1)), None);
    }

    proptest! {
        #[test]
        fn channel_cursors_and_page_tokens_round_trip(epoch: u64, sequence in 0..i64::MAX, newest_first: bool) {
            let (channel, place) = (name("orders.eu"), position(epoch, sequence));
            prop_assert_eq!(decode_for(&encode(&channel, place), &channel), Ok(place));
            prop_assert_eq!(encode(&channel, place), encode_hashed(channel_hash("orders.eu"), place));
            let token = encode_page(&channel, newest_first, place);
            prop_assert_eq!(decode_page(&token, &channel, newest_first), Ok(place));
        }

        #[test]
        fn stream_cursors_round_trip(positions in prop::collection::vec((any::<u64>(), any::<u64>(), 0..i64::MAX), 0..20)) {
            let positions = positions.into_iter().map(|(hash, epoch, sequence)| (hash, position(epoch, sequence)));
            let cursor = StreamCursor { positions: positions.collect() };
            let text = encode_stream(&pattern("orders.*"), &cursor).expect("small");
            prop_assert_eq!(decode(&text), Ok(Cursor::Stream(channel_hash("orders.*"), cursor)));
        }

        #[test]
        fn tokens_of_names_round_trip(pattern: String, last: String) {
            prop_assert_eq!(decode_names_page(&encode_names_page(&pattern, &last), &pattern), Ok(last));
        }

        #[test]
        fn any_text_is_refused_without_a_panic(text: String, bytes: Vec<u8>) {
            prop_assert!(decode(&text).is_err());
            prop_assert!(decode(&URL_SAFE_NO_PAD.encode(bytes)).is_err());
        }
    }
}
