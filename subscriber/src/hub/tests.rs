use futures_util::future::join_all;
use tidings::{
    access::{Allowed, Read, Rights},
    broker::{LiveCommand, LiveEvent, Retention, memory::Memory},
    channel::Pattern,
};
use tonic::Code;

use super::*;

fn broker() -> Shared {
    Memory::new(Retention {
        max_messages: 10,
        max_bytes: 1 << 20,
        max_age_ms: 1_000,
        dedup_window_ms: 1_000,
        dedup_max_ids: 10,
    })
}

fn hub() -> Arc<Hub> {
    let broker = broker();
    Hub::start(&broker, Pages::new(Arc::clone(&broker)), names(), Capture::new(Vec::new()), Duration::from_secs(20))
}

fn names() -> Arc<Names> {
    Arc::new(Names::new("tidings", "").expect("names"))
}

fn channel(name: &str) -> ChannelName {
    names().parse(name).expect("a name")
}

fn pattern(glob: &str) -> Topic {
    Topic::Pattern(Pattern::parse(glob).expect("a pattern"))
}

fn allowed(topic: Topic) -> Allowed<Read, Topic> {
    Rights::all().follow(topic).expect("everything is allowed")
}

#[tokio::test]
async fn streams_are_counted_by_name_and_by_pattern() {
    let hub = hub();
    let topics = [Topic::Channel(channel("a.1")), Topic::Channel(channel("a.1")), pattern("a.*"), pattern("*")];
    let mut followers = Vec::new();
    for topic in topics {
        followers.push(hub.follow(allowed(topic)).await.expect("a slot"));
    }
    let channels = [channel("a.1"), channel("a.2"), channel("b")];
    assert_eq!(hub.subscribers(&channels).await, [4, 2, 1]);
    followers.remove(0);
    assert_eq!(hub.subscribers(&channels).await, [3, 2, 1]);
    followers.clear();
    assert_eq!(hub.subscribers(&channels).await, [0, 0, 0]);
    hub.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_limit_new_topics_are_refused_in_words_and_known_ones_are_not() {
    let hub = hub();
    let mut followers = Vec::with_capacity(TOPICS);
    let topic = |n: usize| Topic::Channel(channel(&format!("c{n}")));
    for begin in (0..TOPICS).step_by(HUB_REQUESTS) {
        let some = (begin..TOPICS.min(begin + HUB_REQUESTS)).map(|n| hub.follow(allowed(topic(n))));
        followers.extend(join_all(some).await.into_iter().map(|follower| follower.expect("a slot")));
    }
    for beyond in [topic(TOPICS), pattern("*")] {
        let status = Status::from(hub.follow(allowed(beyond)).await.expect_err("no slot"));
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        assert!(status.message().contains("100000 channels and patterns"), "{status:?}");
        assert!(status.message().contains("another replica"), "{status:?}");
    }
    followers.push(hub.follow(allowed(topic(7))).await.expect("it is followed already"));
    assert_eq!(hub.subscribers(&[channel("c7"), channel("c8")]).await, [2, 1]);
    hub.close().await;
}

async fn next_check(commands: &mut mpsc::Receiver<LiveCommand>) -> ChannelName {
    match timeout(Duration::from_secs(20), commands.recv()).await.expect("something is asked") {
        Some(LiveCommand::Check(channel)) => channel,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_someone_waits_for_is_asked_again_over_the_next_connection() {
    let (broker, capture) = (broker(), Capture::new(Vec::new()));
    let (pages, repair) = (Pages::new(Arc::clone(&broker)), Repair::new(Arc::clone(&broker)));
    let (control, mut commands) = mpsc::channel(9);
    let (events, received) = mpsc::channel(9);
    let (asks, inbox) = mpsc::channel(9);
    let task = task::Task::new(&broker, control, Feeds::default(), pages, names(), capture, repair);
    let task = tokio::spawn(task.run(inbox, received, CancellationToken::new()));
    let mut answers = Vec::new();
    for name in ["a", "b"] {
        let (reply, answer) = oneshot::channel();
        asks.send(Ask::Check(channel(name), reply)).await.expect("it runs");
        assert_eq!(next_check(&mut commands).await, channel(name));
        answers.push(answer);
    }
    // Nobody waits for the second any more.
    answers.truncate(1);
    events.send(vec![LiveEvent::Lost("closed".to_owned()), LiveEvent::Restored]).await.expect("it runs");
    assert_eq!(next_check(&mut commands).await, channel("a"));
    events.send(vec![LiveEvent::Head(channel("a"), None)]).await.expect("it runs");
    assert!(answers.remove(0).await.expect("an answer").expect("it was read").is_none());
    assert!(commands.try_recv().is_err());
    drop(events);
    task.await.expect("no panic");
}
