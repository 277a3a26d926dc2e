//! Dead letters: put aside, listed, put back.

use std::time::Duration;

use tidings::{
    limits::{ATTRIBUTES, MESSAGE_BYTES, REASON_BYTES},
    pb::{
        ListDeadLettersRequest, ListDeadLettersResponse, Message, PublishRequest, RedriveDeadLettersRequest, Rejection,
        StreamMessagesRequest, Subscription,
    },
};

use super::{SECOND, attempts, publish, settings};
use crate::harness::{House, Worker, channel, on_both_brokers, text, text_of};

on_both_brokers!(
    a_message_whose_attempts_are_used_up_is_put_aside,
    a_worker_puts_aside_at_once,
    redriven_messages_have_all_their_attempts_again,
    a_lowered_limit_puts_aside_what_has_reached_it,
    dead_letters_come_page_by_page,
    a_dead_letter_is_published_once_with_what_became_of_it,
    the_largest_message_is_published_as_a_dead_letter,
    many_large_messages_are_put_aside_by_one_call,
);

async fn page(worker: &Worker, name: &str, page_size: i32, page_token: &str) -> ListDeadLettersResponse {
    let request = ListDeadLettersRequest { name: name.to_owned(), page_size, page_token: page_token.to_owned() };
    worker.client().list_dead_letters(request).await.expect("a list").into_inner()
}

async fn redrive(worker: &Worker, request: RedriveDeadLettersRequest) -> i64 {
    worker.client().redrive_dead_letters(request).await.expect("redriven").into_inner().redriven_count
}

async fn a_message_whose_attempts_are_used_up_is_put_aside(house: &House) {
    publish(house, "poison", 2).await;
    let worker = house.work(Subscription { max_delivery_attempts: Some(3), ..settings("poison") }).await;
    for attempt in 1..=3 {
        let came = worker.pull_all(2).await;
        assert_eq!(attempts(&came), [attempt, attempt]);
        let (poison, other) = came.split_at(1);
        worker.reject(poison, Rejection { reason: format!("failed {attempt}"), ..Rejection::default() }).await;
        worker.reject(other, Rejection { uncounted: attempt < 3, ..Rejection::default() }).await;
        if attempt < 3 {
            // What does not count is tried for ever.
            let other = worker.pull_all(2).await;
            assert_eq!(attempts(&other).iter().filter(|n| **n == 1).count(), 1, "{other:?}");
            worker.reject(&other, Rejection { uncounted: true, ..Rejection::default() }).await;
            break;
        }
    }
    let mut last = 0;
    while worker.state().await.dead_letter_count < 2 {
        let came = worker.pull(2, 5 * SECOND).await;
        last = last.max(attempts(&came).into_iter().max().unwrap_or(0));
        worker.reject(&came, Rejection { reason: "no use".to_owned(), ..Rejection::default() }).await;
    }
    assert_eq!(last, 3);
    let letters = page(&worker, "poison", 0, "").await.dead_letters;
    assert_eq!(letters.len(), 2);
    for letter in &letters {
        assert_eq!((letter.delivery_attempts, letter.reason.as_str(), letter.redrive_count), (3, "no use", 0));
        assert!(letter.dead_time.is_some());
    }
    assert_eq!(worker.counts().await, (0, 0, 0));
    assert!(worker.pull(1, SECOND).await.is_empty());
}

async fn a_worker_puts_aside_at_once(house: &House) {
    publish(house, "aside", 2).await;
    let worker = house.work(settings("aside")).await;
    let came = worker.pull_all(2).await;
    let rejection = Rejection { dead_letter: true, reason: "broken".to_owned(), ..Rejection::default() };
    let settled = worker.reject(&came[..1], rejection).await;
    assert_eq!(settled.rejected_ids.len(), 1, "{settled:?}");
    // It is dead, not done.
    let settled = worker.acknowledge(&came[..1]).await;
    assert_eq!(settled.stale_ids.len(), 1, "{settled:?}");
    let letters = page(&worker, "aside", 0, "").await.dead_letters;
    assert_eq!((letters.len(), letters[0].reason.as_str(), letters[0].delivery_attempts), (1, "broken", 1));
    let message = letters[0].message.as_ref().expect("a message");
    assert_eq!(Some(message), came[0].message.as_ref());
}

