//! Brokers to test, and helpers to use them. Every wait has an end.

use std::{collections::VecDeque, sync::Mutex, time::Duration};

use bytes::Bytes;
use tidings::{
    broker::{
        From, Head, LiveCommand, LiveControl, LiveEvent, LiveEvents, PageLimit, Receipt, Retention, Shared, State,
        Stored, Topic, memory::Memory,
    },
    channel::{ChannelName, Names},
    envelope,
    message::{Draft, Payload},
};
use tidings_testing::{DURABLE, RedisServer};
use uuid::Uuid;

use self::rights::Rights;

mod redis;
pub(crate) mod rights;

/// How long an answer may take on a busy machine.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// A retention under which no test loses anything.
pub(crate) const KEEP_ALL: Retention = Retention {
    max_messages: 100_000,
    max_bytes: 64 << 20,
    max_age_ms: 24 * 3_600_000,
    dedup_window_ms: 120_000,
    dedup_max_ids: 1_000_000,
};

/// Starts brokers of one kind, and ends them.
pub(crate) struct Fixture {
    server: Option<RedisServer>,
    rights: Option<Box<Rights>>,
    started: Mutex<Vec<Shared>>,
}

impl Fixture {
    pub(crate) fn memory() -> Self {
        Self { server: None, rights: None, started: Mutex::default() }
    }

    /// A Redis of which each service may do what it needs, and no more.
    pub(crate) fn least_rights() -> Self {
        Self { rights: Some(Box::new(Rights::new())), ..Self::memory() }
    }

    pub(crate) fn redis() -> Self {
        Self { server: Some(RedisServer::start()), ..Self::memory() }
    }

    /// A Redis that loses nothing when it is restarted.
    pub(crate) fn durable_redis() -> Self {
        Self { server: Some(RedisServer::start_with(&DURABLE)), ..Self::memory() }
    }

    /// Kills the server, if there is one, and starts it again.
    pub(crate) fn restart(&mut self) -> bool {
        self.server.as_mut().map(RedisServer::restart).is_some()
    }

    pub(crate) async fn broker(&self, retention: Retention) -> Shared {
        self.brokers(retention, 1).await.remove(0)
    }

    /// Brokers that share their channels, as two processes do: on Redis each has connections of its own, in memory they
    /// are one and the same.
    pub(crate) async fn brokers(&self, retention: Retention, count: usize) -> Vec<Shared> {
        let brokers: Vec<Shared> = match (&self.server, &self.rights) {
            (None, None) => {
                let memory: Shared = Memory::new(retention);
                vec![memory; count]
            }
            (Some(server), _) => (0..count).map(|_| redis::start(server, retention)).collect(),
            (None, Some(rights)) => (0..count).map(|_| rights.services(retention)).collect(),
        };
        for broker in &brokers {
            let mut state = broker.state();
            let up = state.wait_for(|state| *state == State::Up);
            let up = tokio::time::timeout(TEST_TIMEOUT, up).await.is_ok_and(|up| up.is_ok());
            assert!(up, "gave up waiting: the broker is up; it is {:?}", *broker.state().borrow());
        }
        self.started.lock().expect("no panic").extend(brokers.iter().cloned());
        brokers
    }

    pub(crate) async fn close(self) {
        let started = self.started.into_inner().expect("no panic");
        for broker in started {
            within(broker.close(), "the broker closes").await;
        }
    }
}

/// Waits for an answer that must come.
pub(crate) async fn within<T>(answer: impl Future<Output = T>, what: &str) -> T {
    match tokio::time::timeout(TEST_TIMEOUT, answer).await {
        Ok(answer) => answer,
        Err(_) => panic!("gave up waiting: {what}"),
    }
}

pub(crate) fn name(name: &str) -> ChannelName {
    Names::new("tidings", "").expect("valid").parse(name).expect("valid")
}

pub(crate) fn draft(payload: Payload) -> Draft {
    let (attributes, ordering_key) = (Vec::new(), String::new());
    Draft { id: Uuid::now_v7(), dedup: None, payload, attributes, ordering_key }
}

pub(crate) fn text(text: &str) -> Draft {
    draft(Payload::Text(text.to_owned()))
}

pub(crate) async fn publish(broker: &Shared, channel: &ChannelName, drafts: Vec<Draft>) -> Vec<Receipt> {
    within(broker.publish(channel, drafts, 0), "a receipt").await.expect("published")
}

pub(crate) async fn head(broker: &Shared, channel: &ChannelName) -> Option<Head> {
    let heads = within(broker.heads(std::slice::from_ref(channel)), "a head").await;
    heads.expect("read").pop().expect("one answer for one channel").expect("it can be read")
}

