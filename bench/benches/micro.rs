//! The pieces of the hot paths by themselves: `make bench-micro`. How fast the whole is, `make bench` says; these show
//! where a change was made.

use std::time::Duration;

use divan::{Bencher, counter::ItemsCount};
use tidings::{
    broker::{Retention, Shared, State},
    channel::{ChannelName, Names},
    cursor, envelope,
    message::{Draft, Epoch, Payload, Position},
};
use tidings_redis::{Redis, Role, ServerUrl, Settings};
use tidings_testing::RedisServer;
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

const TIME_MS: i64 = 1_795_521_600_123;

fn main() {
    divan::main();
}

fn channel() -> ChannelName {
    Names::new("tidings", "").and_then(|names| names.parse("orders")).expect("a name")
}

fn draft() -> Draft {
    Draft {
        id: Uuid::now_v7(),
        dedup: None,
        payload: Payload::Text("x".repeat(100)),
        attributes: Vec::new(),
        ordering_key: String::new(),
    }
}

fn json() -> Vec<u8> {
    let epoch = Epoch::from_u64(0x0123_4567_89ab_cdef).expect("not 0");
    envelope::encode(&draft()).stamp(TIME_MS, 123_456, epoch).into_bytes()
}

#[divan::bench]
fn envelope_encode(bencher: Bencher<'_, '_>) {
    let draft = draft();
    bencher.bench(|| envelope::encode(divan::black_box(&draft)));
}

#[divan::bench]
fn envelope_decode(bencher: Bencher<'_, '_>) {
    let json = json();
    bencher.bench(|| envelope::decode(divan::black_box(&json), TIME_MS));
}

/// What `envelope_decode` costs where a plain program published something that is no envelope.
#[divan::bench]
fn envelope_decode_foreign(bencher: Bencher<'_, '_>) {
    let json = br#"{"order":7,"lines":[{"sku":"a","count":1},{"sku":"b","count":2}]}"#;
    bencher.bench(|| envelope::decode(divan::black_box(json), TIME_MS));
}

#[divan::bench]
fn cursor_encode(bencher: Bencher<'_, '_>) {
    let channel = channel();
    let position = Position { epoch: Epoch::from_u64(7), sequence: 123_456 };
    bencher.bench(|| cursor::encode(&channel, divan::black_box(position)));
}

#[divan::bench]
fn cursor_decode(bencher: Bencher<'_, '_>) {
    let channel = channel();
    let text = cursor::encode(&channel, Position { epoch: Epoch::from_u64(7), sequence: 123_456 });
    bencher.bench(|| cursor::decode_for(divan::black_box(&text), &channel));
}

/// A call of the publishing script on a Redis of its own, from drafts to receipts.
#[divan::bench(args = [1, 100], max_time = 2)]
fn script_call(bencher: Bencher<'_, '_>, messages: usize) {
    let (server, runtime) = (RedisServer::start(), runtime());
    let broker = runtime.block_on(connect(&server));
    let (channel, drafts) = (channel(), vec![draft(); messages]);
    bencher.counter(ItemsCount::new(messages)).bench_local(|| {
        runtime.block_on(async { broker.publish(&channel, drafts.clone(), 0).await.expect("receipts") })
    });
    runtime.block_on(broker.close());
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

async fn connect(server: &RedisServer) -> Shared {
    let retention = Retention {
        max_messages: 100_000,
        max_bytes: 64 << 20,
        max_age_ms: 24 * 3_600_000,
        dedup_window_ms: 120_000,
        dedup_max_ids: 1_000_000,
    };
    let server = ServerUrl::parse(&server.url()).expect("a URL").into();
    let timeout = Duration::from_secs(10);
    let broker: Shared =
        Redis::start(Settings { server, key_prefix: "tidings".to_owned(), timeout, retention, role: Role::Publisher });
    let mut state = broker.state();
    let up = tokio::time::timeout(timeout, state.wait_for(|state| *state == State::Up)).await;
    assert!(up.is_ok(), "Redis is not up");
    broker
}
