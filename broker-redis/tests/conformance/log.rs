//! What can be read of what was published.

use std::time::Duration;

use tidings::{
    broker::{From, PageLimit, Shared},
    channel::{ChannelName, Pattern},
    limits::{RUN_BYTES, RUN_MESSAGES},
};

use crate::fixture::{Fixture, KEEP_ALL, head, name, publish, read_all, text};

const ALL: PageLimit = PageLimit { messages: usize::MAX, bytes: usize::MAX };

/// Fills a channel by calls of different sizes, so that a log of runs has runs of different sizes.
async fn fill(broker: &Shared, channel: &ChannelName, calls: usize) -> i64 {
    let mut last = 0;
    for call in 0..calls {
        let batch: Vec<_> = (0..1 + call * 7 % 300).map(|i| text(&format!("{call}-{i}"))).collect();
        last += batch.len() as i64;
        assert_eq!(publish(broker, channel, batch).await.last().expect("one at least").sequence, last);
    }
    last
}

pub(crate) async fn an_unknown_channel_is_empty(fixture: &Fixture) {
    let broker = fixture.broker(KEEP_ALL).await;
    let channel = name("nothing");
    for from in [From::After(0), From::After(7), From::Before(i64::MAX), From::Before(1)] {
        let page = broker.read(&channel, from, ALL).await.expect("read");
        assert!(page.messages.is_empty() && page.is_last && page.head.is_none(), "{from:?} {page:?}");
    }
    assert_eq!(broker.sequence_before(&channel, i64::MAX).await, Ok(0));
    assert_eq!(broker.heads(std::slice::from_ref(&channel)).await, Ok(vec![Ok(None)]));
    assert_eq!(broker.heads(&[]).await, Ok(Vec::new()));
    assert_eq!(broker.channels(None, "", 10).await, Ok(Vec::new()));
}

pub(crate) async fn pages_go_both_ways_and_miss_nothing(fixture: &Fixture) {
    let broker = fixture.broker(KEEP_ALL).await;
    let channel = name("orders");
    let last = fill(&broker, &channel, 12).await;
    let log = read_all(&broker, &channel).await;
    assert_eq!(log.iter().map(|stored| stored.sequence).collect::<Vec<_>>(), (1..=last).collect::<Vec<_>>());
    let limit = PageLimit { messages: 10, bytes: usize::MAX };
    for start in [0, 1, 2, 41, last / 2, last - 1, last] {
        let (mut at, mut found) = (start, Vec::new());
        loop {
            let page = broker.read(&channel, From::After(at), limit).await.expect("read");
            found.extend(page.messages);
            at = found.last().map_or(start, |stored| stored.sequence);
            assert_eq!(page.head.expect("there is one").last, last);
            if page.is_last {
                break;
            }
        }
        assert_eq!(found, log[start as usize..], "after {start}");
    }
    for start in [1, 2, 42, last / 2, last, last + 1, i64::MAX] {
        let (mut at, mut found) = (start, Vec::new());
        loop {
            let page = broker.read(&channel, From::Before(at), limit).await.expect("read");
            found.extend(page.messages);
            at = found.last().map_or(start, |stored| stored.sequence);
            if page.is_last {
                break;
            }
        }
        found.reverse();
        assert_eq!(found, log[..start.min(last + 1) as usize - 1], "before {start}");
    }
}

pub(crate) async fn pages_keep_to_their_limits(fixture: &Fixture) {
    let broker = fixture.broker(KEEP_ALL).await;
    let channel = name("orders");
    let last = fill(&broker, &channel, 12).await;
    let size = read_all(&broker, &channel).await.iter().map(|stored| stored.json.len()).max().expect("some");
    for messages in [1, 10, 300] {
        let limit = PageLimit { messages, bytes: usize::MAX };
        for from in [From::After(0), From::Before(last + 1)] {
            let page = broker.read(&channel, from, limit).await.expect("read");
            let most = messages + RUN_MESSAGES;
            assert!(!page.is_last && (messages..=most).contains(&page.messages.len()), "{}", page.messages.len());
        }
    }
    // However small the limit is, there is progress.
    for bytes in [0, 1, 20 * size] {
        let limit = PageLimit { messages: usize::MAX, bytes };
        for from in [From::After(0), From::Before(last + 1)] {
            let page = broker.read(&channel, from, limit).await.expect("read");
            let read: usize = page.messages.iter().map(|stored| stored.json.len()).sum();
            assert!(!page.is_last && read > 0 && read <= bytes + RUN_BYTES.max(RUN_MESSAGES * size), "{read}");
        }
    }
    let beyond = broker.read(&channel, From::After(last + 100), ALL).await.expect("read");
    assert!(beyond.messages.is_empty() && beyond.is_last);
}

