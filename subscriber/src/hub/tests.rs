use futures_util::future::join_all;
use tidings::{
    access::{Allowed, Read, Rights},
    broker::{Retention, memory::Memory},
    channel::Pattern,
};
use tonic::Code;

use super::*;

fn hub() -> Arc<Hub> {
    let broker: Shared = Memory::new(Retention {
        max_messages: 10,
        max_bytes: 1 << 20,
        max_age_ms: 1_000,
        dedup_window_ms: 1_000,
        dedup_max_ids: 10,
    });
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
