//! By a stream: deliveries out, settlements in.

use std::time::Duration;

use tidings::pb::{
    Credit, Extension, Rejection, Settlement, StartConsuming, Subscription, consume_messages_request::Request,
    consume_messages_response::Response,
};
use tonic::Code;

use super::{SECOND, attempts, numbers, publish, settings, texts};
use crate::harness::{House, duration, on_both_brokers, reason};

on_both_brokers!(
    a_stream_delivers_within_its_credit_and_settles,
    a_closed_stream_gives_back_at_once,
    credit_is_changed_on_an_open_stream,
    a_whole_credit_that_is_settled_is_used_at_once,
    bytes_are_credit_too,
    new_messages_come_as_they_are_published,
    a_deleted_subscription_ends_its_streams,
    a_paused_subscription_delivers_nothing,
    one_settlement_decides_in_three_ways,
    a_ping_is_answered,
    what_is_no_stream_is_refused,
    consumers_share_what_there_is,
);

async fn a_stream_delivers_within_its_credit_and_settles(house: &House) {
    publish(house, "flow", 30).await;
    let worker = house.work(settings("flow")).await;
    let mut stream = worker.consume(10).await;
    let first = stream.receive(10).await;
    assert_eq!(texts(&first), numbers(10));
    assert!(stream.is_quiet(SECOND / 2).await);
    let settled = stream.acknowledge(&first[..4]).await;
    assert_eq!(settled.acknowledged_ids.len(), 4, "{settled:?}");
    assert_eq!(texts(&stream.receive(4).await), &numbers(14)[10..]);
    assert!(stream.is_quiet(SECOND / 2).await);
    assert_eq!(worker.counts().await, (26, 10, 0));
}

async fn a_closed_stream_gives_back_at_once(house: &House) {
    publish(house, "closing", 10).await;
    let worker = house.work(settings("closing")).await;
    let mut stream = worker.consume(5).await;
    let first = stream.receive(5).await;
    stream.acknowledge(&first[..2]).await;
    stream.receive(2).await;
    drop(stream);
    let mut other = worker.consume(10).await;
    let mut again = other.receive(8).await;
    again.sort_by_key(|delivery| delivery.message.as_ref().expect("a message").sequence);
    assert_eq!(texts(&again), &numbers(10)[2..]);
    assert_eq!(attempts(&again), [2, 2, 2, 2, 2, 1, 1, 1]);
}

async fn credit_is_changed_on_an_open_stream(house: &House) {
    publish(house, "credit", 20).await;
    let worker = house.work(settings("credit")).await;
    let mut stream = worker.consume(2).await;
    let first = stream.receive(2).await;
    assert!(stream.is_quiet(SECOND / 2).await);
    let credit = |messages| Request::Credit(Credit { max_outstanding_messages: messages, max_outstanding_bytes: 0 });
    stream.send(credit(6)).await;
    stream.receive(4).await;
    stream.send(credit(1)).await;
    stream.acknowledge(&first).await;
    assert!(stream.is_quiet(SECOND / 2).await);
}

async fn a_whole_credit_that_is_settled_is_used_at_once(house: &House) {
    publish(house, "whole", 100).await;
    let worker = house.work(settings("whole")).await;
    let mut stream = worker.consume(10).await;
    let began = std::time::Instant::now();
    for _ in 0..10 {
        let came = stream.receive(10).await;
        stream.acknowledge(&came).await;
    }
    // Not with the next look into the books, which is a second later.
    assert!(began.elapsed() < 5 * SECOND, "{:?}", began.elapsed());
}

async fn bytes_are_credit_too(house: &House) {
    for n in 0..5 {
        house.publish(crate::harness::text("large", format!("{n}{}", "x".repeat(60_000)))).await;
    }
    let worker = house.work(settings("large")).await;
    let start = StartConsuming { name: "large".to_owned(), max_outstanding_bytes: 130_000, ..Default::default() };
    let mut stream = tidings_testing::Consuming::open(worker.client(), start).await.expect("a stream");
    let first = stream.receive(2).await;
    assert!(stream.is_quiet(SECOND / 2).await);
    stream.acknowledge(&first[..1]).await;
    stream.receive(1).await;
    // One fits in any case.
    let start = StartConsuming { name: "large".to_owned(), max_outstanding_bytes: 1, ..Default::default() };
    let mut narrow = tidings_testing::Consuming::open(worker.client(), start).await.expect("a stream");
    assert_eq!(narrow.receive(1).await.len(), 1);
    assert!(narrow.is_quiet(SECOND / 2).await);
}

async fn new_messages_come_as_they_are_published(house: &House) {
    let worker = house.work(settings("fresh")).await;
    let mut stream = worker.consume(100).await;
    for round in 0..20 {
        publish(house, "fresh", 3).await;
        let came = stream.receive(3).await;
        assert_eq!(texts(&came), numbers(3), "{round}");
        stream.acknowledge(&came).await;
    }
    assert_eq!(worker.counts().await, (0, 0, 0));
}

