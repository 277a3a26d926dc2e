//! A head in a newer format than ours: everything on that channel is refused in words, nothing on another; and all
//! works when the head is one of ours again.

use tidings::pb::{ListMessagesRequest, StreamMessagesRequest};
use tidings_testing::RedisServer;
use tonic::{Code, Status};

use super::rig::{Rig, check};
use crate::harness::{channel, reason, sequences, text};

fn is_refused(refused: &Status, why: &str) {
    assert_eq!((refused.code(), reason(refused).as_str()), (Code::Unavailable, why), "{refused:?}");
    assert!(refused.message().contains("newer version of Tidings; upgrade this one"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_format_is_refused_in_words_until_it_is_gone() {
    let redis = RedisServer::start();
    let rig = Rig::on(&redis).await;
    let format = |version: &str| redis.command(&["HSET", "tidings:{v.new}:head", "v", version]);
    let streams = rig.watch_both("v.new", "v.*").await;
    let mut receipts = rig.publish("v.new", 1..=3).await;
    for stream in &streams {
        stream.until_message(&receipts[2].message_id).await;
    }
    let dump = redis.command(&["XLEN", "tidings:{v.new}:log"]);
    format("3");

    let refused = rig.publisher.client().publish(text("v.new", "x")).await.expect_err("newer");
    is_refused(&refused, "NOT_PUBLISHED");
    assert_eq!(redis.command(&["XLEN", "tidings:{v.new}:log"]), dump);
    let list = ListMessagesRequest { channel: "v.new".to_owned(), ..ListMessagesRequest::default() };
    let refused = rig.subscriber.client().list_messages(list).await.expect_err("newer");
    is_refused(&refused, "BROKER_UNAVAILABLE");
    let after = |cursor: &str| StreamMessagesRequest { after: vec![cursor.to_owned()], ..channel("v.new") };
    let earliest = StreamMessagesRequest { earliest: true, ..channel("v.new") };
    for request in [channel("v.new"), after(&receipts[0].cursor), earliest] {
        let refused = match rig.subscriber.client().stream_messages(request.clone()).await {
            Err(refused) => refused,
            Ok(stream) => crate::harness::Stream::new(stream.into_inner()).end().await,
        };
        is_refused(&refused, "BROKER_UNAVAILABLE");
    }

    // Another channel continues, also under the pattern that the two share.
    let other = rig.publish("v.other", 1..=3).await;
    streams[1].until_message(&other[2].message_id).await;

    format("1");
    receipts.extend(rig.publish("v.new", 4..=6).await);
    assert_eq!(sequences(&rig.subscriber.list("v.new").await), [1, 2, 3, 4, 5, 6]);
    let resumed = rig.watch(after(&receipts[0].cursor)).await;
    assert_eq!(sequences(&resumed.messages("v.new")), [2, 3, 4, 5, 6]);
    for stream in &streams {
        assert_eq!(check(stream, "v.new", &receipts).await, []);
    }
    assert_eq!(check(&streams[1], "v.other", &other).await, []);
    drop((streams, resumed));
    rig.stop();
}