async fn redriven_messages_have_all_their_attempts_again(house: &House) {
    publish(house, "back", 3).await;
    let worker = house.work(Subscription { max_delivery_attempts: Some(1), ..settings("back") }).await;
    worker.reject(&worker.pull_all(3).await, Rejection::default()).await;
    let letters = page(&worker, "back", 0, "").await.dead_letters;
    assert_eq!(letters.len(), 3);
    let one = RedriveDeadLettersRequest {
        name: "back".to_owned(),
        dead_letter_ids: vec![letters[1].dead_letter_id.clone(), "nonsense".to_owned()],
        ..Default::default()
    };
    assert_eq!(redrive(&worker, one.clone()).await, 1);
    // A repeat finds nothing.
    assert_eq!(redrive(&worker, one).await, 0);
    assert_eq!(worker.counts().await, (1, 0, 1));
    let came = worker.pull_all(1).await;
    assert_eq!((came[0].message.as_ref(), attempts(&came)), (letters[1].message.as_ref(), vec![1]));
    worker.reject(&came, Rejection::default()).await;
    let all = RedriveDeadLettersRequest { name: "back".to_owned(), all: true, ..Default::default() };
    let again = page(&worker, "back", 0, "").await.dead_letters;
    assert_eq!(again.iter().map(|letter| letter.redrive_count).max(), Some(1));
    assert_eq!(redrive(&worker, all).await, 3);
    let came = worker.pull_all(3).await;
    let settled = worker.acknowledge(&came).await;
    assert_eq!(settled.acknowledged_ids.len(), 3, "{settled:?}");
    let state = worker.state().await;
    assert_eq!((state.backlog_count, state.dead_letter_count), (0, 0));
}

async fn a_lowered_limit_puts_aside_what_has_reached_it(house: &House) {
    publish(house, "lower", 2).await;
    let worker = house.work(settings("lower")).await;
    for _ in 0..3 {
        worker.reject(&worker.pull_all(2).await, Rejection::default()).await;
    }
    let mut subscription = Subscription { name: "lower".to_owned(), ..Subscription::default() };
    subscription.max_delivery_attempts = Some(2);
    let request = tidings::pb::UpdateSubscriptionRequest { subscription: Some(subscription), update_mask: None };
    worker.client().update_subscription(request).await.expect("updated");
    assert!(worker.pull(2, 2 * SECOND).await.is_empty());
    let letters = page(&worker, "lower", 0, "").await.dead_letters;
    assert_eq!(letters.iter().map(|letter| letter.delivery_attempts).collect::<Vec<_>>(), [3, 3]);
    assert_eq!(worker.counts().await, (0, 0, 0));
}

async fn dead_letters_come_page_by_page(house: &House) {
    publish(house, "pages", 7).await;
    let worker = house.work(settings("pages")).await;
    for delivery in worker.pull_all(7).await {
        worker.reject(&[delivery], Rejection { dead_letter: true, ..Rejection::default() }).await;
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = page(&worker, "pages", 3, &token).await;
        assert!(page.dead_letters.len() <= 3);
        seen.extend(page.dead_letters.iter().map(|letter| text_of(letter.message.as_ref().expect("one")).to_owned()));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, super::numbers(7));
}

