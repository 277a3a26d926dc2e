//! Subscriptions as things: created, changed, listed, moved, deleted.

use std::time::Duration;

use tidings::pb::{
    CreateSubscriptionRequest, DeleteSubscriptionRequest, GetSubscriptionRequest, ListSubscriptionsRequest,
    SeekSubscriptionRequest, Subscription, UpdateSubscriptionRequest,
};
use tonic::Code;

use super::{SECOND, numbers, publish, settings, texts};
use crate::harness::{House, Worker, duration, on_both_brokers, reason};

on_both_brokers!(
    a_subscription_has_its_defaults_and_is_found,
    names_are_unique_and_errors_exact,
    a_repeated_creation_is_answered_as_the_first,
    the_cursor_of_a_backlog_is_before_it,
    its_open_streams_are_counted,
    one_that_was_created_again_is_another,
    settings_change_with_a_mask_and_an_etag,
    subscriptions_are_listed_in_name_order,
    a_seek_begins_anew_and_old_ids_are_stale,
    starts_begin_where_they_say,
);

async fn a_subscription_has_its_defaults_and_is_found(house: &House) {
    publish(house, "mail", 5).await;
    let plain = Subscription { name: "mail".to_owned(), channel: "mail".to_owned(), ..Subscription::default() };
    let worker = house.work(plain).await;
    let found = worker.get().await;
    assert_eq!((found.name.as_str(), found.channel.as_str()), ("mail", "mail"));
    assert_eq!(found.ack_deadline, duration(30 * SECOND));
    assert_eq!((found.max_delivery_attempts, found.max_outstanding_messages), (Some(10), 10_000));
    assert_eq!(found.dead_letter_channel, "dead-letter.mail");
    assert_eq!(found.expire_after, duration(31 * 24 * 3600 * SECOND));
    assert!(found.create_time.is_some() && !found.etag.is_empty() && !found.paused);
    let state = found.state.expect("a state");
    assert_eq!((state.backlog_count, state.oldest_unacknowledged_sequence, state.lost_count), (5, 1, 0));
    let first = house.list("mail").await[0].publish_time;
    assert_eq!(state.oldest_unacknowledged_time, first);
}

async fn names_are_unique_and_errors_exact(house: &House) {
    let worker = house.work(settings("one")).await;
    let create = |subscription| CreateSubscriptionRequest { subscription, ..Default::default() };
    let elsewhere = Subscription { channel: "elsewhere".to_owned(), ..settings("one") };
    for again in [settings("one"), elsewhere] {
        let refused = worker.client().create_subscription(create(Some(again))).await.expect_err("it is there");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::AlreadyExists, "SUBSCRIPTION_EXISTS"));
    }
    let to = |channel: &str| Subscription { dead_letter_channel: channel.to_owned(), ..settings("two") };
    for (field, given) in [
        ("subscription", None),
        ("subscription.name", Some(Subscription::default())),
        ("subscription.ack_deadline", Some(Subscription { ack_deadline: duration(SECOND / 2), ..settings("two") })),
        ("subscription.filter", Some(Subscription { filter: "attributes.x".to_owned(), ..settings("two") })),
        ("subscription.dead_letter_channel", Some(to("two"))),
        ("subscription.dead_letter_channel", Some(to("a b"))),
    ] {
        let refused = worker.client().create_subscription(create(given)).await.expect_err(field);
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert!(refused.message().contains(field), "{refused:?}");
    }
    let nobody = Worker::new(house.subscriber_channel(), "nobody");
    let missing = GetSubscriptionRequest { name: "nobody".to_owned() };
    let refused = nobody.client().get_subscription(missing).await.expect_err("none");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "SUBSCRIPTION_NOT_FOUND"));
    let delete =
        |allow_missing| DeleteSubscriptionRequest { name: "nobody".to_owned(), allow_missing, ..Default::default() };
    assert_eq!(nobody.client().delete_subscription(delete(false)).await.expect_err("none").code(), Code::NotFound);
    nobody.client().delete_subscription(delete(true)).await.expect("nothing to do");
}

