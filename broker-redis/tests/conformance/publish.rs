//! Numbers, receipts and the JSON that is published.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::future::join_all;
use tidings::{
    broker::{Error, Receipt},
    envelope::{self, Claim},
    limits::{BATCH_MESSAGES, READ_MESSAGE_BYTES},
    message::{Draft, Payload},
};

use crate::fixture::{Fixture, KEEP_ALL, draft, head, name, publish, read_all, text};

pub(crate) async fn sequences_are_consecutive_across_publishers(fixture: &Fixture) {
    let brokers = fixture.brokers(KEEP_ALL, 2).await;
    let channel = name("orders");
    let publisher = |task: usize| {
        let (broker, channel) = (brokers[task % 2].clone(), channel.clone());
        tokio::spawn(async move {
            let mut receipts = Vec::new();
            for call in 0..40 {
                let batch = (0..1 + (task + call) % 4).map(|i| text(&format!("{task}-{call}-{i}"))).collect();
                let answered = publish(&broker, &channel, batch).await;
                let first = answered[0];
                for (i, receipt) in (0..).zip(&answered) {
                    assert_eq!((receipt.sequence, receipt.time_ms), (first.sequence + i, first.time_ms));
                }
                receipts.extend(answered);
            }
            receipts
        })
    };
    let mut receipts: Vec<Receipt> = Vec::new();
    for answered in join_all((0..6).map(publisher)).await {
        let answered = answered.expect("no panic");
        // One publisher's own messages keep their order.
        assert!(answered.is_sorted_by_key(|receipt| receipt.sequence));
        receipts.extend(answered);
    }
    receipts.sort_by_key(|receipt| receipt.sequence);
    let sequences: Vec<_> = receipts.iter().map(|receipt| receipt.sequence).collect();
    assert_eq!(sequences, (1..=receipts.len() as i64).collect::<Vec<_>>());
    assert!(receipts.is_sorted_by_key(|receipt| receipt.time_ms));
    assert!(receipts.iter().all(|receipt| receipt.epoch == receipts[0].epoch && !receipt.duplicate));
    let log = read_all(&brokers[0], &channel).await;
    for (stored, receipt) in log.iter().zip(&receipts) {
        let envelope = envelope::decode(&stored.json, 0);
        assert_eq!((stored.sequence, envelope.id), (receipt.sequence, receipt.id));
        assert_eq!(envelope.claim, Some(Claim { epoch: receipt.epoch, sequence: receipt.sequence }));
    }
    assert_eq!(log.len(), receipts.len());
}

pub(crate) async fn calls_take_effect_in_the_order_they_are_made(fixture: &Fixture) {
    let broker = fixture.broker(KEEP_ALL).await;
    let channel = name("orders");
    let calls: Vec<_> = (0..100).map(|i| broker.publish(&channel, vec![text(&i.to_string())], 0)).collect();
    // Awaited backwards, so that the order of polling would turn them round.
    let mut sequences = Vec::new();
    for call in calls.into_iter().rev() {
        sequences.push(call.await.expect("published")[0].sequence);
    }
    sequences.reverse();
    assert_eq!(sequences, (1..=100).collect::<Vec<_>>());
}

pub(crate) async fn a_batch_lands_together_or_not_at_all(fixture: &Fixture) {
    let broker = fixture.broker(KEEP_ALL).await;
    let channel = name("orders");
    let spoiled = vec![text("a"), text(&"x".repeat(READ_MESSAGE_BYTES)), text("b")];
    let refused = broker.publish(&channel, spoiled.clone(), 0).await;
    assert!(matches!(refused, Err(Error::TooLarge { limit: READ_MESSAGE_BYTES, .. })), "{refused:?}");
    assert_eq!(head(&broker, &channel).await, None);

    let whole: Vec<_> = (0..BATCH_MESSAGES).map(|i| text(&i.to_string())).collect();
    let receipts = publish(&broker, &channel, whole.clone()).await;
    assert_eq!(receipts.len(), BATCH_MESSAGES);
    for ((receipt, draft), sequence) in receipts.iter().zip(&whole).zip(1..) {
        assert_eq!((receipt.id, receipt.sequence), (draft.id, sequence));
    }
    broker.publish(&channel, spoiled, 0).await.expect_err("too large");
    assert_eq!(head(&broker, &channel).await.expect("published").last, BATCH_MESSAGES as i64);
    assert_eq!(read_all(&broker, &channel).await.len(), BATCH_MESSAGES);
}

