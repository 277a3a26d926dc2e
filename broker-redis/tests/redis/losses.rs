//! Losses that no single call can see: another publisher wrote on meanwhile, Redis went back to a copy, or only part of
//! it was lost. A publisher that has receipts reports it, and every reader learns of it.

use std::time::Duration;

use tidings::{
    broker::{
        Gap, GapReason, Loss, Receipt, Retention, Shared,
        history::{Next, Reader},
    },
    limits::HEAD_EPOCHS,
    message::{Lineage, MAX_SEQUENCE, Mark, Position},
};
use tidings_redis::Settings;
use tidings_testing::{Proxy, RedisServer};
use uuid::Uuid;

use crate::fixture::{KEEP_ALL, broker, connect, down, head, name, publish, settings, text, texts, up, with_id};

const HEAD: &str = "tidings:{orders}:head";
const LOG: &str = "tidings:{orders}:log";

/// What a reader learns on its way to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Read(i64),
    /// Epoch's owner is checked by the caller: first and last.
    Lost(Option<tidings::message::Epoch>, i64, i64),
}

/// Runs a reader to the end.
async fn run(broker: &Shared, reader: &mut Reader) -> Vec<Step> {
    let head = head(broker, &name("orders")).await;
    let mut steps = Vec::new();
    loop {
        match reader.next(head.as_ref(), Default::default()) {
            Next::End => return steps,
            Next::Read { to } => {
                reader.advance(to);
                steps.push(Step::Read(to));
            }
            Next::Gap(Gap { epoch, first_missing, last_missing, reason, .. }) => {
                assert_eq!(reason, GapReason::EpochChanged);
                steps.push(Step::Lost(epoch, first_missing, last_missing));
            }
            Next::Unlisted => panic!("what a reader needs is listed"),
        }
    }
}

/// Waits until a reader has something to learn.
async fn learn(broker: &Shared, reader: &mut Reader) -> Vec<Step> {
    for _ in 0..1_000 {
        let steps = run(broker, reader).await;
        if !steps.is_empty() {
            return steps;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing came");
}

fn at(receipt: Receipt) -> Position {
    Position::new(receipt.epoch, receipt.sequence)
}

fn keep(server: &RedisServer) {
    for key in [HEAD, LOG] {
        assert_eq!(server.command(&["COPY", key, &format!("kept:{key}"), "REPLACE"]), ":1");
    }
}

/// The head and the log of a channel as they were, and nothing else.
fn restore(server: &RedisServer) {
    for key in [HEAD, LOG] {
        assert_eq!(server.command(&["COPY", &format!("kept:{key}"), key, "REPLACE"]), ":1");
    }
}

#[tokio::test]
async fn receipts_of_a_primary_that_was_replaced_are_named_though_another_publisher_continued() {
    let old = RedisServer::start();
    let new = RedisServer::replica_of(&old);
    let proxy = Proxy::to(&old).await;
    let late = connect(settings(&proxy.url())).await;
    let before = publish(&late, &name("orders"), texts(6)).await[5];
    new.catch_up_with(&old);
    new.promote();
    let quick = broker(&new).await;
    let seventh = publish(&quick, &name("orders"), texts(1)).await[0];
    let mut reader = Reader::new(Position::new(before.epoch, 4));
    assert_eq!(run(&quick, &mut reader).await, [Step::Read(6), Step::Read(7)]);
    let wiped = publish(&late, &name("orders"), texts(4)).await;
    assert_eq!((wiped[0].epoch, wiped[0].sequence, wiped[3].sequence), (before.epoch, 7, 10));
    old.follow(&new);
    proxy.retarget(&new);
    down(&late).await;
    up(&late).await;
    // Also of a publisher that publishes nothing any more.
    assert_eq!(learn(&quick, &mut reader).await, [Step::Lost(Some(before.epoch), 7, 10)]);
    let eighth = publish(&late, &name("orders"), texts(1)).await[0];
    assert_eq!(eighth.sequence, 8);
    assert_ne!(eighth.epoch, seventh.epoch);
    let ninth = publish(&quick, &name("orders"), texts(1)).await[0];
    assert_eq!((ninth.epoch, ninth.sequence), (eighth.epoch, 9), "what is known begins no further epoch");
    assert_eq!(run(&quick, &mut reader).await, [Step::Read(9)]);
    let mut from_before = Reader::new(Position::new(before.epoch, 2));
    let lost = Step::Lost(Some(before.epoch), 7, 10);
    assert_eq!(run(&quick, &mut from_before).await, [Step::Read(6), Step::Read(7), lost, Step::Read(9)]);
    let mut had_all = Reader::new(at(wiped[3]));
    assert_eq!(run(&quick, &mut had_all).await, [lost, Step::Read(7), Step::Read(9)], "reported once");
    late.close().await;
    quick.close().await;
}

#[tokio::test]
async fn a_copy_that_comes_back_in_the_same_epoch_is_a_loss() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    publish(&broker, &name("orders"), texts(5)).await;
    keep(&server);
    let eighth = publish(&broker, &name("orders"), texts(3)).await[2];
    restore(&server);
    let sixth = publish(&broker, &name("orders"), texts(5)).await[0];
    assert_eq!(sixth.sequence, 6);
    assert_ne!(sixth.epoch, eighth.epoch, "the publisher knew of more");
    let lost = Step::Lost(Some(eighth.epoch), 6, 8);
    assert_eq!(run(&broker, &mut Reader::new(at(eighth))).await, [lost, Step::Read(10)]);
    let mut reader = Reader::new(Position::new(eighth.epoch, 3));
    assert_eq!(run(&broker, &mut reader).await, [Step::Read(5), lost, Step::Read(10)]);
    broker.close().await;
}

#[tokio::test]
async fn what_was_flushed_before_a_reader_saw_any_of_it_is_named() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let flushed = publish(&broker, &name("orders"), texts(2)).await[1];
    server.command(&["FLUSHALL"]);
    assert_eq!(publish(&broker, &name("orders"), texts(1)).await[0].sequence, 1);
    let lost = Step::Lost(Some(flushed.epoch), 1, 2);
    assert_eq!(run(&broker, &mut Reader::new(Position::START)).await, [lost, Step::Read(1)]);
    broker.close().await;
}

