//! Both brokers beside each other: random calls must have the same outcome on both, but for epochs and times.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::{prelude::*, test_runner::TestRunner};
use tidings::{
    broker::{Error, From, PageLimit, Retention, Shared},
    channel::{ChannelName, Pattern},
    envelope,
    limits::MESSAGE_BYTES,
    message::{Draft, Payload},
};
use uuid::Uuid;

use crate::fixture::{Fixture, KEEP_ALL, name, within};

/// Ids run out soon, in a window whose next border lies in the year 2033.
const RETENTION: Retention = Retention { dedup_window_ms: 1_000_000_000_000, dedup_max_ids: 6, ..KEEP_ALL };
const CASES: u32 = 32;
/// Pages of both brokers are put together, since one of runs may be longer.
const LIMIT: PageLimit = PageLimit { messages: 7, bytes: 100_000 };

#[derive(Debug, Clone)]
enum Call {
    Publish(usize, Vec<Draft>),
    ReadUp(usize, i64),
    ReadDown(usize, i64),
    Heads(Vec<usize>),
    Channels(&'static str, usize),
}

/// What a call brought, without epochs and times.
#[derive(Debug, PartialEq)]
enum Outcome {
    Receipts(Vec<(Uuid, i64, bool)>),
    Refused(Error),
    Messages(Vec<(i64, Uuid, Payload)>),
    /// Last, first and number of epochs of each channel.
    Heads(Vec<Option<(i64, i64, usize)>>),
    Names(Vec<String>),
}

fn any_draft() -> impl Strategy<Value = Draft> {
    let payload = prop_oneof![
        9 => "\\PC{0,8}".prop_map(Payload::Text),
        3 => Just(Payload::Json("{\"a\": 1.10}".to_owned())),
        1 => Just(Payload::Text("x".repeat(MESSAGE_BYTES))),
    ];
    // A few ids that come again and again; none of them, and the broker's side has made one.
    (prop::option::of(1..10u128), any::<u128>(), payload).prop_map(|(given, made, payload)| Draft {
        id: Uuid::from_u128(given.unwrap_or(made)),
        deduplicate: given.is_some(),
        payload,
        attributes: Vec::new(),
        ordering_key: String::new(),
    })
}

fn any_call() -> impl Strategy<Value = Call> {
    let channel = 0..3usize;
    prop_oneof![
        5 => (channel.clone(), prop::collection::vec(any_draft(), 0..5)).prop_map(|(c, drafts)| Call::Publish(c, drafts)),
        1 => (channel.clone(), -1..20i64).prop_map(|(c, sequence)| Call::ReadUp(c, sequence)),
        1 => (channel.clone(), -1..20i64).prop_map(|(c, sequence)| Call::ReadDown(c, sequence)),
        1 => prop::collection::vec(channel, 0..4).prop_map(Call::Heads),
        1 => (prop::sample::select(vec!["*", "*.[ab]", "nothing"]), 1..4usize).prop_map(|(p, limit)| Call::Channels(p, limit)),
    ]
}

/// Carries out one call on channels that no other case uses.
async fn carry_out(broker: &Shared, case: &str, call: Call) -> Outcome {
    let channel = |index: usize| name(&format!("{case}.{}", ["a", "b", "c"][index]));
    match call {
        Call::Publish(index, drafts) => match broker.publish(&channel(index), drafts, 0).await {
            Ok(receipts) => Outcome::Receipts(receipts.iter().map(|r| (r.id, r.sequence, r.duplicate)).collect()),
            Err(error) => Outcome::Refused(error),
        },
        Call::ReadUp(index, sequence) => read(broker, &channel(index), From::After(sequence)).await,
        Call::ReadDown(index, sequence) => read(broker, &channel(index), From::Before(sequence)).await,
        Call::Heads(indexes) => {
            let channels: Vec<_> = indexes.into_iter().map(channel).collect();
            let heads = broker.heads(&channels).await.expect("read");
            let short = heads.into_iter().map(|head| head.map(|head| (head.last, head.first, head.epochs.len())));
            Outcome::Heads(short.collect())
        }
        Call::Channels(pattern, limit) => {
            let pattern = Pattern::parse(&format!("{case}.{pattern}")).expect("valid");
            Outcome::Names(list(broker, &pattern, limit).await)
        }
    }
}

/// The channels that have messages, by pages. The registry of Redis is written before the message is, and so may name
/// one whose first publish was refused.
async fn list(broker: &Shared, pattern: &Pattern, limit: usize) -> Vec<String> {
    let (mut after, mut names) = (String::new(), Vec::new());
    loop {
        let page = broker.channels(Some(pattern), &after, limit).await.expect("listed");
        let Some(last) = page.last() else { return names };
        last.as_str().clone_into(&mut after);
        let heads = broker.heads(&page).await.expect("read");
        names.extend(page.iter().zip(heads).filter(|(_, head)| head.is_some()).map(|(name, _)| name.to_string()));
    }
}

async fn read(broker: &Shared, channel: &ChannelName, mut from: From) -> Outcome {
    let mut messages = Vec::new();
    loop {
        let page = broker.read(channel, from, LIMIT).await.expect("read");
        for stored in &page.messages {
            let envelope = envelope::decode(&stored.json, 0);
            messages.push((stored.sequence, envelope.id, envelope.payload));
        }
        match (from, page.messages.last()) {
            (From::After(_), Some(last)) if !page.is_last => from = From::After(last.sequence),
            (From::Before(_), Some(last)) if !page.is_last => from = From::Before(last.sequence),
            _ => return Outcome::Messages(messages),
        }
    }
}

#[test]
fn random_calls_have_the_same_outcome_on_both() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let fixtures = [Fixture::memory(), Fixture::redis()];
    let brokers = fixtures.each_ref().map(|fixture| runtime.block_on(fixture.broker(RETENTION)));
    let case = AtomicUsize::new(0);
    // What failed is printed, with its seed; a file of failures would stand beside sources that a user may not write.
    let config = ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = TestRunner::new(config).run(&prop::collection::vec(any_call(), 1..30), |calls| {
        let case = format!("case{}", case.fetch_add(1, Ordering::Relaxed));
        for call in calls {
            let [memory, redis] = brokers
                .each_ref()
                .map(|broker| runtime.block_on(within(carry_out(broker, &case, call.clone()), "an outcome")));
            prop_assert_eq!(memory, redis);
        }
        Ok(())
    });
    for fixture in fixtures {
        runtime.block_on(fixture.close());
    }
    outcome.expect("both brokers agree");
}
