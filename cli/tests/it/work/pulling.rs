//! By calls: pull, acknowledge, reject, extend.

use std::time::{Duration, SystemTime};

use tidings::pb::{Rejection, Subscription};

use super::{SECOND, attempts, numbers, publish, settings, texts};
use crate::harness::{House, duration, on_both_brokers};

on_both_brokers!(
    what_is_acknowledged_is_never_delivered_again,
    a_lease_that_ends_is_delivered_again,
    an_extended_lease_ends_later,
    a_rejected_message_comes_again_when_it_says,
    each_settlement_has_an_outcome_and_spoils_no_other,
    a_pull_waits_for_the_first_message,
    no_more_is_out_than_the_subscription_allows,
    what_a_filter_does_not_match_is_never_delivered,
    nobody_gets_what_another_has,
);

async fn what_is_acknowledged_is_never_delivered_again(house: &House) {
    publish(house, "done", 25).await;
    let worker = house.work(settings("done")).await;
    assert_eq!(worker.counts().await, (25, 0, 0));
    let first = worker.pull(10, Duration::ZERO).await;
    assert_eq!(texts(&first), numbers(10));
    assert_eq!(attempts(&first), [1; 10]);
    assert_eq!(worker.counts().await, (25, 10, 0));
    let settled = worker.acknowledge(&first).await;
    assert_eq!(settled.acknowledged_ids.len(), 10, "{settled:?}");
    let rest = worker.pull_all(15).await;
    assert_eq!(texts(&rest), &numbers(25)[10..]);
    worker.acknowledge(&rest).await;
    assert_eq!(worker.counts().await, (0, 0, 0));
    assert!(worker.pull(10, Duration::ZERO).await.is_empty());
    // Again, it is done still.
    let again = worker.acknowledge(&first).await;
    assert_eq!(again.acknowledged_ids.len(), 10, "{again:?}");
}

async fn a_lease_that_ends_is_delivered_again(house: &House) {
    publish(house, "late", 3).await;
    let worker = house.work(Subscription { ack_deadline: duration(SECOND), ..settings("late") }).await;
    let first = worker.pull(3, Duration::ZERO).await;
    let until: SystemTime = first[0].ack_deadline_time.expect("a deadline").try_into().expect("a time");
    let left = until.duration_since(SystemTime::now()).expect("in the future");
    assert!(left > SECOND / 2 && left <= SECOND, "{left:?}");
    worker.acknowledge(&first[..1]).await;
    // Not before it ends, and then soon.
    assert!(worker.pull(3, SECOND / 2).await.is_empty());
    let again = worker.pull_all(2).await;
    assert!(SystemTime::now() >= until, "it was leased to two");
    assert_eq!((texts(&again), attempts(&again)), (vec!["2".to_owned(), "3".to_owned()], vec![2, 2]));
    // The first delivery can't settle the second.
    let settled = worker.acknowledge(&first[1..]).await;
    assert_eq!(settled.stale_ids.len(), 2, "{settled:?}");
    let settled = worker.acknowledge(&again).await;
    assert_eq!(settled.acknowledged_ids.len(), 2, "{settled:?}");
    assert_eq!(worker.counts().await, (0, 0, 0));
}

async fn an_extended_lease_ends_later(house: &House) {
    publish(house, "longer", 2).await;
    let worker = house.work(Subscription { ack_deadline: duration(SECOND), ..settings("longer") }).await;
    let first = worker.pull(2, Duration::ZERO).await;
    for _ in 0..3 {
        let settled = worker.extend(&first[..1], 2 * SECOND).await;
        assert_eq!(settled.extended_ids.len(), 1, "{settled:?}");
        tokio::time::sleep(SECOND).await;
    }
    // The other has ended long since.
    let other = worker.pull_all(1).await;
    assert_eq!(texts(&other), ["2"]);
    let settled = worker.acknowledge(&first).await;
    assert_eq!((settled.acknowledged_ids.len(), settled.stale_ids.len()), (1, 1), "{settled:?}");
    let settled = worker.extend(&first[..1], SECOND).await;
    assert_eq!(settled.stale_ids.len(), 1, "{settled:?}");
    worker.acknowledge(&other).await;
    assert_eq!(worker.counts().await, (0, 0, 0));
}

async fn a_rejected_message_comes_again_when_it_says(house: &House) {
    publish(house, "again", 3).await;
    let worker = house.work(settings("again")).await;
    let first = worker.pull(3, Duration::ZERO).await;
    let later = Rejection { delay: duration(SECOND), ..Rejection::default() };
    let settled = worker.reject(&first[..1], later).await;
    assert_eq!(settled.rejected_ids.len(), 1, "{settled:?}");
    worker.reject(&first[1..2], Rejection { delay: duration(Duration::ZERO), ..Rejection::default() }).await;
    worker.reject(&first[2..], Rejection { uncounted: true, ..Rejection::default() }).await;
    assert_eq!(worker.counts().await, (3, 0, 3));
    let at_once = worker.pull_all(2).await;
    assert_eq!((texts(&at_once), attempts(&at_once)), (vec!["2".to_owned(), "3".to_owned()], vec![2, 1]));
    assert!(worker.pull(1, Duration::ZERO).await.is_empty());
    let delayed = worker.pull_all(1).await;
    assert_eq!((texts(&delayed), attempts(&delayed)), (vec!["1".to_owned()], vec![2]));
}