/// The whole log, oldest first.
pub(crate) async fn read_all(broker: &Shared, channel: &ChannelName) -> Vec<Stored> {
    let limit = PageLimit { messages: 1_000, bytes: 4 << 20 };
    let mut log: Vec<Stored> = Vec::new();
    loop {
        let after = log.last().map_or(0, |stored| stored.sequence);
        let page = within(broker.read(channel, From::After(after), limit), "a page").await.expect("read");
        log.extend(page.messages);
        if page.is_last {
            return log;
        }
    }
}

/// What a live connection reports of its subscriptions.
#[derive(Debug)]
pub(crate) enum Seen {
    Subscribed(Topic),
    Push(Topic, String, Bytes),
    Head(ChannelName, Option<Head>),
}

/// A live connection that is read one thing at a time. A loss is a failure: no test here causes one.
pub(crate) struct Live {
    control: LiveControl,
    events: LiveEvents,
    waiting: VecDeque<LiveEvent>,
}

impl Live {
    pub(crate) fn open(broker: &Shared) -> Self {
        let (control, events) = broker.live();
        Self { control, events, waiting: VecDeque::new() }
    }

    pub(crate) async fn send(&self, command: LiveCommand) {
        within(self.control.send(command), "a command is taken").await.expect("the connection is open");
    }

    /// Subscribes, and expects the confirmation as the next event.
    pub(crate) async fn subscribe(&mut self, topic: Topic) {
        self.send(LiveCommand::Subscribe(topic.clone())).await;
        let seen = self.next().await;
        assert!(matches!(&seen, Seen::Subscribed(confirmed) if *confirmed == topic), "{seen:?}");
    }

    pub(crate) async fn push(&mut self) -> (Topic, String, Bytes) {
        match self.next().await {
            Seen::Push(topic, channel, payload) => (topic, channel, payload),
            other => panic!("a push was expected: {other:?}"),
        }
    }

    /// The sequences of the next pushes.
    pub(crate) async fn sequences(&mut self, count: usize) -> Vec<i64> {
        let mut sequences = Vec::with_capacity(count);
        for _ in 0..count {
            let (_, _, payload) = self.push().await;
            sequences.push(envelope::decode(&payload, 0).claim.expect("one of ours").sequence);
        }
        sequences
    }

    pub(crate) async fn head(&mut self) -> (ChannelName, Option<Head>) {
        match self.next().await {
            Seen::Head(channel, head) => (channel, head),
            other => panic!("a head was expected: {other:?}"),
        }
    }

    /// No push is under way: the answer of a check comes after all of them.
    pub(crate) async fn assert_quiet(&mut self, channel: &ChannelName) {
        self.send(LiveCommand::Check(channel.clone())).await;
        assert_eq!(self.head().await.0, *channel);
    }

    /// Drops the commands, and returns the events until the end.
    pub(crate) async fn hang_up(self) -> Vec<Seen> {
        let Self { control, mut events, waiting } = self;
        drop(control);
        let mut seen: Vec<_> = waiting.into_iter().filter_map(seen_of).collect();
        while let Some(more) = events.recv().await {
            seen.extend(more.into_iter().filter_map(seen_of));
        }
        seen
    }

    async fn next(&mut self) -> Seen {
        loop {
            if let Some(seen) = seen_of(self.any().await) {
                return seen;
            }
        }
    }

    /// The next event as it is, but for a link that is up for the first time.
    pub(crate) async fn event(&mut self) -> LiveEvent {
        loop {
            match self.any().await {
                LiveEvent::Restored => {}
                event => return event,
            }
        }
    }

    /// Waits until a loss was reported, and that all is subscribed again.
    pub(crate) async fn restored(&mut self) {
        while !matches!(self.any().await, LiveEvent::Lost(_)) {}
        while !matches!(self.any().await, LiveEvent::Restored) {}
    }

    async fn any(&mut self) -> LiveEvent {
        loop {
            match self.waiting.pop_front() {
                Some(event) => return event,
                None => {
                    let more = within(self.events.recv(), "an event").await;
                    self.waiting.extend(more.expect("the connection is open"));
                }
            }
        }
    }
}

fn seen_of(event: LiveEvent) -> Option<Seen> {
    match event {
        LiveEvent::Subscribed(topic) => Some(Seen::Subscribed(topic)),
        LiveEvent::Push { topic, channel, payload } => {
            Some(Seen::Push(topic, String::from_utf8(channel.into()).expect("a name of ours"), payload))
        }
        LiveEvent::Head(channel, head) => Some(Seen::Head(channel, head)),
        // A link to Redis says so when it is up for the first time, too. After a loss this line is not reached.
        LiveEvent::Restored => None,
        other => panic!("nothing was lost or refused: {other:?}"),
    }
}
