use std::time::Duration;

use tidings::channel::Names;
use tidings_transport::encoding::BlockBuilder;

use super::*;
use crate::chunk::Run;

fn channel() -> ChannelName {
    Names::new("tidings", "").expect("names").parse("c").expect("a name")
}

fn chunk(bytes: usize, before: i64, last: i64) -> Item {
    let before = Position { epoch: tidings::message::Epoch::from_u64(1), sequence: before };
    let runs = vec![Run {
        channel: channel(),
        before,
        last,
        time_ms: 0,
        lineage: tidings::message::Lineage::Unknown,
        after_loss: false,
    }];
    let mut block = BlockBuilder::default();
    // With the prefix of a frame it has just so many.
    block.push(|encoder| encoder.written(bytes - 5, |buffer| buffer.resize(buffer.len() + bytes - 5, 0)));
    Item::Chunk(Arc::new(Chunk { block: block.copy(1 << 10), runs, entries: Vec::new() }))
}

fn peek(follower: &Follower) -> Found {
    follower.peek(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_follower_sees_what_comes_after_it_began() {
    let feed = Feed::new(&Arc::default());
    feed.push([chunk(9, 0, 1)]);
    let mut follower = feed.follow();
    assert!(matches!(peek(&follower), Found::Nothing));
    feed.push([chunk(9, 1, 2), Item::Break]);
    assert!(matches!(peek(&follower), Found::Item(Item::Chunk(_))));
    follower.advance();
    assert!(matches!(peek(&follower), Found::Item(Item::Break)));
    follower.advance();
    assert!(matches!(peek(&follower), Found::Nothing));
}

#[test]
fn the_ring_is_bounded_and_who_falls_behind_finds_out() {
    let feed = Feed::new(&Arc::default());
    let mut slow = feed.follow();
    for i in 0..40 {
        feed.push([chunk(RING_BYTES / 16, i, i + 1)]);
    }
    assert!(feed.ring().bytes <= RING_BYTES);
    assert!(matches!(peek(&slow), Found::Passed));
    slow.rewind();
    assert!(matches!(peek(&slow), Found::Item(Item::Chunk(chunk)) if chunk.runs[0].before.sequence == 25));
    feed.push([chunk(RING_BYTES * 2, 40, 41)]);
    assert_eq!(feed.ring().items.len(), 1, "the newest stays, however large it is");
}

#[test]
fn who_falls_behind_gets_the_rewritten_histories_that_it_has_not_passed() {
    let feed = Feed::new(&Arc::default());
    let epoch = Epoch::from_u64(1).expect("not zero");
    let rewrite = |from| Arc::new(Rewrite { channel: channel(), epoch, from, to: 9, time_ms: 0 });
    let (mut slow, mut quick) = (feed.follow(), feed.follow());
    feed.push([Item::Rewritten(rewrite(1))]);
    quick.advance();
    feed.push([Item::Rewritten(rewrite(2)), chunk(RING_BYTES * 2, 0, 1), chunk(RING_BYTES * 2, 1, 2)]);
    let passed = |follower: &mut Follower| {
        assert!(matches!(peek(follower), Found::Passed));
        follower.rewind().iter().map(|rewrite| rewrite.from).collect::<Vec<_>>()
    };
    assert_eq!((passed(&mut slow), passed(&mut quick)), (vec![1, 2], vec![2]));
    assert!(slow.rewind().is_empty());
    for from in 0..2 * FEED_REWRITES as i64 {
        feed.push([Item::Rewritten(rewrite(from))]);
    }
    assert_eq!(feed.ring().rewrites.len(), FEED_REWRITES);
}

#[test]
fn what_is_old_goes_and_nobody_is_counted_twice() {
    let feed = Feed::new(&Arc::default());
    assert!(feed.idle_since().is_some());
    let (one, two) = (feed.follow(), feed.follow());
    assert_eq!((feed.followers(), feed.idle_since()), (2, None));
    feed.push([chunk(9, 0, 1)]);
    feed.age(Instant::now());
    assert!(matches!(peek(&one), Found::Item(_)));
    feed.age(Instant::now() + RING_AGE + Duration::from_secs(1));
    assert!(matches!(peek(&one), Found::Passed));
    assert_eq!(feed.ring().bytes, 0);
    drop((one, two));
    assert_eq!(feed.followers(), 0);
    assert!(feed.idle_since().is_some());
}

#[test]
fn all_rings_together_are_bounded() {
    let rings = Arc::new(Rings::default());
    let feeds: Vec<_> = (0..4 * RINGS_BYTES / RING_BYTES).map(|_| Feed::new(&rings)).collect();
    for i in 0..32 {
        for feed in &feeds {
            feed.push([chunk(RING_BYTES / 16, i, i + 1)]);
        }
    }
    let held = || feeds.iter().map(|feed| feed.ring().bytes).sum::<usize>();
    assert!(held() == rings.bytes.load(Relaxed) && held() <= RINGS_BYTES + RINGS_BYTES / 8, "{}", held());
    assert_eq!(rings.filled.load(Relaxed), feeds.len());
    feeds.iter().for_each(|feed| feed.push([chunk(RING_BYTES, 32, 33)]));
    assert!(feeds.iter().all(|feed| feed.ring().items.len() == 1), "the newest of each stays");
    drop(feeds);
    assert_eq!((rings.bytes.load(Relaxed), rings.filled.load(Relaxed)), (0, 0));
}

#[test]
fn the_first_run_beyond_a_position_is_found() {
    let feed = Feed::new(&Arc::default());
    let follower = feed.follow();
    feed.push([chunk(9, 0, 3), chunk(9, 6, 9)]);
    let at = |sequence| Position { epoch: tidings::message::Epoch::from_u64(1), sequence };
    assert_eq!(follower.first_beyond(&channel(), at(1)), Some(0));
    assert_eq!(follower.first_beyond(&channel(), at(3)), Some(6));
    assert_eq!(follower.first_beyond(&channel(), at(9)), None);
    assert_eq!(follower.first_beyond(&channel(), Position::START), None);
}
