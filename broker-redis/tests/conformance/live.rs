//! The live side: confirmations, pushes and checks, in order.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tidings::{
    broker::{LiveCommand, Topic},
    channel::Pattern,
    envelope,
};

use crate::fixture::{Fixture, KEEP_ALL, Live, Seen, head, name, publish, read_all, text};

fn pattern(pattern: &str) -> Topic {
    Topic::Pattern(Pattern::parse(pattern).expect("valid"))
}

fn channel(channel: &str) -> Topic {
    Topic::Channel(name(channel))
}

pub(crate) async fn after_the_confirmation_every_push_arrives(fixture: &Fixture) {
    let brokers = fixture.brokers(KEEP_ALL, 2).await;
    let mut live = Live::open(&brokers[1]);
    live.subscribe(channel("orders")).await;
    for call in 0..30 {
        let batch = (0..1 + call % 5).map(|i| text(&format!("{call}-{i}"))).collect();
        publish(&brokers[0], &name("orders"), batch).await;
        publish(&brokers[0], &name("others"), vec![text("not followed")]).await;
    }
    let log = read_all(&brokers[0], &name("orders")).await;
    for stored in &log {
        // What is pushed is what the log holds, byte for byte.
        assert_eq!(live.push().await, (channel("orders"), "orders".to_owned(), stored.json.clone()));
    }
    assert_eq!(log.len(), 90);
    live.assert_quiet(&name("orders")).await;
}

pub(crate) async fn nothing_is_lost_while_a_subscription_begins(fixture: &Fixture) {
    let brokers = fixture.brokers(KEEP_ALL, 2).await;
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = tokio::spawn({
        let (broker, stop) = (brokers[0].clone(), stop.clone());
        async move {
            while !stop.load(Ordering::Relaxed) {
                publish(&broker, &name("orders"), vec![text("a"), text("b")]).await;
                tokio::task::yield_now().await;
            }
        }
    });
    for _ in 0..5 {
        let mut live = Live::open(&brokers[1]);
        live.subscribe(channel("orders")).await;
        let known = head(&brokers[1], &name("orders")).await.map_or(0, |head| head.last);
        let sequences = live.sequences(20).await;
        assert!(sequences[0] <= known + 1, "{} after {known}", sequences[0]);
        assert!(sequences.windows(2).all(|two| two[1] == two[0] + 1), "{sequences:?}");
    }
    stop.store(true, Ordering::Relaxed);
    publisher.await.expect("no panic");
}

pub(crate) async fn a_channel_and_a_pattern_bring_one_push_each(fixture: &Fixture) {
    let broker = fixture.broker(KEEP_ALL).await;
    let mut live = Live::open(&broker);
    let topics = [channel("o.1"), pattern("o.*"), pattern("*")];
    for topic in &topics {
        live.subscribe(topic.clone()).await;
    }
    // To ask again is confirmed again, and brings nothing twice.
    live.subscribe(topics[0].clone()).await;
    publish(&broker, &name("o.1"), vec![text("a"), text("b")]).await;
    publish(&broker, &name("x"), vec![text("c")]).await;
    let mut seen: Vec<(Topic, String, i64)> = Vec::new();
    for _ in 0..7 {
        let (topic, channel, json) = live.push().await;
        seen.push((topic, channel, envelope::decode(&json, 0).claim.expect("ours").sequence));
    }
    for topic in &topics {
        let through: Vec<_> = seen.iter().filter(|push| push.0 == *topic).map(|push| (&*push.1, push.2)).collect();
        let expected: &[_] =
            if *topic == pattern("*") { &[("o.1", 1), ("o.1", 2), ("x", 1)] } else { &[("o.1", 1), ("o.1", 2)] };
        assert_eq!(through, expected, "{topic:?}");
    }
    live.assert_quiet(&name("x")).await;
}

