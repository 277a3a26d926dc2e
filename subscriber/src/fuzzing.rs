//! Checks of requests as bytes from anyone, for `fuzz/` and the tests. See the root crate's `fuzzing`.

use prost::Message as _;
use tidings::{
    access::Rights,
    broker::Topic,
    channel::{Names, Pattern},
    cursor::{self, Owner, StreamCursor, channel_hash},
    limits::{AFTER_CURSORS, CURSOR_CHANNELS, HEARTBEAT_MAX, HEARTBEAT_MIN},
    message::{Epoch, Lineage, Mark, Position},
    pb::{ListMessagesRequest, StreamMessagesRequest},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::request::{Start, StreamOptions, Terms, newest_first, page_size, stream_options};

/// What a status may take of the headers in which it travels, where clients allow 8 KiB.
const STATUS_BYTES: usize = 4 << 10;

/// A request as protobuf, of a kind that its first byte says: what is taken is one that can be carried out, and what is
/// refused is refused in words and details.
pub fn check_request(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let names = Names::new("tidings", "channel1").expect("valid");
    if kind % 2 == 0 {
        let Ok(request) = StreamMessagesRequest::decode(bytes) else { return };
        match stream_options(&request, Terms { names: &names, rights: &Rights::all() }) {
            Ok(options) => check_options(&request, &options),
            Err(status) => check_refusal(&status),
        }
    } else {
        let Ok(request) = ListMessagesRequest::decode(bytes) else { return };
        match page_size(request.page_size) {
            Ok(size) => assert!((1..=1_000).contains(&size)),
            Err(status) => check_refusal(&status),
        }
        if let Err(status) = newest_first(request.order) {
            check_refusal(&status);
        }
    }
}

fn check_options(request: &StreamMessagesRequest, options: &StreamOptions) {
    assert!(options.heartbeat.is_none_or(|every| (HEARTBEAT_MIN..=HEARTBEAT_MAX).contains(&every)), "{options:?}");
    assert_eq!(matches!(*options.topic, Topic::Pattern(_)), !request.pattern.is_empty());
    let starts = [request.earliest, request.since.is_some(), request.last != 0, !request.after.is_empty()];
    assert!(starts.iter().filter(|is_set| **is_set).count() <= 1);
    match &options.start {
        Start::Now => assert!(!starts.contains(&true)),
        Start::Earliest => assert!(request.earliest),
        Start::Since(time_ms) => {
            let since = request.since.as_ref().expect("given");
            // The first millisecond that is not before it.
            let nanos = i128::from(since.seconds) * 1_000_000_000 + i128::from(since.nanos);
            let late = i128::from(*time_ms) * 1_000_000 - nanos;
            assert!((0..1_000_000).contains(&late), "{since:?} {time_ms}");
        }
        Start::Last(count) => assert!(*count > 0 && *count == i64::from(request.last)),
        Start::After(mark) => {
            let Topic::Channel(channel) = &*options.topic else { panic!("of one channel") };
            assert_eq!(cursor::decode_for(&request.after[0], channel), Ok(*mark));
            assert!(request.after.len() == 1);
        }
        Start::AfterStream(whole, newer) => {
            let Topic::Pattern(pattern) = &*options.topic else { panic!("a channel has no whole stream") };
            assert!(whole.channels.iter().all(|(channel, _)| pattern.matches(channel.as_str())));
            assert!(whole.channels.len() + whole.unnamed.len() <= CURSOR_CHANNELS && newer.len() <= AFTER_CURSORS);
            for ((owner, mark), text) in newer.iter().zip(&request.after[1..]) {
                match owner {
                    Owner::Hash(hash) => assert_eq!(cursor::encode_hashed(*hash, *mark), *text),
                    Owner::Old(_) => assert_eq!(mark.lineage, Lineage::Unknown),
                }
            }
            assert_eq!(newer.len() + 1, request.after.len());
        }
    }
}

fn check_refusal(status: &Status) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let info = status.get_details_error_info().expect("ErrorInfo");
    assert!(info.domain == "tidings" && !info.reason.is_empty());
    let blamed = status.get_details_bad_request().expect("BadRequest").field_violations;
    assert!(blamed.len() == 1 && !blamed[0].field.is_empty() && !blamed[0].description.is_empty());
    assert!(status.message().len() + status.details().len() < STATUS_BYTES, "too long for headers: {status:?}");
}

/// Requests that get far.
pub fn request_seeds() -> Vec<Vec<u8>> {
    let pattern = Pattern::parse("orders.*").expect("valid");
    let at = |sequence| Position::new(Epoch::from_u64(7).expect("not 0"), sequence);
    let lineage = Lineage::Epoch { first: 40, previous: None };
    let mark = |sequence| Mark { position: at(sequence), lineage };
    let channel_cursor = cursor::encode_hashed(channel_hash("orders.eu"), mark(42));
    let name = Names::new("tidings", "").and_then(|names| names.parse("orders.eu")).expect("valid");
    let unnamed = vec![(Owner::Old(1), Position::START.into())];
    let whole = StreamCursor { data_set: None, channels: vec![(name, mark(41))], unnamed };
    let whole = cursor::encode_stream(&pattern, &whole).expect("it fits");
    let channel = || StreamMessagesRequest { channel: "orders.eu".to_owned(), ..Default::default() };
    let pattern = || StreamMessagesRequest { pattern: "orders.*".to_owned(), ..Default::default() };
    let heartbeat = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
    let since = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    let streams = [
        StreamMessagesRequest::default(),
        StreamMessagesRequest { earliest: true, on_gap: 2, heartbeat_interval: heartbeat(1, 1), ..channel() },
        StreamMessagesRequest { after: vec![channel_cursor.clone()], ..channel() },
        StreamMessagesRequest { after: vec![whole, channel_cursor], heartbeat_interval: heartbeat(0, 0), ..pattern() },
        StreamMessagesRequest { since: since(253_402_300_799, 999_999_999), ..pattern() },
        StreamMessagesRequest { since: since(-62_135_596_800, 1), ..channel() },
        StreamMessagesRequest { last: 10, earliest: true, ..channel() },
    ];
    let list = ListMessagesRequest { page_size: 10, order: 2, ..Default::default() };
    let mut seeds: Vec<_> = streams.iter().map(|stream| [vec![0], stream.encode_to_vec()].concat()).collect();
    seeds.push([vec![1], list.encode_to_vec()].concat());
    seeds
}

#[cfg(test)]
mod tests {
    #[test]
    fn requests() {
        tidings_testing::bytes::throw(&super::request_seeds(), super::check_request);
    }
}
