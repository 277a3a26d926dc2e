//! Cursors and tokens are whole or refused.

use proptest::prelude::*;

use super::{
    fuzzing::{old, old_position},
    *,
};
use crate::{
    channel::Pattern,
    limits::{CHANNEL_NAME_BYTES, CURSOR_BYTES, CURSOR_CHANNELS},
};

fn names() -> Names {
    Names::new("tidings", "").expect("valid")
}

fn name(name: &str) -> ChannelName {
    names().parse(name).expect("valid")
}

fn read(text: &str) -> Result<Cursor, InvalidCursor> {
    decode(text, &names())
}

fn pattern(pattern: &str) -> Pattern {
    Pattern::parse(pattern).expect("valid")
}

fn position(number: u64, sequence: i64) -> Position {
    Position { epoch: Epoch::from_u64(number), sequence: if number == 0 { 0 } else { sequence } }
}

/// A position in an epoch that comes from there; 0 where that is not known.
fn mark(number: u64, sequence: i64, first: i64, previous: u64) -> Mark {
    let lineage = match first {
        0 => Lineage::Unknown,
        first => Lineage::Epoch { first, previous: Epoch::from_u64(previous) },
    };
    Mark { position: position(number, sequence), lineage }
}

/// The beginning, in a data set; 0 where that is not known.
fn beginning(data_set: u64) -> Mark {
    let lineage = DataSet::from_u64(data_set).map_or(Lineage::Unknown, Lineage::DataSet);
    Mark { position: Position::START, lineage }
}

/// Whether a text is read as the cursor that it was.
type Taken = fn(&str) -> bool;