async fn a_repeated_creation_is_answered_as_the_first(house: &House) {
    publish(house, "twice", 3).await;
    let worker = Worker::new(house.subscriber_channel(), "twice");
    let create = |request_id: &str, earliest| CreateSubscriptionRequest {
        subscription: Some(settings("twice")),
        request_id: request_id.to_owned(),
        earliest,
        ..CreateSubscriptionRequest::default()
    };
    let id = "0192f0c1-2a3b-7c4d-8e5f-0123456789ab";
    let first = worker.client().create_subscription(create(id, true)).await.expect("created").into_inner();
    // Though it has changed meanwhile, and would begin elsewhere.
    let change = Subscription { name: "twice".to_owned(), paused: true, ..Subscription::default() };
    let change = UpdateSubscriptionRequest { subscription: Some(change), ..UpdateSubscriptionRequest::default() };
    worker.client().update_subscription(change).await.expect("changed");
    let again = worker.client().create_subscription(create(id, false)).await.expect("the same").into_inner();
    let (first, again) = (first.subscription.expect("one"), again.subscription.expect("one"));
    assert_eq!((again.create_time, again.paused), (first.create_time, true));
    assert_eq!(again.state.expect("a state").backlog_count, 3);
    for other in ["", "0192f0c1-2a3b-7c4d-8e5f-0123456789ac"] {
        let refused = worker.client().create_subscription(create(other, true)).await.expect_err("it is there");
        assert_eq!(refused.code(), Code::AlreadyExists);
    }
    for wrong in ["x", "0192f0c12a3b7c4d8e5f0123456789ab", "{0192f0c1-2a3b-7c4d-8e5f-0123456789ab}"] {
        let refused = worker.client().create_subscription(create(wrong, true)).await.expect_err("no UUID");
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains("request_id"), "{refused:?}");
    }
}

async fn one_that_was_created_again_is_another(house: &House) {
    let worker = house.work(settings("lives")).await;
    let old = worker.get().await;
    let mut stream = worker.consume(10).await;
    let delete = |etag: &str| DeleteSubscriptionRequest {
        name: "lives".to_owned(),
        etag: etag.to_owned(),
        ..DeleteSubscriptionRequest::default()
    };
    worker.client().delete_subscription(delete(&old.etag)).await.expect("deleted");
    // Long enough that it is of another moment.
    tokio::time::sleep(SECOND / 100).await;
    house.work(Subscription { dead_letter_channel: "graves".to_owned(), ..settings("lives") }).await;
    assert_eq!(stream.end().await.code(), Code::NotFound, "its consumers end with it");
    let refused = worker.client().delete_subscription(delete(&old.etag)).await.expect_err("the etag of another");
    assert_eq!(refused.code(), Code::Aborted);
    let shown = worker.consume(1).await;
    drop(shown);
    assert_eq!(worker.get().await.dead_letter_channel, "graves");
}

async fn the_cursor_of_a_backlog_is_before_it(house: &House) {
    let worker = house.work(settings("back")).await;
    assert_eq!(worker.state().await.cursor, "", "nothing was published yet");
    publish(house, "back", 4).await;
    let came = worker.pull_all(3).await;
    worker.acknowledge(&[&came[..1], &came[2..]].concat()).await;
    let listed = house.list("back").await;
    assert_eq!(worker.state().await.cursor, listed[0].cursor, "the second is out");
    worker.acknowledge(&came[1..2]).await;
    assert_eq!(worker.state().await.cursor, listed[2].cursor, "the fourth was not delivered");
    worker.acknowledge(&worker.pull_all(1).await).await;
    assert_eq!(worker.state().await.cursor, listed[3].cursor);
}

async fn its_open_streams_are_counted(house: &House) {
    let worker = house.work(settings("many")).await;
    assert_eq!(worker.state().await.consumer_count, 0);
    let (first, second) = (worker.consume(1).await, worker.consume(1).await);
    worker.comes_to_consumers(2).await;
    // A call is not connected.
    worker.pull(1, SECOND / 10).await;
    assert_eq!(worker.state().await.consumer_count, 2);
    drop(first);
    worker.comes_to_consumers(1).await;
    drop(second);
    worker.comes_to_consumers(0).await;
}

async fn settings_change_with_a_mask_and_an_etag(house: &House) {
    let worker = house.work(settings("changing")).await;
    let before = worker.get().await;
    let update = |change: fn(&mut Subscription), mask: &[&str], etag: &str| {
        let mut subscription =
            Subscription { name: "changing".to_owned(), etag: etag.to_owned(), ..Default::default() };
        change(&mut subscription);
        let paths = mask.iter().map(|path| (*path).to_owned()).collect();
        UpdateSubscriptionRequest {
            subscription: Some(subscription),
            update_mask: Some(prost_types::FieldMask { paths }),
        }
    };
    let request = update(|one| one.ack_deadline = duration(60 * SECOND), &["ack_deadline"], &before.etag);
    let after = worker.client().update_subscription(request.clone()).await.expect("updated").into_inner();
    let after = after.subscription.expect("one");
    assert_eq!(after.ack_deadline, duration(60 * SECOND));
    assert_ne!(after.etag, before.etag);
    let refused = worker.client().update_subscription(request).await.expect_err("the etag is old");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Aborted, "ETAG_DIFFERS"));
    for field in ["filter", "channel", "name", "dead_letter_channel", "nothing"] {
        let refused = worker.client().update_subscription(update(|_| {}, &[field], "")).await.expect_err(field);
        assert_eq!(refused.code(), Code::InvalidArgument, "{field}");
    }
    let delete = |etag: &str| DeleteSubscriptionRequest {
        name: "changing".to_owned(),
        etag: etag.to_owned(),
        allow_missing: false,
    };
    let refused = worker.client().delete_subscription(delete(&before.etag)).await.expect_err("the etag is old");
    assert_eq!(refused.code(), Code::Aborted);
    worker.client().delete_subscription(delete(&after.etag)).await.expect("deleted");
}

