//! Both brokers beside each other: random calls must have the same outcome on both, but for epochs, times, and the rest
//! of a run that Redis keeps below what is retained. Redis is restarted in between, without losing anything: nobody may
//! notice.

use std::cell::{Cell, RefCell};

use proptest::{prelude::*, test_runner::TestRunner};
use tidings::{
    broker::Retention,
    limits::{MESSAGE_BYTES, RUN_MESSAGES},
    message::{DedupKey, Draft, Payload, Sender},
};
use uuid::Uuid;

use self::{
    twin::{CHANNELS, TOPICS, Twin},
    words::{Call, Sent, agree},
};
use crate::fixture::{Fixture, KEEP_ALL};

mod twin;
mod words;

/// Ids run out soon, in a window whose next border lies in the year 2033.
const KEEPS: Retention = Retention { dedup_window_ms: 1_000_000_000_000, dedup_max_ids: 6, ..KEEP_ALL };
const BY_COUNT: Retention = Retention { max_messages: 9, ..KEEPS };
const BY_BYTES: Retention = Retention { max_bytes: 3_000, ..KEEPS };
const NOTHING: Retention = Retention { max_messages: 0, ..KEEPS };
const CASES: u32 = 16;

fn any_payload() -> impl Strategy<Value = Payload> {
    let json = ["{\"a\": 1.10}", "\"\\u0041\"", "[ ]", "9007199254740993"];
    prop_oneof![
        9 => "\\PC{0,8}".prop_map(Payload::Text),
        2 => any::<String>().prop_map(Payload::Text),
        3 => prop::sample::select(json.to_vec()).prop_map(|json| Payload::Json(json.to_owned())),
        2 => any::<Vec<u8>>().prop_map(|data| Payload::Data(data.into())),
        // A few of them are more than one run.
        2 => Just(Payload::Text("x".repeat(30_000))),
        1 => Just(Payload::Text("x".repeat(MESSAGE_BYTES))),
    ]
}

fn any_draft() -> impl Strategy<Value = Sent> {
    let attributes = prop::collection::btree_map("\\PC{1,4}", "\\PC{0,4}", 0..3);
    // A few ids that come again and again; none of them, and the broker's side has made one.
    (prop::option::of(1..10u128), any::<u128>(), any_payload(), attributes, "\\PC{0,3}").prop_map(
        |(given, made, payload, attributes, ordering_key)| {
            Sent(Draft {
                id: Uuid::from_u128(given.unwrap_or(made)),
                dedup: given.map(|given| DedupKey::new(Sender::Unasked, Uuid::from_u128(given))),
                payload,
                attributes: attributes.into_iter().collect(),
                ordering_key,
            })
        },
    )
}

/// Some drafts, or so many that they are more than one run.
fn any_batch() -> impl Strategy<Value = Vec<Sent>> {
    let most = RUN_MESSAGES as u128;
    let counts = prop::sample::select(vec![most - 1, most, most + 1, 2 * most, 2 * most + 1]);
    let many = (counts, any::<u64>()).prop_map(|(count, base)| {
        let draft = |i: u128| Draft {
            id: Uuid::from_u128(u128::from(base) << 64 | i),
            dedup: None,
            payload: Payload::Text(i.to_string()),
            attributes: Vec::new(),
            ordering_key: String::new(),
        };
        (0..count).map(draft).map(Sent).collect()
    });
    prop_oneof![
        12 => prop::collection::vec(any_draft(), 0..5),
        1 => many,
    ]
}

fn any_call() -> impl Strategy<Value = Call> {
    let channel = 0..CHANNELS;
    let limit = (1..20usize, 200..100_000usize);
    let patterns = vec!["*", "*.[ab]", "?????*c", "nothing"];
    prop_oneof![
        // Several at once travel together on Redis.
        12 => prop::collection::vec((channel.clone(), any_batch()), 1..5).prop_map(Call::Publish),
        3 => (channel.clone(), -1..30i64, limit.clone()).prop_map(|(c, at, limit)| Call::ReadUp(c, at, limit)),
        3 => (channel.clone(), -1..30i64, limit).prop_map(|(c, at, limit)| Call::ReadDown(c, at, limit)),
        2 => (channel.clone(), 0..30usize, -1..2i64).prop_map(|(c, of, later)| Call::Since(c, of, later)),
        2 => prop::collection::vec(channel.clone(), 0..4).prop_map(Call::Heads),
        2 => (prop::sample::select(patterns), prop::option::of(channel), 1..4usize)
            .prop_map(|(pattern, after, limit)| Call::Channels(pattern, after, limit)),
        1 => Just(Call::Recent),
        2 => (0..TOPICS).prop_map(Call::Follow),
        1 => (0..TOPICS).prop_map(Call::Leave),
        1 => Just(Call::Restart),
    ]
}

fn hold_against_each_other(retention: Retention) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let fixtures = [Fixture::memory(), Fixture::durable_redis()];
    let twins = fixtures.map(|fixture| RefCell::new(runtime.block_on(Twin::new(fixture, retention))));
    let case = Cell::new(0);
    let calls = prop::collection::vec(any_call(), 1..30);
    // What failed is printed, with its seed; a file of failures would be beside sources that a user may not write.
    let config = ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = TestRunner::new(config).run(&calls, |calls| {
        case.set(case.get() + 1);
        let [mut memory, mut redis] = twins.each_ref().map(RefCell::borrow_mut);
        // Connections start tasks.
        let _within = runtime.enter();
        for twin in [&mut memory, &mut redis] {
            twin.begin(&format!("case{}", case.get()));
        }
        for call in &calls {
            let [memory, redis] = [&mut memory, &mut redis].map(|twin| runtime.block_on(twin.carry_out(call)));
            agree(&memory, &redis).map_err(|why| TestCaseError::fail(format!("{call:?}: {why}")))?;
        }
        Ok(())
    });
    for twin in twins {
        runtime.block_on(twin.into_inner().close());
    }
    outcome.expect("both brokers agree");
}

#[test]
fn random_calls_have_the_same_outcome_on_both() {
    hold_against_each_other(KEEPS);
}

#[test]
fn random_calls_have_the_same_outcome_on_both_when_the_log_is_trimmed_by_count() {
    hold_against_each_other(BY_COUNT);
}

#[test]
fn random_calls_have_the_same_outcome_on_both_when_the_log_is_trimmed_by_bytes() {
    hold_against_each_other(BY_BYTES);
}

#[test]
fn random_calls_have_the_same_outcome_on_both_without_history() {
    hold_against_each_other(NOTHING);
}
