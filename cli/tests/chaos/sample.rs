//! Looks at Redis itself, past services and proxies: the heads now and then, and at the end all that it holds.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use redis::{Pipeline, RedisError, Value, aio::MultiplexedConnection};
use serde_json::Value as Json;
use tidings::{
    broker::{Loss, history::EpochStart},
    message::Position,
};
use tokio::time::{sleep, timeout};

use crate::{
    board::{Board, Phase, label_on},
    history::{Head, Log, Logged, Sample},
    publish::connect,
};

/// How often.
const PERIOD: Duration = Duration::from_millis(120);
/// How long Redis may take; it may be stopped.
const TEST_TIMEOUT: Duration = Duration::from_secs(1);

/// Looks at the heads until all is over.
pub(crate) async fn watch(board: Arc<Board>) {
    let mut connection = None;
    while !board.is(Phase::Over) {
        sleep(PERIOD).await;
        let port = board.primary.load(Ordering::SeqCst);
        if connection.as_ref().is_none_or(|(_, to)| *to != port) {
            connection = connect(port).await.map(|connection| (connection, port));
        }
        let Some((redis, _)) = &mut connection else { continue };
        let began = board.now();
        let Ok(Ok(heads)) = timeout(TEST_TIMEOUT, heads(redis, &board.all_channels)).await else {
            connection = None;
            continue;
        };
        if board.primary.load(Ordering::SeqCst) == port {
            board.history().samples.push(Sample { began, ended: board.now(), heads });
        }
    }
}

/// The heads of all channels that have one, at one moment.
pub(crate) async fn heads(
    redis: &mut MultiplexedConnection,
    channels: &[String],
) -> Result<BTreeMap<String, Head>, RedisError> {
    let answers: Vec<Value> = ask_heads(channels).query_async(redis).await?;
    read_heads(channels, &answers)
}

fn ask_heads(channels: &[String]) -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.atomic();
    for channel in channels {
        pipeline.cmd("HMGET").arg(format!("tidings:{{{channel}}}:head")).arg("s").arg("h").arg("l");
        pipeline.cmd("XRANGE").arg(format!("tidings:{{{channel}}}:log")).arg("-").arg("+").arg("COUNT").arg(1);
    }
    pipeline
}

fn read_heads(channels: &[String], answers: &[Value]) -> Result<BTreeMap<String, Head>, RedisError> {
    let mut heads = BTreeMap::new();
    for (channel, answer) in channels.iter().zip(answers.chunks(2)) {
        let (last, epochs, losses): (Option<i64>, Option<String>, Option<String>) =
            redis::from_redis_value(answer[0].clone())?;
        let runs: Vec<(String, Vec<Vec<u8>>)> = redis::from_redis_value(answer[1].clone())?;
        let (Some(last), Some(epochs)) = (last, epochs) else { continue };
        let first = runs.first().and_then(|(id, _)| run(id)).map_or(last + 1, |(first, _)| first);
        heads.insert(
            channel.clone(),
            Head { epochs: read_epochs(&epochs), losses: read_losses(&losses.unwrap_or_default()), first, last },
        );
    }
    Ok(heads)
}

/// All that Redis holds, at one moment.
pub(crate) async fn logs(
    redis: &mut MultiplexedConnection,
    channels: &[String],
) -> Result<BTreeMap<String, Log>, RedisError> {
    let heads = ask_heads(channels);
    let mut pipeline = redis::pipe();
    pipeline.atomic();
    for command in heads.cmd_iter() {
        pipeline.add_command(command.clone());
    }
    for channel in channels {
        pipeline.cmd("XRANGE").arg(format!("tidings:{{{channel}}}:log")).arg("-").arg("+");
    }
    let answers: Vec<Value> = pipeline.query_async(redis).await?;
    let (of_heads, of_logs) = answers.split_at(2 * channels.len());
    let mut heads = read_heads(channels, of_heads)?;
    let mut logs = BTreeMap::new();
    for (channel, runs) in channels.iter().zip(of_logs) {
        let Some(head) = heads.remove(channel) else { continue };
        let runs: Vec<(String, Vec<Vec<u8>>)> = redis::from_redis_value(runs.clone())?;
        let messages = numbered(runs).into_iter().map(|(sequence, json)| logged(channel, sequence, &json)).collect();
        logs.insert(channel.clone(), Log { head, messages });
    }
    Ok(logs)
}

/// The last runs of a log, message by message: sequence and JSON.
pub(crate) async fn last_runs(
    redis: &mut MultiplexedConnection,
    channel: &str,
    count: usize,
) -> Result<Vec<(i64, Vec<u8>)>, RedisError> {
    let mut read = redis::cmd("XREVRANGE");
    read.arg(format!("tidings:{{{channel}}}:log")).arg("+").arg("-").arg("COUNT").arg(count);
    Ok(numbered(read.query_async(redis).await?))
}

/// The messages of runs.
fn numbered(runs: Vec<(String, Vec<Vec<u8>>)>) -> Vec<(i64, Vec<u8>)> {
    let mut messages = Vec::new();
    for (id, fields) in runs {
        let Some((first, last)) = run(&id) else { continue };
        let mut texts = Vec::new();
        let mut fields = fields.into_iter();
        while let (Some(name), Some(text)) = (fields.next(), fields.next()) {
            if name == b"m" {
                texts.push(text);
            }
        }
        messages.extend((first..=last).zip(texts));
    }
    messages
}

/// First and last sequence of a run's name.
fn run(id: &str) -> Option<(i64, i64)> {
    let (last, count) = id.split_once('-')?;
    let (last, count): (i64, i64) = (last.parse().ok()?, count.parse().ok()?);
    Some((last - count + 1, last))
}

/// `epoch,first,end of the one before;…`
fn read_epochs(text: &str) -> Vec<EpochStart> {
    let read = |start: &str| {
        let mut parts = start.split(',');
        let epoch = parts.next()?.parse().ok()?;
        Some(EpochStart { epoch, first: parts.next()?.parse().ok()?, previous_end: parts.next()?.parse().ok()? })
    };
    text.split(';').filter_map(read).collect()
}

/// `epoch that began,epoch,first,last;…`
fn read_losses(text: &str) -> Vec<Loss> {
    let read = |loss: &str| {
        let mut parts = loss.split(',');
        let (began, epoch) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Loss { began, epoch, from: parts.next()?.parse().ok()?, to: parts.next()?.parse().ok()? })
    };
    text.split(';').filter_map(read).collect()
}

/// A message of the log. Where its own JSON says another sequence than its run, it is one that nobody published.
fn logged(channel: &str, sequence: i64, json: &[u8]) -> Logged {
    let json: Json = serde_json::from_slice(json).unwrap_or_default();
    let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
    let body = match json["sequence"].as_i64() == Some(sequence) {
        true => label_on(channel, &text("message"), &text("id")),
        false => format!("{} instead of {sequence}", json["sequence"]),
    };
    Logged { position: Position { epoch: text("epoch").parse().ok(), sequence }, id: text("id"), body }
}