#[tokio::test]
async fn a_flush_that_no_publisher_remembers_shows_in_the_data_set() {
    let server = RedisServer::start();
    let before = broker(&server).await;
    let known = before.data_set().await.expect("asked").data_set;
    assert!(known.is_some());
    publish(&before, &name("orders"), texts(2)).await;
    before.close().await;
    server.command(&["FLUSHALL"]);
    let after = broker(&server).await;
    publish(&after, &name("orders"), texts(1)).await;
    assert_ne!(after.data_set().await.expect("asked").data_set, known);
    let mut reader = Reader::new(Position::START).in_data_set(known);
    assert_eq!(run(&after, &mut reader).await, [Step::Lost(None, 1, 0), Step::Read(1)]);
    let present = after.data_set().await.expect("asked").data_set;
    let mut new = Reader::new(Position::START).in_data_set(present);
    assert_eq!(run(&after, &mut new).await, [Step::Read(1)]);
    after.close().await;
}

#[tokio::test]
async fn an_epoch_that_a_copy_does_not_have_is_named_by_its_publisher() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let first = publish(&broker, &name("orders"), texts(5)).await[0];
    keep(&server);
    // As after a restart that lost nothing.
    server.command(&["HSET", HEAD, "r", "another", "w", "another"]);
    let second = publish(&broker, &name("orders"), texts(3)).await[2];
    assert_ne!(second.epoch, first.epoch);
    restore(&server);
    server.command(&["HSET", HEAD, "r", "a third", "w", "a third"]);
    let third = publish(&broker, &name("orders"), texts(2)).await[1];
    assert_eq!(third.sequence, 7);
    let lost = Step::Lost(Some(second.epoch), 6, 8);
    let mut reader = Reader::new(Position::new(first.epoch, 3));
    assert_eq!(run(&broker, &mut reader).await, [Step::Read(5), lost, Step::Read(7)]);
    let lineage = Lineage::Epoch { first: 6, previous: Some(first.epoch) };
    let mut beyond = Reader::resume(Mark { position: at(second), lineage });
    assert_eq!(run(&broker, &mut beyond).await, [lost, Step::Read(7)], "nothing of the first epoch comes again");
    broker.close().await;
}

