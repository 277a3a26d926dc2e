//! What Redis and sentinels send, which may be anything: replies on connections of our own, and answers of our scripts.

use bytes::{Bytes, BytesMut};
use redis::Value;
use tidings::{
    broker::{
        From, Head, Stored,
        history::{Next, Reader},
    },
    message::{Epoch, MAX_SEQUENCE, Position},
};

use super::{
    head, log,
    resp::{Decoder, Malformed, Reply},
    sentinels,
};

/// A stream of replies: however it is cut into pieces, the same replies come out, up to the same position. The first
/// byte says how many bytes follow that cut the rest.
pub fn check_resp(bytes: &[u8]) {
    let Some((count, rest)) = bytes.split_first() else { return };
    let (cuts, stream) = rest.split_at(usize::from(*count).min(rest.len()));
    let whole = feed(std::iter::once(stream), false);
    let pieces = || {
        let mut cuts = cuts.iter().map(|cut| usize::from(*cut) + 1).cycle();
        let mut left = stream;
        std::iter::from_fn(move || {
            let (piece, after) = left.split_at(cuts.next().unwrap_or(1).min(left.len()));
            left = after;
            (!piece.is_empty()).then_some(piece)
        })
    };
    assert_eq!(feed(pieces(), true), whole);
    whole.0.iter().for_each(sentinels::check_reply);
    assert_eq!(range(pieces()), range(std::iter::once(stream)));
}

/// The runs and messages of what XRANGE answers about a log; `None` where it ends too early.
fn range<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Option<(usize, Vec<Stored>)>, Malformed> {
    let (mut range, mut buffer) = (log::Range::default(), BytesMut::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        if range.read(&buffer)? {
            return Ok(Some(range.take(&mut buffer)));
        }
    }
    Ok(None)
}

/// The replies, and whether it ended because something was not understood. Messages come by themselves where that is
/// asked.
fn feed<'a>(pieces: impl Iterator<Item = &'a [u8]>, apart: bool) -> (Vec<Reply>, Option<Malformed>) {
    let mut decoder = Decoder::default();
    let mut replies = Vec::new();
    for piece in pieces {
        decoder.buffer().extend_from_slice(piece);
        loop {
            if apart && let Some((channel, payload)) = decoder.next_message() {
                let kind = Bytes::from_static(b"message");
                replies.push(Reply::Push([kind, channel, payload].map(Reply::Text).to_vec()));
                continue;
            }
            match decoder.next() {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(error) => return (replies, Some(error)),
            }
        }
    }
    (replies, None)
}

