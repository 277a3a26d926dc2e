//! Cursors and page tokens from anyone. A fuzzer finds no checksum, so bytes are tried as a text and as the content of
//! a text with a good checksum: the checksum is against accidents, and bytes that pass it must do no harm either.

use super::{
    ChannelHash, Cursor, OLD, Owner, Series, StreamCursor, VERSION, begin, channel_hash, decode, decode_for,
    decode_names_page, decode_page, encode_hashed, encode_names_page, encode_page, encode_stream, lineage_words,
    old_hash, page_hash, put_position, seal, stream,
};
use crate::{
    channel::{ChannelName, Names, Pattern},
    fuzzing::target::Target,
    limits::CURSOR_CHANNELS,
    message::{DataSet, Epoch, Lineage, MAX_SEQUENCE, Mark, Position},
};

/// Every text that is accepted as a cursor is one that we would have written.
pub const CURSORS: Target = Target { check: check_cursor, seeds: cursor_seeds };
/// The same for page tokens, of messages and of names.
pub const PAGE_TOKENS: Target = Target { check: check_page_token, seeds: page_token_seeds };

const PATTERN: &str = "orders.*";

fn names() -> Names {
    Names::new("tidings", "").expect("valid")
}

fn channel() -> ChannelName {
    names().parse("orders.eu").expect("valid")
}

/// A text of version 1.
pub(super) fn old(kind: u8, hash: u64, body: &[u8]) -> String {
    seal([&[OLD, kind], &hash.to_be_bytes()[..], body].concat())
}

/// The body of a position, as version 1 has it.
pub(super) fn old_position(position: Position) -> Vec<u8> {
    let mut body = Vec::new();
    put_position(&mut body, position);
    body
}

/// A text of version 2, also where it would be a short one now.
pub(super) fn long(channel: ChannelHash, Mark { position, lineage }: Mark) -> String {
    let [one, other] = lineage_words(position.epoch, lineage);
    Series::long(channel, [position.epoch.map_or(0, Epoch::as_u64), one, other]).text_at(position.sequence)
}

/// The bytes as a text, and sealed.
fn texts(bytes: &[u8]) -> impl Iterator<Item = String> {
    let text = std::str::from_utf8(bytes).ok().map(str::to_owned);
    text.into_iter().chain([seal(bytes.to_vec())])
}

fn check_cursor(bytes: &[u8]) {
    for text in texts(bytes) {
        let written = match decode(&text, &names()) {
            Ok(Cursor::Channel(owner, mark)) => {
                check_mark(mark);
                let ours = owner.is(channel().as_str());
                assert_eq!(decode_for(&text, &channel()).ok(), ours.then_some(mark));
                match owner {
                    Owner::Hash(hash) if begins_with(&text) == VERSION => long(hash, mark),
                    Owner::Hash(hash) => encode_hashed(hash, mark),
                    Owner::Old(hash) => old(super::CHANNEL, hash, &old_position(mark.position)),
                }
            }
            Ok(Cursor::Stream(owner, cursor)) => {
                assert!(cursor.channels.len() + cursor.unnamed.len() <= CURSOR_CHANNELS);
                assert!(cursor.channels.is_sorted_by(|(one, _), (other, _)| one < other));
                assert!(decode_for(&text, &channel()).is_err());
                let marks = cursor.channels.iter().map(|(_, mark)| mark);
                marks.chain(cursor.unnamed.iter().map(|(_, mark)| mark)).for_each(|mark| check_mark(*mark));
                match owner {
                    Owner::Hash(hash) => stream::encode(hash, &cursor),
                    Owner::Old(hash) => old_stream(hash, &cursor),
                }
            }
            Err(error) => {
                assert!(decode_for(&text, &channel()).is_err() && !error.to_string().is_empty());
                continue;
            }
        };
        assert_eq!(written, text);
    }
}

fn old_stream(pattern: u64, cursor: &StreamCursor) -> String {
    assert!(cursor.channels.is_empty() && cursor.data_set.is_none());
    // Version 1 knows no other owners: without them it is not what was read.
    let entries = cursor.unnamed.iter().filter_map(|(owner, mark)| match owner {
        Owner::Old(hash) => Some([&hash.to_be_bytes()[..], &old_position(mark.position)].concat()),
        Owner::Hash(_) => None,
    });
    old(super::STREAM, pattern, &entries.collect::<Vec<_>>().concat())
}

