//! Cursors and tokens are whole or refused.

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

/// Whether a text is taken for what it was.
type Taken = fn(&str) -> bool;

/// One text of each kind.
fn samples() -> Vec<(String, Taken)> {
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
    // Whole texts, but a sequence without an epoch, a negative one, one that can't be, and a body that is too long.
    let sealed = |body: &[u8]| {
        let mut whole = begin(CHANNEL, channel_hash("a"), 16);
        whole.extend_from_slice(body);
        seal(whole)
    };
    let pair = |epoch: u64, sequence: u64| [epoch.to_be_bytes(), sequence.to_be_bytes()].concat();
    assert_eq!(decode_for(&sealed(&pair(7, 1)), &name("a")), Ok(position(7, 1)));
    for body in
        [pair(0, 1), pair(7, u64::MAX), pair(7, 1 + MAX_SEQUENCE as u64), [pair(7, 1), vec![0]].concat(), Vec::new()]
    {
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
    fn channel_cursors_and_page_tokens_round_trip(epoch: u64, sequence in 0..=MAX_SEQUENCE, newest_first: bool) {
        let (channel, place) = (name("orders.eu"), position(epoch, sequence));
        prop_assert_eq!(decode_for(&encode(&channel, place), &channel), Ok(place));
        prop_assert_eq!(encode(&channel, place), encode_hashed(channel_hash("orders.eu"), place));
        let token = encode_page(&channel, newest_first, place);
        prop_assert_eq!(decode_page(&token, &channel, newest_first), Ok(place));
    }

    #[test]
    fn stream_cursors_round_trip(positions in prop::collection::vec((any::<u64>(), any::<u64>(), 0..=MAX_SEQUENCE), 0..20)) {
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
