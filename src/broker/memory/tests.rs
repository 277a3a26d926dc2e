//! What the conformance suite can't reach: time, bounds and slow readers. The clock is the test's own.

use std::sync::atomic::{AtomicI64, Ordering};

use uuid::Uuid;

use super::*;
use crate::{
    broker::Topic,
    channel::Names,
    limits::{BATCH_BYTES, HEAD_LINGER},
    message::{DedupKey, Payload, Sender},
};

mod subscriptions;

const START_MS: i64 = 1_000_000;
const RETENTION: Retention = Retention {
    max_messages: 1_000,
    max_bytes: 1 << 20,
    max_age_ms: 10_000,
    dedup_window_ms: 1_000,
    dedup_max_ids: 100,
};
const BOUNDS: Bounds = Bounds { channels: 3, bytes: 64 << 10, queue_bytes: 8 << 10 };

struct Set {
    memory: Arc<Memory>,
    time_ms: Arc<AtomicI64>,
}

impl Set {
    fn new(retention: Retention) -> Self {
        let time_ms = Arc::new(AtomicI64::new(START_MS));
        let clock = time_ms.clone();
        Self { memory: Memory::build(retention, BOUNDS, Box::new(move || clock.load(Ordering::Relaxed))), time_ms }
    }

    fn at(&self, time_ms: i64) {
        self.time_ms.store(time_ms, Ordering::Relaxed);
    }

    async fn publish(&self, channel: &str, drafts: Vec<Draft>) -> Published {
        self.memory.publish(&name(channel), drafts, 0).await
    }

    async fn head(&self, channel: &str) -> Option<Head> {
        self.memory.heads(&[name(channel)]).await.expect("open").remove(0).expect("it can be read")
    }

    fn cost(&self) -> usize {
        let core = self.memory.inner.lock();
        assert_eq!(core.bytes, core.channels.values().map(Channel::cost).sum::<usize>() + core.shelf.cost());
        core.bytes
    }
}

fn name(name: &str) -> ChannelName {
    Names::new("tidings", "").expect("valid").parse(name).expect("valid")
}

fn draft(bytes: usize) -> Draft {
    Draft {
        id: Uuid::now_v7(),
        dedup: None,
        payload: Payload::Text("x".repeat(bytes)),
        attributes: Vec::new(),
        ordering_key: String::new(),
    }
}

fn with_id(id: Uuid) -> Draft {
    Draft { id, dedup: Some(DedupKey::new(Sender::Unasked, id)), ..draft(1) }
}

#[tokio::test]
async fn log_time_never_steps_back() {
    let set = Set::new(RETENTION);
    for (now_ms, expected_ms) in [(START_MS + 5, START_MS + 5), (START_MS, START_MS + 5), (START_MS + 6, START_MS + 6)]
    {
        set.at(now_ms);
        let receipts = set.publish("a", vec![draft(1)]).await.expect("published");
        assert_eq!(receipts[0].time_ms, expected_ms);
    }
    assert_eq!(set.memory.sequence_before(&name("a"), START_MS + 6).await, Ok(2));
}

#[tokio::test]
async fn a_quiet_log_goes_after_one_max_age_and_its_head_seven_days_later() {
    let set = Set::new(RETENTION);
    let first = set.publish("a", vec![draft(1)]).await.expect("published")[0];
    set.at(START_MS + 10_000);
    assert_eq!(set.head("a").await.expect("kept").first, 1);
    set.at(START_MS + 10_001);
    let head = set.head("a").await.expect("kept");
    assert_eq!((head.first, head.last, head.epoch()), (2, 1, Some(first.epoch)));
    let lingers_ms = HEAD_LINGER.as_millis() as i64;
    set.at(START_MS + 10_000 + lingers_ms);
    assert!(set.head("a").await.is_some());
    set.at(START_MS + 10_001 + lingers_ms);
    assert_eq!(set.memory.channels(None, "", 10).await.expect("open"), []);
    assert_eq!(set.head("a").await, None);
    let again = set.publish("a", vec![draft(1)]).await.expect("published")[0];
    assert!(again.sequence == 1 && again.epoch != first.epoch);
}

#[tokio::test]
async fn publishes_sweep_what_other_channels_keep_too_long() {
    let set = Set::new(RETENTION);
    set.publish("a", vec![draft(5_000)]).await.expect("published");
    set.publish("b", vec![with_id(Uuid::now_v7())]).await.expect("published");
    let before = set.cost();
    set.at(START_MS + 20_000);
    set.publish("c", vec![draft(1)]).await.expect("published");
    // Three channels, of which only the last one holds something.
    assert!(set.cost() + 4_000 < before, "{} of {before}", set.cost());
}

#[tokio::test]
async fn channels_and_memory_are_bounded() {
    let set = Set::new(RETENTION);
    for channel in ["a", "b", "c"] {
        set.publish(channel, vec![draft(1)]).await.expect("published");
    }
    assert!(matches!(set.publish("d", vec![draft(1)]).await, Err(Error::Full(_))));
    let before = (set.head("a").await, set.cost());
    assert!(matches!(set.publish("a", vec![draft(1), draft(70_000)]).await, Err(Error::Full(_))));
    assert_eq!((set.head("a").await, set.cost()), before);
    set.publish("a", vec![draft(1)]).await.expect("there is room for this one");
}