/// What is on a channel, once there is so much.
async fn comes_to(house: &House, channel: &str, count: usize) -> Vec<Message> {
    let comes = async {
        loop {
            let messages = house.list(channel).await;
            if messages.len() >= count {
                return messages;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(20 * SECOND, comes).await.unwrap_or_else(|_| panic!("{count} on {channel}"))
}

async fn a_dead_letter_is_published_once_with_what_became_of_it(house: &House) {
    let key = |what: &str| format!("tidings-dead-letter-{what}");
    for (name, given, expected) in [("copied", "", "dead-letter.copied"), ("moved", "graveyard", "graveyard")] {
        let request = PublishRequest {
            attributes: [("region".to_owned(), "eu".to_owned())].into(),
            ordering_key: "order 7".to_owned(),
            ..text(name, "1")
        };
        house.publish(request).await;
        publish(house, name, 1).await;
        let settings =
            Subscription { max_delivery_attempts: Some(2), dead_letter_channel: given.to_owned(), ..settings(name) };
        let worker = house.work(settings).await;
        assert_eq!(worker.get().await.dead_letter_channel, expected);
        let came = worker.pull_all(2).await;
        worker.reject(&came[..1], Rejection::default()).await;
        worker.acknowledge(&came[1..]).await;
        let again = worker.pull_all(1).await;
        worker.reject(&again, Rejection { reason: "no use".to_owned(), ..Rejection::default() }).await;
        comes_to(house, expected, 1).await;
        // Looks at the books follow, and find nothing more to publish.
        tokio::time::sleep(SECOND + SECOND / 2).await;
        let messages = house.list(expected).await;
        assert_eq!(messages.len(), 1, "{messages:?}");
        let (letter, original) = (&messages[0], came[0].message.as_ref().expect("a message"));
        assert_eq!((text_of(letter), letter.ordering_key.as_str(), letter.sequence), ("1", "order 7", 1));
        let of = |what: &str| letter.attributes.get(&key(what)).map_or("", String::as_str);
        assert_eq!((letter.attributes["region"].as_str(), of("subscription"), of("channel")), ("eu", name, name));
        assert_eq!(
            (of("message-id"), of("sequence"), of("epoch")),
            (original.message_id.as_str(), "1", original.epoch.as_str())
        );
        assert_eq!((of("reason"), of("attempts"), of("hops")), ("no use", "2", "1"));
        assert!(!of("first-time").is_empty() && of("first-time") <= of("time"), "{letter:?}");
        assert_eq!(letter.attributes.len(), 11);
        // Put back it dies again, and is another message.
        let all = RedriveDeadLettersRequest { name: name.to_owned(), all: true, ..Default::default() };
        assert_eq!(redrive(&worker, all).await, 1);
        worker.reject(&worker.pull_all(1).await, Rejection { dead_letter: true, ..Rejection::default() }).await;
        let messages = comes_to(house, expected, 2).await;
        assert_ne!(messages[0].message_id, messages[1].message_id);
    }
}

async fn many_large_messages_are_put_aside_by_one_call(house: &House) {
    let body = "x".repeat(700_000);
    for _ in 0..30 {
        house.publish(text("heavy", body.as_str())).await;
    }
    let worker = house.work(settings("heavy")).await;
    let came = worker.pull_all(30).await;
    let settled = worker.reject(&came, Rejection { dead_letter: true, ..Rejection::default() }).await;
    assert_eq!((settled.rejected_ids.len(), settled.unknown_ids.len(), settled.stale_ids.len()), (30, 0, 0));
    let state = worker.state().await;
    assert_eq!((state.backlog_count, state.dead_letter_count), (0, 30));
}

async fn the_largest_message_is_published_as_a_dead_letter(house: &House) {
    let attributes = (0..ATTRIBUTES).map(|n| (format!("key {n}"), "value".to_owned())).collect();
    let request = PublishRequest { attributes, ..text("large", "x") };
    // The largest that is taken.
    let (mut fits, mut too_large) = (MESSAGE_BYTES / 2, MESSAGE_BYTES);
    while too_large - fits > 1 {
        let bytes = fits.midpoint(too_large);
        let is_taken = house.publisher().publish(text_with(&request, bytes)).await.is_ok();
        if is_taken { fits = bytes } else { too_large = bytes }
    }
    let worker = house.work(settings("large")).await;
    house.publish(text_with(&request, fits)).await;
    let last = house.list("large").await.pop().expect("published");
    assert_eq!(text_of(&last).len(), fits);
    loop {
        let came = worker.pull(1, 5 * SECOND).await;
        if came[0].message.as_ref().is_some_and(|message| message.sequence == last.sequence) {
            let rejection =
                Rejection { dead_letter: true, reason: "\u{1}".repeat(REASON_BYTES), ..Rejection::default() };
            worker.reject(&came, rejection).await;
            break;
        }
        worker.acknowledge(&came).await;
    }
    let listed = comes_to(house, "dead-letter.large", 1).await;
    let follow = StreamMessagesRequest { earliest: true, ..channel("dead-letter.large") };
    let mut stream = house.stream(follow).await;
    stream.started().await;
    for letter in [&listed[0], &stream.message().await] {
        assert_eq!((text_of(letter).len(), letter.attributes.len()), (fits, ATTRIBUTES + 10));
        assert_eq!(letter.attributes["tidings-dead-letter-reason"].len(), REASON_BYTES);
    }
}

/// The same with a text of so many bytes.
fn text_with(request: &PublishRequest, bytes: usize) -> PublishRequest {
    let attributes = request.attributes.clone();
    PublishRequest { attributes, ..text(&request.channel, "x".repeat(bytes)) }
}