async fn a_deleted_subscription_ends_its_streams(house: &House) {
    publish(house, "gone", 1).await;
    let worker = house.work(settings("gone")).await;
    let mut stream = worker.consume(10).await;
    let came = stream.receive(1).await;
    let request = tidings::pb::DeleteSubscriptionRequest { name: "gone".to_owned(), ..Default::default() };
    worker.client().delete_subscription(request).await.expect("deleted");
    let status = stream.end().await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "SUBSCRIPTION_NOT_FOUND"), "{status:?}");
    // Created again, it is another one.
    let again = house.work(settings("gone")).await;
    let settled = again.acknowledge(&came).await;
    assert_eq!(settled.stale_ids.len(), 1, "{settled:?}");
    assert_eq!(again.counts().await, (1, 0, 0));
}

async fn a_paused_subscription_delivers_nothing(house: &House) {
    let worker = house.work(Subscription { paused: true, ..settings("paused") }).await;
    let mut stream = worker.consume(10).await;
    publish(house, "paused", 3).await;
    assert!(stream.is_quiet(2 * SECOND).await);
    let update = |paused| tidings::pb::UpdateSubscriptionRequest {
        subscription: Some(Subscription { name: "paused".to_owned(), paused, ..Subscription::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["paused".to_owned()] }),
    };
    worker.client().update_subscription(update(false)).await.expect("updated");
    let came = stream.receive(3).await;
    worker.client().update_subscription(update(true)).await.expect("updated");
    publish(house, "paused", 1).await;
    assert!(stream.is_quiet(2 * SECOND).await);
    let settled = stream.acknowledge(&came).await;
    assert_eq!(settled.acknowledged_ids.len(), 3, "{settled:?}");
    assert_eq!(worker.counts().await, (1, 0, 0));
}

async fn one_settlement_decides_in_three_ways(house: &House) {
    publish(house, "ways", 3).await;
    let worker = house.work(settings("ways")).await;
    let mut stream = worker.consume(10).await;
    let came = stream.receive(3).await;
    let ids: Vec<_> = came.iter().map(|delivery| delivery.ack_id.clone()).collect();
    let settled = stream
        .settle(Settlement {
            ack_ids: vec![ids[0].clone()],
            rejections: vec![Rejection {
                ack_ids: vec![ids[1].clone()],
                delay: duration(600 * SECOND),
                ..Rejection::default()
            }],
            extensions: vec![Extension { ack_ids: vec![ids[2].clone()], ack_deadline: duration(60 * SECOND) }],
        })
        .await;
    assert_eq!(settled.acknowledged_ids, [ids[0].clone()]);
    assert_eq!(settled.rejected_ids, [ids[1].clone()]);
    assert_eq!(settled.extended_ids, [ids[2].clone()]);
    assert_eq!(worker.counts().await, (2, 1, 1));
}

async fn a_ping_is_answered(house: &House) {
    publish(house, "ping", 4).await;
    let worker = house.work(settings("ping")).await;
    let mut stream = worker.consume(1).await;
    stream.receive(1).await;
    stream.send(Request::Ping(tidings::pb::Ping {})).await;
    let Ok(Some(Response::Heartbeat(heartbeat))) = stream.response().await else { panic!("a heartbeat") };
    assert_eq!(heartbeat.backlog_count, 4);
}

async fn what_is_no_stream_is_refused(house: &House) {
    let worker = house.work(settings("odd")).await;
    let open = |start: StartConsuming| tidings_testing::Consuming::open(worker.client(), start);
    for (field, start) in [
        ("start.name", StartConsuming::default()),
        ("start.name", StartConsuming { name: "a b".to_owned(), ..Default::default() }),
        (
            "start.max_outstanding_messages",
            StartConsuming { name: "odd".to_owned(), max_outstanding_messages: 1_001, ..Default::default() },
        ),
        (
            "start.max_outstanding_bytes",
            StartConsuming { name: "odd".to_owned(), max_outstanding_bytes: -1, ..Default::default() },
        ),
        (
            "start.ack_deadline",
            StartConsuming { name: "odd".to_owned(), ack_deadline: duration(SECOND / 2), ..Default::default() },
        ),
    ] {
        let refused = open(start).await.expect_err(field);
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert!(refused.message().contains(field), "{refused:?}");
    }
    let refused = open(StartConsuming { name: "nobody".to_owned(), ..Default::default() }).await.expect_err("none");
    assert_eq!(refused.code(), Code::NotFound, "{refused:?}");
    let mut stream = worker.consume(1).await;
    stream.send(Request::Start(StartConsuming { name: "odd".to_owned(), ..Default::default() })).await;
    assert_eq!(stream.end().await.code(), Code::InvalidArgument);
}

async fn consumers_share_what_there_is(house: &House) {
    let worker = house.work(settings("share")).await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(worker.consume(20).await);
    }
    publish(house, "share", 80).await;
    // Nobody has room for more than its share.
    let mut all = Vec::new();
    for stream in &mut streams {
        all.extend(texts(&stream.receive(20).await));
    }
    all.sort_by_key(|n| n.parse::<usize>().expect("a number"));
    assert_eq!(all, numbers(80));
    let late = tokio::time::timeout(Duration::from_secs(5), worker.consume(1));
    late.await.expect("a new consumer waits for nobody");
}
