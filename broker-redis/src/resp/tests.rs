use proptest::prelude::*;

use super::*;

fn text(text: &'static str) -> Reply {
    Reply::Text(Bytes::from_static(text.as_bytes()))
}

/// Feeds bytes in pieces and collects the replies.
fn feed(pieces: &[&[u8]]) -> Result<Vec<Reply>, Malformed> {
    let mut decoder = Decoder::default();
    let mut replies = Vec::new();
    for piece in pieces {
        decoder.buffer().extend_from_slice(piece);
        while let Some(reply) = decoder.next()? {
            replies.push(reply);
        }
    }
    Ok(replies)
}

const SAMPLE: &[u8] = b">3\r\n$7\r\nmessage\r\n$2\r\nc1\r\n$5\r\nhe\r\nl\r\n+PONG\r\n-ERR no\r\n:42\r\n_\r\n*2\r\n$-1\r\n=7\r\ntxt:abc\r\n\
    %1\r\n+proto\r\n:3\r\n>2\r\n+subscribe\r\n#t\r\n";

fn sample() -> Vec<Reply> {
    vec![
        Reply::Push(vec![text("message"), text("c1"), text("he\r\nl")]),
        text("PONG"),
        Reply::Error(Bytes::from_static(b"ERR no")),
        Reply::Int(42),
        Reply::Null,
        Reply::List(vec![Reply::Null, text("txt:abc")]),
        Reply::List(vec![text("proto"), Reply::Int(3)]),
        Reply::Push(vec![text("subscribe"), text("t")]),
    ]
}

#[test]
fn every_split_gives_the_same() {
    assert_eq!(feed(&[SAMPLE]), Ok(sample()));
    for at in 0..=SAMPLE.len() {
        assert_eq!(feed(&[&SAMPLE[..at], &SAMPLE[at..]]), Ok(sample()), "split at {at}");
    }
    let bytes: Vec<&[u8]> = SAMPLE.chunks(1).collect();
    assert_eq!(feed(&bytes), Ok(sample()));
}

#[test]
fn what_is_too_large_is_passed_over_without_being_kept() {
    let large = READ_MESSAGE_BYTES + 1;
    let mut decoder = Decoder::default();
    decoder.buffer().extend_from_slice(format!(">3\r\n$7\r\nmessage\r\n$2\r\nc1\r\n${large}\r\n").as_bytes());
    let mut left = large + 2;
    while left > 0 {
        assert_eq!(decoder.next(), Ok(None));
        assert!(decoder.buffer.len() < 64, "nothing of it is kept");
        let some = left.min(100_000);
        decoder.buffer().extend_from_slice(&vec![b'x'; some]);
        left -= some;
    }
    decoder.buffer().extend_from_slice(b"+PONG\r\n");
    let expected = Reply::Push(vec![text("message"), text("c1"), Reply::Oversized(large)]);
    assert_eq!(decoder.next(), Ok(Some(expected)));
    assert_eq!(decoder.next(), Ok(Some(text("PONG"))));
}

#[test]
fn a_channel_name_that_is_too_large_takes_its_message_with_it() {
    let large = READ_MESSAGE_BYTES + 1;
    let mut bytes = format!(">4\r\n$8\r\npmessage\r\n$1\r\n*\r\n${large}\r\n").into_bytes();
    bytes.extend_from_slice(&vec![b'c'; large]);
    bytes.extend_from_slice(format!("\r\n${large}\r\n").as_bytes());
    bytes.extend_from_slice(&vec![b'm'; large]);
    bytes.extend_from_slice(b"\r\n+PONG\r\n");
    let pieces: Vec<&[u8]> = bytes.chunks(70_001).collect();
    let expected = Reply::Push(vec![text("pmessage"), text("*"), Reply::Oversized(large)]);
    assert_eq!(feed(&pieces), Ok(vec![expected, text("PONG")]));
}

#[test]
fn the_largest_message_is_kept() {
    let mut bytes = format!(">3\r\n$7\r\nmessage\r\n$2\r\nc1\r\n${READ_MESSAGE_BYTES}\r\n").into_bytes();
    bytes.extend_from_slice(&vec![b'x'; READ_MESSAGE_BYTES]);
    bytes.extend_from_slice(b"\r\n");
    let replies = feed(&[&bytes]).expect("understood");
    assert!(
        matches!(&replies[..], [Reply::Push(items)] if matches!(&items[2], Reply::Text(x) if x.len() == READ_MESSAGE_BYTES))
    );
}

#[test]
fn nonsense_is_refused() {
    for bad in [&b"?\r\n"[..], b"$x\r\n", b"$-2\r\n", b"*99999999\r\n", b"$1\r\nabc\r\n", b"\r\n", b"+a\rb\r\n"] {
        assert_eq!(feed(&[bad]), Err(Malformed), "{:?}", String::from_utf8_lossy(bad));
    }
    let deep = b"*1\r\n".repeat(REPLY_DEPTH + 1);
    assert_eq!(feed(&[&deep]), Err(Malformed));
    assert_eq!(feed(&[&vec![b'+'; REPLY_LINE_BYTES + 1]]), Err(Malformed));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = feed(&[&bytes]);
    }

    #[test]
    fn no_change_of_a_byte_makes_it_panic(at in 0..SAMPLE.len(), byte: u8) {
        let mut bytes = SAMPLE.to_vec();
        bytes[at] = byte;
        let _ = feed(&[&bytes]);
    }
}
