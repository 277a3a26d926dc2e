//! Brokers on a server of a test's own, and helpers to use them. Every wait has an end.

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    process::Command,
    time::Duration,
};

use tidings::{
    broker::{Head, LiveCommand, LiveControl, LiveEvent, LiveEvents, Receipt, Retention, Shared, State, Topic},
    channel::{ChannelName, Names, Pattern},
    message::{DedupKey, Draft, Payload, Sender},
};
use tidings_redis::{Redis, Role, ServerUrl, Settings};
use tidings_testing::RedisServer;
use uuid::Uuid;

/// How long an answer may take on a busy machine.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);
/// What the brokers here allow Redis.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(3);

/// A retention under which no test loses anything, with a window whose next border lies in the year 2033.
pub(crate) const KEEP_ALL: Retention = Retention {
    max_messages: 100_000,
    max_bytes: 64 << 20,
    max_age_ms: 24 * 3_600_000,
    dedup_window_ms: 1_000_000_000_000,
    dedup_max_ids: 1_000_000,
};

pub(crate) fn settings(url: &str) -> Settings {
    Settings {
        server: ServerUrl::parse(url).expect("a valid URL").into(),
        key_prefix: "tidings".to_owned(),
        timeout: TIMEOUT,
        retention: KEEP_ALL,
        role: Role::Both,
    }
}

/// A broker that is connected.
pub(crate) async fn connect(settings: Settings) -> Shared {
    let broker: Shared = Redis::start(settings);
    up(&broker).await;
    broker
}

pub(crate) async fn broker(server: &RedisServer) -> Shared {
    connect(settings(&server.url())).await
}

pub(crate) async fn up(broker: &Shared) {
    let mut state = broker.state();
    let up = tokio::time::timeout(TEST_TIMEOUT, state.wait_for(|state| *state == State::Up)).await.map(|up| up.is_ok());
    assert_eq!(up, Ok(true), "gave up waiting: the broker is up; it is {:?}", *broker.state().borrow());
}

/// Waits until the broker is down, and answers why.
pub(crate) async fn down(broker: &Shared) -> String {
    let mut state = broker.state();
    match &*within(state.wait_for(|state| *state != State::Up), "the broker is down")
        .await
        .expect("it reports its state")
    {
        State::Down(reason) => reason.clone(),
        State::Up => panic!("the broker is up"),
    }
}

/// Waits for an answer that must come.
pub(crate) async fn within<T>(answer: impl Future<Output = T>, what: &str) -> T {
    match tokio::time::timeout(TEST_TIMEOUT, answer).await {
        Ok(answer) => answer,
        Err(_) => panic!("gave up waiting: {what}"),
    }
}

/// Polls until a condition holds.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let polling = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(polling, what).await;
}

pub(crate) fn name(name: &str) -> ChannelName {
    Names::new("tidings", "").expect("valid").parse(name).expect("valid")
}

pub(crate) fn text(text: &str) -> Draft {
    let (payload, attributes, ordering_key) = (Payload::Text(text.to_owned()), Vec::new(), String::new());
    Draft { id: Uuid::now_v7(), dedup: None, payload, attributes, ordering_key }
}

pub(crate) fn with_id(id: Uuid) -> Draft {
    Draft { id, dedup: Some(DedupKey::new(Sender::Unasked, id)), ..text("with an id") }
}

pub(crate) fn texts(count: usize) -> Vec<Draft> {
    (0..count).map(|i| text(&i.to_string())).collect()
}

pub(crate) async fn publish(broker: &Shared, channel: &ChannelName, drafts: Vec<Draft>) -> Vec<Receipt> {
    within(broker.publish(channel, drafts, 0), "a receipt").await.expect("published")
}

pub(crate) async fn head(broker: &Shared, channel: &ChannelName) -> Option<Head> {
    let heads = within(broker.heads(std::slice::from_ref(channel)), "a head").await;
    heads.expect("read").pop().expect("one answer for one channel").expect("it can be read")
}

/// Sends a signal to the server's process: STOP for a server that hangs, CONT for one that continues.
pub(crate) fn signal(server: &RedisServer, signal: &str) {
    let pid = server.pid().expect("it runs").to_string();
    let sent = Command::new("kill").args([&format!("-{signal}"), &pid]).status();
    assert!(sent.expect("kill can be run").success());
}

pub(crate) fn channel(channel: &str) -> Topic {
    Topic::Channel(name(channel))
}

pub(crate) fn pattern(pattern: &str) -> Topic {
    Topic::Pattern(Pattern::parse(pattern).expect("valid"))
}

/// A live connection that is read one event at a time.
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

    pub(crate) async fn subscribe(&mut self, topic: Topic) {
        self.send(LiveCommand::Subscribe(topic.clone())).await;
        let event = self.next().await;
        assert!(matches!(&event, LiveEvent::Subscribed(confirmed) if *confirmed == topic), "{event:?}");
    }

    pub(crate) async fn next(&mut self) -> LiveEvent {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return event;
            }
            self.waiting.extend(within(self.events.recv(), "an event").await.expect("the connection is open"));
        }
    }

    /// The next push's topic, channel and payload.
    pub(crate) async fn push(&mut self) -> (Topic, String, String) {
        match self.next().await {
            LiveEvent::Push { topic, channel, payload } => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                (topic, text(&channel), text(&payload))
            }
            other => panic!("a push was expected: {other:?}"),
        }
    }

    /// Reads past all events until all is subscribed again; answers how often pushes were said to be lost.
    pub(crate) async fn restored(&mut self) -> usize {
        let mut lost = 0;
        loop {
            match self.next().await {
                LiveEvent::Lost(_) => lost += 1,
                LiveEvent::Restored => return lost,
                _ => {}
            }
        }
    }
}

/// What Redis carries out, as [MONITOR](https://redis.io/docs/latest/commands/monitor/) shows it.
pub(crate) struct Monitor {
    lines: BufReader<TcpStream>,
    server: u16,
}

impl Monitor {
    pub(crate) fn of(server: &RedisServer) -> Self {
        let mut socket = TcpStream::connect(("127.0.0.1", server.port())).expect("it listens");
        socket.set_read_timeout(Some(TEST_TIMEOUT)).expect("a time limit");
        socket.write_all(b"MONITOR\r\n").expect("sent");
        let mut monitor = Self { lines: BufReader::new(socket), server: server.port() };
        assert_eq!(monitor.line(), "+OK");
        monitor
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("Redis continues");
        line.trim_end().to_owned()
    }

    /// The commands since the last question, those of scripts as well.
    pub(crate) fn commands(&mut self) -> Vec<String> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.server)).expect("it listens");
        socket.write_all(b"ECHO until-here\r\n").expect("sent");
        std::iter::repeat_with(|| self.line()).take_while(|line| !line.contains("until-here")).collect()
    }
}
