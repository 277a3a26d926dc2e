//! `make bench-counts`: how many instructions the services take for a message on the three hot paths, counted by
//! valgrind's callgrind. A count hardly depends on what else the machine does, so a slowdown shows where times are
//! noisy.
//!
//! Each count is a difference: the real binary is run with few messages and with many, and what starting and stopping
//! take falls out. Messages go in batches, the next when the one before has arrived, so that the services always find
//! the same work in one read.

use std::{fs, path::Path};

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use tidings::pb::StreamMessagesRequest;

use crate::{
    load::{
        Feeder as _, Reader as _,
        frames::Order,
        grpc::{Connection, PUBLISH_BATCH},
        publishing::{Stream, batch, receipts},
        resp, text,
    },
    measure::{address, open},
    say::say,
    stage::{Disk, History, Process, Service, Stage, answers},
};

/// The counts that were right when they were committed.
const BASELINE: &str = "bench/counts.json";
/// Where callgrind's files stay, for `callgrind_annotate`.
const FOLDER: &str = "target/bench";
/// How much more a path may take before that is an error. Runs of one binary were seen to differ by three hundredths.
const TOLERANCE: f64 = 0.05;
/// Streams that are fed, and messages at a time: few enough for one read.
const STREAMS: usize = 100;
const FED: usize = 20;
/// Messages of one `PublishBatch`.
const BATCH: usize = 100;

/// A path through one of the services, and how many messages go along it in the short and in the long run.
struct HotPath {
    name: &'static str,
    service: Service,
    few: usize,
    many: usize,
    /// What one message counts for.
    each: usize,
}

const PATHS: [HotPath; 3] = [
    HotPath {
        name: "publish: instructions of the publisher a message, in batches of 100",
        service: Service::Publisher(Disk::None, History::Default),
        few: 2_000,
        many: 42_000,
        each: 1,
    },
    HotPath {
        name: "fan-out: instructions of the subscriber a delivery, 20 messages at a time to 100 streams",
        service: Service::Subscriber(Disk::None),
        few: 200,
        many: 4_200,
        each: STREAMS,
    },
    HotPath {
        name: "replay: instructions of the subscriber a message, from the log",
        service: Service::Subscriber(Disk::None),
        few: 2_000,
        many: 42_000,
        each: 1,
    },
];

#[derive(Serialize, Deserialize)]
struct Count {
    path: String,
    instructions: f64,
}

/// Counts all paths, and compares them with the baseline or becomes it.
pub(crate) async fn run(write: bool) -> anyhow::Result<()> {
    let mut counts = Vec::new();
    for path in &PATHS {
        let (few, many) = (total(path, path.few).await?, total(path, path.many).await?);
        let messages = (path.many - path.few) * path.each;
        counts.push(Count { path: path.name.to_owned(), instructions: (many - few) as f64 / messages as f64 });
    }
    let known: Vec<Count> = match fs::read_to_string(BASELINE) {
        Ok(text) => serde_json::from_str(&text)?,
        Err(_) if write => Vec::new(),
        Err(error) => return Err(error).context(BASELINE),
    };
    let mut slower = Vec::new();
    for Count { path, instructions } in &counts {
        let before = known.iter().find(|known| known.path == *path).map(|known| known.instructions);
        let more = before.map_or(0.0, |before| instructions / before - 1.0);
        let was = before.map_or("new".to_owned(), |before| format!("was {before:.1}, {:+.1} %", more * 100.0));
        say(&format!("{path}\n    {instructions:.1} ({was})\n"));
        if more > TOLERANCE {
            slower.push(path.as_str());
        }
    }
    if write {
        fs::write(BASELINE, serde_json::to_string_pretty(&counts)? + "\n")?;
    } else if !slower.is_empty() {
        bail!("slower than {BASELINE} by more than {} %: {}", TOLERANCE * 100.0, slower.join("; "));
    }
    Ok(())
}

/// Instructions of a service from its start to its end, with so many messages.
async fn total(path: &HotPath, messages: usize) -> anyhow::Result<u64> {
    say(&format!("{}: {messages} messages\n", path.name));
    let mut stage = Stage::default();
    fs::create_dir_all(FOLDER)?;
    let short = path.name.split(':').next().unwrap_or_default();
    let counted = Path::new(FOLDER).join(format!("{short}-{messages}.callgrind"));
    let file = format!("--callgrind-out-file={}", counted.display());
    let process = stage.start_under(path.service, &["valgrind", "--tool=callgrind", &file])?;
    answers(path.service, &process.target).await?;
    match short {
        "publish" => publish(&process, messages).await,
        "fan-out" => fan_out(&process, &mut stage, messages).await,
        _ => replay(&process, &mut stage, messages).await,
    }?;
    process.end().await?;
    sum(&counted)
}

async fn publish(process: &Process, messages: usize) -> anyhow::Result<()> {
    let connection = Connection::open(process.target.clone()).await?;
    let (method, request) = (connection.method(PUBLISH_BATCH)?, batch("counted", BATCH));
    for _ in 0..messages / BATCH {
        let (count, _) = receipts(&connection.unary(&method, request.clone()).await?)?;
        ensure!(count == BATCH, "{count} receipts");
    }
    Ok(())
}

async fn fan_out(process: &Process, stage: &mut Stage, messages: usize) -> anyhow::Result<()> {
    let mut opened = open(&process.target, "counted", STREAMS, 10, Order::Plain).await?;
    let redis = stage.redis(Disk::None);
    let mut feeder = resp::Publisher::open(address(&redis), "counted", &text::plain_json(), 1).await?;
    for sent in (FED..=messages).step_by(FED) {
        feeder.send(FED).await?;
        for stream in &mut opened.streams {
            while stream.seen() < sent as u64 {
                stream.more().await?;
            }
        }
    }
    Ok(())
}

async fn replay(process: &Process, stage: &mut Stage, messages: usize) -> anyhow::Result<()> {
    let publisher = stage.service(Service::Publisher(Disk::None, History::Default)).await?;
    let mut feeder = Stream::open(publisher.target.clone(), "counted", true).await?;
    for _ in 0..messages / BATCH {
        feeder.send(BATCH).await?;
    }
    feeder.settle().await?;
    let request =
        StreamMessagesRequest { channel: "counted".to_owned(), earliest: true, ..StreamMessagesRequest::default() };
    let connection = Connection::open(process.target.clone()).await?;
    let count = connection.follow(&request, Order::Numbered).await?.catch_up().await?;
    ensure!(count == messages as u64, "{count} messages");
    Ok(())
}

/// What callgrind says at the end of its file.
fn sum(counted: &Path) -> anyhow::Result<u64> {
    let text = fs::read_to_string(counted).context("valgrind wrote nothing")?;
    let line = text.lines().rev().find_map(|line| line.strip_prefix("totals:").or(line.strip_prefix("summary:")));
    Ok(line.context("no totals")?.trim().parse()?)
}
