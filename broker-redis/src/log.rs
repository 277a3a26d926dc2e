//! Reading logs, heads and the registry. All reads ask the primary, over the shared connection.

use std::sync::Arc;

use bytes::Bytes;
use redis::{Cmd, Value};
use tidings::{
    broker::{DataSetNow, Error, From, Head, HeadOf, Page, PageLimit, Retention, Stored, adopt::Adopted},
    channel::{ChannelName, Names, Pattern},
    message::DataSet,
};

use super::{
    connection::Connection, error, head, keys::Keys, multiplexed::MultiplexedConnection, run_id::sequences, script,
    server::Server,
};

mod budget;
mod bulk;
mod names;
mod plain;
mod queries;
mod range;
mod sweep;

#[cfg(any(test, fuzzing))]
pub(super) use self::range::Range;
use self::{budget::Budget, names::NameIndex, plain::PlainPages};
pub(super) use self::{queries::Queries, sweep::Sweep};

/// The reading side of the broker.
pub(super) struct Reader {
    connection: Arc<Connection>,
    queries: Queries,
    keys: Keys,
    retention: Retention,
    budget: Budget,
    plain_pages: PlainPages,
    name_index: NameIndex,
}

impl Reader {
    /// A reader of what `connection` leads to, which long reads reach over a connection of their own.
    pub(super) fn new(
        connection: Arc<Connection>,
        server: Server,
        keys: Keys,
        names: Names,
        retention: Retention,
    ) -> Arc<Self> {
        let queries = Queries::new(Arc::clone(&connection));
        Arc::new(Self {
            plain_pages: PlainPages::new(Arc::clone(&connection), server, keys.clone(), retention),
            name_index: NameIndex::new(Arc::clone(&connection), keys.clone(), names),
            connection,
            queries,
            keys,
            retention,
            budget: Budget::new(),
        })
    }

    /// See [`Broker::channels`](tidings::broker::Broker::channels).
    pub(super) async fn channels(
        &self,
        pattern: Option<&Pattern>,
        after: &str,
        limit: usize,
    ) -> Result<Vec<ChannelName>, Error> {
        self.name_index.channels(pattern, after, limit).await
    }

    pub(super) async fn heads(&self, channels: &[ChannelName]) -> Result<Vec<HeadOf>, Error> {
        if channels.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        for channel in channels {
            pipeline.add_command(self.head_call(channel));
        }
        let answers = self.queries.each(&pipeline, &[&script::HEAD]).await?;
        answers
            .into_iter()
            .map(|answer| isolated(self.queries.of_channel(answer).and_then(|answer| self.head(answer))))
            .collect()
    }

    /// The data set, which is given a name where it has none, and Redis's clock.
    pub(super) async fn data_set(&self) -> Result<DataSetNow, Error> {
        let mut session = self.connection.session().await?;
        // Where it may not be written it stays without a name, and nothing is said of it.
        let _ = name_data_set(&mut session.connection, &self.keys).await;
        let mut pipeline = redis::pipe();
        pipeline.cmd("GET").arg(self.keys.data_set()).cmd("TIME");
        let mut answers = self.queries.all(&pipeline, &[]).await?.into_iter();
        let (Some(name), Some(time)) = (answers.next(), answers.next()) else { return Err(malformed_reply()) };
        let name: Option<String> = redis::from_redis_value(name).map_err(|_| malformed_reply())?;
        let (seconds, micros): (i64, i64) = redis::from_redis_value(time).map_err(|_| malformed_reply())?;
        Ok(DataSetNow {
            data_set: name.and_then(|name| name.parse().ok()),
            time_ms: seconds.saturating_mul(1000).saturating_add(micros / 1000),
        })
    }

    /// Puts channels into the registry that have a head and are not there, by the time of their last publish. A head
    /// that expires meanwhile is swept out again.
    pub(super) async fn register_again(&self, channels: &[ChannelName]) -> Result<usize, Error> {
        let heads = self.heads(channels).await?;
        let mut add = redis::cmd("ZADD");
        add.arg(self.keys.registry()).arg("NX");
        let is_empty = !heads.iter().any(|head| matches!(head, Ok(Some(_))));
        for (channel, head) in channels.iter().zip(heads) {
            // One that can't be read is no reason to leave out the others.
            if let Ok(Some(head)) = head {
                add.arg(head.time_ms).arg(channel.as_str());
            }
        }
        if is_empty {
            return Ok(0);
        }
        let mut pipeline = redis::pipe();
        pipeline.add_command(add);
        let answer = self.queries.all(&pipeline, &[]).await?.into_iter().next().unwrap_or_default();
        redis::from_redis_value(answer).map_err(|_| malformed_reply())
    }