fn check_mark(Mark { position, lineage }: Mark) {
    check_position(position);
    match lineage {
        Lineage::Unknown => {}
        Lineage::Epoch { first, .. } => assert!(position.epoch.is_some() && (1..=MAX_SEQUENCE).contains(&first)),
        Lineage::DataSet(_) => assert_eq!(position, Position::START),
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
        let is_old = begins_with(&text) == OLD;
        for newest_first in [false, true] {
            let Ok(position) = decode_page(&text, &channel(), newest_first) else { continue };
            check_position(position);
            let hash = old_hash(channel().as_str()) ^ u64::from(newest_first);
            let written = match is_old {
                true => old(super::LIST, hash, &old_position(position)),
                false => encode_page(&channel(), newest_first, position),
            };
            assert_eq!(written, text);
        }
        if let Ok(last) = decode_names_page(&text, PATTERN) {
            let written = match is_old {
                true => old(super::NAMES, old_hash(PATTERN), last.as_bytes()),
                false => encode_names_page(PATTERN, &last),
            };
            assert_eq!(written, text);
        }
        assert!(decode(&text, &names()).is_err() || decode_page(&text, &channel(), false).is_err());
    }
    // A body of the right kind and query, with any bytes in it.
    for (kind, hash) in [(super::LIST, page_hash(&channel(), true)), (super::NAMES, channel_hash(PATTERN))] {
        let mut body = begin(kind, hash, bytes.len());
        body.extend_from_slice(bytes);
        let text = seal(body);
        let (page, names) = (decode_page(&text, &channel(), true), decode_names_page(&text, PATTERN));
        assert!(page.is_err() || kind == super::LIST && bytes.len() == 16);
        assert_eq!(names.is_ok(), kind == super::NAMES && std::str::from_utf8(bytes).is_ok());
    }
}

fn begins_with(text: &str) -> u8 {
    use base64::Engine as _;
    super::URL_SAFE_NO_PAD.decode(text).map_or(0, |bytes| bytes.first().copied().unwrap_or_default())
}

/// A text, and its content without the checksum.
fn both(text: String) -> [Vec<u8>; 2] {
    use base64::Engine as _;
    let mut whole = super::URL_SAFE_NO_PAD.decode(&text).expect("one of ours");
    whole.truncate(whole.len() - 4);
    [text.into_bytes(), whole]
}

fn position() -> Position {
    Position::new(Epoch::from_u64(7).expect("not 0"), 42)
}

fn mark() -> Mark {
    let lineage = Lineage::Epoch { first: 40, previous: Epoch::from_u64(6) };
    Mark { position: position(), lineage }
}

fn cursor_seeds() -> Vec<Vec<u8>> {
    let pattern = Pattern::parse(PATTERN).expect("valid");
    let data_set = DataSet::from_u64(9);
    let start = |number| Mark {
        position: Position::START,
        lineage: DataSet::from_u64(number).map_or(Lineage::Unknown, Lineage::DataSet),
    };
    let first = Mark { lineage: Lineage::Epoch { first: 1, previous: None }, ..mark() };
    let marks = [mark(), start(0), start(9), start(8), position().into(), first];
    let with = |count: usize| StreamCursor {
        data_set,
        channels: (0..count)
            .map(|i| (names().parse(&format!("orders.{i:03}")).expect("valid"), marks[i % marks.len()]))
            .collect(),
        unnamed: vec![(Owner::Old(1), position().into()), (Owner::Hash(channel_hash("orders.new")), mark())],
    };
    let mut streams = vec![encode_stream(&pattern, &StreamCursor::default()).expect("it fits")];
    streams.extend([2, 50].map(|count| encode_stream(&pattern, &with(count)).expect("it fits")));
    let channels = [mark(), start(0), start(9), position().into(), first];
    let long = channels.map(|mark| long(channel_hash(channel().as_str()), mark));
    let channels = channels.map(|mark| super::encode(&channel(), mark));
    let old_body = [&old_hash("orders.eu").to_be_bytes()[..], &old_position(position())].concat();
    let old = [
        old(super::CHANNEL, old_hash("orders.eu"), &old_position(position())),
        old(super::STREAM, old_hash(PATTERN), &old_body),
    ];
    let mut seeds: Vec<_> = channels.into_iter().chain(long).chain(streams).chain(old).flat_map(both).collect();
    seeds.extend(page_token_seeds().into_iter().take(2));
    seeds
}

fn page_token_seeds() -> Vec<Vec<u8>> {
    let tokens = [false, true].map(|newest_first| encode_page(&channel(), newest_first, position()));
    let names = ["orders.eu", ""].map(|last| encode_names_page(PATTERN, last));
    let mut seeds: Vec<_> = tokens.into_iter().chain(names).flat_map(both).collect();
    let old_tokens = [
        old(super::LIST, old_hash("orders.eu"), &old_position(position())),
        old(super::NAMES, old_hash(PATTERN), b"orders.eu"),
    ];
    seeds.extend(old_tokens.into_iter().flat_map(both));
    seeds.extend([old_position(position()), "orders.ü".as_bytes().to_vec()]);
    seeds
}