#[tokio::test]
async fn losses_of_an_epoch_without_messages_are_not_counted_to_its_predecessor() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let id = Uuid::now_v7();
    let first = publish(&broker, &name("orders"), vec![with_id(id)]).await[0];
    keep(&server);
    publish(&broker, &name("orders"), texts(2)).await;
    restore(&server);
    // A repeat begins an epoch that names what was lost, and writes no message.
    assert!(publish(&broker, &name("orders"), vec![with_id(id)]).await[0].duplicate);
    keep(&server);
    let lost = publish(&broker, &name("orders"), texts(3)).await;
    assert_ne!(lost[0].epoch, first.epoch);
    restore(&server);
    publish(&broker, &name("orders"), texts(1)).await;
    let mut reader = Reader::new(at(first));
    let steps = run(&broker, &mut reader).await;
    assert_eq!(steps, [Step::Lost(Some(first.epoch), 2, 3), Step::Lost(Some(lost[0].epoch), 2, 4), Step::Read(2)]);
    broker.close().await;
}

#[tokio::test]
async fn a_remembered_id_counts_only_while_its_message_is_there() {
    let server = RedisServer::start();
    let before = broker(&server).await;
    publish(&before, &name("orders"), texts(3)).await;
    keep(&server);
    let [one, two] = [Uuid::now_v7(), Uuid::now_v7()];
    let lost = publish(&before, &name("orders"), vec![with_id(one), with_id(two)]).await;
    before.close().await;
    restore(&server);
    // One that remembers nothing.
    let after = broker(&server).await;
    let again = publish(&after, &name("orders"), vec![with_id(one)]).await[0];
    assert!(!again.duplicate && again.sequence == 4, "{lost:?} {again:?}");
    assert!(publish(&after, &name("orders"), vec![with_id(one)]).await[0].duplicate);
    // The sequence of the second is another's by now.
    publish(&after, &name("orders"), vec![text("another")]).await;
    let again = publish(&after, &name("orders"), vec![with_id(two)]).await[0];
    assert!(!again.duplicate && again.sequence == 6, "{lost:?} {again:?}");
    after.close().await;
}

