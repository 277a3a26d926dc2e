//! Messages of an ordering key come one after the other.

use std::time::Duration;

use tidings::pb::{PublishRequest, ReceivedMessage, RedriveDeadLettersRequest, Rejection, Subscription};

use super::{SECOND, attempts, publish_each, settings, texts};
use crate::harness::{House, Worker, duration, on_both_brokers, text};

on_both_brokers!(
    one_message_of_a_key_is_out_at_a_time,
    a_rejected_message_keeps_its_key_closed,
    a_dead_letter_opens_its_key_and_comes_back_last,
    a_closed_key_holds_up_no_other,
    a_key_goes_on_at_any_consumer,
);

fn ordered(name: &str) -> Subscription {
    Subscription { ordered: true, ..settings(name) }
}

/// Messages `a1`, `b2` and so on: the letter is the key, `-` none.
async fn publish_keyed(house: &House, channel: &str, texts: &[&str]) {
    let keyed = texts.iter().map(|of| {
        let key = of[..1].replace('-', "");
        PublishRequest { ordering_key: key, ..text(channel, (*of).to_owned()) }
    });
    publish_each(house, keyed).await;
}

/// One delivery by a call.
async fn next(worker: &Worker) -> Vec<ReceivedMessage> {
    worker.pull(10, 10 * SECOND).await
}

/// Nothing can be delivered now.
async fn nothing(worker: &Worker) {
    assert_eq!(worker.pull(10, Duration::ZERO).await, []);
}

async fn one_message_of_a_key_is_out_at_a_time(house: &House) {
    publish_keyed(house, "keys", &["a1", "a2", "b3", "-4", "-5", "a6", "b7"]).await;
    let worker = house.work(ordered("keys")).await;
    let mut stream = worker.consume(10).await;
    let first = stream.receive(4).await;
    assert_eq!(texts(&first), ["a1", "b3", "-4", "-5"]);
    assert!(stream.is_quiet(SECOND / 2).await);
    // All that is not settled is backlog.
    assert_eq!(worker.counts().await, (7, 4, 0));
    stream.acknowledge(&first[..1]).await;
    let second = stream.receive(1).await;
    assert_eq!((texts(&second), attempts(&second)), (vec!["a2".to_owned()], vec![1]));
    assert!(stream.is_quiet(SECOND / 2).await);
    stream.acknowledge(&[&first[1..], &second[..]].concat()).await;
    let mut rest = texts(&stream.receive(2).await);
    rest.sort();
    assert_eq!(rest, ["a6", "b7"]);
    // What is published meanwhile comes behind them.
    publish_keyed(house, "keys", &["a8", "c9"]).await;
    assert_eq!(texts(&stream.receive(1).await), ["c9"]);
    assert!(stream.is_quiet(SECOND / 2).await);
}

async fn a_rejected_message_keeps_its_key_closed(house: &House) {
    publish_keyed(house, "again", &["a1", "a2"]).await;
    let worker = house.work(ordered("again")).await;
    for attempt in 1..=3 {
        let came = next(&worker).await;
        assert_eq!((texts(&came), attempts(&came)), (vec!["a1".to_owned()], vec![attempt]));
        let delay = duration(if attempt == 1 { SECOND } else { Duration::ZERO });
        worker.reject(&came, Rejection { delay, ..Rejection::default() }).await;
        if attempt == 1 {
            // It waits, and so does all behind it.
            nothing(&worker).await;
        }
    }
    let came = next(&worker).await;
    worker.acknowledge(&came).await;
    assert_eq!(texts(&next(&worker).await), ["a2"]);
}

async fn a_dead_letter_opens_its_key_and_comes_back_last(house: &House) {
    publish_keyed(house, "dead", &["a1", "a2", "a3"]).await;
    let worker = house.work(ordered("dead")).await;
    let first = next(&worker).await;
    worker.reject(&first, Rejection { dead_letter: true, ..Rejection::default() }).await;
    let second = next(&worker).await;
    assert_eq!(texts(&second), ["a2"]);
    let all = RedriveDeadLettersRequest { name: "dead".to_owned(), all: true, ..RedriveDeadLettersRequest::default() };
    let redriven = worker.client().redrive_dead_letters(all).await.expect("redriven").into_inner();
    assert_eq!(redriven.redriven_count, 1);
    // Its key is closed.
    nothing(&worker).await;
    worker.acknowledge(&second).await;
    for expected in ["a3", "a1"] {
        let came = next(&worker).await;
        assert_eq!(texts(&came), [expected]);
        worker.acknowledge(&came).await;
    }
    assert_eq!(worker.counts().await, (0, 0, 0));
}

async fn a_closed_key_holds_up_no_other(house: &House) {
    let many: Vec<String> = (0..10_000).map(|n| format!("a{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    publish_keyed(house, "hot", &many).await;
    publish_keyed(house, "hot", &["b1", "c2"]).await;
    let worker = house.work(ordered("hot")).await;
    let mut stream = worker.consume(3).await;
    assert_eq!(texts(&stream.receive(3).await), ["a0", "b1", "c2"]);
    assert_eq!(worker.counts().await, (10_002, 3, 0));
}

async fn a_key_goes_on_at_any_consumer(house: &House) {
    publish_keyed(house, "two", &["a1", "a2", "a3", "a4"]).await;
    let worker = house.work(ordered("two")).await;
    let mut stream = worker.consume(10).await;
    let mut other = worker.consume(10).await;
    // Whoever has the one of the key, the next comes to one of both, and never before.
    for expected in ["a1", "a2", "a3", "a4"] {
        let (came, by) = tokio::select! {
            came = stream.receive(1) => (came, &mut stream),
            came = other.receive(1) => (came, &mut other),
        };
        assert_eq!(texts(&came), [expected]);
        by.acknowledge(&came).await;
    }
}
