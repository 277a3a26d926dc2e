//! Reading a page of a log whose runs are large, without a script: in Lua every message would become a value and a reply again, which
//! costs Redis several times what XRANGE does by itself.
//!
//! The head is asked for before and behind, in one pipeline: before, only for what every write changes, since its script costs as
//! much as four runs. Where that is the same, the page and the head are of one moment; where it is not, the script answers. A
//! MULTI would not do: in one, a Redis without memory refuses reads as well.

use std::{
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
};

use lru::LruCache;
use tokio::time::timeout;

use super::{
    Reader,
    bulk::{Answer, Question},
};
use crate::{
    broker::{Error, Page, PageLimit, Stored, redis::head},
    channel::ChannelName,
    limits::{LARGE_RUN_BYTES, PLAIN_RUNS, REMEMBERED_RUNS, REPLAY_MESSAGES},
    metrics::{self, Call},
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
    /// A page above a sequence; `None` where the script has to read it. Whatever goes wrong here is told by that.
    pub(super) async fn plain_page(
        &self,
        channel: &ChannelName,
        after: i64,
        limit: PageLimit,
    ) -> Result<Option<Page>, Error> {
        let Some(runs) = self.runs.per_page(channel, limit) else { return Ok(None) };
        let number = self.connection.link().await?.number;
        let (head, log) = (self.keys.head(channel), self.keys.log(channel));
        let question = Question { head: &head, log: &log, from: after.saturating_add(1), runs };
        let asked = timeout(self.connection.timeout(), self.bulk.ask(number, &question));
        let answer = match metrics::timed(Call::Read, asked).await {
            Ok(Ok(answer)) => answer,
            failed => {
                let reason = failed
                    .map_or_else(|_| "it did not answer in time".to_owned(), |asked| asked.err().unwrap_or_default());
                tracing::debug!(channel = channel.as_str(), reason, "a page can't be read by itself");
                // What was too large to come in time is counted while it is read, the next time.
                self.runs.forget(channel);
                return Ok(None);
            }
        };
        if !answer.is_of_one_moment() {
            return Ok(None);
        }
        let Answer { runs: found, mut messages, behind, .. } = answer;
        let head = head::read(&behind, self.retention.max_messages > 0)?;
        self.runs.note(channel, found, &messages);
        messages.retain(|stored| stored.sequence > after);
        let is_end = head.as_ref().is_some_and(|head| messages.last().is_some_and(|last| last.sequence == head.last));
        Ok(Some(Page { head, messages, is_last: found < runs || is_end }))
    }
}