    pub(super) async fn page(&self, channel: &ChannelName, from: From, limit: PageLimit) -> Result<Page, Error> {
        let output_limit = self.connection.output_limit();
        let limit = self.budget.bound(limit, output_limit);
        // At the beginning the data set counts as well, which only the script reports.
        if let From::After(after @ 1..) = from
            && let Some(page) = self.plain_pages.read(channel, after, limit, &self.budget).await?
        {
            return Ok(page);
        }
        let (direction, start) = match from {
            From::After(sequence) => ("up", sequence.saturating_add(1).to_string()),
            From::Before(i64::MAX) => ("down", "+".to_owned()),
            From::Before(sequence) => ("down", (sequence - 1).max(0).to_string()),
        };
        let mut read = script::READ.call();
        read.arg(3).arg(self.keys.head(channel)).arg(self.keys.log(channel)).arg(self.keys.data_set());
        read.arg(direction).arg(start).arg(limit.messages).arg(limit.bytes);
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors().add_command(read);
        let turn = self.budget.turn(output_limit).await;
        let answers = self.queries.each(&pipeline, &[&script::READ]).await.inspect_err(|failed| {
            if matches!(failed, Error::Unavailable(text) if text == error::LOST) {
                self.budget.cut(limit.bytes);
            }
        });
        drop(turn);
        let answer = answers?.into_iter().next().unwrap_or(Ok(Value::Nil));
        let Value::Array(answer) = self.queries.of_channel(answer)? else { return Err(damaged()) };
        let mut answer = answer.into_iter();
        let head = self.head(answer.next().unwrap_or_default())?;
        let count = answer.len().saturating_sub(1);
        let (messages, is_last) = runs(answer, from).ok_or_else(damaged)?;
        self.plain_pages.note(channel, count, &messages);
        Ok(Page { head, messages, is_last })
    }

    pub(super) async fn sequence_before(&self, channel: &ChannelName, time_ms: i64) -> Result<i64, Error> {
        let mut call = script::SINCE.call();
        call.arg(2).arg(self.keys.head(channel)).arg(self.keys.log(channel)).arg(time_ms);
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors().add_command(call);
        let answer =
            self.queries.each(&pipeline, &[&script::SINCE]).await?.into_iter().next().unwrap_or(Ok(Value::Nil));
        redis::from_redis_value(self.queries.of_channel(answer)?).map_err(|_| damaged())
    }

    fn head_call(&self, channel: &ChannelName) -> Cmd {
        let mut call = script::HEAD.call();
        call.arg(3).arg(self.keys.head(channel)).arg(self.keys.log(channel)).arg(self.keys.data_set());
        call
    }

    fn head(&self, answer: Value) -> Result<Option<Head>, Error> {
        let fields: Vec<String> = redis::from_redis_value(answer).map_err(|_| damaged())?;
        head::read(&fields, self.retention.max_messages > 0)
    }
}

/// Gives the data set a name where it has none.
pub(super) async fn name_data_set(connection: &mut MultiplexedConnection, keys: &Keys) -> redis::RedisResult<()> {
    let name = DataSet::random().to_string();
    redis::cmd("SET").arg(keys.data_set()).arg(name).arg("NX").exec_async(connection).await
}

/// An error of one channel is an answer beside those of others; any other is one of them all.
fn isolated(head: HeadOf) -> Result<HeadOf, Error> {
    match head {
        Err(Error::Channel(_)) | Ok(_) => Ok(head),
        Err(error) => Err(error),
    }
}

/// A channel's keys hold what our scripts can't have written.
fn damaged() -> Error {
    Error::Channel(error::DAMAGED.to_owned())
}

fn malformed_reply() -> Error {
    Error::Internal("Redis answered in a way that is not understood".to_owned())
}

/// Reads what `read.lua` answers after the head: whether the log ends here, then runs of an ID (`<last>-<count>`) and
/// messages.
pub(super) fn runs(mut answer: impl Iterator<Item = Value>, from: From) -> Option<(Vec<Stored>, bool)> {
    let is_last = answer.next()? == Value::Int(1);
    let mut messages = Vec::new();
    for run in answer {
        let Value::Array(run) = run else { return None };
        let mut run = run.into_iter();
        let Value::BulkString(id) = run.next()? else { return None };
        let mut stored = Vec::with_capacity(run.len());
        for (sequence, json) in sequences(&id)?.zip(run) {
            stored.push(match json {
                Value::BulkString(json) => Stored { sequence, json: json.into(), adopted: None },
                Value::Array(fields) => adopted(sequence, fields)?,
                _ => return None,
            });
        }
        match from {
            From::After(after) => messages.extend(stored.into_iter().filter(|stored| stored.sequence > after)),
            From::Before(before) => {
                messages.extend(stored.into_iter().rev().filter(|stored| stored.sequence < before));
            }
        }
    }
    Some((messages, is_last))
}

/// An adopted message: its JSON, the hash of its payload, and its log time.
fn adopted(sequence: i64, fields: Vec<Value>) -> Option<Stored> {
    let [Value::BulkString(json), Value::BulkString(hash), Value::BulkString(time_ms)] = &fields[..] else {
        return None;
    };
    let time_ms = std::str::from_utf8(time_ms).ok()?.parse().ok()?;
    let adopted = Adopted { hash: hash[..].try_into().ok()?, time_ms };
    Some(Stored { sequence, json: Bytes::copy_from_slice(json), adopted: Some(adopted) })
}