async fn subscriptions_are_listed_in_name_order(house: &House) {
    let names = ["b", "a", "a.x", "c", "B"];
    for name in names {
        let channel = if name == "c" { "other" } else { "listed" }.to_owned();
        house.work(Subscription { channel, ..settings(name) }).await;
    }
    let worker = Worker::new(house.subscriber_channel(), "a");
    let list = |channel: &str, page_size, token: &str| {
        let (channel, page_token) = (channel.to_owned(), token.to_owned());
        let mut client = worker.client();
        async move {
            let request = ListSubscriptionsRequest { channel, page_size, page_token };
            let page = client.list_subscriptions(request).await.expect("a list").into_inner();
            let names: Vec<_> = page.subscriptions.into_iter().map(|one| one.name).collect();
            (names, page.next_page_token)
        }
    };
    assert_eq!(list("", 0, "").await.0, ["B", "a", "a.x", "b", "c"]);
    assert_eq!(list("other", 0, "").await.0, ["c"]);
    let (first, token) = list("listed", 3, "").await;
    assert_eq!(first, ["B", "a", "a.x"]);
    assert_eq!(list("listed", 3, &token).await, (vec!["b".to_owned()], String::new()));
}

async fn a_seek_begins_anew_and_old_ids_are_stale(house: &House) {
    publish(house, "seek", 10).await;
    let worker = house.work(settings("seek")).await;
    let seek = |request: SeekSubscriptionRequest| {
        let mut client = worker.client();
        async move {
            let request = SeekSubscriptionRequest { name: "seek".to_owned(), ..request };
            let sought = client.seek_subscription(request).await.expect("sought").into_inner();
            sought.subscription.expect("one").state.expect("a state").backlog_count
        }
    };
    let first = worker.pull_all(6).await;
    worker.acknowledge(&first[..3]).await;
    let cursor = first[1].message.as_ref().expect("a message").cursor.clone();
    assert_eq!(seek(SeekSubscriptionRequest { after: cursor, ..Default::default() }).await, 8);
    let settled = worker.acknowledge(&first).await;
    assert_eq!(settled.stale_ids.len(), 6, "{settled:?}");
    let again = worker.pull_all(8).await;
    assert_eq!(texts(&again), &numbers(10)[2..]);
    assert_eq!(seek(SeekSubscriptionRequest { latest: true, ..Default::default() }).await, 0);
    assert!(worker.pull(10, Duration::ZERO).await.is_empty());
    assert_eq!(seek(SeekSubscriptionRequest { earliest: true, ..Default::default() }).await, 10);
    // A stream that is open goes on from there.
    let mut stream = worker.consume(100).await;
    assert_eq!(texts(&stream.receive(10).await), numbers(10));
    assert_eq!(seek(SeekSubscriptionRequest { earliest: true, ..Default::default() }).await, 10);
    assert_eq!(texts(&stream.receive(10).await), numbers(10));
    let nowhere = SeekSubscriptionRequest { name: "seek".to_owned(), ..Default::default() };
    let refused = worker.client().seek_subscription(nowhere).await.expect_err("nowhere");
    assert_eq!(refused.code(), Code::InvalidArgument);
}

async fn starts_begin_where_they_say(house: &House) {
    publish(house, "starts", 5).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let messages = house.list("starts").await;
    publish(house, "starts", 5).await;
    let since = house.list("starts").await[5].publish_time;
    for (name, request, backlog) in [
        ("now", CreateSubscriptionRequest::default(), 0),
        ("earliest", CreateSubscriptionRequest { earliest: true, ..Default::default() }, 10),
        ("last", CreateSubscriptionRequest { last: 3, ..Default::default() }, 3),
        ("most", CreateSubscriptionRequest { last: 100, ..Default::default() }, 10),
        ("since", CreateSubscriptionRequest { since, ..Default::default() }, 5),
        ("after", CreateSubscriptionRequest { after: messages[1].cursor.clone(), ..Default::default() }, 8),
    ] {
        let subscription = Some(Subscription { channel: "starts".to_owned(), ..settings(name) });
        let worker = Worker::new(house.subscriber_channel(), name);
        let request = CreateSubscriptionRequest { subscription, ..request };
        worker.client().create_subscription(request).await.expect("created");
        assert_eq!(worker.counts().await, (backlog, 0, 0), "{name}");
    }
    let both = CreateSubscriptionRequest {
        subscription: Some(settings("both")),
        earliest: true,
        last: 3,
        ..Default::default()
    };
    let worker = Worker::new(house.subscriber_channel(), "both");
    assert_eq!(worker.client().create_subscription(both).await.expect_err("two").code(), Code::InvalidArgument);
}
