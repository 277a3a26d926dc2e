use bytes::Bytes;
use tidings::{
    broker::history::EpochStart,
    channel::Pattern,
    envelope::encode,
    limits::{HELD_BYTES, HELD_PUSH_COST, MESSAGE_BYTES, PATTERN_CHANNELS, UNREADABLE_HELD},
    message::{Draft, Payload, Position},
};

use super::*;
use crate::chunk::Chunk;

fn names() -> Arc<Names> {
    Arc::new(Names::new("tidings", "").expect("names"))
}

fn name(text: &str) -> ChannelName {
    names().parse(text).expect("a name")
}

fn epoch(n: u64) -> Epoch {
    Epoch::from_u64(n).expect("not zero")
}

fn numbered(n: u64, sequence: i64) -> Bytes {
    dated(n, sequence, 1_000)
}

fn dated(n: u64, sequence: i64, time_ms: i64) -> Bytes {
    let draft = Draft {
        id: uuid::Uuid::now_v7(),
        dedup: None,
        payload: Payload::Text("hello".to_owned()),
        attributes: Vec::new(),
        ordering_key: String::new(),
    };
    encode(&draft).stamp(time_ms, sequence, epoch(n)).into()
}

fn head(n: u64, last: i64) -> Head {
    let epochs = vec![EpochStart { epoch: epoch(n), first: 1, previous_end: 0 }];
    Head {
        epochs,
        last,
        first: 1,
        time_ms: 0,
        keeps_history: true,
        losses: Vec::new(),
        data_set: None,
        adopted: Position::START,
    }
}

fn chunks(intake: &mut Intake) -> Vec<Arc<Chunk>> {
    let chunk = |item| match item {
        Item::Chunk(chunk) => Some(chunk),
        _ => None,
    };
    intake.take().into_iter().filter_map(chunk).collect()
}

/// (before, last) of each run, and the sequences of the messages.
fn received(intake: &mut Intake) -> (Vec<(Position, i64)>, Vec<i64>) {
    let chunks = chunks(intake);
    let runs = chunks.iter().flat_map(|chunk| &chunk.runs).map(|run| (run.before, run.last)).collect();
    (runs, chunks.iter().flat_map(|chunk| &chunk.entries).map(|entry| entry.sequence).collect())
}

fn ask(channel: &str) -> Option<Ask> {
    Some(Ask::Head(name(channel)))
}

fn intake() -> Intake {
    Intake::new(&Topic::Channel(name("c")), names(), Arc::default(), Room::default())
}

fn pattern(room: Room) -> Intake {
    Intake::new(&Topic::Pattern(Pattern::parse("*").expect("a pattern")), names(), Arc::default(), room)
}

#[test]
fn pushes_wait_for_the_head_and_keep_their_order() {
    let mut intake = intake();
    assert_eq!(intake.push(b"c", &numbered(1, 4)), ask("c"));
    assert_eq!(intake.push(b"c", b"plain"), None);
    assert_eq!(intake.push(b"c", &numbered(1, 5)), None);
    assert!(!intake.has_news());
    assert!(intake.learn(&name("c"), Some(&head(1, 5))).0);
    let at = |sequence| Position::new(epoch(1), sequence);
    assert_eq!(received(&mut intake), (vec![(at(3), 5)], vec![4, 0, 5]));
    assert_eq!(intake.room.bytes(), 0);
}

#[test]
fn a_plain_message_comes_after_what_came_before_it() {
    let mut intake = intake();
    assert!(intake.push(b"c", b"first").is_some());
    assert!(intake.push(b"c", &numbered(1, 1)).is_none());
    intake.learn(&name("c"), Some(&head(1, 1)));
    let (runs, sequences) = received(&mut intake);
    assert_eq!((runs[0].0.sequence, sequences), (0, vec![0, 1]), "not after message 1, which comes later");
}

#[test]
fn an_unknown_epoch_is_looked_up_once_and_then_not_believed() {
    let mut intake = intake();
    intake.push(b"c", &numbered(1, 1));
    intake.learn(&name("c"), Some(&head(1, 1)));
    assert_eq!(received(&mut intake).1, [1]);
    assert_eq!(intake.push(b"c", &numbered(9, 2)), ask("c"));
    intake.learn(&name("c"), Some(&head(1, 1)));
    assert_eq!(received(&mut intake).1, [0], "a stranger's claim is a plain message");
    assert_eq!(intake.push(b"c", &numbered(2, 2)), ask("c"));
    intake.learn(&name("c"), Some(&head(2, 2)));
    assert_eq!(received(&mut intake).1, [2]);
}

