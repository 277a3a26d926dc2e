//! Reading a page of a log whose runs are large, without a script: in Lua every message would become a value and a
//! reply again, which costs Redis several times what XRANGE does by itself.
//!
//! The head is asked for before and after, in one pipeline. Where it is the same, the page and the head are of one
//! moment. Its script would look at the oldest run as well, which costs as much as four runs of a page. Here the head's
//! own word is taken for where the log begins, and only where the page bears it out: with the message after the
//! reader's position, nothing was trimmed that the reader lacks. All other cases are left to the script. A MULTI
//! would not do: in one, a Redis without memory refuses reads as well.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use lru::LruCache;
use tidings::{
    broker::{Error, Page, PageLimit, Retention, Stored},
    channel::ChannelName,
    limits::{LARGE_RUN_BYTES, PLAIN_RUNS, REMEMBERED_RUNS, REPLAY_MESSAGES},
    metrics::{self, Call},
};
use tokio::time::timeout;

use super::{
    budget::Budget,
    bulk::{Answer, Bulk, Question},
};
use crate::{connection::Connection, head, keys::Keys, role, server::Server};

/// What the runs of a channel's last page were like.
#[derive(Debug, Clone, Copy)]
struct Size {
    messages: usize,
    bytes: usize,
}

/// How large the runs are that lately were read of a channel.
struct Runs(Mutex<LruCache<ChannelName, Size>>);

impl Runs {
    fn new() -> Self {
        Self(Mutex::new(LruCache::new(NonZeroUsize::new(REMEMBERED_RUNS).unwrap_or(NonZeroUsize::MIN))))
    }

    /// A page of so many runs was read.
    fn note(&self, channel: &ChannelName, runs: usize, messages: &[Stored]) {
        let Some(runs) = NonZeroUsize::new(runs) else { return };
        let bytes: usize = messages.iter().map(|stored| stored.json.len()).sum();
        let size = Size { messages: messages.len() / runs, bytes: bytes / runs };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(channel.clone(), size);
    }

    /// How many runs about fill a page of a long read, and how many bytes these have; `None` where the page is small,
    /// or the runs are, or they are not known. Then only counting while reading keeps the limits.
    fn per_page(&self, channel: &ChannelName, limit: PageLimit) -> Option<(usize, usize)> {
        if limit.messages < REPLAY_MESSAGES {
            return None;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let size = known.get(channel).filter(|size| size.bytes >= LARGE_RUN_BYTES)?;
        let most = (limit.bytes / size.bytes).min(limit.messages / size.messages.max(1)).min(PLAIN_RUNS);
        let runs = most.max(1);
        Some((runs, (runs * size.bytes).min(limit.bytes)))
    }

    fn forget(&self, channel: &ChannelName) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop(channel);
    }
}

/// What reads pages so.
pub(super) struct PlainPages {
    connection: Arc<Connection>,
    keys: Keys,
    retention: Retention,
    bulk: Bulk,
    runs: Runs,
}

impl PlainPages {
    pub(super) fn new(connection: Arc<Connection>, server: Server, keys: Keys, retention: Retention) -> Self {
        let bulk = Bulk::new(server, connection.timeout());
        Self { connection, keys, retention, bulk, runs: Runs::new() }
    }

    /// A page of so many runs was read by the script.
    pub(super) fn note(&self, channel: &ChannelName, runs: usize, messages: &[Stored]) {
        self.runs.note(channel, runs, messages);
    }

    /// A page above a sequence; `None` where the script has to read it. Errors here are reported by the script.
    pub(super) async fn read(
        &self,
        channel: &ChannelName,
        after: i64,
        limit: PageLimit,
        budget: &Budget,
    ) -> Result<Option<Page>, Error> {
        let Some((runs, bytes)) = self.runs.per_page(channel, limit) else { return Ok(None) };
        let generation = self.connection.session().await?.generation;
        let (head, log) = (self.keys.head(channel), self.keys.log(channel));
        let question = Question { head: &head, log: &log, from: after.saturating_add(1), runs, bytes };
        let asked = timeout(self.connection.timeout(), self.bulk.ask(generation, &question));
        let answer = match metrics::timed(Call::Read, asked).await {
            Ok(Ok(answer)) => answer,
            failed => {
                let reason = failed
                    .map_or_else(|_| "it did not answer in time".to_owned(), |asked| asked.err().unwrap_or_default());
                tracing::debug!(channel = channel.as_str(), reason, "a page can't be read by itself");
                if reason == super::bulk::CLOSED {
                    budget.cut(limit.bytes);
                }
                // It was too large to come in time. The next read counts it on the way.
                self.runs.forget(channel);
                return Ok(None);
            }
        };
        self.runs.note(channel, answer.runs, &answer.messages);
        answer.page(after, runs, self.retention.max_messages > 0)
    }
}

