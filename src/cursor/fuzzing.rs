//! Cursors and page tokens from anyone. A fuzzer finds no checksum, so bytes are tried as a text and as what a text with a good
//! checksum holds: the checksum is against accidents, and what it lets through must be bearable all the same.

use super::{
    Cursor, StreamCursor, begin, channel_hash, decode, decode_for, decode_names_page, decode_page, encode_hashed,
    encode_names_page, encode_page, encode_stream, page_hash, put_position, seal,
};
use crate::{
    channel::{ChannelName, Names, Pattern},
    fuzzing::Target,
    limits::CURSOR_CHANNELS,
    message::{Epoch, MAX_SEQUENCE, Position},
};

/// What is taken for a cursor is just what we would have written.
pub const CURSORS: Target = Target { check: check_cursor, seeds: cursor_seeds };
/// The same for page tokens, of messages and of names.
pub const PAGE_TOKENS: Target = Target { check: check_page_token, seeds: page_token_seeds };

const PATTERN: &str = "orders.*";

fn channel() -> ChannelName {
    Names::new("tidings", "").expect("valid").parse("orders.eu").expect("valid")
}

/// The bytes as a text, and sealed.
fn texts(bytes: &[u8]) -> impl Iterator<Item = String> {
    let text = std::str::from_utf8(bytes).ok().map(str::to_owned);
    text.into_iter().chain([seal(bytes.to_vec())])
}

fn check_cursor(bytes: &[u8]) {
    for text in texts(bytes) {
        let written = match decode(&text) {
            Ok(Cursor::Channel(hash, position)) => {
                check_position(position);
                let ours = hash == channel_hash(channel().as_str());
                assert_eq!(decode_for(&text, &channel()).ok(), ours.then_some(position));
                encode_hashed(hash, position)
            }
            Ok(Cursor::Stream(hash, StreamCursor { positions })) => {
                assert!(positions.len() <= CURSOR_CHANNELS && decode_for(&text, &channel()).is_err());
                let mut body = begin(super::STREAM, hash, 0);
                for (channel, position) in positions {
                    check_position(position);
                    body.extend_from_slice(&channel.to_be_bytes());
                    put_position(&mut body, position);
                }
                seal(body)
            }
            Err(error) => {
                assert!(decode_for(&text, &channel()).is_err() && !error.to_string().is_empty());
                continue;
            }
        };
        assert_eq!(written, text);
    }
}

fn check_position(position: Position) {
    assert!(
        (0..=MAX_SEQUENCE).contains(&position.sequence) && (position.epoch.is_some() || position.sequence == 0),
        "{position:?}"
    );
}

fn check_page_token(bytes: &[u8]) {
    for text in texts(bytes) {
        for newest_first in [false, true] {
            let Ok(position) = decode_page(&text, &channel(), newest_first) else { continue };
            check_position(position);
            assert_eq!(encode_page(&channel(), newest_first, position), text);
        }
        if let Ok(last) = decode_names_page(&text, PATTERN) {
            assert_eq!(encode_names_page(PATTERN, &last), text);
        }
        assert!(decode(&text).is_err() || decode_page(&text, &channel(), false).is_err());
    }
    // A body of the right kind and query, whatever stands in it.
    for (kind, hash) in [(super::LIST, page_hash(&channel(), true)), (super::NAMES, channel_hash(PATTERN))] {
        let mut body = begin(kind, hash, bytes.len());
        body.extend_from_slice(bytes);
        let text = seal(body);
        let (page, names) = (decode_page(&text, &channel(), true), decode_names_page(&text, PATTERN));
        assert!(page.is_err() || kind == super::LIST && bytes.len() == 16);
        assert_eq!(names.is_ok(), kind == super::NAMES && std::str::from_utf8(bytes).is_ok());
    }
}

/// A text, and what it holds without its checksum.
fn both(text: String) -> [Vec<u8>; 2] {
    use base64::Engine as _;
    let mut whole = super::URL_SAFE_NO_PAD.decode(&text).expect("one of ours");
    whole.truncate(whole.len() - 4);
    [text.into_bytes(), whole]
}

fn position() -> Position {
    Position::new(Epoch::from_u64(7).expect("not 0"), 42)
}

fn cursor_seeds() -> Vec<Vec<u8>> {
    let pattern = Pattern::parse(PATTERN).expect("valid");
    let with = |count| StreamCursor { positions: vec![(1, position()); count] };
    let streams = [0, 2, 50].map(|count| encode_stream(&pattern, &with(count)).expect("it fits"));
    let channels = [position(), Position::START].map(|position| super::encode(&channel(), position));
    let mut seeds: Vec<_> = channels.into_iter().chain(streams).flat_map(both).collect();
    seeds.extend(page_token_seeds().into_iter().take(2));
    seeds
}

fn page_token_seeds() -> Vec<Vec<u8>> {
    let tokens = [false, true].map(|newest_first| encode_page(&channel(), newest_first, position()));
    let names = ["orders.eu", ""].map(|last| encode_names_page(PATTERN, last));
    let mut seeds: Vec<_> = tokens.into_iter().chain(names).flat_map(both).collect();
    let mut body = Vec::new();
    put_position(&mut body, position());
    seeds.extend([body, "orders.ü".as_bytes().to_vec()]);
    seeds
}
