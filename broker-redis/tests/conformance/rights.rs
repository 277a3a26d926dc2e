//! What the users of `docs/security.md` may not do, and what is said where one of their rights is missing. That they
//! may do enough is shown by the whole suite, which runs with them (`least_rights`).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tidings::{
    broker::{
        Error, From, LiveCommand, LiveEvent, PageLimit, Shared, State, Topic,
        adopt::{Adopt, Adoption, Raw},
    },
    channel::Pattern,
    envelope,
    message::{DedupKey, Position, Sender},
};
use tidings_redis::Role;
use tokio::time::timeout;
use uuid::Uuid;

use crate::fixture::{
    KEEP_ALL, name,
    rights::{CAPTURING, PUBLISHER, Rights, SUBSCRIBER, line},
    text, within,
};

/// What the server says of a command by a user, without carrying it out.
fn tries(rights: &Rights, user: &str, command: &str) -> String {
    let words: Vec<&str> = ["ACL", "DRYRUN", user].into_iter().chain(command.split(' ')).collect();
    rights.server.command(&words)
}

#[tokio::test]
async fn users_may_do_what_their_service_does_and_nothing_else() {
    let rights = Rights::new();
    let log = "tidings:{orders}:log";
    for (user, allowed, forbidden) in [
        (
            PUBLISHER,
            &["PUBLISH orders x", "XADD tidings:{orders}:log * m x"][..],
            &["SUBSCRIBE orders", "PSUBSCRIBE *", "SET other x", "XADD other * m x"][..],
        ),
        (
            SUBSCRIBER,
            &[
                "SUBSCRIBE orders",
                "PSUBSCRIBE orders.*",
                "XRANGE tidings:{orders}:log - +",
                "PUBLISH tidings:probe:1 1",
            ],
            &[
                "PUBLISH orders x",
                "PUBLISH tidings:{orders}:adopted x",
                "XADD tidings:{orders}:log * m x",
                "HSET tidings:{orders}:head s 1",
                "XTRIM tidings:{orders}:log MAXLEN 0",
                "SET tidings:dataset x",
                "PEXPIRE tidings:{orders}:head 1",
                "GET other",
            ],
        ),
        (
            CAPTURING,
            &[
                "PUBLISH tidings:{orders}:adopted x",
                "PUBLISH dead-letter.mail x",
                "XADD tidings:{orders}:log * m x",
                "ZADD tidings:channels 1 orders",
            ],
            &["PUBLISH orders x", "XADD other * m x", "SET other x"],
        ),
    ] {
        for command in allowed {
            assert_eq!(tries(&rights, user, command), "+OK", "{user}: {command}");
        }
        let dangerous =
            ["FLUSHALL", "CONFIG SET save x", "KEYS *", "ACL LIST", "EVAL x 0", "DEBUG SLEEP 1", "SHUTDOWN"];
        let deletes = format!("DEL {log}");
        for command in forbidden.iter().chain(&dangerous).copied().chain([deletes.as_str()]) {
            assert!(tries(&rights, user, command).contains("no permissions"), "{user} may {command}");
        }
    }
}

/// Something of everything that the services do, until something is said to be wrong; answers that.
async fn work(publisher: &Shared, subscriber: &Shared) -> Option<String> {
    let deadline = Instant::now() + Duration::from_secs(10);
    for broker in [publisher, subscriber] {
        let mut state = broker.state();
        let reported = state.wait_for(|state| match state {
            State::Up => true,
            State::Down(why) => !why.contains("not connected yet"),
        });
        let reported = within(reported, "its state").await.expect("the broker lives").clone();
        if let State::Down(why) = reported {
            return Some(why);
        }
    }
    let orders = name("orders");
    let mut with_id = text("with an id");
    with_id.dedup = Some(DedupKey::new(Sender::Unasked, Uuid::now_v7()));
    for (drafts, replicas) in [(vec![text("one")], 0), (vec![text("two")], 0), (vec![with_id], 0), (vec![text("w")], 1)]
    {
        if let Err(error) = within(publisher.publish(&orders, drafts, replicas), "an answer").await {
            return Some(error.to_string());
        }
    }
    let (control, mut events) = subscriber.live();
    let pattern = Topic::Pattern(Pattern::parse("orders*").expect("a pattern"));
    for command in [
        LiveCommand::Subscribe(Topic::Channel(orders.clone())),
        LiveCommand::Subscribe(pattern),
        LiveCommand::Check(orders.clone()),
        LiveCommand::Recent { skip: 0 },
    ] {
        control.send(command).await.expect("the connection is open");
    }
    let mut expected = 4;
    while expected > 0 && Instant::now() < deadline {
        let Ok(Some(more)) = timeout(Duration::from_secs(5), events.recv()).await else { break };
        for event in more {
            match event {
                LiveEvent::Subscribed(_) | LiveEvent::Head(..) | LiveEvent::Recent { .. } => expected -= 1,
                LiveEvent::Push { .. } | LiveEvent::Restored => {}
                other => return Some(format!("{other:?}")),
            }
        }
    }
    let limit = PageLimit { messages: 10, bytes: 1 << 20 };
    for from in [From::After(0), From::Before(3)] {
        if let Err(error) = subscriber.read(&orders, from, limit).await {
            return Some(error.to_string());
        }
    }
    if let Err(error) = subscriber.heads(std::slice::from_ref(&orders)).await {
        return Some(error.to_string());
    }
    if let Err(error) = subscriber.sequence_before(&orders, 1).await {
        return Some(error.to_string());
    }
    if let Err(error) = subscriber.channels(None, "", 10).await {
        return Some(error.to_string());
    }
    (expected > 0).then(|| format!("{expected} answers are missing"))
}