impl Answer {
    /// The page above a sequence, for which so many runs were asked; `None` where it does not follow, or does
    /// not belong to the head.
    fn page(mut self, after: i64, asked: usize, keeps_history: bool) -> Result<Option<Page>, Error> {
        self.messages.drain(..self.messages.partition_point(|stored| stored.sequence <= after));
        let goes_on = self.messages.first().is_some_and(|first| first.sequence - 1 == after);
        if !goes_on || self.before != self.after || !role::is_primary(role::of_info(&self.replication)) {
            return Ok(None);
        }
        let Some(head) = head::read_plain(self.after, keeps_history)?.filter(|head| head.first <= after + 1) else {
            return Ok(None);
        };
        let is_end = self.messages.last().is_some_and(|last| last.sequence == head.last);
        Ok(Some(Page { head: Some(head), messages: self.messages, is_last: self.runs < asked || is_end }))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use tidings::broker::Head;

    fn answer(fields: [&str; 7], messages: std::ops::RangeInclusive<i64>) -> Answer {
        let fields = fields.map(str::to_owned).to_vec();
        let messages = messages.map(|sequence| Stored { sequence, json: Bytes::new(), adopted: None }).collect();
        let replication = "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n".to_owned();
        Answer { before: fields.clone(), runs: 2, messages, after: fields, replication }
    }

    const FIELDS: [&str; 7] = ["1", "9", "1000", "000000000000000a,1,0", "000000000000000a,7", "5-3", ""];

    fn read(answer: Answer, after: i64) -> Option<(Head, Vec<i64>, bool)> {
        let page = answer.page(after, 2, true).expect("understood")?;
        let sequences = page.messages.iter().map(|stored| stored.sequence).collect();
        Some((page.head.expect("a head"), sequences, page.is_last))
    }

    #[test]
    fn a_page_continues_after_the_position() {
        let (head, sequences, is_last) = read(answer(FIELDS, 3..=8), 4).expect("a page");
        assert_eq!((head.first, head.last, head.time_ms, head.adopted.sequence), (3, 9, 1000, 7));
        assert_eq!((sequences, is_last), (vec![5, 6, 7, 8], false));
        assert!(read(answer(FIELDS, 3..=9), 2).expect("a page").2, "it has the last message");
        let short = Answer { runs: 1, ..answer(FIELDS, 3..=8) };
        assert!(read(short, 2).expect("a page").2, "there were no more runs");
    }

    #[test]
    fn what_does_not_follow_or_belong_together_is_left_to_the_script() {
        assert_eq!(read(answer(FIELDS, 5..=8), 3), None, "4 is missing");
        assert_eq!(read(Answer { messages: Vec::new(), ..answer(FIELDS, 3..=8) }, 4), None, "nothing is there");
        assert_eq!(read(answer(FIELDS, 3..=8), 8), None, "nothing more is there");
        let other = |field: usize, text| {
            let mut fields = FIELDS;
            fields[field] = text;
            fields
        };
        assert_eq!(read(answer(other(5, "7-3"), 3..=8), 2), None, "the head knows of no such message");
        for (field, text) in [(1, "8"), (3, ""), (3, "000000000000000b,1,0"), (5, "6-2")] {
            let before = other(field, text).map(str::to_owned).to_vec();
            assert_eq!(read(Answer { before, ..answer(FIELDS, 3..=8) }, 2), None, "{field} {text}");
        }
        assert_eq!(read(answer(other(0, ""), 3..=8), 2), None, "no head");
        for oldest in ["", "0-0", "5", "x-1", "5-9"] {
            assert_eq!(read(answer(other(5, oldest), 3..=8), 2), None, "{oldest}");
        }
        for replication in ["", "role:slave\r\n", "# role:master\r\n"] {
            let replication = replication.to_owned();
            assert_eq!(read(Answer { replication, ..answer(FIELDS, 3..=8) }, 2), None);
        }
        assert!(answer(other(0, "3"), 3..=8).page(2, 2, true).is_err(), "a newer format");
    }
}