async fn each_settlement_has_an_outcome_and_spoils_no_other(house: &House) {
    publish(house, "mixed", 4).await;
    let (worker, other) = (house.work(settings("mixed")).await, house.work(settings_of("other", "mixed")).await);
    let (own, others) = (worker.pull(4, Duration::ZERO).await, other.pull(1, Duration::ZERO).await);
    let ids = vec![
        own[0].ack_id.clone(),
        "nonsense".to_owned(),
        others[0].ack_id.clone(),
        own[1].ack_id.clone(),
        own[0].ack_id.clone(),
        String::new(),
    ];
    let settled = worker.acknowledge_ids(ids.clone()).await;
    assert_eq!(settled.acknowledged_ids, [&ids[0], &ids[3], &ids[4]].map(Clone::clone), "{settled:?}");
    assert_eq!(settled.stale_ids, [&ids[1], &ids[2], &ids[5]].map(Clone::clone), "{settled:?}");
    assert_eq!(other.counts().await, (4, 1, 0));
    assert_eq!(worker.counts().await, (2, 2, 0));
}

fn settings_of(name: &str, channel: &str) -> Subscription {
    Subscription { channel: channel.to_owned(), ..settings(name) }
}

async fn a_pull_waits_for_the_first_message(house: &House) {
    let worker = house.work(settings("soon")).await;
    let began = tokio::time::Instant::now();
    let (pulled, ()) = tokio::join!(worker.pull(10, 10 * SECOND), async {
        tokio::time::sleep(SECOND / 2).await;
        publish(house, "soon", 1).await;
    });
    assert_eq!(texts(&pulled), ["1"]);
    assert!(began.elapsed() < 5 * SECOND);
    worker.acknowledge(&pulled).await;
    let began = tokio::time::Instant::now();
    assert!(worker.pull(10, SECOND).await.is_empty());
    assert!((SECOND..3 * SECOND).contains(&began.elapsed()), "{:?}", began.elapsed());
}

async fn no_more_is_out_than_the_subscription_allows(house: &House) {
    publish(house, "few", 20).await;
    let worker = house.work(Subscription { max_outstanding_messages: 7, ..settings("few") }).await;
    let first = worker.pull(10, Duration::ZERO).await;
    assert_eq!(texts(&first), numbers(7));
    assert!(worker.pull(10, SECOND).await.is_empty());
    worker.acknowledge(&first[..3]).await;
    let more = worker.pull_all(3).await;
    assert_eq!(texts(&more), ["8", "9", "10"]);
    assert_eq!(worker.counts().await, (17, 7, 0));
}

async fn what_a_filter_does_not_match_is_never_delivered(house: &House) {
    let regions = ["eu", "us", "eu", "asia", "eu"];
    for (n, region) in regions.iter().enumerate() {
        let mut request = crate::harness::text("filtered", (n + 1).to_string());
        request.attributes.insert("region".to_owned(), (*region).to_owned());
        house.publish(request).await;
    }
    let filter = r#"attributes.region = "eu" OR attributes.region = "asia""#.to_owned();
    let worker = house.work(Subscription { filter, ..settings("filtered") }).await;
    let state = worker.state().await;
    assert_eq!((state.backlog_count, state.unexamined_count), (5, 5));
    let pulled = worker.pull_all(4).await;
    assert_eq!(texts(&pulled), ["1", "3", "4", "5"]);
    let state = worker.state().await;
    assert_eq!((state.backlog_count, state.unexamined_count, state.outstanding_count), (4, 0, 4));
    worker.acknowledge(&pulled).await;
    assert_eq!(worker.counts().await, (0, 0, 0));
}

async fn nobody_gets_what_another_has(house: &House) {
    publish(house, "shared", 200).await;
    let worker = house.work(settings("shared")).await;
    let mut pulls = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let worker = worker.clone();
        pulls.spawn(async move {
            let mut all = Vec::new();
            loop {
                let some = worker.pull(7, SECOND / 2).await;
                if some.is_empty() {
                    return all;
                }
                worker.acknowledge(&some).await;
                all.extend(texts(&some));
            }
        });
    }
    let mut all: Vec<usize> =
        pulls.join_all().await.into_iter().flatten().map(|n| n.parse().expect("a number")).collect();
    all.sort_unstable();
    assert_eq!(all, (1..=200).collect::<Vec<_>>());
    assert_eq!(worker.counts().await, (0, 0, 0));
}
