//! Bytes a message on Redis: in memory, in a snapshot and in the file of commands.

use std::{fmt::Write as _, fs, path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use tidings::{
    broker::{Retention, Shared, State},
    channel::{ChannelName, Names},
    message::{DedupKey, Draft, Payload, Sender},
};
use tidings_redis::{Redis, Role, ServerUrl, Settings};
use tidings_testing::RedisServer;
use uuid::Uuid;

/// Enough to make what a channel costs by itself small beside its messages; a multiple of the batch.
const MESSAGES: usize = 20_000;
const BATCH: usize = 100;
const TEST_TIMEOUT: Duration = Duration::from_secs(10);

/// One line of the table.
struct Case {
    payload: usize,
    batch: usize,
    ids: bool,
}

/// Bytes a message.
struct Cost {
    json: f64,
    log: f64,
    ids: f64,
    used: f64,
    snapshot: f64,
    appended: f64,
    head: f64,
}

pub(super) async fn measure() -> anyhow::Result<String> {
    let mut text = "bytes a message on Redis\n\n".to_owned();
    writeln!(
        text,
        "{:>8} {:>7} {:>4} {:>8} {:>8} {:>6} {:>8} {:>8} {:>8} {:>6}",
        "payload", "publish", "ids", "JSON", "log", "ids", "memory", "RDB", "AOF", "head"
    )?;
    for payload in [20, 100, 1_000, 10_000] {
        for (batch, ids) in [(1, false), (1, true), (BATCH, false), (BATCH, true)] {
            let case = Case { payload, batch, ids };
            let cost = cost(&case).await.with_context(|| format!("{payload} bytes by {batch}"))?;
            writeln!(
                text,
                "{payload:>8} {:>7} {:>4} {:>8.0} {:>8.0} {:>6.0} {:>8.0} {:>8.0} {:>8.0} {:>6.0}",
                if batch == 1 { "one".to_owned() } else { format!("{batch}") },
                if ids { "yes" } else { "no" },
                cost.json,
                cost.log,
                cost.ids,
                cost.used,
                cost.snapshot,
                cost.appended,
                cost.head,
            )?;
        }
    }
    Ok(text)
}

async fn cost(case: &Case) -> anyhow::Result<Cost> {
    let arguments = ["--save", "", "--appendonly", "yes", "--appendfsync", "no", "--auto-aof-rewrite-percentage", "0"];
    let server = tokio::task::spawn_blocking(move || RedisServer::start_with(&arguments)).await?;
    let broker = connect(&server).await?;
    let channel = Names::new("tidings", "")?.parse("orders")?;
    // Scripts and connections are there before it is measured.
    publish(&broker, &Names::new("tidings", "")?.parse("warm")?, case, 1).await?;
    let (used, appended) =
        (info(&server, "memory", "used_memory:")?, folder_bytes(&server.folder().join("appendonlydir"))?);
    // Large ones are enough sooner.
    let count = (MESSAGES * 100 / case.payload.max(100)).max(2_000);
    let json = publish(&broker, &channel, case, count).await?;
    let used = info(&server, "memory", "used_memory:")? - used;
    let appended = folder_bytes(&server.folder().join("appendonlydir"))? - appended;
    ensure!(server.command(&["SAVE"]) == "+OK", "no snapshot");
    let usage = |key: &str| {
        let reply = server.command(&["MEMORY", "USAGE", key, "SAMPLES", "0"]);
        reply.strip_prefix(':').and_then(|bytes| bytes.parse().ok()).unwrap_or(0.0)
    };
    let keys = server.command(&["KEYS", "tidings:{orders}:ids:*"]);
    let ids = keys.lines().filter(|line| line.starts_with("tidings:")).map(usage).fold(0.0, std::ops::Add::add);
    let each = |bytes: f64| bytes / count as f64;
    let cost = Cost {
        json: each(json as f64),
        log: each(usage("tidings:{orders}:log")),
        ids: each(ids),
        used: each(used),
        snapshot: each(fs::metadata(server.folder().join("dump.rdb"))?.len() as f64),
        appended: each(appended),
        head: usage("tidings:{orders}:head"),
    };
    broker.close().await;
    Ok(cost)
}

async fn connect(server: &RedisServer) -> anyhow::Result<Shared> {
    let retention = Retention {
        max_messages: u64::MAX >> 12,
        max_bytes: u64::MAX >> 12,
        max_age_ms: 24 * 3_600_000,
        // No second generation within a run.
        dedup_window_ms: 1_000_000_000_000,
        dedup_max_ids: 10_000_000,
    };
    let server = ServerUrl::parse(&server.url())?.into();
    let settings =
        Settings { server, key_prefix: "tidings".to_owned(), timeout: TEST_TIMEOUT, retention, role: Role::Publisher };
    let broker: Shared = Redis::start(settings);
    let mut state = broker.state();
    tokio::time::timeout(TEST_TIMEOUT, state.wait_for(|state| *state == State::Up)).await??;
    Ok(broker)
}

/// Publishes so many messages, call after call, and answers the bytes of their JSON.
async fn publish(broker: &Shared, channel: &ChannelName, case: &Case, count: usize) -> anyhow::Result<usize> {
    let mut json = 0;
    for _ in 0..count.div_ceil(case.batch) {
        let drafts: Vec<_> = (0..case.batch).map(|_| draft(case)).collect();
        let receipts = broker.publish(channel, drafts.clone(), 0).await?;
        let stamped = drafts.iter().zip(receipts).map(|(draft, receipt)| {
            tidings::envelope::encode(draft).stamp(receipt.time_ms, receipt.sequence, receipt.epoch).len()
        });
        json += stamped.sum::<usize>();
    }
    Ok(json)
}

/// A text that does not compress better than texts do: words of hexadecimal digits.
fn draft(case: &Case) -> Draft {
    let mut text = String::with_capacity(case.payload + 32);
    while text.len() < case.payload {
        text.push_str(&Uuid::new_v4().simple().to_string());
    }
    text.truncate(case.payload);
    let (attributes, ordering_key) = (Vec::new(), String::new());
    let id = Uuid::now_v7();
    let dedup = case.ids.then(|| DedupKey::new(Sender::Unasked, id));
    Draft { id, dedup, payload: Payload::Text(text), attributes, ordering_key }
}

fn info(server: &RedisServer, section: &str, field: &str) -> anyhow::Result<f64> {
    let info = server.command(&["INFO", section]);
    let value = info.lines().find_map(|line| line.strip_prefix(field)).context("a field of INFO")?;
    Ok(value.trim().parse()?)
}

fn folder_bytes(folder: &Path) -> anyhow::Result<f64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes as f64)
}
