//! The content of messages that were delivered before: read from the log again, by their sequences.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message as _;
use tidings::{
    broker::{Error, From, Head, PageLimit, Shared, Stored, subscriptions::Due},
    channel::ChannelName,
    limits::PAGE_BYTES,
};

use super::delivery::Arrived;
use crate::list;

/// A message that was delivered before, with what is left of it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) due: Due,
    pub(super) message: Option<Arrived>,
    /// The JSON as it was published.
    pub(super) json: Option<Bytes>,
}

/// Reads messages of a channel.
pub(super) struct Contents {
    broker: Shared,
    channel: ChannelName,
}

impl Contents {
    pub(super) fn new(broker: Shared, channel: ChannelName) -> Self {
        Self { broker, channel }
    }

    /// The messages that these are about, as far as they can be had. They are read until they have 3 MiB together; the
    /// others are left out.
    pub(super) async fn find(&self, mut due: Vec<Due>) -> Result<Vec<Found>, Error> {
        due.sort_unstable_by_key(|due| due.sequence);
        let wanted: Vec<i64> = due.iter().filter(|due| due.json.is_none()).map(|due| due.sequence).collect();
        let (read, up_to) = self.read(&wanted).await?;
        let kept = if due.iter().any(|due| due.json.is_some()) { self.head().await? } else { None };
        let mut found = Vec::with_capacity(due.len());
        for due in due {
            let json = match &due.json {
                Some(json) => Some(json.clone()),
                None if due.sequence > up_to => continue,
                None => read.get(&due.sequence).map(|(stored, _)| stored.json.clone()),
            };
            let stored = json.clone().map(|json| match read.get(&due.sequence) {
                Some((stored, head)) if due.json.is_none() => (stored.clone(), head.clone()),
                _ => (Stored { sequence: due.sequence, json, adopted: None }, kept.clone()),
            });
            let message = stored.and_then(|(stored, head)| self.encode(&stored, head.as_ref()));
            found.push(Found { due, message, json });
        }
        Ok(found)
    }

    /// The channel's head.
    pub(super) async fn head(&self) -> Result<Option<Head>, Error> {
        let heads = self.broker.heads(std::slice::from_ref(&self.channel)).await?;
        Ok(heads.into_iter().next().transpose()?.flatten())
    }

    fn encode(&self, stored: &Stored, head: Option<&Head>) -> Option<Arrived> {
        let message = list::message(&self.channel, stored, head).0;
        Arrived::read(message.encode_to_vec().into())
    }

    /// Reads messages by their sequences, in their order, and up to where that came.
    async fn read(&self, wanted: &[i64]) -> Result<(HashMap<i64, (Stored, Option<Head>)>, i64), Error> {
        let (mut read, mut bytes, mut up_to) = (HashMap::new(), 0, 0);
        let mut rest = wanted;
        while let Some(first) = rest.first()
            && bytes < PAGE_BYTES
        {
            // Those that follow closely come with the same page.
            let close = rest.iter().take_while(|sequence| **sequence - first < NEAR).count();
            let messages = usize::try_from(rest[close - 1] - first + 1).unwrap_or(1);
            let limit = PageLimit { messages, bytes: PAGE_BYTES - bytes };
            let page = self.broker.read(&self.channel, From::After(first - 1), limit).await?;
            let last = page.messages.last().map_or(i64::MAX, |stored| stored.sequence);
            up_to = if page.is_last { i64::MAX } else { last };
            for stored in page.messages {
                bytes += stored.json.len();
                if rest.binary_search(&stored.sequence).is_ok() {
                    read.insert(stored.sequence, (stored, page.head.clone()));
                }
            }
            let done = rest.iter().take_while(|sequence| **sequence <= up_to).count();
            rest = &rest[done.max(1)..];
        }
        Ok((read, if rest.is_empty() { i64::MAX } else { up_to }))
    }
}

/// How far apart messages may be to be read together: a run of the log has about as many.
const NEAR: i64 = 128;