#[tokio::test]
async fn a_publisher_with_a_shorter_window_forgets_nothing_for_the_others() {
    let server = RedisServer::start();
    let with_window = |dedup_window_ms| {
        let retention = Retention { dedup_window_ms, ..KEEP_ALL };
        connect(tidings_redis::Settings { retention, ..settings(&server.url()) })
    };
    let (long, short) = (with_window(3_600_000).await, with_window(50).await);
    let id = Uuid::now_v7();
    let first = publish(&long, &name("orders"), vec![with_id(id)]).await[0];
    for _ in 0..8 {
        publish(&short, &name("orders"), vec![with_id(Uuid::now_v7())]).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    for broker in [&long, &short] {
        let again = publish(broker, &name("orders"), vec![with_id(id)]).await[0];
        assert!(again.duplicate && again.sequence == first.sequence, "{again:?}");
    }
    long.close().await;
    short.close().await;
}

#[tokio::test]
async fn a_longer_window_still_knows_what_was_remembered_under_the_shorter_one() {
    let server = RedisServer::start();
    let with_window = |dedup_window_ms| {
        let retention = Retention { dedup_window_ms, ..KEEP_ALL };
        connect(tidings_redis::Settings { retention, ..settings(&server.url()) })
    };
    let (short, long) = (with_window(60_000).await, with_window(3_600_000).await);
    let id = Uuid::now_v7();
    publish(&short, &name("orders"), vec![with_id(id)]).await;
    publish(&long, &name("orders"), vec![with_id(Uuid::now_v7())]).await;
    for broker in [&long, &short] {
        assert!(publish(broker, &name("orders"), vec![with_id(id)]).await[0].duplicate);
    }
    long.close().await;
    short.close().await;
}

#[tokio::test]
async fn a_channel_restored_and_written_on_is_reported_by_the_publisher_of_the_lost_messages() {
    let server = RedisServer::start();
    let (p, q) = (broker(&server).await, broker(&server).await);
    let orders = name("orders");
    let first = publish(&p, &orders, texts(1)).await[0];
    keep(&server);
    let gone = publish(&q, &orders, texts(2)).await[1];
    assert_eq!((gone.epoch, gone.sequence), (first.epoch, 3));
    // What comes later is dated later.
    tokio::time::sleep(Duration::from_millis(5)).await;
    restore(&server);
    let there = publish(&p, &orders, texts(3)).await[2];
    assert_eq!((there.epoch, there.sequence), (first.epoch, 4), "nobody who was asked knew better");
    let after = publish(&q, &orders, texts(1)).await[0];
    assert_ne!(after.epoch, first.epoch, "it had got 2 and 3, and finds others there");
    let mut reader = Reader::new(Position::new(first.epoch, 1));
    assert_eq!(run(&p, &mut reader).await, [Step::Read(4), Step::Lost(Some(first.epoch), 2, 3), Step::Read(5)]);
    // Once.
    publish(&p, &orders, texts(1)).await;
    let last = publish(&q, &orders, texts(1)).await[0];
    assert_eq!((last.epoch, last.sequence), (after.epoch, 7));
    for broker in [p, q] {
        broker.close().await;
    }
}

/// A flush takes with it what Redis knew of the epochs before, and an old copy knows nothing of what came after it.
#[tokio::test]
async fn what_was_given_out_in_earlier_epochs_is_reported_when_an_old_copy_comes_back() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let orders = name("orders");
    let first = publish(&broker, &orders, texts(5)).await[0];
    keep(&server);
    publish(&broker, &orders, texts(3)).await;
    server.command(&["DEL", HEAD, LOG]);
    let flushed = publish(&broker, &orders, texts(1)).await[0];
    assert_eq!(flushed.sequence, 1);
    restore(&server);
    let back = publish(&broker, &orders, texts(1)).await[0];
    assert_eq!(back.sequence, 6);
    let mut reader = Reader::new(Position::new(first.epoch, 4));
    let lost = [Step::Lost(Some(flushed.epoch), 1, 1), Step::Read(6), Step::Lost(Some(first.epoch), 6, 8)];
    assert_eq!(run(&broker, &mut reader).await, [&[Step::Read(5)], &lost[..]].concat());
    broker.close().await;
}

#[tokio::test]
async fn publishers_that_take_turns_find_themselves_among_those_that_wrote() {
    let server = RedisServer::start();
    // More than the head names, with and without a history.
    for (channel, max_messages) in [("kept", 1_000), ("unkept", 0)] {
        let channel = name(channel);
        let mut brokers = Vec::new();
        for _ in 0..18 {
            let retention = Retention { max_messages, ..KEEP_ALL };
            brokers.push(connect(Settings { retention, ..settings(&server.url()) }).await);
        }
        let first = publish(&brokers[0], &channel, texts(1)).await[0];
        for round in 0..3 {
            for broker in &brokers {
                // The second is an optimistic append where nobody else wrote.
                for _ in 0..=round {
                    assert_eq!(publish(broker, &channel, texts(1)).await[0].epoch, first.epoch);
                }
            }
        }
        for broker in brokers {
            broker.close().await;
        }
    }
}

/// A publisher reports what it was given in an earlier epoch, and only that report is lost: what it published before is
/// there.
#[tokio::test]
async fn a_report_that_is_lost_takes_no_messages_with_it() {
    let server = RedisServer::start();
    let (p, orders) = (broker(&server).await, name("orders"));
    let earlier = publish(&p, &orders, texts(3)).await[2];
    server.command(&["FLUSHALL"]);
    publish(&p, &orders, texts(1)).await;
    server.command(&["FLUSHALL"]);
    let last = publish(&p, &orders, texts(4)).await[3];
    let reported = head(&p, &orders).await.expect("a head");
    assert!(reported.losses.iter().any(|loss| loss.epoch == earlier.epoch && loss.to == 3), "{reported:?}");
    // A replica that was promoted had the messages, and not yet the report.
    let epoch = last.epoch.to_string();
    let (writers, history) = (format!("{}:0:", &epoch[..8]), format!("{epoch},1,0"));
    server.command(&["HSET", HEAD, "e", &epoch, "w", &epoch, "p", &writers, "h", &history, "r", &"0".repeat(40)]);
    server.command(&["HDEL", HEAD, "l"]);
    let next = publish(&p, &orders, texts(1)).await[0];
    let now = head(&p, &orders).await.expect("a head");
    let said = now.losses.iter().filter(|loss| loss.epoch == last.epoch).count();
    assert_eq!((next.sequence, said), (5, 0), "nothing of it is lost: {now:?}");
    p.close().await;
}

