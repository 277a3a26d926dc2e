//! What the names, patterns and lists of some cost everybody else.

use std::time::{Duration, Instant};

use tidings::pb::{ListChannelsRequest, PublishStreamRequest};
use tokio_util::sync::CancellationToken;

use crate::harness::{House, on_both_brokers, text};

on_both_brokers!(lists_with_costly_patterns_hold_nobody_up);

/// Publishes a message on each of these channels.
async fn fill(house: &House, names: impl Iterator<Item = String> + Send + 'static) {
    let requests = names.map(|name| PublishStreamRequest { request: Some(text(&name, "x")) });
    let mut answers = house.publisher().publish_stream(tokio_stream::iter(requests)).await.expect("open").into_inner();
    while answers.message().await.expect("published").is_some() {}
}

/// A well-behaved client, which publishes every 10 ms until it is stopped: how long its publishes took, in order.
async fn publishes(house: &House, stop: &CancellationToken) -> Vec<Duration> {
    let mut took = Vec::new();
    while !stop.is_cancelled() {
        let begun = Instant::now();
        house.publish(text("well.behaved", "x")).await;
        took.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    took.sort();
    took
}

/// The longest names, and a pattern that a matcher which goes back tries 127 times at each of their bytes. One such
/// list held the embedded broker for longer than all of this takes.
async fn lists_with_costly_patterns_hold_nobody_up(house: &House) {
    const NAMES: usize = 3_000;
    fill(house, (0..NAMES).map(|n| format!("{}{n:05}", "a".repeat(249)))).await;
    let list = async |pattern: String| {
        let request = ListChannelsRequest { pattern, page_size: 1, ..ListChannelsRequest::default() };
        let begun = Instant::now();
        let page = house.subscriber().list_channels(request).await.expect("listed").into_inner();
        (page.channels.len(), begun.elapsed())
    };
    let (costly, cheap) = (format!("*{}b", "a".repeat(126)), format!("*{}b", "c".repeat(126)));
    let stop = CancellationToken::new();
    let lists = async {
        list(cheap.clone()).await;
        let mut times = (Duration::MAX, Duration::MAX);
        for _ in 0..3 {
            let (found, took) = list(costly.clone()).await;
            assert_eq!(found, 0);
            times = (times.0.min(took), times.1.min(list(cheap.clone()).await.1));
        }
        // The first page of all is one name, however many there are.
        assert_eq!(list("a*".to_owned()).await.0, 1);
        stop.cancel();
        times
    };
    let ((costly, cheap), took) = tokio::join!(lists, publishes(house, &stop));
    assert!(costly < 5 * cheap, "{costly:?} where another pattern takes {cheap:?}");
    let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
    assert!(median < Duration::from_millis(200) && longest < Duration::from_secs(2), "{median:?}, {longest:?}");
}