pub(crate) async fn the_largest_message_passes_and_a_larger_one_does_not(fixture: &Fixture) {
    let broker = fixture.broker(KEEP_ALL).await;
    let channel = name("orders");
    let frame = envelope::encode(&text("")).len();
    let receipt = publish(&broker, &channel, vec![text(&"x".repeat(READ_MESSAGE_BYTES - frame))]).await[0];
    assert_eq!(receipt.sequence, 1);
    let larger = broker.publish(&channel, vec![text(&"x".repeat(READ_MESSAGE_BYTES - frame + 1))], 0).await;
    assert_eq!(larger, Err(Error::TooLarge { bytes: READ_MESSAGE_BYTES + 1, limit: READ_MESSAGE_BYTES }));
    // Sizes are those of the JSON: quotes count twice.
    broker.publish(&channel, vec![text(&"\"".repeat(READ_MESSAGE_BYTES / 2))], 0).await.expect_err("too large");
    assert_eq!(read_all(&broker, &channel).await.len(), 1);
}

pub(crate) async fn the_log_holds_what_the_receipt_says(fixture: &Fixture) {
    let broker = fixture.broker(KEEP_ALL).await;
    let channel = name("orders");
    let drafts: Vec<_> = payloads().into_iter().map(draft).collect();
    let receipts = publish(&broker, &channel, drafts.clone()).await;
    let log = read_all(&broker, &channel).await;
    assert_eq!(log.len(), drafts.len());
    for ((draft, receipt), stored) in drafts.iter().zip(&receipts).zip(&log) {
        let expected = envelope::encode(draft).stamp(receipt.time_ms, receipt.sequence, receipt.epoch);
        assert_eq!((stored.sequence, &stored.json), (receipt.sequence, &Bytes::from(expected)));
    }
    let ids: BTreeSet<_> = receipts.iter().map(|receipt| receipt.id).collect();
    assert_eq!(ids.len(), drafts.len());
}

pub(crate) async fn payloads_are_kept_byte_for_byte(fixture: &Fixture) {
    let broker = fixture.broker(KEEP_ALL).await;
    let channel = name("Grüße.ü");
    for payload in payloads() {
        let attributes = vec![("a".to_owned(), "\"ü\\\n\u{0}".to_owned()), ("ü".to_owned(), String::new())];
        let draft = Draft { attributes, ordering_key: "k\"\u{7f}".to_owned(), ..draft(payload) };
        publish(&broker, &channel, vec![draft.clone()]).await;
        let stored = read_all(&broker, &channel).await.pop().expect("published");
        let envelope = envelope::decode(&stored.json, 0);
        assert_eq!(
            (envelope.id, envelope.payload, envelope.attributes, envelope.ordering_key),
            (draft.id, draft.payload, draft.attributes, draft.ordering_key)
        );
    }
}

pub(crate) async fn replicas_that_do_not_exist_are_refused(fixture: &Fixture) {
    let broker = fixture.broker(KEEP_ALL).await;
    let channel = name("orders");
    let refused = broker.publish(&channel, vec![text("a")], 1).await;
    // The embedded broker can't have any; a Redis without replicas says that they are too few.
    assert!(matches!(refused, Err(Error::NoReplicas | Error::Unavailable(_))), "{refused:?}");
    assert_eq!(head(&broker, &channel).await, None);
}

pub(crate) async fn an_empty_batch_does_nothing(fixture: &Fixture) {
    let broker = fixture.broker(KEEP_ALL).await;
    assert_eq!(publish(&broker, &name("orders"), Vec::new()).await, []);
    assert_eq!(head(&broker, &name("orders")).await, None);
    assert_eq!(broker.channels(None, "", 10).await.expect("listed"), []);
}

fn payloads() -> Vec<Payload> {
    let text = |text: &str| Payload::Text(text.to_owned());
    let json = |json: &str| Payload::Json(json.to_owned());
    vec![
        text("plain"),
        text("Grüße \"\\/\u{8}\u{c}\n\r\t\u{0}\u{1f}\u{7f}\u{2028}𝄞%s%.0f"),
        json("1.10"),
        json("9007199254740993"),
        json("null"),
        json("\"\\u0041\\/\""),
        json("{\"b\": 1E+2,  \"a\":[ -0.0 ,{}],\"b\":\"\\ud800\"}"),
        Payload::Data(Bytes::from_static(b"\x00\xff\r\n$5\r\n")),
        Payload::Data((0..=255).collect::<Vec<u8>>().into()),
        Payload::Data(Bytes::new()),
    ]
}