pub(crate) async fn heads_report_each_channel_in_the_order_asked(fixture: &Fixture) {
    let brokers = fixture.brokers(KEEP_ALL, 2).await;
    let channels = [name("b"), name("nothing"), name("a"), name("b")];
    let b = publish(&brokers[0], &channels[0], vec![text("1"), text("2")]).await[1];
    let a = publish(&brokers[0], &channels[2], vec![text("1")]).await[0];
    let heads = brokers[1].heads(&channels).await.expect("read");
    let heads: Vec<_> = heads.into_iter().map(|head| head.expect("it can be read")).collect();
    assert_eq!(heads.len(), 4);
    assert!(heads[1].is_none() && heads[0] == heads[3]);
    for (found, receipt) in [(&heads[0], b), (&heads[2], a)] {
        let found = found.as_ref().expect("published");
        assert_eq!((found.epoch(), found.last, found.first), (Some(receipt.epoch), receipt.sequence, 1));
        assert_eq!((found.time_ms, found.keeps_history, found.epochs.len()), (receipt.time_ms, true, 1));
        assert_eq!((found.epochs[0].first, found.epochs[0].previous_end), (1, 0));
    }
    assert_ne!(a.epoch, b.epoch);
}

pub(crate) async fn times_lead_to_sequences(fixture: &Fixture) {
    let broker = fixture.broker(KEEP_ALL).await;
    let channel = name("orders");
    let mut receipts = Vec::new();
    for call in 0..8 {
        let batch = (0..1 + call * 40).map(|i| text(&i.to_string())).collect();
        receipts.extend(publish(&broker, &channel, batch).await);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    let (first, last) = (receipts[0], receipts[receipts.len() - 1]);
    let times = receipts.iter().flat_map(|receipt| [receipt.time_ms, receipt.time_ms + 1]);
    for time_ms in times.chain([0, first.time_ms - 1, last.time_ms + 1_000_000]) {
        let before = receipts.iter().filter(|receipt| receipt.time_ms < time_ms).count() as i64;
        assert_eq!(broker.sequence_before(&channel, time_ms).await, Ok(before), "{time_ms}");
    }
    assert_eq!(head(&broker, &channel).await.expect("published").time_ms, last.time_ms);
}

pub(crate) async fn channels_are_listed_in_name_order(fixture: &Fixture) {
    let broker = fixture.broker(KEEP_ALL).await;
    let mut names = ["orders.eu", "orders.us", "b", "a.b", "Z", "ü", "orders", "a"].map(name);
    for channel in &names {
        publish(&broker, channel, vec![text("a")]).await;
    }
    names.sort();
    assert_eq!(broker.channels(None, "", 100).await.expect("listed"), names);
    let mut pages = Vec::new();
    loop {
        let after = pages.last().map_or("", ChannelName::as_str).to_owned();
        let page = broker.channels(None, &after, 3).await.expect("listed");
        assert!(page.len() <= 3);
        if page.is_empty() {
            break;
        }
        pages.extend(page);
    }
    assert_eq!(pages, names);
    let orders = Pattern::parse("orders.*").expect("valid");
    let found = broker.channels(Some(&orders), "", 100).await.expect("listed");
    assert_eq!(found, [name("orders.eu"), name("orders.us")]);
    assert_eq!(broker.channels(Some(&orders), "orders.eu", 100).await.expect("listed"), [name("orders.us")]);
    assert_eq!(broker.channels(Some(&orders), "", 1).await.expect("listed"), [name("orders.eu")]);
    assert_eq!(broker.channels(None, "zzz", 100).await.expect("listed"), [name("ü")]);
}