/// As after a restart that lost nothing, of which no publisher knows.
fn begin_anew(server: &RedisServer, name: &str) {
    server.command(&["HSET", HEAD, "r", name, "w", name]);
}

#[tokio::test]
async fn a_loss_that_falls_off_the_list_is_named_where_it_begins_while_the_log_goes_back_as_far() {
    let server = RedisServer::start();
    let (broker, orders) = (broker(&server).await, name("orders"));
    let mut epochs = vec![publish(&broker, &orders, texts(4)).await[0].epoch];
    keep(&server);
    publish(&broker, &orders, texts(2)).await;
    restore(&server);
    // 1 lost 5 and 6, and 2 begins at 5.
    for number in 0..=HEAD_EPOCHS {
        begin_anew(&server, &format!("another{number}"));
        epochs.push(publish(&broker, &orders, texts(1)).await[0].epoch);
        let now = head(&broker, &orders).await.expect("a head");
        let oldest = now.epochs[0];
        let lost = Loss { began: oldest.epoch, epoch: epochs[0], from: 5, to: 6 };
        match number {
            0..15 => assert_eq!((oldest.epoch, now.epochs[1].previous_end, now.losses.len()), (epochs[0], 6, 0)),
            // First 1 falls off the list, with its name, and then 2, with what was lost where it began.
            15 => assert_eq!((oldest.epoch, oldest.previous_end, &now.losses[..]), (epochs[1], 4, &[lost][..])),
            _ => assert_eq!((oldest.epoch, oldest.previous_end, &now.losses[..]), (epochs[2], 5, &[lost][..])),
        }
    }
    // Nobody can come from before it any more: who is not there any more is told that nobody knows what was lost.
    let retention = Retention { max_messages: 3, ..KEEP_ALL };
    let trimming = connect(Settings { retention, ..settings(&server.url()) }).await;
    publish(&trimming, &orders, texts(1)).await;
    begin_anew(&server, "the last");
    publish(&trimming, &orders, texts(1)).await;
    let now = head(&broker, &orders).await.expect("a head");
    assert!(now.first > 6 && now.epochs[0].epoch == epochs[3] && now.losses.is_empty(), "{now:?}");
    for broker in [broker, trimming] {
        broker.close().await;
    }
}

#[tokio::test]
async fn losses_beyond_those_that_a_head_names_have_no_known_end() {
    let server = RedisServer::start();
    let (broker, orders) = (broker(&server).await, name("orders"));
    let first = publish(&broker, &orders, texts(5)).await[0].epoch;
    keep(&server);
    begin_anew(&server, "another");
    let second = publish(&broker, &orders, texts(3)).await[0].epoch;
    restore(&server);
    let named: Vec<_> = (1..=HEAD_EPOCHS).map(|n| format!("{first},{n:016x},{n},{}", n + 1)).collect();
    server.command(&["HSET", HEAD, "l", &named.join(";")]);
    begin_anew(&server, "a third");
    let third = publish(&broker, &orders, texts(1)).await[0].epoch;
    let losses = head(&broker, &orders).await.expect("a head").losses;
    assert_eq!(losses.len(), HEAD_EPOCHS);
    assert_eq!((losses[0].from, losses[0].to, losses[1].to), (2, MAX_SEQUENCE, 4), "{losses:?}");
    assert_eq!(losses[HEAD_EPOCHS - 1], Loss { began: third, epoch: second, from: 6, to: 8 });
    broker.close().await;
}
