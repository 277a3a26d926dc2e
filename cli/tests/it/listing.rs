//! Lists: pages in both orders, tokens bound to their query, and the list of channels.

use tidings::pb::{
    ListChannelsRequest, ListMessagesRequest, Message, Order, PublishBatchRequest, PublishRequest,
    publish_request::Payload,
};
use tonic::Code;

use crate::harness::{House, channel, fields, on_both_brokers, reason, sequences, text};

on_both_brokers!(
    pages_cover_everything_in_both_orders,
    a_page_ends_before_clients_refuse_it,
    a_page_token_belongs_to_its_query,
    an_unknown_channel_is_an_empty_list,
    channels_are_listed_by_name,
);

async fn fill(house: &House, channel: &str, count: usize) {
    let requests = (1..=count).map(|n| text("", n.to_string())).collect();
    let batch = PublishBatchRequest { channel: channel.to_owned(), requests };
    house.publisher().publish_batch(batch).await.expect("published");
}

async fn pages(house: &House, mut request: ListMessagesRequest) -> Vec<Vec<Message>> {
    let mut pages = Vec::new();
    loop {
        let page = house.subscriber().list_messages(request.clone()).await.expect("a page").into_inner();
        pages.push(page.messages);
        assert!(pages.len() < 100, "the list does not end");
        if page.next_page_token.is_empty() {
            return pages;
        }
        request.page_token = page.next_page_token;
    }
}

async fn pages_cover_everything_in_both_orders(house: &House) {
    fill(house, "pages", 250).await;
    let upwards: Vec<i64> = (1..=250).collect();
    let downwards: Vec<i64> = (1..=250).rev().collect();
    for (order, expected) in
        [(Order::Unspecified, &upwards), (Order::OldestFirst, &upwards), (Order::NewestFirst, &downwards)]
    {
        for (page_size, count) in [(0, 3), (7, 36), (250, 1), (5_000, 1)] {
            let request = ListMessagesRequest {
                channel: "pages".to_owned(),
                page_size,
                order: order.into(),
                ..ListMessagesRequest::default()
            };
            let pages = pages(house, request).await;
            assert_eq!(&sequences(&pages.concat()), expected, "{order:?}, {page_size} a page");
            assert_eq!(pages.len(), count, "{order:?}, {page_size} a page");
        }
    }
}

async fn a_page_ends_before_clients_refuse_it(house: &House) {
    for _ in 0..8 {
        let payload = Some(Payload::Text("x".repeat(900_000)));
        house.publish(PublishRequest { channel: "large".to_owned(), payload, ..PublishRequest::default() }).await;
    }
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let request = ListMessagesRequest { channel: "large".to_owned(), order: order.into(), ..Default::default() };
        // The client refuses answers over 4 MiB, as all gRPC clients do by default.
        let pages = pages(house, request).await;
        assert_eq!(pages.concat().len(), 8);
        assert!(pages.iter().all(|page| page.len() <= 3), "{:?}", pages.iter().map(Vec::len).collect::<Vec<_>>());
    }
}

async fn a_page_token_belongs_to_its_query(house: &House) {
    fill(house, "token", 5).await;
    let request = ListMessagesRequest { channel: "token".to_owned(), page_size: 2, ..ListMessagesRequest::default() };
    let page = house.subscriber().list_messages(request.clone()).await.expect("a page").into_inner();
    let with_token = ListMessagesRequest { page_token: page.next_page_token.clone(), ..request };
    // Another page size is allowed.
    let other_size = ListMessagesRequest { page_size: 3, ..with_token.clone() };
    let page = house.subscriber().list_messages(other_size).await.expect("a page").into_inner();
    assert_eq!((sequences(&page.messages), page.next_page_token.as_str()), (vec![3, 4, 5], ""));

    let mut cut = with_token.page_token.clone();
    cut.pop();
    for bad in [
        ListMessagesRequest { channel: "other".to_owned(), ..with_token.clone() },
        ListMessagesRequest { order: Order::NewestFirst.into(), ..with_token.clone() },
        ListMessagesRequest { page_token: cut, ..with_token.clone() },
        ListMessagesRequest { page_token: "forged".to_owned(), ..with_token.clone() },
    ] {
        let refused = house.subscriber().list_messages(bad.clone()).await.expect_err("a token of another query");
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::InvalidArgument, "INVALID_PAGE_TOKEN"),
            "{bad:?}"
        );
        assert_eq!(fields(&refused), ["page_token"], "{bad:?}");
    }
}

async fn an_unknown_channel_is_an_empty_list(house: &House) {
    assert!(house.list("never.used").await.is_empty());
}

async fn channels_are_listed_by_name(house: &House) {
    let names = ["b", "a.2", "a.10", "A", "ä"];
    for name in names {
        fill(house, name, 3).await;
    }
    let _follower = house.stream(channel("a.2")).await;
    let mut found = Vec::new();
    let mut request = ListChannelsRequest { page_size: 2, ..ListChannelsRequest::default() };
    loop {
        let page = house.subscriber().list_channels(request.clone()).await.expect("a page").into_inner();
        assert!(page.channels.len() <= 2);
        found.extend(page.channels);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(found.iter().map(|channel| channel.name.as_str()).collect::<Vec<_>>(), ["A", "a.10", "a.2", "b", "ä"]);
    for channel in &found {
        assert_eq!((channel.first_sequence, channel.last_sequence), (1, 3), "{}", channel.name);
        assert!(!channel.epoch.is_empty() && channel.last_publish_time.is_some());
        assert_eq!(channel.subscriber_count, i64::from(channel.name == "a.2"), "{}", channel.name);
    }

    let request = ListChannelsRequest { pattern: "a.*".to_owned(), page_size: 1, ..ListChannelsRequest::default() };
    let page = house.subscriber().list_channels(request.clone()).await.expect("a page").into_inner();
    assert_eq!(page.channels[0].name, "a.10");
    let other = ListChannelsRequest { pattern: "b*".to_owned(), page_token: page.next_page_token, ..request };
    let refused = house.subscriber().list_channels(other).await.expect_err("a token of another query");
    assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec!["page_token".to_owned()]));
}
