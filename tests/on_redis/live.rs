//! The live connection.

use std::collections::VecDeque;

use tidings::{
    broker::{Broker as _, LiveCommand, LiveControl, LiveEvent, LiveEvents, Topic},
    channel::Pattern,
    limits::MESSAGE_BYTES,
};
use tidings_testing::RedisServer;

use crate::support::{broker, name, publish, within};

/// A live connection that is read one event at a time.
struct Live {
    control: LiveControl,
    events: LiveEvents,
    waiting: VecDeque<LiveEvent>,
}

impl Live {
    fn open(broker: &tidings::broker::redis::Redis) -> Self {
        let (control, events) = broker.live();
        Self { control, events, waiting: VecDeque::new() }
    }

    async fn send(&self, command: LiveCommand) {
        within("room for a command", self.control.send(command)).await.expect("open");
    }

    async fn next(&mut self) -> LiveEvent {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return event;
            }
            self.waiting.extend(within("an event", self.events.recv()).await.expect("open"));
        }
    }

    async fn subscribe(&mut self, topic: Topic) {
        self.send(LiveCommand::Subscribe(topic.clone())).await;
        assert!(matches!(self.next().await, LiveEvent::Subscribed(confirmed) if confirmed == topic));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_passed_over() {
    let redis = RedisServer::start();
    let broker = broker(&redis).await;
    let mut live = Live::open(&broker);
    live.subscribe(Topic::Channel(name("c"))).await;
    let pattern = Topic::Pattern(Pattern::parse("c*").expect("a pattern"));
    live.subscribe(pattern.clone()).await;
    redis.command(&["PUBLISH", "c", &"x".repeat(MESSAGE_BYTES + 1)]);
    redis.command(&["PUBLISH", "c", &"x".repeat(MESSAGE_BYTES)]);
    for topic in [Topic::Channel(name("c")), pattern] {
        let event = live.next().await;
        assert!(
            matches!(&event, LiveEvent::Oversized { topic: through, bytes } if *through == topic && *bytes == MESSAGE_BYTES + 1),
            "{topic:?}"
        );
    }
    for _ in 0..2 {
        assert!(matches!(live.next().await, LiveEvent::Push { payload, .. } if payload.len() == MESSAGE_BYTES));
    }
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_connection_comes_back_with_all_it_followed() {
    let redis = RedisServer::start();
    let broker = broker(&redis).await;
    let channel = name("c");
    let mut live = Live::open(&broker);
    live.subscribe(Topic::Channel(channel.clone())).await;
    live.subscribe(Topic::Pattern(Pattern::parse("d*").expect("a pattern"))).await;
    for round in 1..=3 {
        redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        assert!(matches!(live.next().await, LiveEvent::Lost(_)), "round {round}");
        let mut confirmed = 0;
        loop {
            match live.next().await {
                LiveEvent::Subscribed(_) => confirmed += 1,
                LiveEvent::Restored => break,
                other => panic!("round {round}: {other:?}"),
            }
        }
        assert_eq!(confirmed, 2);
        publish(&broker, &channel, "x").await;
        assert!(matches!(live.next().await, LiveEvent::Push { .. }));
        live.send(LiveCommand::Check(channel.clone())).await;
        assert!(matches!(live.next().await, LiveEvent::Head(_, Some(head)) if head.last == round));
    }
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demoted_server_is_no_answer_to_a_check() {
    let redis = RedisServer::start();
    let other = RedisServer::start();
    let broker = broker(&redis).await;
    let channel = name("c");
    publish(&broker, &channel, "x").await;
    let mut live = Live::open(&broker);
    live.subscribe(Topic::Channel(channel.clone())).await;
    redis.command(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]);
    live.send(LiveCommand::Check(channel)).await;
    assert!(matches!(live.next().await, LiveEvent::Lost(reason) if reason.contains("replica")));
    broker.close().await;
}