/// One text of each kind.
fn samples() -> Vec<(String, Taken)> {
    let channels = vec![(name("ab"), mark(2, 3, 1, 9)), (name("ac"), Position::START.into())];
    let stream = StreamCursor { data_set: None, channels, unnamed: vec![(Owner::Old(4), position(5, 6).into())] };
    let old_cursor = old(CHANNEL, old_hash("a"), &old_position(position(7, 42)));
    vec![
        (encode(&name("a"), mark(7, 42, 40, 6)), |text| decode_for(text, &name("a")).is_ok()),
        (encode(&name("a"), mark(7, 42, 0, 0)), |text| decode_for(text, &name("a")).is_ok()),
        (encode(&name("a"), mark(7, 42, 1, 0)), |text| decode_for(text, &name("a")).is_ok()),
        (encode(&name("a"), beginning(5)), |text| decode_for(text, &name("a")).is_ok()),
        (old_cursor, |text| decode_for(text, &name("a")).is_ok()),
        (encode_stream(&pattern("a*"), &stream).expect("small"), |text| read(text).is_ok()),
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

/// Two names with one 64-bit hash, which take seconds to find.
#[test]
fn a_name_that_was_made_to_match_is_foreign() {
    let [one, other] = [
        [
            "jivutluyopejcmvhuclslxylkqtfxorhuntslcmwtgfblmujukwpxnrdcmcjalpb",
            "ealvffywzgecsqomnnawnezqzjevcsodbhvknzaisctllpibyvovwpqtqwklokol",
        ],
        [
            "reouvbwmseqnqoulbztrbrwipxzycdroxjlitvsvuzuukpwxvtlsxsilnsgxfqhb",
            "iylbzfuozzyzlecejfadnszdnzeqtdpfgfycwmjderoglkjljldaswyxvsnrksnt",
        ],
    ]
    .map(|halves| name(&halves.concat()));
    assert!(one != other && old_hash(one.as_str()) == old_hash(other.as_str()));
    assert_eq!(decode_for(&encode(&one, mark(7, 42, 1, 0)), &other), Err(InvalidCursor::Foreign));
    assert_eq!(decode_page(&encode_page(&one, true, position(7, 42)), &other, true), Err(InvalidCursor::Foreign));
    let names = encode_names_page(one.as_str(), "abc");
    assert_eq!(decode_names_page(&names, other.as_str()), Err(InvalidCursor::Foreign));
    let [one, other] = [one, other].map(|name| pattern(name.as_str()));
    let Ok(Cursor::Stream(owner, _)) = read(&encode_stream(&one, &StreamCursor::default()).expect("small")) else {
        panic!("a whole stream's")
    };
    assert!(owner.is(one.as_str()) && !owner.is(other.as_str()));
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
        assert_eq!(read(token), Err(Kind));
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
    // Whole texts, but what no position has, and a body that is too long or too short.
    let words = |words: &[u64]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>();
    let sealed = |body: &[u64]| {
        let mut whole = begin(CHANNEL, channel_hash("a"), 32);
        whole.extend(words(body));
        seal(whole)
    };
    let beyond = 1 + MAX_SEQUENCE as u64;
    assert_eq!(decode_for(&sealed(&[7, 5, 6, 9]), &name("a")), Ok(mark(7, 9, 5, 6)));
    assert_eq!(decode_for(&sealed(&[0, 5, 0, 0]), &name("a")), Ok(beginning(5)));
    for body in [
        &[0, 0, 0, 1][..],
        &[7, 0, 0, u64::MAX],
        &[7, 0, 0, beyond],
        &[7, beyond, 0, 1],
        &[7, 0, 6, 1],
        &[0, 5, 6, 0],
        &[7, 5, 6, 9, 0],
        &[7, 5, 6],
        &[],
    ] {
        assert_eq!(decode_for(&sealed(body), &name("a")), Err(InvalidCursor::Malformed), "{body:?}");
    }
    // Of the short ones.
    let short = |begin: u8, epoch: u64, sequence: &[u8]| {
        seal([&[begin], &channel_hash("a").as_bytes()[..], &epoch.to_be_bytes(), sequence].concat())
    };
    let (zero, nine) = ([0; 7], [0, 0, 0, 0, 0, 0, 9]);
    for (begin, epoch, sequence, taken) in [
        (IN_EPOCH, 7, nine, mark(7, 9, 0, 0)),
        (IN_FIRST_EPOCH, 7, nine, mark(7, 9, 1, 0)),
        (IN_FIRST_EPOCH, 7, zero, mark(7, 0, 1, 0)),
        (AT_START, 5, zero, beginning(5)),
        (AT_START, 0, zero, beginning(0)),
    ] {
        assert_eq!(decode_for(&short(begin, epoch, &sequence), &name("a")), Ok(taken));
        assert_eq!(encode(&name("a"), taken), short(begin, epoch, &sequence));
    }
    for (begin, epoch, sequence) in [
        (AT_START, 5, &nine[..]),
        (IN_EPOCH, 0, &zero),
        (IN_FIRST_EPOCH, 0, &zero),
        (IN_EPOCH, 7, &[0x20, 0, 0, 0, 0, 0, 1]),
        (IN_EPOCH, 7, &[0xff; 7]),
        (IN_EPOCH, 7, &nine[1..]),
        (IN_EPOCH, 7, &[0; 8]),
        (AT_START + 1, 7, &nine),
    ] {
        let refused = decode_for(&short(begin, epoch, sequence), &name("a"));
        assert_eq!(refused, Err(InvalidCursor::Malformed), "{begin} {epoch} {sequence:?}");
    }
    let sealed = |body: &[u64]| old(CHANNEL, old_hash("a"), &words(body));
    assert_eq!(decode_for(&sealed(&[7, 1]), &name("a")), Ok(position(7, 1).into()));
    for body in [&[0, 1][..], &[7, u64::MAX], &[7, beyond], &[7, 1, 0], &[]] {
        assert_eq!(decode_for(&sealed(body), &name("a")), Err(InvalidCursor::Malformed), "{body:?}");
    }
}

#[test]
fn a_stream_cursor_covers_so_many_channels_and_no_more() {
    let with = |count: usize, length: usize| StreamCursor {
        data_set: DataSet::from_u64(3),
        channels: (0..count).map(|i| (name(&format!("{i:04}{}", "n".repeat(length))), mark(2, 3, 1, 0))).collect(),
        unnamed: vec![(Owner::Old(1), position(2, 3).into())],
    };
    let most = with(CURSOR_CHANNELS - 1, 10);
    let text = encode_stream(&pattern("*"), &most).expect("it fits");
    assert!(text.len() < 40_000, "{}", text.len());
    assert_eq!(read(&text), Ok(Cursor::Stream(Owner::Hash(channel_hash("*")), most)));
    assert_eq!(encode_stream(&pattern("*"), &with(CURSOR_CHANNELS, 10)), None);
    // Long names that begin differently.
    let long = |count: usize| with(count, CHANNEL_NAME_BYTES - 4);
    assert_eq!(encode_stream(&pattern("*"), &long(CURSOR_CHANNELS - 1)), None);
    assert!(encode_stream(&pattern("*"), &long(700)).is_some_and(|text| text.len() <= CURSOR_BYTES));
}

#[test]
fn names_are_written_as_what_differs_and_only_so() {
    let channels: Vec<_> = ["a", "orders", "orders.a", "orders.b", "z"].map(|text| (name(text), beginning(0))).into();
    let cursor = StreamCursor { channels, ..StreamCursor::default() };
    let text = encode_stream(&pattern("*"), &cursor).expect("it fits");
    let bytes = URL_SAFE_NO_PAD.decode(&text).expect("base64");
    let body = &bytes[2 + ChannelHash::BYTES + 12..bytes.len() - 4];
    assert_eq!(body, b"\x00\x01a\x00\x00\x06orders\x00\x06\x02.a\x00\x07\x01b\x00\x00\x01z\x00");
    // The same, but sorted otherwise, twice, or with more written than differs; and names that are none here.
    let sealed = |count: u8, entries: &[u8]| {
        let body = [&begin(STREAM, channel_hash("*"), 0)[..], &[0; 9], &[count, 0, 0], entries].concat();
        read(&seal(body))
    };
    assert!(sealed(1, b"\x00\x01a\x00").is_ok());
    for (count, entries) in [
        (2, &b"\x00\x01b\x00\x00\x01a\x00"[..]),
        (2, b"\x00\x01a\x00\x01\x00\x00"),
        (2, b"\x00\x02ab\x00\x00\x02ac\x00"),
        (1, b"\x01\x01a\x00"),
        (1, b"\x00\x02a"),
        (1, b"\x00\x01\xff\x00"),
        (1, b"\x00\x01a\x06"),
        // A data set that the stream has none of; a number that is longer than it has to be.
        (1, b"\x00\x01a\x01"),
        (1, b"\x00\x01a\x03\x00\x00\x00\x00\x00\x00\x00\x07\x81\x00"),
        (0, b"\x00"),
    ] {
        assert_eq!(sealed(count, entries), Err(InvalidCursor::Malformed), "{entries:?}");
    }
    assert_eq!(sealed(1, b"\x00\x02a \x00"), Err(InvalidCursor::Foreign));
    assert_eq!(sealed(1, b"\x00\x09tidings:x\x00"), Err(InvalidCursor::Foreign));
}

#[test]
fn texts_that_clients_keep_are_read_for_ever() {
    let channel = name("orders.eu");
    // Version 1, as it was written before there was another.
    let old_mark = Mark::from(position(0x9f39, 433));
    assert_eq!(decode_for(OLD_CHANNEL, &channel), Ok(old_mark));
    assert_eq!(decode_page(OLD_PAGE, &channel, true), Ok(old_mark.position));
    assert_eq!(decode_names_page(OLD_NAMES, "orders.*"), Ok("orders.eu".to_owned()));
    let stream = StreamCursor { unnamed: vec![(Owner::Old(old_hash("orders.eu")), old_mark)], ..Default::default() };
    assert_eq!(read(OLD_STREAM), Ok(Cursor::Stream(Owner::Old(old_hash("orders.*")), stream)));
    // Version 2, as it was written before there were short ones.
    for (text, mark) in [
        (LONG_BEGINNING, beginning(0xda7a)),
        (LONG_IN_EPOCH, mark(0x0ec6, 91, 0, 0)),
        (LONG_IN_FIRST_EPOCH, mark(0x0ec6, 91, 1, 0)),
    ] {
        assert_eq!(decode_for(text, &channel), Ok(mark));
        assert_eq!(read(text), Ok(Cursor::Channel(Owner::Hash(channel_hash("orders.eu")), mark)));
    }
    // The present form is read as well.
    for (text, mark) in [
        (SHORT_BEGINNING, beginning(0xda7a)),
        (SHORT_IN_EPOCH, mark(0x0ec6, 91, 0, 0)),
        (SHORT_IN_FIRST_EPOCH, mark(0x0ec6, 91, 1, 0)),
    ] {
        assert_eq!(encode(&channel, mark), text);
        assert_eq!(decode_for(text, &channel), Ok(mark));
    }
    let new_mark = mark(0x0ec6, 91, 91, 0x9f39);
    assert_eq!(decode_for(NEW_CHANNEL, &channel), Ok(new_mark));
    assert_eq!(encode(&channel, new_mark), NEW_CHANNEL);
    assert_eq!(encode_page(&channel, true, new_mark.position), NEW_PAGE);
    assert_eq!(encode_names_page("orders.*", "orders.eu"), NEW_NAMES);
    let stream = StreamCursor {
        data_set: DataSet::from_u64(0xda7a),
        channels: vec![(channel, new_mark), (name("orders.us"), beginning(0xda7a))],
        unnamed: vec![(Owner::Old(old_hash("orders.uk")), old_mark)],
    };
    assert_eq!(encode_stream(&pattern("orders.*"), &stream).as_deref(), Some(NEW_STREAM));
    assert_eq!(read(NEW_STREAM), Ok(Cursor::Stream(Owner::Hash(channel_hash("orders.*")), stream)));
}

const OLD_CHANNEL: &str = "AQFFGZucebDSTQAAAAAAAJ85AAAAAAAAAbF2cPYJ";
const OLD_PAGE: &str = "AQNFGZucebDSTAAAAAAAAJ85AAAAAAAAAbHGGSIO";
const OLD_NAMES: &str = "AQTRdTzsMGfja29yZGVycy5ldfxwfzM";
const OLD_STREAM: &str = "AQLRdTzsMGfja0UZm5x5sNJNAAAAAAAAnzkAAAAAAAABsVIaMQE";
const NEW_CHANNEL: &str = "AgH6XVS02aw-JpRi8mVDohEJAAAAAAAADsYAAAAAAAAAWwAAAAAAAJ85AAAAAAAAAFuKv9Oj";
const LONG_BEGINNING: &str = "AgH6XVS02aw-JpRi8mVDohEJAAAAAAAAAAAAAAAAAADaegAAAAAAAAAAAAAAAAAAAADNophu";
const LONG_IN_EPOCH: &str = "AgH6XVS02aw-JpRi8mVDohEJAAAAAAAADsYAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAFtULayE";
const LONG_IN_FIRST_EPOCH: &str = "AgH6XVS02aw-JpRi8mVDohEJAAAAAAAADsYAAAAAAAAAAQAAAAAAAAAAAAAAAAAAAFushJqk";
const SHORT_BEGINNING: &str = "BfpdVLTZrD4mlGLyZUOiEQkAAAAAAADaegAAAAAAAAC55fhW";
const SHORT_IN_EPOCH: &str = "A_pdVLTZrD4mlGLyZUOiEQkAAAAAAAAOxgAAAAAAAFsXQGJb";
const SHORT_IN_FIRST_EPOCH: &str = "BPpdVLTZrD4mlGLyZUOiEQkAAAAAAAAOxgAAAAAAAFsAhLKV";
const NEW_PAGE: &str = "AgP7XVS02aw-JpRi8mVDohEJAAAAAAAADsYAAAAAAAAAWzZneaA";
const NEW_NAMES: &str = "AgTPVIBCOFB1G2VjfZbsfp1Yb3JkZXJzLmV1ttCDHQ";
const NEW_STREAM: &str = "AgLPVIBCOFB1G2VjfZbsfp1YAAAAAAAA2noAAgABAAlvcmRlcnMuZXUFAAAAAAAADsYAAAAAAACfOVtbBwJ1cwEB-nsdTVKJjnoDAAAAAAAAnzmxA_oKjWk";

fn marks() -> impl Strategy<Value = Mark> {
    let position = (any::<u64>(), 0..=MAX_SEQUENCE, 0..=MAX_SEQUENCE, any::<u64>());
    prop_oneof![
        3 => position.prop_map(|(epoch, sequence, first, previous)| mark(epoch.max(1), sequence, first, previous)),
        1 => (0..3u64).prop_map(beginning),
    ]
}

fn owners() -> impl Strategy<Value = Owner> {
    let hash = any::<[u8; 16]>().prop_map(|hash| Owner::Hash(ChannelHash::from_bytes(hash)));
    prop_oneof![any::<u64>().prop_map(Owner::Old), hash]
}

proptest! {
    #[test]
    fn channel_cursors_and_page_tokens_round_trip(mark in marks(), newest_first: bool) {
        let channel = name("orders.eu");
        prop_assert_eq!(decode_for(&encode(&channel, mark), &channel), Ok(mark));
        let owner = Owner::Hash(channel_hash("orders.eu"));
        prop_assert_eq!(read(&encode(&channel, mark)), Ok(Cursor::Channel(owner, mark)));
        let token = encode_page(&channel, newest_first, mark.position);
        prop_assert_eq!(decode_page(&token, &channel, newest_first), Ok(mark.position));
    }

    #[test]
    fn stream_cursors_round_trip(
        data_set in 0..3u64,
        channels in prop::collection::btree_map("[a-c]{1,6}(é|[.]x)?", marks(), 0..20),
        unnamed in prop::collection::vec((owners(), marks()), 0..5),
    ) {
        let channels = channels.into_iter().map(|(text, mark)| (name(&text), mark)).collect();
        let cursor = StreamCursor { data_set: DataSet::from_u64(data_set), channels, unnamed };
        let text = encode_stream(&pattern("orders.*"), &cursor).expect("small");
        prop_assert_eq!(read(&text), Ok(Cursor::Stream(Owner::Hash(channel_hash("orders.*")), cursor)));
    }

    #[test]
    fn tokens_of_names_round_trip(pattern: String, last: String) {
        prop_assert_eq!(decode_names_page(&encode_names_page(&pattern, &last), &pattern), Ok(last));
    }

    #[test]
    fn any_text_is_refused_without_a_panic(text: String, bytes: Vec<u8>) {
        prop_assert!(read(&text).is_err());
        prop_assert!(read(&URL_SAFE_NO_PAD.encode(bytes)).is_err());
    }
}
