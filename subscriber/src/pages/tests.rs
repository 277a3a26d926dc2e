use std::time::Duration;

use tidings::{
    broker::{Broker, Retention, memory::Memory},
    channel::Names,
    message::{Draft, Epoch, Payload},
};

use tidings_transport::encoding::BlockBuilder;

use super::*;
use crate::chunk::Run;

fn channel() -> ChannelName {
    Names::new("tidings", "").expect("names").parse("c").expect("a name")
}

fn broker() -> Arc<Memory> {
    Memory::new(Retention {
        max_messages: 1_000,
        max_bytes: 1 << 20,
        max_age_ms: 60_000,
        dedup_window_ms: 60_000,
        dedup_max_ids: 10,
    })
}

async fn publish(broker: &Memory) {
    let draft = Draft {
        id: uuid::Uuid::now_v7(),
        dedup: None,
        payload: Payload::Text("x".to_owned()),
        attributes: Vec::new(),
        ordering_key: String::new(),
    };
    broker.publish(&channel(), vec![draft], 0).await.expect("published");
}

fn chunk(before: i64, bytes: usize) -> Arc<Chunk> {
    let before = Position { epoch: Epoch::from_u64(1), sequence: before };
    let runs = vec![Run {
        channel: channel(),
        before,
        last: before.sequence + 1,
        time_ms: 0,
        lineage: tidings::message::Lineage::Unknown,
        after_loss: false,
    }];
    let mut block = BlockBuilder::default();
    // With the prefix of a frame it has just so many.
    block.push(|encoder| encoder.written(bytes - 5, |buffer| buffer.resize(buffer.len() + bytes - 5, 0)));
    Arc::new(Chunk { block: block.copy(1 << 10), runs, entries: Vec::new() })
}

fn at(sequence: i64) -> Position {
    Position { epoch: Epoch::from_u64(1), sequence }
}

#[tokio::test]
async fn chunks_are_found_by_the_exact_position_and_are_bounded() {
    let pages = Pages::new(broker());
    let big = PAGES_BYTES / 4;
    pages.keep(&channel(), &[chunk(0, big), chunk(1, big), chunk(2, big)], 0);
    assert!(pages.get(&channel(), at(0)).is_some(), "and it is the last used now");
    assert!(pages.get(&channel(), Position::START).is_none(), "another epoch");
    pages.keep(&channel(), &[chunk(3, big), chunk(4, big)], 0);
    let there = |sequence| pages.get(&channel(), at(sequence)).is_some();
    assert_eq!([0, 1, 2, 3, 4].map(there), [true, false, true, true, true], "the least used went");
    pages.keep(&channel(), &[chunk(4, big)], 0);
    assert_eq!(pages.shelf().bytes, PAGES_BYTES, "what is replaced is not counted twice");
    pages.age(Instant::now() + PAGES_AGE / 2);
    assert!(there(4));
    pages.age(Instant::now() + PAGES_AGE + Duration::from_secs(1));
    let shelf = pages.shelf();
    assert_eq!((shelf.bytes, shelf.chunks.len()), (0, 0));
}

#[tokio::test]
async fn many_readers_take_small_pages() {
    let pages = Pages::new(broker());
    let limit = |counted: &mut Counted| pages.limit(counted).bytes;
    let mut streams = vec![Counted::default(); 1_000];
    assert_eq!(limit(&mut streams[0]), REPLAY_BYTES);
    assert_eq!(limit(&mut streams[0]), REPLAY_BYTES, "one reader is counted once");
    for stream in &mut streams {
        limit(stream);
    }
    assert_eq!(limit(&mut Counted::default()), CHUNK_BYTES);
    pages.age(Instant::now());
    assert_eq!(limit(&mut Counted::default()), CHUNK_BYTES, "those of the second before still count");
    pages.age(Instant::now());
    pages.age(Instant::now());
    assert_eq!(limit(&mut Counted::default()), REPLAY_BYTES);
}

#[tokio::test]
async fn two_pages_are_read_ahead_and_no_more() {
    let broker = Memory::new(Retention {
        max_messages: 20_000,
        max_bytes: 64 << 20,
        max_age_ms: 60_000,
        dedup_window_ms: 60_000,
        dedup_max_ids: 10,
    });
    for _ in 0..3 * REPLAY_MESSAGES + 10 {
        publish(&broker).await;
    }
    let epoch = broker.heads(&[channel()]).await.expect("heads")[0]
        .as_ref()
        .expect("it can be read")
        .as_ref()
        .expect("a head")
        .end()
        .epoch;
    let at = |page: usize| Position { epoch, sequence: (page * REPLAY_MESSAGES) as i64 };
    let pages = Pages::new(broker);
    let there = |page| pages.get(&channel(), at(page)).is_some();
    let until = async |page| {
        while !there(page) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Time enough for one too many to begin.
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let first = pages.read_ahead(&channel(), tidings::cursor::channel_hash("c"), at(0)).expect("few read");
    until(1).await;
    assert_eq!([0, 1, 2].map(there), [true, true, false], "the second waits for the reader to come to the first");
    assert!(first.is_at(&channel(), at(0)) && !first.is_at(&channel(), at(1)));
    let second = first.next().await.expect("it is there");
    until(2).await;
    assert_eq!([0, 1, 2, 3].map(there), [true, true, true, false]);
    assert!(second.is_at(&channel(), at(1)));
    let third = second.next().await.expect("it is there");
    let fourth = third.next().await.expect("the rest");
    assert!(fourth.is_at(&channel(), at(3)));
    assert!(fourth.next().await.is_none(), "behind the last is nothing");
    assert!(there(3));
    assert!(pages.read_ahead(&channel(), tidings::cursor::channel_hash("c"), at(0)).is_none(), "it lies there already");
    drop((first, second, third, fourth));
    pages.age(Instant::now());
    assert!(pages.shelf().ahead.is_empty());
}

#[tokio::test]
async fn where_many_read_nothing_is_read_ahead_and_who_comes_to_one_place_shares_it() {
    let broker = broker();
    publish(&broker).await;
    let pages = Pages::new(broker);
    let [one, other] = [0, 0].map(|sequence| {
        pages.read_ahead(&channel(), tidings::cursor::channel_hash("c"), at(sequence)).expect("few read")
    });
    assert!(Arc::ptr_eq(&one, &other));
    assert!(one.next().await.is_none());
    pages.shelf().readers = PAGES_BYTES / REPLAY_BYTES;
    assert!(pages.read_ahead(&channel(), tidings::cursor::channel_hash("c"), at(1)).is_none());
}
