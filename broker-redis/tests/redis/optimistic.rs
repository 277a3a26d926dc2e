//! The optimistic append: which calls take it, that it writes the same, and that nothing comes out of order where it
//! can't be taken. All other tests take it as well, from a channel's second publish on.

use futures_util::future::join_all;
use tidings::{
    broker::{From, PageLimit, Retention, Shared},
    envelope,
    message::Payload,
};
use tidings_redis::Settings;
use tidings_testing::RedisServer;

use crate::fixture::{
    KEEP_ALL, Live, Monitor, broker, channel, connect, name, publish, settings, text, texts, with_id,
};

const LOG: &str = "tidings:{orders}:log";
const PAGE: PageLimit = PageLimit { messages: 100_000, bytes: 64 << 20 };

#[derive(Debug, PartialEq, Eq)]
enum Script {
    Full,
    Optimistic,
}

/// The scripts that publishes took on a channel since the last question.
fn scripts(monitor: &mut Monitor, channel: &str) -> Vec<Script> {
    let long = format!(r#""3" "tidings:{{{channel}}}:head" "tidings:{{{channel}}}:log" "tidings:{{{channel}}}:ids:""#);
    let short = format!(r#""2" "tidings:{{{channel}}}:head" "tidings:{{{channel}}}:log" "{channel}""#);
    let script = |line: &String| {
        let is_script = line.contains(r#""EVALSHA""#);
        (is_script && line.contains(&long))
            .then_some(Script::Full)
            .or_else(|| (is_script && line.contains(&short)).then_some(Script::Optimistic))
    };
    monitor.commands().iter().filter_map(script).collect()
}

/// The texts of a channel's log, in its order.
async fn log(broker: &Shared, channel: &str) -> Vec<String> {
    let page = broker.read(&name(channel), From::After(0), PAGE).await.expect("read");
    let sequences: Vec<_> = page.messages.iter().map(|stored| stored.sequence).collect();
    assert!(sequences.iter().copied().eq(1..=sequences.len() as i64), "{sequences:?}");
    let text = |json: &[u8]| match envelope::decode(json, 0).payload {
        Payload::Text(text) => text,
        other => panic!("a text was published: {other:?}"),
    };
    page.messages.iter().map(|stored| text(&stored.json)).collect()
}

#[tokio::test]
async fn a_publisher_that_knows_the_channel_appends_optimistically_and_writes_the_same() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let mut live = Live::open(&broker);
    live.subscribe(channel("orders")).await;
    let mut monitor = Monitor::of(&server);
    let mut drafts = texts(2);
    let mut receipts = publish(&broker, &name("orders"), drafts.clone()).await;
    for more in [vec![text("Grüße\n\"1\""), text("2")], texts(1), texts(300)] {
        receipts.extend(publish(&broker, &name("orders"), more.clone()).await);
        drafts.extend(more);
    }
    assert_eq!(
        scripts(&mut monitor, "orders"),
        [Script::Full, Script::Optimistic, Script::Optimistic, Script::Optimistic]
    );
    let page = broker.read(&name("orders"), From::After(0), PAGE).await.expect("read");
    assert_eq!(page.messages.len(), drafts.len());
    for (i, ((draft, receipt), stored)) in drafts.iter().zip(&receipts).zip(&page.messages).enumerate() {
        assert_eq!((receipt.id, receipt.sequence, receipt.duplicate), (draft.id, i as i64 + 1, false));
        assert_eq!(receipt.epoch, receipts[0].epoch);
        let json = envelope::encode(draft).stamp(receipt.time_ms, receipt.sequence, receipt.epoch);
        assert_eq!(live.push().await.2, json);
        assert_eq!(stored.json, json.as_bytes());
    }
    assert!(receipts.is_sorted_by_key(|receipt| receipt.time_ms), "log time never steps back");
    publish(&broker, &name("orders"), vec![with_id(uuid::Uuid::now_v7())]).await;
    assert_eq!(scripts(&mut monitor, "orders"), [Script::Full], "what may be a repeat is looked up");
    broker.close().await;
}

#[tokio::test]
async fn messages_one_by_one_and_trimmed_by_both_scripts_leave_what_the_limit_says() {
    let server = RedisServer::start();
    let retention = Retention { max_messages: 10, ..KEEP_ALL };
    let broker = connect(Settings { retention, ..settings(&server.url()) }).await;
    let mut monitor = Monitor::of(&server);
    for count in std::iter::repeat_n(1, 30).chain([300, 1, 2, 1]) {
        publish(&broker, &name("orders"), texts(count)).await;
    }
    let scripts = scripts(&mut monitor, "orders");
    assert_eq!(scripts.iter().filter(|script| **script == Script::Optimistic).count(), scripts.len() - 1);
    // 325..=334 must stay; the run 287..=330 holds some of them.
    assert_eq!(server.command(&["HMGET", "tidings:{orders}:head", "s", "oid"]), "*2\r\n$3\r\n334\r\n$6\r\n330-44");
    broker.close().await;
}

#[tokio::test]
async fn a_channel_that_somebody_else_writes_to_is_left_to_the_full_script_for_a_while() {
    let server = RedisServer::start();
    let (one, other) = (broker(&server).await, broker(&server).await);
    let orders = name("orders");
    let mut monitor = Monitor::of(&server);
    for _ in 0..2 {
        publish(&one, &orders, vec![text("one")]).await;
    }
    publish(&other, &orders, vec![text("other")]).await;
    assert_eq!(scripts(&mut monitor, "orders"), [Script::Full, Script::Optimistic, Script::Full]);
    let receipt = publish(&one, &orders, vec![text("one")]).await[0];
    assert_eq!(receipt.sequence, 4);
    publish(&one, &orders, vec![text("one")]).await;
    assert_eq!(
        scripts(&mut monitor, "orders"),
        [Script::Optimistic, Script::Full, Script::Full],
        "one attempt shows it"
    );
    assert_eq!(log(&one, "orders").await, ["one", "one", "other", "one", "one"]);
    tokio::time::sleep(tidings::limits::OPTIMISTIC_PAUSE).await;
    publish(&one, &orders, vec![text("one")]).await;
    publish(&one, &orders, vec![text("one")]).await;
    assert_eq!(
        scripts(&mut monitor, "orders"),
        [Script::Full, Script::Optimistic],
        "the clock was read too long ago for the first"
    );
    one.close().await;
    other.close().await;
}

#[tokio::test]
async fn calls_under_way_together_stay_in_order_when_somebody_else_writes_as_well() {
    let server = RedisServer::start();
    let (one, other) = (broker(&server).await, broker(&server).await);
    let mut refused = 0;
    for round in 0..20 {
        let channel = format!("c{round}");
        let mut monitor = Monitor::of(&server);
        publish(&one, &name(&channel), vec![text("first")]).await;
        let many = |broker: &Shared, sign: char, count: usize| {
            let publishing: Vec<_> =
                (0..count).map(|i| broker.publish(&name(&channel), vec![text(&format!("{sign}{i}"))], 0)).collect();
            join_all(publishing)
        };
        let early = many(&one, 'a', 3_000);
        tokio::task::yield_now().await;
        let (early, meanwhile) = tokio::join!(early, many(&other, 'b', 400));
        assert!(early.iter().chain(&meanwhile).all(Result::is_ok));
        let texts = log(&one, &channel).await;
        for (sign, count) in [('a', 3_000), ('b', 400)] {
            let own: Vec<_> = texts.iter().filter(|text| text.starts_with(sign)).collect();
            let expected: Vec<_> = (0..count).map(|i| format!("{sign}{i}")).collect();
            assert!(own.iter().copied().eq(expected.iter()), "round {round}: {sign} in order, each once");
        }
        let scripts = scripts(&mut monitor, &channel);
        let optimistic = scripts.iter().filter(|script| **script == Script::Optimistic).count();
        refused += usize::from(optimistic > 0 && scripts.last() == Some(&Script::Full));
    }
    assert!(refused > 0, "in no round an optimistic call met another's");
    one.close().await;
    other.close().await;
}

#[tokio::test]
async fn a_head_with_the_expected_number_and_another_name_is_not_gone_by() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    publish(&broker, &name("orders"), texts(3)).await;
    // As if the last call had been refused, and another's had written as many.
    server.command(&["HSET", "tidings:{orders}:head", "w", "0123456789abcdef"]);
    let mut monitor = Monitor::of(&server);
    assert_eq!(publish(&broker, &name("orders"), texts(1)).await[0].sequence, 4);
    assert_eq!(scripts(&mut monitor, "orders"), [Script::Optimistic, Script::Full]);
    broker.close().await;
}

#[tokio::test]
async fn a_log_that_is_ahead_of_its_head_is_left_to_the_full_script() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    let before = publish(&broker, &name("orders"), texts(3)).await[2];
    server.command(&["XADD", LOG, "50-1", "t", "1", "b", "1", "m", "{}"]);
    let mut monitor = Monitor::of(&server);
    let mut live = Live::open(&broker);
    live.subscribe(channel("orders")).await;
    let after = publish(&broker, &name("orders"), texts(1)).await[0];
    // What was given out in the epoch before is reported after that.
    assert_eq!(scripts(&mut monitor, "orders")[..2], [Script::Optimistic, Script::Full]);
    assert_eq!(after.sequence, 51);
    assert_ne!(after.epoch, before.epoch, "nothing says what is between");
    assert!(live.push().await.2.contains(r#""sequence":51"#), "nothing was pushed under another number");
    broker.close().await;
}
