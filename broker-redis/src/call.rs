//! One call of the publishing script: its arguments, and what its answer says.

use std::time::Duration;

use redis::{Cmd, Value};
use tidings::{
    broker::{Error, Published, Receipt, Retention},
    channel::ChannelName,
    envelope::{self, Encoded},
    limits::{FULL_CALL_INTERVAL, FULL_CALL_SHARE, HEAD_LINGER, RUN_BYTES, RUN_MESSAGES},
    message::{Draft, Epoch, Position},
};

use super::{group::Group, keys::Keys, script};

/// What the caller of a script knows to have been given out on a channel, in one epoch. Where the channel's history
/// lacks it, it was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Seen {
    /// The first message that the caller has a receipt for; 0 where it has none, and knows the last from a push only.
    pub(super) first: i64,
    /// The last; the beginning for none.
    pub(super) last: Position,
    /// Its log time, ms; 0 where it is not known.
    pub(super) time_ms: i64,
    /// The caller's last call on the channel; `None` where it does not know which was carried out.
    pub(super) call: Option<Epoch>,
}

impl Seen {
    /// A position seen in a push, which may be forged: believed up to 64 runs beyond the known end.
    pub(super) fn from_push(last: Position) -> Self {
        Self { last, ..Self::default() }
    }
}

/// Writes the call for a group of one channel. `seen` is what this publisher has receipts for; the call gets a
/// name of its own.
pub(super) fn write(
    keys: &Keys,
    channel: &ChannelName,
    retention: &Retention,
    seen: Seen,
    name: Epoch,
    group: &Group,
) -> Cmd {
    let mut call = script::PUBLISH.call();
    call.arg(3).arg(keys.head(channel)).arg(keys.log(channel)).arg(keys.ids(channel));
    write_common(&mut call, channel, retention, seen, name);
    call.arg(retention.dedup_window_ms).arg(retention.dedup_max_ids).arg(group.min_replicas());
    for batch in group.batches() {
        let drafts = batch.drafts();
        // A batch without ids is sent without them.
        let with_ids = batch.has_ids();
        call.arg(if with_ids { drafts.len() as i64 } else { -(drafts.len() as i64) });
        for draft in drafts {
            if with_ids {
                let id: &[u8] = draft.dedup.as_ref().map_or(b"", |key| key.as_bytes());
                call.arg(id);
            }
            let Encoded { head, tail } = envelope::encode(draft);
            call.arg(head).arg(tail.as_bytes());
        }
    }
    call
}

/// The arguments that all scripts have which write. The call's name is kept in the head, and names the epoch where one
/// begins.
pub(super) fn write_common(call: &mut Cmd, channel: &ChannelName, retention: &Retention, seen: Seen, name: Epoch) {
    call.arg(channel.as_str()).arg(name.to_string());
    call.arg(seen.last.epoch.map(|epoch| epoch.to_string()).unwrap_or_default())
        .arg(seen.last.sequence)
        .arg(seen.first);
    call.arg(retention.max_messages).arg(retention.max_bytes).arg(retention.max_age_ms);
    let [log_lives, head_lives] = lives_ms(retention);
    call.arg(log_lives).arg(head_lives).arg(RUN_MESSAGES).arg(RUN_BYTES);
    call.arg(seen.call.map(|name| name.to_string()).unwrap_or_default()).arg(seen.time_ms);
}

/// How long log and head live after a call that says so, ms: longer than they must, by the time until the next such
/// call.
pub(super) fn lives_ms(retention: &Retention) -> [u64; 2] {
    let log = retention.max_age_ms.saturating_add(full_interval(retention).as_millis() as u64);
    [log, log.saturating_add(HEAD_LINGER.as_millis() as u64)]
}

/// How often an optimistic call is a full one.
pub(super) fn full_interval(retention: &Retention) -> Duration {
    FULL_CALL_INTERVAL.min(Duration::from_millis(retention.max_age_ms / FULL_CALL_SHARE))
}

/// What the script answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// What each batch gets, in order.
    pub(super) published: Vec<Published>,
    /// The first sequence of the epoch; 0 where it is not known.
    pub(super) epoch_first: i64,
    /// The deduplication window that is in force, ms; `None` where none was asked for.
    pub(super) window_ms: Option<u64>,
}

/// Reads the answer.
pub(super) fn read(answer: Value, group: &Group, max_ids: u64) -> Result<Answer, Error> {
    let Value::Array(answer) = answer else { return Err(malformed_reply()) };
    let mut answer = answer.into_iter();
    let named = text(answer.next()).unwrap_or_default();
    let (epoch, epoch_first) = named.split_once(',').unwrap_or((&named, "0"));
    let (epoch, epoch_first): (Option<Epoch>, i64) = (epoch.parse().ok(), epoch_first.parse().unwrap_or(0));
    let time_ms: i64 = text(answer.next()).and_then(|text| text.parse().ok()).ok_or_else(malformed_reply)?;
    let mut published = Vec::with_capacity(group.len());
    if !group.has_ids() {
        // All is new: the first has its number given, the others follow it.
        let (Some(Value::Int(first)), Some(epoch)) = (answer.next(), epoch) else { return Err(malformed_reply()) };
        let published = consecutive(group, first, epoch, time_ms);
        return Ok(Answer { published, epoch_first, window_ms: None });
    }
    let window_ms = text(answer.next()).and_then(|text| text.parse().ok()).ok_or_else(malformed_reply)?;
    for batch in group.batches() {
        let mut receipts = Vec::with_capacity(batch.messages());
        let mut refused = false;
        for draft in batch.drafts() {
            let (id, replicas) = (draft.id, 0);
            match answer.next() {
                Some(Value::Int(-1)) => refused = true,
                Some(Value::Int(sequence)) => {
                    let epoch = epoch.ok_or_else(malformed_reply)?;
                    receipts.push(Receipt { id, epoch, sequence, time_ms, duplicate: false, replicas });
                }
                first => {
                    let (sequence, epoch, time_ms) =
                        text(first).as_deref().and_then(receipt).ok_or_else(malformed_reply)?;
                    receipts.push(Receipt { id, epoch, sequence, time_ms, duplicate: true, replicas });
                }
            }
        }
        published.push(if refused { Err(Error::TooManyIds { limit: max_ids }) } else { Ok(receipts) });
    }
    Ok(Answer { published, epoch_first, window_ms: Some(window_ms) })
}

/// What batches get whose messages are all new, and numbered one after the other.
pub(super) fn consecutive(group: &Group, first: i64, epoch: Epoch, time_ms: i64) -> Vec<Published> {
    let mut sequences = first..;
    let receipt = |(draft, sequence): (&Draft, i64)| Receipt {
        id: draft.id,
        epoch,
        sequence,
        time_ms,
        duplicate: false,
        replicas: 0,
    };
    group.batches().map(|batch| Ok(batch.drafts().iter().zip(&mut sequences).map(receipt).collect())).collect()
}

/// The script gave an answer that it never gives.
pub(super) fn malformed_reply() -> Error {
    Error::OutcomeUnknown("the publishing script answered in a way that is not understood".to_owned())
}

/// `sequence:epoch:time`
fn receipt(text: &str) -> Option<(i64, Epoch, i64)> {
    let mut parts = text.split(':');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn text(value: Option<Value>) -> Option<String> {
    match value? {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        _ => None,
    }
}
