//! What only the old primary had: named with the exact range, whoever comes to the new one first.

use tidings::pb::{GapReason, PublishResponse, StreamMessagesRequest};
use tidings_testing::{Sentinels, certificates::Files};

use super::{
    super::rig::{Rig, Watch, check, until},
    announced, said,
};
use crate::harness::{Publisher, channel, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_promoted_behind() {
    let mut set = Sentinels::start();
    let rig = Rig::at(&set.url(""), &[]).await;
    let streams = rig.watch_both("b.late", "b.*").await;
    let mut receipts = rig.publish("b.late", 1..=5).await;
    for replica in &set.servers[1..] {
        replica.catch_up_with(&set.servers[0]);
    }
    set.leave_replicas_behind(0);
    receipts.extend(rig.publish("b.late", 6..=8).await);
    for stream in &streams {
        stream.until_message(&receipts[7].message_id).await;
    }
    set.servers[0].kill();
    set.replaced(0, 0);
    receipts.push(rig.publish_stubbornly("b.late", 9).await);
    assert_eq!(receipts[8].sequence, 6);
    let lost = (6, 8, GapReason::EpochChanged);
    for stream in &streams {
        assert_eq!(check(stream, "b.late", &receipts).await, [lost]);
    }
    let after = StreamMessagesRequest { after: vec![receipts[3].cursor.clone()], ..channel("b.late") };
    let resumed = rig.watch(after).await;
    let gaps: Vec<_> = resumed.gaps("b.late").iter().map(|gap| (gap.first_missing, gap.last_missing)).collect();
    let sequences: Vec<_> = resumed.messages("b.late").iter().map(|message| message.sequence).collect();
    assert_eq!((gaps, sequences), (vec![(6, 8)], vec![5, 6]));
    drop((streams, resumed));
    rig.stop();
}

/// A login for one program, with no more rights than it needs.
const LATE: [&str; 12] = [
    "on",
    ">secret",
    "resetchannels",
    "&+switch-master",
    "&+promoted-slave",
    "-@all",
    "+subscribe",
    "+sentinel|myid",
    "+sentinel|master",
    "+sentinel|masters",
    "+sentinel|sentinels",
    "+sentinel|get-master-addr-by-name",
];

fn allow_late(set: &Sentinels, rules: &[&str]) {
    for sentinel in &set.sentinels {
        assert_eq!(sentinel.command(&[&["ACL", "SETUSER", "late"], rules].concat()), "+OK");
        if rules == ["off"] {
            sentinel.command(&["CLIENT", "KILL", "USER", "late"]);
        }
    }
}

async fn publish(publisher: &Publisher, channel: &str, texts: std::ops::RangeInclusive<i64>) -> Vec<PublishResponse> {
    let mut receipts = Vec::new();
    for n in texts {
        let published = publisher.client().publish(text(channel, n.to_string())).await;
        receipts.push(published.expect("published").into_inner());
    }
    receipts
}

/// What a stream reports as lost: the epoch, the first and the last.
fn lost(stream: &Watch, channel: &str) -> Vec<(String, i64, i64)> {
    let gaps = stream.gaps(channel).into_iter();
    gaps.map(|gap| (gap.epoch, gap.first_missing, gap.last_missing)).collect()
}

fn sequences(stream: &Watch, channel: &str) -> Vec<i64> {
    stream.messages(channel).iter().map(|message| message.sequence).collect()
}

/// One publisher can't ask the sentinels, and stays on the old primary, which acknowledges its messages until it is
/// demoted. On one channel the others have gone on before it follows, and the streams have crossed; on the other it is
/// the first to come.
#[tokio::test(flavor = "multi_thread")]
async fn two_publishers_one_stays_behind() {
    let set = Sentinels::start();
    allow_late(&set, &LATE);
    let files = Files::new();
    let flag = format!("--sentinel-password-file={}", files.write("password", "secret\n").display());
    let late = Publisher::start(&set.url(""), &["--redis-timeout=1s", "--sentinel-user=late", &flag]).await;
    let rig = Rig::at(&set.url(""), &[]).await;
    let channels = ["l.others-first", "l.late-first"];
    let mut streams = Vec::new();
    let mut before = Vec::new();
    for name in channels {
        streams.push((name, rig.watch(channel(name)).await));
        before.push(publish(&late, name, 1..=3).await.remove(2));
        rig.publish(name, 4..=6).await;
    }
    let pattern = rig.watch(crate::harness::pattern("l.*")).await;
    for replica in &set.servers[1..] {
        replica.catch_up_with(&set.servers[0]);
    }
    allow_late(&set, &["off"]);
    late.process.wait_for_output("no sentinel can be asked");
    let new = set.fail_over(0);
    for process in [&rig.publisher.process, &rig.subscriber.process] {
        process.wait_for_output(&announced(&set.servers[new]));
    }
    let crossed = rig.publish_stubbornly(channels[0], 7).await;
    assert_eq!(crossed.sequence, 7);
    streams[0].1.until_message(&crossed.message_id).await;
    pattern.until_message(&crossed.message_id).await;
    let epoch = before[0].epoch.clone();
    for name in channels {
        let wiped = publish(&late, name, 8..=11).await;
        assert!(wiped.iter().map(|receipt| receipt.sequence).eq(7..=10), "{wiped:?}");
        assert!(name != channels[0] || wiped[0].epoch == epoch && crossed.epoch != epoch, "{wiped:?}");
    }
    assert_eq!(said(&late.process, &announced(&set.servers[new])), 0, "it was behind all the time");
    allow_late(&set, &["on"]);
    late.process.wait_for_output(&announced(&set.servers[new]));
    late.process.wait_for_output("the sentinels can be asked for the primary again");
    // Reported by whoever was given the receipts, though it publishes nothing any more.
    for (name, stream) in &streams {
        stream.until_gaps(name, 1).await;
    }
    let mut last = Vec::new();
    for name in channels {
        last.push(rig.publish_stubbornly(name, 12).await);
    }
    assert_eq!((last[0].sequence, last[1].sequence), (8, 7));
    for (n, (name, stream)) in streams.iter().enumerate() {
        for watch in [stream, &pattern] {
            watch.until_message(&last[n].message_id).await;
            let gap = (before[n].epoch.clone(), 7, 10);
            assert_eq!(lost(watch, name), [gap], "{name}");
        }
        let delivered: Vec<i64> = (1..=last[n].sequence).collect();
        assert_eq!(sequences(stream, name), delivered, "{name}");
        // And whoever was away for all of it.
        let after = StreamMessagesRequest { after: vec![before[n].cursor.clone()], ..channel(name) };
        let resumed = rig.watch(after).await;
        assert_eq!(lost(&resumed, name), [(before[n].epoch.clone(), 7, 10)], "{name}");
        assert_eq!(sequences(&resumed, name), delivered[3..], "{name}");
    }
    until("nobody is left on the old primary", || !super::is_used(&set.servers[0])).await;
    drop((streams, pattern));
    rig.stop();
    late.stop();
}