pub(crate) async fn patterns_bring_channels_that_are_new(fixture: &Fixture) {
    let broker = fixture.broker(KEEP_ALL).await;
    let mut live = Live::open(&broker);
    live.subscribe(pattern("orders.[ae]?")).await;
    for channel in ["orders.eu", "orders.us", "orders.at", "orders", "orders.eur"] {
        publish(&broker, &name(channel), vec![text("first")]).await;
    }
    for expected in ["orders.eu", "orders.at"] {
        let (topic, channel, json) = live.push().await;
        assert_eq!((topic, &*channel), (pattern("orders.[ae]?"), expected));
        assert_eq!(envelope::decode(&json, 0).claim.expect("ours").sequence, 1);
    }
    live.assert_quiet(&name("orders.eu")).await;
}

pub(crate) async fn a_check_is_answered_after_the_pushes(fixture: &Fixture) {
    let broker = fixture.broker(KEEP_ALL).await;
    let mut live = Live::open(&broker);
    live.send(LiveCommand::Check(name("orders"))).await;
    assert_eq!(live.head().await, (name("orders"), None));
    live.subscribe(channel("orders")).await;
    for round in 1..=10 {
        publish(&broker, &name("orders"), (0..20).map(|i| text(&i.to_string())).collect()).await;
        live.send(LiveCommand::Check(name("orders"))).await;
        let first = (round - 1) * 20 + 1;
        assert_eq!(live.sequences(20).await, (first..first + 20).collect::<Vec<_>>());
        let expected = head(&broker, &name("orders")).await;
        assert_eq!(expected.as_ref().map(|head| head.last), Some(round * 20));
        assert_eq!(live.head().await, (name("orders"), expected));
    }
}

pub(crate) async fn an_ended_subscription_brings_nothing_more(fixture: &Fixture) {
    let broker = fixture.broker(KEEP_ALL).await;
    let mut live = Live::open(&broker);
    live.subscribe(channel("o.1")).await;
    live.subscribe(pattern("o.*")).await;
    live.send(LiveCommand::Unsubscribe(channel("o.1"))).await;
    live.assert_quiet(&name("o.1")).await;
    publish(&broker, &name("o.1"), vec![text("a")]).await;
    assert_eq!(live.push().await.0, pattern("o.*"));
    live.send(LiveCommand::Unsubscribe(pattern("o.*"))).await;
    // One that never was is no harm.
    live.send(LiveCommand::Unsubscribe(channel("o.2"))).await;
    live.assert_quiet(&name("o.1")).await;
    publish(&broker, &name("o.1"), vec![text("b")]).await;
    live.assert_quiet(&name("o.1")).await;
    live.subscribe(channel("o.1")).await;
    publish(&broker, &name("o.1"), vec![text("c")]).await;
    assert_eq!(live.sequences(1).await, [3]);
}

pub(crate) async fn connections_do_not_share_their_pushes(fixture: &Fixture) {
    let broker = fixture.broker(KEEP_ALL).await;
    let (mut first, mut second) = (Live::open(&broker), Live::open(&broker));
    first.subscribe(channel("a")).await;
    second.subscribe(channel("a")).await;
    second.subscribe(channel("b")).await;
    publish(&broker, &name("a"), vec![text("1")]).await;
    publish(&broker, &name("b"), vec![text("1")]).await;
    assert_eq!(first.push().await.0, channel("a"));
    assert_eq!(second.push().await.0, channel("a"));
    assert_eq!(second.push().await.0, channel("b"));
    first.assert_quiet(&name("b")).await;
    drop(first);
    publish(&broker, &name("a"), vec![text("2")]).await;
    assert_eq!(second.sequences(1).await, [2]);
}

pub(crate) async fn dropping_the_commands_ends_the_events(fixture: &Fixture) {
    let broker = fixture.broker(KEEP_ALL).await;
    let mut live = Live::open(&broker);
    live.subscribe(channel("a")).await;
    let ended = live.hang_up();
    let end = tokio::time::timeout(Duration::from_secs(5), ended).await.expect("it ends in time");
    assert!(!end.iter().any(|seen| matches!(seen, Seen::Push(..))), "{end:?}");
}
