use std::time::Duration;

use bytes::Bytes;
use tidings::{
    broker::{Broker, Retention, memory::Memory},
    channel::Names,
    message::{Draft, Epoch, Payload},
};

use super::*;
use crate::frames::Run;

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
        deduplicate: false,
        payload: Payload::Text("x".to_owned()),
        attributes: Vec::new(),
        ordering_key: String::new(),
    };
    broker.publish(&channel(), vec![draft], 0).await.expect("published");
}

fn chunk(before: i64, bytes: usize) -> Arc<Chunk> {
    let before = Position { epoch: Epoch::from_u64(1), sequence: before };
    let runs = vec![Run { channel: channel(), before, last: before.sequence + 1, time_ms: 0 }];
    Arc::new(Chunk { bytes: Bytes::from(vec![0; bytes]), runs, entries: Vec::new() })
}

fn at(sequence: i64) -> Position {
    Position { epoch: Epoch::from_u64(1), sequence }
}

#[tokio::test]
async fn chunks_are_found_by_the_exact_position_and_are_bounded() {
    let pages = Pages::new(broker());
    let big = PAGES_BYTES / 4;
    pages.keep(&channel(), &[chunk(0, big), chunk(1, big), chunk(2, big)]);
    assert!(pages.get(&channel(), at(0)).is_some(), "and it is the last used now");
    assert!(pages.get(&channel(), Position::START).is_none(), "another epoch");
    pages.keep(&channel(), &[chunk(3, big), chunk(4, big)]);
    let there = |sequence| pages.get(&channel(), at(sequence)).is_some();
    assert_eq!([0, 1, 2, 3, 4].map(there), [true, false, true, true, true], "the least used went");
    pages.keep(&channel(), &[chunk(4, big)]);
    assert_eq!(pages.shelf().bytes, PAGES_BYTES, "what is replaced is not counted twice");
    pages.age(Instant::now() + PAGES_AGE / 2);
    assert!(there(4));
    pages.age(Instant::now() + PAGES_AGE + Duration::from_secs(1));
    let shelf = pages.shelf();
    assert_eq!((shelf.bytes, shelf.chunks.len()), (0, 0));
}

#[tokio::test]
async fn a_read_is_shared_by_those_who_came_before_it_began_only() {
    let broker = broker();
    publish(&broker).await;
    let pages = Pages::new(broker.clone());
    let (c, mut counted) = (channel(), Counted::default());
    let place = pages.place(&c, 0, &mut counted).0;
    // One reads, and two wait for it: what it reads began before they came.
    let last = place.read.last.lock().await;
    let number = place.read.begun.fetch_add(1, Ordering::AcqRel) + 1;
    let read = async |pages: &Arc<Pages>| pages.read(&channel(), 0, &mut Counted::default()).await.expect("read");
    let waiting = async { tokio::join!(read(&pages), read(&pages)) };
    let old = async {
        tokio::task::yield_now().await;
        publish(&broker).await;
        let mut last = last;
        *last = Some((number, Arc::new(Page::default())));
    };
    let ((first, second), ()) = tokio::join!(waiting, old);
    assert_eq!((first.messages.len(), second.messages.len()), (2, 2), "the old read tells them nothing");
    assert!(Arc::ptr_eq(&first, &second), "one read for both");
    drop(place);
    assert!(pages.shelf().reads.is_empty(), "nobody is interested any more");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_not_polled_holds_up_nobody() {
    let broker = broker();
    publish(&broker).await;
    let pages = Pages::new(broker);
    let place = pages.place(&channel(), 0, &mut Counted::default()).0;
    let _stuck = place.read.last.lock().await;
    let page = pages.read(&channel(), 0, &mut Counted::default()).await.expect("read");
    assert_eq!(page.messages.len(), 1);
}

#[tokio::test]
async fn many_readers_take_small_pages() {
    let pages = Pages::new(broker());
    let limit = |counted: &mut Counted| pages.place(&channel(), 0, counted).1.bytes;
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