/// Answers of the scripts that read: understood or refused, and a head that is understood leads every reader to an end.
/// The bytes are a reader's position (an epoch and a sequence, 8 bytes each), and an answer as RESP.
pub fn check_answer(bytes: &[u8]) {
    let Some((position, answer)) = bytes.split_at_checked(16) else { return };
    let number = |at: usize| position[at..at + 8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let sequence = i64::try_from(number(8)).unwrap_or(0).min(MAX_SEQUENCE);
    let position = Epoch::from_u64(number(0)).map_or(Position::START, |epoch| Position::new(epoch, sequence));
    let Ok(answer) = redis::parse_redis_value(answer) else { return };
    if let Ok(fields) = redis::from_redis_value::<Vec<String>>(answer.clone())
        && let Ok(Some(head)) = head::read(&fields, true)
    {
        check_reader(&head, position);
    }
    // A page: the head, and runs after it.
    let Value::Array(items) = answer else { return };
    for from in [From::After(sequence), From::Before(sequence)] {
        let Some((messages, _)) = log::runs(items.clone().into_iter().skip(1), from) else { continue };
        for stored in messages {
            assert!(match from {
                From::After(after) => stored.sequence > after,
                From::Before(before) => stored.sequence < before,
            });
        }
    }
}

/// For any head the reader comes to an end, and gets only gaps that can be.
fn check_reader(head: &Head, position: Position) {
    assert!((1..=MAX_SEQUENCE + 1).contains(&head.first) && (0..=MAX_SEQUENCE).contains(&head.last), "{head:?}");
    let mut reader = Reader::new(position);
    // A step for each epoch, for what was trimmed in it, and for the loss at its end.
    for _ in 0..4 * head.epochs.len() + head.losses.len() + 4 {
        match reader.next(Some(head), Default::default()) {
            Next::End => return,
            Next::Unlisted => {
                let gap = reader.settle(head, false).expect("it is not whole");
                assert_eq!(gap.last_missing, 0);
            }
            Next::Read { to } => {
                assert!(to > reader.position().sequence && to <= head.last, "{to} {reader:?}");
                reader.advance(to);
            }
            Next::Gap(gap) => {
                // 0: nobody knows the end of it.
                let has_end = gap.last_missing != 0;
                assert!(gap.first_missing >= 1 && (!has_end || gap.first_missing <= gap.last_missing), "{gap:?}");
                assert_eq!(gap.resume, reader.position());
            }
        }
    }
    panic!("no end: {head:?} {position:?} {reader:?}");
}

/// Replies of every kind.
pub fn resp_seeds() -> Vec<Vec<u8>> {
    let large = tidings::limits::READ_MESSAGE_BYTES + 1;
    let streams: [&[u8]; 7] = [
        b">3\r\n$7\r\nmessage\r\n$2\r\nc1\r\n$5\r\nhe\r\nl\r\n+PONG\r\n-ERR no\r\n:42\r\n_\r\n*2\r\n$-1\r\n=7\r\ntxt:abc\r\n",
        b"%1\r\n+proto\r\n:3\r\n>3\r\n+subscribe\r\n#t\r\n,1.5\r\n~1\r\n(123\r\n!3\r\nERR\r\n*-1\r\n*0\r\n",
        b">4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\na\r\n$0\r\n\r\n*7\r\n$6\r\nmaster\r\n$1\r\n1\r\n:9\r\n*0\r\n*1\r\n*1\r\n_\r\n_\r\n_\r\n",
        &format!(">3\r\n$7\r\nmessage\r\n${large}\r\nxxxxx").into_bytes(),
        &format!("${large}\r\nxxxxx").into_bytes(),
        b"*2\r\n*2\r\n$3\r\n2-2\r\n*6\r\n$1\r\nt\r\n$1\r\n9\r\n$1\r\nm\r\n$1\r\na\r\n$1\r\nm\r\n$1\r\nb\r\n*2\r\n$3\r\n3-1\r\n*6\r\n$1\r\nt\r\n$1\r\n9\r\n$1\r\nm\r\n$1\r\nc\r\n$1\r\nr\r\n$16\r\n0123456789abcdef\r\n",
        b"%2\r\n+name\r\n+shop\r\n+config-epoch\r\n+7\r\n*2\r\n$8\r\n10.0.0.1\r\n$4\r\n6379\r\n*1\r\n%3\r\n+ip\r\n+::1\r\n+port\r\n+26379\r\n+runid\r\n+x\r\n",
    ];
    streams.iter().map(|stream| [&[2, 0, 6], *stream].concat()).collect()
}

/// Answers about heads and logs.
pub fn answer_seeds() -> Vec<Vec<u8>> {
    let position = |epoch: u64, sequence: u64| [epoch.to_be_bytes(), sequence.to_be_bytes()].concat();
    let list = |items: &[&str]| {
        let items = items.iter().map(|item| format!("${}\r\n{item}\r\n", item.len()));
        format!("*{}\r\n{}", items.len(), items.collect::<String>())
    };
    let epochs = "000000000000000a,1,0;000000000000000b,6,8;000000000000000c,9,8";
    let losses = "000000000000000b,000000000000000f,2,30;000000000000000c,000000000000000a,9,11";
    let page = format!(
        "*4\r\n{}:1\r\n{}*2\r\n$3\r\n6-1\r\n{}",
        list(&["master", "1", "12", "1000", epochs, "3", "1", "000000000000000b,7", losses, "00000000000000d5"]),
        list(&["5-3", "a", "b", "c"]),
        list(&["d", "0123456789abcdef", "1000"])
    );
    let endless = format!("000000000000000b,000000000000000a,6,{MAX_SEQUENCE}");
    let answers = [
        list(&["master", "1", "12", "1000", epochs, "3", "1", "000000000000000b,7", losses, "00000000000000d5"]),
        list(&["master", "1", "12", "1000", epochs, "3", "1", "000000000000000b,7", &endless, "00000000000000d5"]),
        list(&["master", "1", "12", "1000", epochs, "0", "0", "", "", ""]),
        list(&["master", "1", "4", "1000", "000000000000000a,1,0;000000000000000b,5,7", "1", "1", "", "", ""]),
        list(&["master", "", "9", "0", "", "3", "1", "", "", ""]),
        list(&["slave", "", "0", "0", "", "0", "0", "", "", ""]),
        // What only a stranger's hand can have written.
        list(&["master", "1", "9", "0", "000000000000000a,1,0;000000000000000a,1,0", "1", "1", "", "", ""]),
        list(&[
            "master",
            "1",
            "9223372036854775807",
            "0",
            "000000000000000a,9,0;000000000000000b,3,8",
            "0",
            "1",
            "",
            "",
            "",
        ]),
        format!("*3\r\n*0\r\n:1\r\n{}", list(&["9223372036854775806-0", "a"])),
        format!("*3\r\n*0\r\n:1\r\n{}", list(&["9223372036854775807-1", "a", "b"])),
        page,
    ];
    let positions = [position(10, 3), position(10, 7), position(11, 20), position(99, 5), position(0, 0)];
    let seeds = answers.iter().zip(positions.iter().cycle());
    seeds.map(|(answer, position)| [position, answer.as_bytes()].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seeds that are not understood reach nothing. Their form follows the scripts'.
    #[test]
    fn seeds_get_as_far_as_they_should() {
        let answer = |seed: &[u8]| redis::parse_redis_value(&seed[16..]).expect("RESP");
        let seeds = answer_seeds();
        for (index, expected) in [true, true, true, true, true, false].into_iter().enumerate() {
            let fields: Vec<String> = redis::from_redis_value(answer(&seeds[index])).expect("texts");
            assert_eq!(head::read(&fields, true).is_ok(), expected, "{fields:?}");
        }
        let Value::Array(page) = answer(seeds.last().expect("seeds")) else { panic!("a page is a list") };
        let (messages, _) = log::runs(page.into_iter().skip(1), From::After(0)).expect("understood");
        assert_eq!(messages.len(), 4);
        assert!(messages[3].adopted.is_some());
        for (seed, expected) in resp_seeds().iter().zip([6, 6, 2, 0, 0, 1, 3]) {
            assert_eq!(feed([&seed[3..]].into_iter(), true).0.len(), expected);
        }
        let (_, stored) = range([&resp_seeds()[5][3..]].into_iter()).expect("understood").expect("whole");
        assert!(stored.len() == 3 && stored[2].adopted.is_some());
    }

    #[test]
    fn resp() {
        tidings_testing::bytes::throw(&resp_seeds(), check_resp);
    }

    #[test]
    fn answers() {
        tidings_testing::bytes::throw(&answer_seeds(), check_answer);
    }
}