/// What is done now and then, or keeps idle connections: who lacks one of these works on. Without `SET` the data set
/// has no name, so a flush of a channel that is long expired looks like any other. Without `HVALS` what subscriptions
/// hold of a channel that is new is held only when one of them is used.
const TIDIES: [(&str, &str); 8] = [
    (PUBLISHER, "+ping"),
    (PUBLISHER, "+set"),
    (PUBLISHER, "+exists"),
    (PUBLISHER, "+hvals"),
    (PUBLISHER, "+zrange"),
    (PUBLISHER, "+zscore"),
    (PUBLISHER, "+zrem"),
    (SUBSCRIBER, "+ping"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_is_named() {
    let rights = Rights::new();
    let replica = tidings_testing::RedisServer::replica_of(&rights.server);
    let (mut checked, mut wrong) = (0, Vec::new());
    for user in [PUBLISHER, SUBSCRIBER] {
        let whole = line(user);
        for right in whole.iter().map(String::as_str).filter(|word| word.starts_with('+')) {
            let without: Vec<String> = whole.iter().filter(|word| *word != right).cloned().collect();
            rights.set_user(&without);
            let publisher = rights.broker(PUBLISHER, Role::Publisher, KEEP_ALL);
            let subscriber = rights.broker(SUBSCRIBER, Role::Subscriber, KEEP_ALL);
            let said = work(&publisher, &subscriber).await;
            let command = right.trim_start_matches('+').split('|').next().expect("a command").to_uppercase();
            // What WAIT is refused for is in the log: the message is published, and the answer says so.
            let is_named = said.as_ref().is_some_and(|said| said.to_uppercase().contains(&command)) || right == "+wait";
            match said {
                Some(_) if is_named => checked += 1,
                None if TIDIES.contains(&(user, right)) => {}
                said => wrong.push(format!("{user} without {right}: {said:?}")),
            }
            publisher.close().await;
            subscriber.close().await;
        }
        rights.set_user(&whole);
    }
    assert!(wrong.is_empty() && checked > 25, "{checked} are named, but not: {wrong:#?}");
    drop(replica);
}

#[tokio::test]
async fn the_user_for_subscriptions_publishes_dead_letters() {
    let rights = Rights::new();
    let broker = rights.broker(CAPTURING, Role::Subscriber, KEEP_ALL);
    within(broker.state().wait_for(|state| *state == State::Up), "it is up").await.expect("the broker lives");
    let mut letter = text("dead");
    letter.dedup = Some(DedupKey::new(Sender::Unasked, letter.id));
    for is_repeat in [false, true] {
        let published = broker.publish(&name("dead-letter.mail"), vec![letter.clone()], 0);
        let receipts = within(published, "an answer").await.expect("published");
        assert_eq!((receipts[0].sequence, receipts[0].duplicate), (1, is_repeat));
    }
    let refused = within(broker.publish(&name("orders"), vec![letter], 0), "an answer").await;
    assert!(matches!(&refused, Err(Error::Unavailable(why)) if why.contains("PUBLISH")), "{refused:?}");
    broker.close().await;
}

#[tokio::test]
async fn the_user_for_capture_adopts() {
    let rights = Rights::new();
    let broker = rights.broker(CAPTURING, Role::Subscriber, KEEP_ALL);
    let (control, mut events) = broker.live();
    control.send(LiveCommand::Capture(Topic::Channel(name("orders")))).await.expect("the connection is open");
    let mut is_captured = false;
    while !is_captured {
        let more = within(events.recv(), "it is captured").await.expect("the connection is open");
        is_captured = more.iter().any(|event| matches!(event, LiveEvent::Captured(_)));
    }
    let payload = b"from a plain program";
    let raw = Raw::new(payload, &envelope::decode(payload, 1_700_000_000_000)).expect("small enough");
    let (token, start) = (Uuid::new_v4(), Position::START);
    let adopt = Adopt { token, ask: false, adopted: start, seen: start, messages: vec![Arc::new(raw)] };
    let adopted = broker.adopter().expect("Redis adopts").adopt(&name("orders"), &adopt).await;
    assert!(matches!(adopted, Ok(Adoption::Done { last, .. }) if last.sequence == 1), "{adopted:?}");
    let mut is_noticed = false;
    while !is_noticed {
        let more = within(events.recv(), "a notice").await.expect("the connection is open");
        is_noticed = more.iter().any(|event| matches!(event, LiveEvent::Notice { .. }));
    }
    // What the user of no capture may not.
    let plain = rights.broker(SUBSCRIBER, Role::Subscriber, KEEP_ALL);
    within(plain.state().wait_for(|state| *state == State::Up), "it is up").await.expect("the broker lives");
    let refused = plain.adopter().expect("Redis adopts").adopt(&name("orders"), &adopt).await;
    assert!(matches!(&refused, Err(Error::Unavailable(why)) if why.contains("lacks ZADD")), "{refused:?}");
    for broker in [broker, plain] {
        broker.close().await;
    }
}
