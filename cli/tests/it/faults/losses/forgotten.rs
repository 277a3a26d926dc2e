//! A log that goes further back than the head's list of epochs: a stream is where its messages are, not where the list
//! begins, and what was lost there is reported to all that come by.

use std::{collections::HashSet, time::Duration};

use prost_types::Duration as Period;
use tidings::{
    channel::Names,
    cursor::{self, Cursor},
    limits::HEAD_EPOCHS,
    pb::{GapReason, StreamMessagesRequest, stream_messages_response::Event},
};
use tidings_testing::RedisServer;

use super::super::rig::Rig;
use crate::harness::{Stream, channel, pattern, text};

const HEAD: &str = "tidings:{o.log}:head";
const LOG: &str = "tidings:{o.log}:log";
/// The log's messages of the forgotten epoch; the next one was lost.
const FORGOTTEN: i64 = 4;

/// What follows on a stream up to its live end: sequences of messages, and of what was lost, as negative numbers.
async fn rest(rig: &Rig, after: Vec<String>) -> Vec<i64> {
    let earliest = after.is_empty();
    let request = StreamMessagesRequest { after, earliest, ..pattern("o.*") };
    let mut stream = Stream::open(rig.subscriber.client(), request).await;
    let mut rest = Vec::new();
    loop {
        match stream.next_event().await {
            Event::Message(message) => rest.push(message.sequence),
            Event::Gap(gap) => {
                assert_eq!((gap.reason(), gap.first_missing), (GapReason::EpochChanged, gap.last_missing));
                rest.push(-gap.first_missing);
            }
            Event::CaughtUp(_) => return rest,
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_where_its_messages_are_and_resumes_there() {
    let redis = RedisServer::start();
    let rig = Rig::on(&redis).await;
    let mut client = rig.publisher.client();
    let mut receipts = Vec::new();
    for sequence in 1..=FORGOTTEN + 2 {
        if sequence == FORGOTTEN + 1 {
            // As after a restart; a publisher compares that every half second.
            redis.command(&["HSET", HEAD, "r", "another"]);
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        // So large that they come one by one.
        let published = client.publish(text("o.log", "x".repeat(900_000))).await;
        receipts.push(published.expect("published").into_inner());
        assert_eq!(receipts[receipts.len() - 1].sequence, sequence);
    }
    let (old, new) = (receipts[0].epoch.clone(), receipts[5].epoch.clone());
    assert!(old == receipts[3].epoch && new == receipts[4].epoch && old != new);
    // Many epochs later the list begins with one at whose start a message of the one before was lost.
    let lost = FORGOTTEN + 1;
    redis.command(&["HSET", HEAD, "h", &format!("{new},{lost},{lost}")]);

    let all = [1, 2, 3, 4, -lost, 5, 6];
    assert_eq!(rest(&rig, Vec::new()).await, all, "from the beginning");
    for (receipt, at) in receipts.iter().zip([1, 2, 3, 4, 6, 7]) {
        let mut whole = Stream::open(rig.subscriber.client(), pattern("o.*")).await;
        let after = vec![whole.started().await, receipt.cursor.clone()];
        assert_eq!(rest(&rig, after).await, all[at..], "after message {}", receipt.sequence);
    }

    // The cursors of the whole stream on its way.
    let period = Some(Period { seconds: 0, nanos: 100_000_000 });
    let request = StreamMessagesRequest { earliest: true, heartbeat_interval: period, ..pattern("o.*") };
    let mut stream = Stream::open(rig.subscriber.client(), request).await;
    let names = Names::new("tidings", "").expect("names");
    let (mut events, mut compared) = (0, 0);
    while events < all.len() {
        tokio::time::sleep(Duration::from_millis(120)).await;
        match stream.next().await {
            Event::Message(_) | Event::Gap(_) => events += 1,
            Event::Heartbeat(heartbeat) if (1..=4).contains(&events) && !heartbeat.cursor.is_empty() => {
                let Ok(Cursor::Stream(_, cursor)) = cursor::decode(&heartbeat.cursor, &names) else {
                    panic!("not a cursor of a stream")
                };
                let (_, mark) = &cursor.channels[0];
                assert_eq!(mark.position.epoch.map(|epoch| epoch.to_string()), Some(old.clone()), "after {events}");
                assert_eq!(rest(&rig, vec![heartbeat.cursor]).await, all[events..], "after {events}");
                compared += 1;
            }
            _ => {}
        }
    }
    assert!(compared > 0, "no heartbeat came in between");
    drop(stream);
    rig.stop();
}

/// A loss whose epoch's beginning fell off the list, of a log that still has what came before it.
#[tokio::test(flavor = "multi_thread")]
async fn a_loss_is_named_though_its_epoch_fell_off_the_list() {
    let redis = RedisServer::start();
    let rig = Rig::on(&redis).await;
    let mut client = rig.publisher.client();
    let mut receipts = Vec::new();
    for sequence in 1..=FORGOTTEN + HEAD_EPOCHS as i64 + 1 {
        if sequence == FORGOTTEN + 1 {
            // Two messages more, which are gone when a copy comes back.
            for key in [HEAD, LOG] {
                redis.command(&["COPY", key, &format!("kept:{key}")]);
            }
            for _ in 0..2 {
                client.publish(text("o.log", "lost")).await.expect("published");
            }
            for key in [HEAD, LOG] {
                redis.command(&["COPY", &format!("kept:{key}"), key, "REPLACE"]);
            }
        }
        if sequence > FORGOTTEN {
            // As after a restart.
            let another = format!("another{sequence}");
            redis.command(&["HSET", HEAD, "r", &another, "w", &another]);
        }
        let published = client.publish(text("o.log", sequence.to_string())).await;
        receipts.push(published.expect("published").into_inner());
        assert_eq!(receipts[receipts.len() - 1].sequence, sequence);
    }
    let epochs: HashSet<_> = receipts.iter().map(|receipt| &receipt.epoch).collect();
    assert_eq!(epochs.len(), HEAD_EPOCHS + 2, "the first two are not listed any more");
    let named = (receipts[0].epoch.clone(), FORGOTTEN + 1, FORGOTTEN + 2);
    for after in 0..=FORGOTTEN as usize {
        let mut whole = Stream::open(rig.subscriber.client(), pattern("o.*")).await;
        let cursor = after.checked_sub(1).map(|at| receipts[at].cursor.clone());
        let after_both = [vec![whole.started().await], cursor.clone().into_iter().collect()].concat();
        let request = match cursor {
            Some(cursor) => StreamMessagesRequest { after: vec![cursor], ..channel("o.log") },
            None => StreamMessagesRequest { earliest: true, ..channel("o.log") },
        };
        for request in [request, StreamMessagesRequest { after: after_both, ..pattern("o.*") }] {
            if after == 0 && !request.pattern.is_empty() {
                continue;
            }
            let (sequences, gaps) = story(&rig, request).await;
            assert_eq!(sequences, (after as i64 + 1..=receipts.len() as i64).collect::<Vec<_>>(), "after {after}");
            assert_eq!(gaps, std::slice::from_ref(&named), "after {after}");
        }
    }
    rig.stop();
}

/// The sequences that come on a stream up to its live end, and the losses: epoch, first and last.
async fn story(rig: &Rig, request: StreamMessagesRequest) -> (Vec<i64>, Vec<(String, i64, i64)>) {
    let mut stream = Stream::open(rig.subscriber.client(), request).await;
    let (mut sequences, mut gaps) = (Vec::new(), Vec::new());
    loop {
        match stream.next_event().await {
            Event::Message(message) => sequences.push(message.sequence),
            Event::Gap(gap) => {
                assert_eq!(gap.reason(), GapReason::EpochChanged);
                gaps.push((gap.epoch, gap.first_missing, gap.last_missing));
            }
            Event::CaughtUp(_) => return (sequences, gaps),
            _ => {}
        }
    }
}