#[tokio::test]
async fn a_full_broker_still_takes_what_replaces_older_messages() {
    let set = Set::new(Retention { max_messages: 3, ..RETENTION });
    for _ in 0..3 {
        set.publish("a", vec![draft(20_000)]).await.expect("published");
    }
    assert!(matches!(set.publish("b", vec![draft(20_000)]).await, Err(Error::Full(_))));
    for _ in 0..10 {
        set.publish("a", vec![draft(20_000)]).await.expect("replaces the oldest");
    }
    assert!(set.cost() <= BOUNDS.bytes);
}

#[tokio::test]
async fn the_newest_message_stays_at_any_size() {
    let set = Set::new(Retention { max_bytes: 10, ..RETENTION });
    set.publish("a", vec![draft(100), draft(100)]).await.expect("published");
    assert_eq!(set.head("a").await.expect("kept").first, 2);
}

#[tokio::test]
async fn a_slow_reader_learns_once_that_pushes_are_lost() {
    let set = Set::new(RETENTION);
    let (control, mut events) = set.memory.live();
    let topic = Topic::Channel(name("a"));
    control.send(LiveCommand::Subscribe(topic.clone())).await.expect("open");
    let first = events.recv().await.expect("open");
    assert!(matches!(&first[..], [LiveEvent::Subscribed(subscribed)] if *subscribed == topic));
    // Nothing is read: some calls wait in the channel, then the queue fills, several times over.
    for _ in 0..40 {
        set.publish("a", vec![draft(1_000)]).await.expect("published");
        tokio::task::yield_now().await;
    }
    let pattern = Topic::Pattern(Pattern::parse("*").expect("valid"));
    control.send(LiveCommand::Subscribe(pattern.clone())).await.expect("open");
    control.send(LiveCommand::Check(name("a"))).await.expect("open");
    let (mut pushes, mut lost, mut restored, mut confirmed) = (0, 0, 0, false);
    loop {
        for event in events.recv().await.expect("open") {
            match &event {
                LiveEvent::Push { .. } => pushes += 1,
                LiveEvent::Lost(_) => lost += 1,
                LiveEvent::Restored => restored += 1,
                LiveEvent::Subscribed(topic) => confirmed |= *topic == pattern,
                LiveEvent::Head(_, head) => {
                    assert_eq!(head.as_ref().expect("kept").last, 40);
                    assert_eq!((lost, restored, confirmed), (1, 1, true));
                    assert!((1..40).contains(&pushes), "{pushes}");
                    return;
                }
                LiveEvent::Oversized { .. }
                | LiveEvent::NoHead(..)
                | LiveEvent::Refused(..)
                | LiveEvent::Recent { .. }
                | LiveEvent::Notice { .. }
                | LiveEvent::Captured(_)
                | LiveEvent::NotCaptured(..) => {
                    panic!("nothing is refused or captured here: {event:?}")
                }
            }
        }
    }
}

#[test]
fn an_overrun_keeps_confirmations_and_counts_again() {
    let queue = Queue::new(1_000);
    let mut connections = Connections::default();
    let queue = Arc::new(queue);
    let id = connections.open(queue.clone());
    let topic = Topic::Channel(name("a"));
    connections.subscribe(id, topic.clone());
    connections.subscribe(id, topic);
    let large = Bytes::from(vec![b'x'; BATCH_BYTES]);
    for _ in 0..3 {
        connections.deliver(&name("a"), std::slice::from_ref(&large));
    }
    let events = queue.take();
    assert!(matches!(events[..], [LiveEvent::Lost(_), LiveEvent::Restored, LiveEvent::Subscribed(_)]), "{events:?}");
    assert!(queue.take().is_empty());
    // A call that is larger than the whole queue passes where nothing waits.
    connections.deliver(&name("a"), &[large]);
    assert!(matches!(queue.take()[..], [LiveEvent::Push { .. }]));
    connections.close(id);
    connections.deliver(&name("a"), &[Bytes::from_static(b"x")]);
    assert!(queue.take().is_empty());
}

#[tokio::test]
async fn dropping_the_asking_side_ends_a_connection() {
    let set = Set::new(RETENTION);
    let (control, mut events) = set.memory.live();
    control.send(LiveCommand::Subscribe(Topic::Channel(name("a")))).await.expect("open");
    events.recv().await.expect("confirmed");
    drop(control);
    assert!(events.recv().await.is_none());
    set.memory.close().await;
}

#[tokio::test]
async fn a_closed_broker_refuses_and_says_so() {
    let set = Set::new(RETENTION);
    let (_control, mut events) = set.memory.live();
    assert_eq!(*set.memory.state().borrow(), State::Up);
    set.memory.close().await;
    assert!(events.recv().await.is_none());
    assert!(matches!(*set.memory.state().borrow(), State::Down(_)));
    assert!(matches!(set.publish("a", vec![draft(1)]).await, Err(Error::Unavailable(_))));
    assert!(set.memory.heads(&[name("a")]).await.is_err());
}