#[test]
fn a_jump_begins_another_chunk() {
    let mut intake = intake();
    intake.push(b"c", &numbered(1, 1));
    intake.learn(&name("c"), Some(&head(1, 1)));
    intake.push(b"c", &numbered(1, 2));
    assert_eq!(intake.push(b"c", &numbered(1, 5)), ask("c"), "whether the head confirms it");
    intake.learn(&name("c"), Some(&head(1, 5)));
    let chunks = chunks(&mut intake);
    assert_eq!(chunks.len(), 2);
    assert_eq!((chunks[0].runs[0].last, chunks[1].runs[0].before.sequence), (2, 4));
}

#[test]
fn names_that_break_the_rules_do_not_reach_patterns() {
    let mut intake = pattern(Room::default());
    for bad in [&b"a b"[..], b"tidings:{c}:log", b"__keyspace", b"\xff\xfe"] {
        assert_eq!(intake.push(bad, b"x"), None);
    }
    assert!(intake.channels.len() == 0);
    assert_eq!(intake.push(b"good", b"x"), ask("good"));
}

/// As large as a message may be, each another.
fn large(n: u8) -> Bytes {
    vec![n; MESSAGE_BYTES].into()
}

#[test]
fn what_waits_is_bounded() {
    let mut intake = intake();
    for n in 0..20 {
        intake.push(b"c", &large(n));
        assert!(intake.room.bytes() <= HELD_BYTES);
    }
    assert!(intake.take_loss());
    intake.learn(&name("c"), None);
    assert_eq!(received(&mut intake).1.len(), HELD_BYTES / (large(0).len() + HELD_PUSH_COST));
    assert_eq!(intake.room.bytes(), 0);
}

#[test]
fn feeds_share_the_room_and_give_it_back() {
    let room = Room::default();
    let (mut one, mut other) = (pattern(room.clone()), pattern(room.clone()));
    for n in 0..20 {
        one.push(b"c", &large(n));
    }
    other.push(b"c", &large(20));
    assert!(other.take_loss() && !other.holds(&name("c")), "the other has taken all");
    drop(one);
    assert_eq!(room.bytes(), 0);
    other.push(b"c", &large(21));
    assert!(!other.take_loss() && room.bytes() > MESSAGE_BYTES);
}

#[test]
fn a_large_message_waits_once_for_all_feeds() {
    let room = Room::default();
    let mut feeds: Vec<_> = (0..200).map(|_| pattern(room.clone())).collect();
    for n in 0..6 {
        for feed in &mut feeds {
            feed.push(b"c", &large(n));
            feed.push(b"c", b"small");
        }
    }
    let small = 5 + HELD_PUSH_COST;
    assert_eq!(room.bytes(), 6 * MESSAGE_BYTES + 6 * feeds.len() * (HELD_PUSH_COST + small));
    for feed in &mut feeds {
        assert!(!feed.take_loss());
        feed.learn(&name("c"), None);
        let payloads: usize = chunks(feed).iter().map(|chunk| chunk.block.bytes()).sum();
        assert!(payloads > 6 * MESSAGE_BYTES);
    }
    assert_eq!(room.bytes(), 0);
}

#[test]
fn channels_that_wait_are_bounded_however_little_comes_on_each() {
    let mut intake = pattern(Room::default());
    for n in 0..PATTERN_CHANNELS {
        assert!(intake.push(format!("c{n}").as_bytes(), b"").is_some());
    }
    assert_eq!(intake.push(b"more", b""), None, "nothing is asked");
    assert!(intake.take_loss() && intake.channels.len() == PATTERN_CHANNELS);
    intake.learn(&name("c7"), None);
    assert_eq!(intake.push(b"more", b""), ask("more"));
}

#[test]
fn what_waits_for_a_channel_that_can_not_be_read_leaves_room_for_others() {
    let mut intake = pattern(Room::default());
    let large = vec![b'x'; MESSAGE_BYTES];
    for payload in [&large[..], b"small"] {
        assert_eq!(intake.push(b"bad", payload), ask("bad"));
        for _ in 0..10 {
            intake.push(b"bad", payload);
        }
        intake.wait_long(&name("bad"));
        for i in 0..2 * UNREADABLE_HELD {
            intake.push(b"bad", payload);
            let most = (MESSAGE_BYTES + HELD_PUSH_COST).max(UNREADABLE_HELD * (HELD_PUSH_COST + 5));
            assert!(intake.room.bytes() <= most, "{i}: {}", intake.room.bytes());
        }
        assert!(!intake.take_loss(), "nobody has to look into all logs");
        intake.learn(&name("bad"), None);
        assert!(intake.unreadable.is_empty() && intake.room.bytes() == 0);
        received(&mut intake);
        intake.forget();
    }
}

mod doubts;
