//! Redis goes back to a server or a copy on which the stream's epoch never was: it continues where both histories fork.

use tidings::pb::{GapReason, StreamMessagesRequest};
use tidings_testing::{DURABLE, How, Links, Proxy, RedisServer};

use super::super::rig::{Rig, check};
use crate::harness::channel;

/// A resumed stream: what its gaps name, and the sequences that it gets.
async fn resumed(rig: &Rig, name: &str, cursor: String) -> (Vec<(i64, i64, GapReason)>, Vec<i64>) {
    let stream = rig.watch(StreamMessagesRequest { after: vec![cursor], ..channel(name) }).await;
    let gaps = stream.gaps(name);
    let gaps = gaps.iter().map(|gap| (gap.first_missing, gap.last_missing, gap.reason())).collect();
    (gaps, stream.messages(name).iter().map(|message| message.sequence).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failback_repeats_nothing_and_names_what_only_the_other_server_had() {
    let old = RedisServer::start();
    let new = RedisServer::replica_of(&old);
    let proxy = Proxy::to(&old).await;
    let rig = Rig::through(&proxy).await;
    let streams = rig.watch_both("k.back", "k.*").await;
    let mut receipts = rig.publish("k.back", 1..=20).await;
    streams[0].until_message(&receipts[19].message_id).await;
    new.catch_up_with(&old);
    new.promote();
    proxy.retarget(&new);
    proxy.cut(Links::All, How::Reset);
    receipts.push(rig.publish_stubbornly("k.back", 21).await);
    assert!(receipts[20].sequence == 21 && receipts[20].epoch != receipts[0].epoch);
    for stream in &streams {
        stream.until_message(&receipts[20].message_id).await;
    }
    proxy.retarget(&old);
    proxy.cut(Links::All, How::Reset);
    receipts.push(rig.publish_stubbornly("k.back", 22).await);
    assert_eq!(receipts[21].sequence, 21);
    let lost = [(21, 21, GapReason::EpochChanged)];
    for stream in &streams {
        assert_eq!(check(stream, "k.back", &receipts).await, lost);
        assert_eq!(stream.messages("k.back").len(), 22, "nothing comes twice");
    }
    // A stream that was away for all of it knows by its cursor where they fork.
    let at_other = streams[0].messages("k.back")[20].cursor.clone();
    assert_eq!(resumed(&rig, "k.back", at_other).await, (lost.to_vec(), vec![21]));
    drop(streams);
    rig.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_forks_earlier_is_read_from_where_it_parts() {
    let mut redis = RedisServer::start_with(&DURABLE);
    let rig = Rig::on(&redis).await;
    let streams = rig.watch_both("k.fork", "k.*").await;
    let mut receipts = rig.publish("k.fork", 1..=5).await;
    let copy = redis.snapshot();
    receipts.extend(rig.publish("k.fork", 6..=8).await);
    // A restart that loses nothing: another epoch, which the copy does not know.
    redis.restart();
    receipts.push(rig.publish_stubbornly("k.fork", 9).await);
    assert_eq!(receipts[8].sequence, 9);
    for stream in &streams {
        stream.until_message(&receipts[8].message_id).await;
    }
    redis.restart_from(&copy);
    receipts.push(rig.publish_stubbornly("k.fork", 10).await);
    receipts.push(rig.publish_stubbornly("k.fork", 11).await);
    assert_eq!((receipts[9].sequence, receipts[10].sequence), (6, 7));
    for stream in &streams {
        let gaps = check(stream, "k.fork", &receipts).await;
        assert!(
            gaps.iter().all(|(first, last, why)| {
                *first >= 6 && *last <= 9 && *last > 0 && *why == GapReason::EpochChanged
            }),
            "{gaps:?}"
        );
        assert_eq!(stream.messages("k.fork").len(), 11, "nothing comes twice");
    }
    let before = streams[0].messages("k.fork")[8].cursor.clone();
    let (gaps, sequences) = resumed(&rig, "k.fork", before).await;
    assert!(!gaps.is_empty() && gaps.iter().all(|(first, _, _)| *first >= 6), "{gaps:?}");
    assert_eq!(sequences, [6, 7]);
    drop(streams);
    rig.stop();
}
