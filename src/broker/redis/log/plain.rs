//! Reading a page of a log whose runs are large, without a script: in Lua every message would become a value and a reply again, which
//! costs Redis several times what XRANGE does by itself.
//!
//! The head is asked for before and behind, in one pipeline. Where it is the same, the page and the head are of one moment;
//! where it is not, the script answers. A MULTI would not do: in one, a Redis without memory refuses reads as well.

use std::{
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
};

use lru::LruCache;
use redis::Value;

use super::{Reader, adopted, odd, sequences};
use crate::{
    broker::{Error, Page, PageLimit, Stored, redis::script},
    channel::ChannelName,
    limits::{LARGE_RUN_BYTES, PLAIN_RUNS, REMEMBERED_RUNS, REPLAY_MESSAGES},
};

/// What the runs of a channel's last page were like.
#[derive(Debug, Clone, Copy)]
struct Size {
    messages: usize,
    bytes: usize,
}

/// How large the runs are that lately were read of a channel.
pub(in super::super) struct Runs(Mutex<LruCache<ChannelName, Size>>);

impl Runs {
    pub(in super::super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(NonZeroUsize::new(REMEMBERED_RUNS).unwrap_or(NonZeroUsize::MIN))))
    }

    /// A page of so many runs was read.
    pub(super) fn note(&self, channel: &ChannelName, runs: usize, messages: &[Stored]) {
        let Some(runs) = NonZeroUsize::new(runs) else { return };
        let bytes: usize = messages.iter().map(|stored| stored.json.len()).sum();
        let size = Size { messages: messages.len() / runs, bytes: bytes / runs };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(channel.clone(), size);
    }

    /// How many runs about fill a page of a long read; `None` where the page is small, or the runs are, or they are not known. Then
    /// only counting while reading keeps the limits.
    fn per_page(&self, channel: &ChannelName, limit: PageLimit) -> Option<usize> {
        if limit.messages < REPLAY_MESSAGES {
            return None;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let size = known.get(channel).filter(|size| size.bytes >= LARGE_RUN_BYTES)?;
        let most = (limit.bytes / size.bytes).min(limit.messages / size.messages.max(1)).min(PLAIN_RUNS);
        Some(most.max(1))
    }

    fn forget(&self, channel: &ChannelName) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop(channel);
    }
}

impl Reader {
    /// A page above a sequence; `None` where the script has to read it.
    pub(super) async fn plain_page(
        &self,
        channel: &ChannelName,
        after: i64,
        limit: PageLimit,
    ) -> Result<Option<Page>, Error> {
        let Some(count) = self.runs.per_page(channel, limit) else { return Ok(None) };
        let mut pipeline = redis::pipe();
        pipeline.add_command(self.head_call(channel));
        pipeline
            .cmd("XRANGE")
            .arg(self.keys.log(channel))
            .arg(after.saturating_add(1))
            .arg("+")
            .arg("COUNT")
            .arg(count);
        pipeline.add_command(self.head_call(channel));
        // What was too large to come in time is counted while it is read, the next time.
        let answers = self.query(&pipeline, &[&script::HEAD]).await.inspect_err(|_| self.runs.forget(channel))?;
        let Ok([before, Value::Array(runs), behind]) = <[Value; 3]>::try_from(answers) else { return Err(odd()) };
        if before != behind {
            return Ok(None);
        }
        let head = self.head(behind)?;
        let found = runs.len();
        let messages = messages(runs, after).ok_or_else(odd)?;
        self.runs.note(channel, found, &messages);
        let is_end = head.as_ref().is_some_and(|head| messages.last().is_some_and(|last| last.sequence == head.last));
        Ok(Some(Page { head, messages, is_last: found < count || is_end }))
    }
}

/// Reads what XRANGE answers.
fn messages(runs: Vec<Value>, after: i64) -> Option<Vec<Stored>> {
    let mut messages = Vec::new();
    for run in runs {
        let Value::Array(run) = run else { return None };
        let [Value::BulkString(id), Value::Array(fields)] = <[Value; 2]>::try_from(run).ok()? else { return None };
        let mut sequences = sequences(&id)?;
        let (mut time, mut fields) = (None, fields.into_iter().peekable());
        while let Some(Value::BulkString(name)) = fields.next() {
            let value = fields.next()?;
            match (&name[..], value) {
                (b"t", value) => time = Some(value),
                (b"m", json) => {
                    let sequence = sequences.next()?;
                    let hash =
                        fields.next_if(|name| *name == Value::BulkString(b"r".to_vec())).and_then(|_| fields.next());
                    let stored = match (hash, json) {
                        (None, Value::BulkString(json)) => Stored { sequence, json: json.into(), adopted: None },
                        (Some(hash), json) => adopted(sequence, vec![json, hash, time.clone()?])?,
                        _ => return None,
                    };
                    if sequence > after {
                        messages.push(stored);
                    }
                }
                _ => {}
            }
        }
    }
    Some(messages)
}
